"""Every function here calls a private function of torch, which a later torch may rename or drop.

`tests/kernels/test_torch_private.py` fails when one of them is gone, and checks that the fallback gives the same
numbers. `recurlm.devices` tries one of them, `_linear_pointwise`, before anything computes with it.
"""

from collections.abc import Sequence

import torch
from torch import Tensor


def lerp_in_place(values: Sequence[Tensor], ends: Sequence[Tensor], weight: float) -> None:
    """Move each value toward its end: value += weight (end - value). Fallback: one `lerp_` per tensor."""
    lerp_lists = getattr(torch, "_foreach_lerp_", None)
    if lerp_lists is not None:
        lerp_lists(list(values), list(ends), weight)
        return
    for value, end in zip(values, ends, strict=True):
        value.lerp_(end, weight)


def flatten_cudnn_weights(weights: Sequence[Tensor], mode: int, input_size: int, hidden_size: int) -> None:
    """Move the weights of one recurrent layer into one block of memory; values, shapes, and tensors stay the same.

    weights: weight_ih, weight_hh, bias_ih, bias_hh on a CUDA device · mode: cuDNN's number of the cell.
    Fallback: do nothing; cuDNN then copies the weights into one block at each call.
    """
    flatten = getattr(torch, "_cudnn_rnn_flatten_weight", None)
    if flatten is None:
        return
    with torch.no_grad():
        flatten(list(weights), len(weights), input_size, mode, hidden_size, 0, 1, False, False)


def graph_is_kept() -> bool:
    """Whether the running backward pass keeps its graph, so that a second pass may follow. Fallback: True."""
    keep_graph = getattr(torch._C._autograd, "_get_current_graph_task_keep_graph", lambda: True)
    return bool(keep_graph())


def onednn_linear(input: Tensor, weight: Tensor) -> Tensor:
    """input (N, K) times the transpose of weight (M, K) through oneDNN, in float32 on the CPU.

    No fallback: callers first ask `devices.prefers_onednn_products`, which is false where torch lacks the function.
    """
    return torch.ops.mkldnn._linear_pointwise(input, weight, None, "none", [], "")  # type: ignore[no-any-return]
