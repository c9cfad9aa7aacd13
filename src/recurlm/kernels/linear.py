"""A linear layer with weights packed once for many products of few rows, and draws and totals from its logits.

These need the native library. The plain references are `torch.nn.functional.linear`, `draw_plain` and
`log_totals_plain`.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from recurlm.kernels.lstm_sweep import PackedLSTM
from recurlm.kernels.native import TILE_COLUMNS, TILE_DEPTH, TILE_SIZE, call, tiles


class PackedLinear:
    """Computes x W' + b, with W (O, I) in bfloat16 tiles and float32 sums."""

    def __init__(self, weight: Tensor, bias: Tensor | None) -> None:
        self.outputs, self.inputs = weight.shape
        size = 2 * tiles(self.outputs, 2 * TILE_COLUMNS) * tiles(self.inputs, TILE_DEPTH) * TILE_SIZE
        self.packed = torch.empty(size, dtype=torch.bfloat16)
        self.bias = None if bias is None else bias.detach().float().contiguous()
        call("recurlm_linear_pack", [weight.detach().float().contiguous(), self.packed], [self.outputs, self.inputs])

    def ban(self, columns: Sequence[int]) -> None:
        """Makes these outputs minus infinity in later products; the original bias tensor does not change."""
        bias = torch.zeros(self.outputs) if self.bias is None else self.bias
        self.bias = bias.index_fill(0, torch.tensor(columns), -torch.inf)

    def __call__(self, input: Tensor, output: Tensor) -> Tensor:
        """Fills output (B, O), float32, and returns it; input (B, I) is bfloat16 and comes from `with_slack`."""
        call("recurlm_linear", [input, self.packed, self.bias, output], [len(input), self.inputs, self.outputs])
        return output


def draw_plain(logits: Tensor, temperature: float | Tensor, shares: Tensor) -> Tensor:
    """For each row of logits (B, V), the first column where the cumulative softmax exceeds a share (B,) of [0, 1).

    temperature: one for all rows, or one for each (B,).
    """
    divisor = temperature[:, None] if isinstance(temperature, Tensor) else temperature
    cumulated = (logits.double() / divisor).softmax(-1).cumsum(-1)
    total = cumulated[:, -1:].contiguous()
    last = torch.searchsorted(cumulated, total)
    return torch.searchsorted(cumulated, shares[:, None] * total, right=True).minimum(last)[:, 0]


def draw_native(logits: Tensor, temperature: float | Tensor, shares: Tensor) -> Tensor:
    """`draw_plain` in the native library, for float32 logits, which it overwrites, and float64 shares."""
    drawn = torch.empty(len(logits), dtype=torch.int64)
    call("recurlm_draw", [logits, _sharpness(temperature, len(logits)), shares, drawn], list(logits.shape))
    return drawn


def log_totals_plain(logits: Tensor) -> Tensor:
    """The logarithm of the sum of e^logit (B,) of each row of logits (B, V), in float64."""
    return torch.stack([row.double().logsumexp(-1) for row in logits])


def log_totals_native(logits: Tensor) -> Tensor:
    """`log_totals_plain` in the native library, for float32 logits."""
    totals = torch.empty(len(logits), dtype=torch.float64)
    call("recurlm_log_totals", [logits, totals], list(logits.shape))
    return totals


@dataclass(frozen=True)
class PackedModel:
    """A language model for generation: embedding (V, E) in float32, packed layers with their state, packed decoder.

    logits (B, V): working memory.
    """

    embedding: Tensor
    layers: Sequence[PackedLSTM]
    decoder: PackedLinear
    logits: Tensor


def generate(model: PackedModel, tokens: Tensor, temperature: float | Tensor, shares: Tensor) -> Tensor:
    """Reads ids (B,), draws the next ids by `shares`, reads what was drawn, and so on: N draws for `shares` (N, B).

    Returns the drawn ids (N, B). The layers keep their state for the next call. temperature: one for all texts, or one
    for each (B,).
    """
    drawn = torch.empty(shares.shape, dtype=torch.int64)
    layers, decoder = model.layers, model.decoder
    own = [(*layer.packed, layer.bias, layer.hidden, layer.cell) for layer in layers]
    pointers = torch.tensor([tensor.data_ptr() for layer in own for tensor in layer])
    sizes = torch.tensor([(layer.inputs, layer.units) for layer in layers])
    tensors = [model.embedding, layers[0].input, pointers, sizes, decoder.packed, decoder.bias, model.logits]
    sharpness = _sharpness(temperature, len(tokens))
    numbers = [len(layers), decoder.outputs, len(tokens), len(shares)]
    call("recurlm_generate", [*tensors, sharpness, shares, tokens.contiguous(), drawn], numbers)
    return drawn


def _sharpness(temperature: float | Tensor, rows: int) -> Tensor:
    """One over the temperature, for each row."""
    if isinstance(temperature, Tensor):
        return (1 / temperature.double()).float().contiguous()
    return torch.full((rows,), 1 / temperature)
