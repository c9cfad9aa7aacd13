"""One recurrent layer over all time steps at once.

Each fast path takes and gives what its plain twin, `step_by_step`, takes and gives:
input (T, B, I) and a state of (B, H) tensors in; outputs (T, B, H) and the state after the last step out.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext

import torch
from torch import Tensor
from torch.backends.cudnn import rnn

from recurlm.devices import runs
from recurlm.kernels.lstm_sweep import lstm_tiles
from recurlm.kernels.native import has_bfloat16_tiles, has_tiles

LayerState = tuple[Tensor, ...]
Weights = tuple[Tensor, Tensor, Tensor, Tensor]
Step = Callable[[Tensor, LayerState], tuple[Tensor, LayerState]]


def step_by_step(step: Step, input: Tensor, state: LayerState) -> tuple[Tensor, LayerState]:
    """The plain reference: the cell's equations, applied once a time step."""
    outputs = []
    for input_n in input:
        output, state = step(input_n, state)
        outputs.append(output)
    return torch.stack(outputs), state


def flatten(weights: Weights, mode: str) -> None:
    """Lay a layer's weights into one block, which cuDNN would otherwise make anew at each call; elsewhere do nothing.

    mode: cuDNN's name of the layer, such as LSTM. Values, shapes and tensors stay, only their memory is another.
    """
    if not torch.backends.cudnn.is_acceptable(weights[0]):  # type: ignore[no-untyped-call]
        return
    number = rnn.get_cudnn_mode(mode)  # type: ignore[no-untyped-call]
    hidden_size, input_size = weights[1].shape[1], weights[0].shape[1]
    with torch.no_grad():
        torch._cudnn_rnn_flatten_weight(
            list(weights), len(weights), input_size, number, hidden_size, 0, 1, False, False
        )


def lstm(weights: Weights, input: Tensor, state: LayerState) -> tuple[Tensor, LayerState]:
    """LSTM through oneDNN or cuDNN, under bf16 autocast through the project's own tiles where the processor has them.

    Weights are weight_ih, weight_hh, bias_ih, bias_hh. Where oneDNN has no bf16 LSTM for this processor, the tiles are
    widened to float32, and without the native library the layer is computed in float32.
    """
    hidden, cell = state
    if not _in_bf16(input):
        return _library_lstm(weights, input, (hidden, cell))
    if has_bfloat16_tiles():
        return lstm_tiles(weights, input, (hidden, cell))
    if runs("lstm bf16"):
        return _library_lstm(weights, input, (hidden, cell))
    if has_tiles():
        return lstm_tiles(weights, input, (hidden, cell))
    with torch.autocast("cpu", enabled=False):
        return _library_lstm(weights, input.float(), (hidden.float(), cell.float()))


def _library_lstm(weights: Weights, input: Tensor, state: LayerState) -> tuple[Tensor, LayerState]:
    """torch's LSTM; without oneDNN, torch computes it step by step, where oneDNN has none for this processor."""
    hidden, cell = state
    there = input.device.type != "cpu" or runs("lstm fp32")
    with nullcontext() if there else _without_onednn():
        output, hidden, cell = torch.lstm(
            input, (hidden[None], cell[None]), weights, True, 1, 0.0, torch.is_grad_enabled(), False, False
        )
    return output, (hidden[0], cell[0])


@contextmanager
def _without_onednn() -> Iterator[None]:
    """torch.backends.mkldnn.flags would set TF32 too, which torch answers with a warning on a CPU."""
    before = torch._C._get_mkldnn_enabled()
    torch._C._set_mkldnn_enabled(False)
    try:
        yield
    finally:
        torch._C._set_mkldnn_enabled(before)


def gru(weights: Weights, input: Tensor, state: LayerState) -> tuple[Tensor, LayerState]:
    """GRU through the library's kernels."""
    output, hidden = torch.gru(input, state[0][None], weights, True, 1, 0.0, torch.is_grad_enabled(), False, False)
    return output, (hidden[0],)


def tanh(weights: Weights, input: Tensor, state: LayerState) -> tuple[Tensor, LayerState]:
    """Simple recurrent layer with tanh."""
    output, hidden = torch.rnn_tanh(input, state[0][None], weights, True, 1, 0.0, torch.is_grad_enabled(), False, False)
    return output, (hidden[0],)


def relu(weights: Weights, input: Tensor, state: LayerState) -> tuple[Tensor, LayerState]:
    """Simple recurrent layer with relu."""
    output, hidden = torch.rnn_relu(input, state[0][None], weights, True, 1, 0.0, torch.is_grad_enabled(), False, False)
    return output, (hidden[0],)


def _in_bf16(input: Tensor) -> bool:
    """Whether autocast asks for bfloat16 on the CPU."""
    return (
        input.device.type == "cpu"
        and torch.is_autocast_enabled("cpu")
        and torch.get_autocast_dtype("cpu") == torch.bfloat16
    )
