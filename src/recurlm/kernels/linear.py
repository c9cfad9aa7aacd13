"""A linear layer whose weights are packed once for many products with few rows, and draws from its logits.

They need the native library; the plain twins are `torch.nn.functional.linear` and `draw_plain`.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from recurlm.kernels.lstm_sweep import PackedLSTM
from recurlm.kernels.native import TILE_COLUMNS, TILE_DEPTH, TILE_SIZE, call, tiles


class PackedLinear:
    """x W' + b with W (O, I) kept in bfloat16 tiles, sums in float32."""

    def __init__(self, weight: Tensor, bias: Tensor | None) -> None:
        self.outputs, self.inputs = weight.shape
        size = 2 * tiles(self.outputs, 2 * TILE_COLUMNS) * tiles(self.inputs, TILE_DEPTH) * TILE_SIZE
        self.packed = torch.empty(size, dtype=torch.bfloat16)
        self.bias = None if bias is None else bias.detach().float().contiguous()
        call("recurlm_linear_pack", [weight.detach().float().contiguous(), self.packed], [self.outputs, self.inputs])

    def ban(self, columns: Sequence[int]) -> None:
        """Make these outputs minus infinity in later products; the layer's own bias stays as it is."""
        bias = torch.zeros(self.outputs) if self.bias is None else self.bias
        self.bias = bias.index_fill(0, torch.tensor(columns), -torch.inf)

    def __call__(self, input: Tensor, output: Tensor) -> Tensor:
        """input (B, I) in bfloat16, from `with_slack`; fills output (B, O) in float32 and returns it."""
        call("recurlm_linear", [input, self.packed, self.bias, output], [len(input), self.inputs, self.outputs])
        return output


def draw_plain(logits: Tensor, temperature: float, shares: Tensor) -> Tensor:
    """For each row of logits (B, V) the first column at which the cumulated softmax passes a share (B) of [0, 1)."""
    cumulated = (logits.double() / temperature).softmax(-1).cumsum(-1)
    total = cumulated[:, -1:].contiguous()
    last = torch.searchsorted(cumulated, total)
    return torch.searchsorted(cumulated, shares[:, None] * total, right=True).minimum(last)[:, 0]


def draw_native(logits: Tensor, temperature: float, shares: Tensor) -> Tensor:
    """The same in the native library, for float32 logits, which are written over, and float64 shares."""
    drawn = torch.empty(len(logits), dtype=torch.int64)
    call("recurlm_draw", [logits, torch.tensor(1 / temperature), shares, drawn], list(logits.shape))
    return drawn


def generate(
    embedding: Tensor,
    layers: Sequence[PackedLSTM],
    decoder: PackedLinear,
    logits: Tensor,
    tokens: Tensor,
    temperature: float,
    shares: Tensor,
) -> Tensor:
    """Embed ids (B), go through the layers, draw by `shares` (N, B), embed what was drawn, N times; returns (N, B).

    embedding (V, E) in float32; logits (B, V) is room to work in; the layers keep the state.
    """
    drawn = torch.empty(shares.shape, dtype=torch.int64)
    own = [(*layer.packed, layer.bias, layer.hidden, layer.cell) for layer in layers]
    pointers = torch.tensor([tensor.data_ptr() for layer in own for tensor in layer])
    sizes = torch.tensor([layer.sizes[2:] for layer in layers])
    tensors = [embedding, layers[0].input, pointers, sizes, decoder.packed, decoder.bias, logits]
    sharpness = torch.tensor(1 / temperature)
    numbers = [len(layers), decoder.outputs, len(tokens), len(shares)]
    call("recurlm_generate", [*tensors, sharpness, shares, tokens.contiguous(), drawn], numbers)
    return drawn
