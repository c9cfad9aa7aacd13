"""One recurrent layer over all time steps at once.

Every fast path has the arguments and results of the plain reference, `step_by_step`: it takes input (T, B, I) and a
state of (B, H) tensors, and returns outputs (T, B, H) and the state after the last step.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Literal

import torch
from torch import Tensor
from torch.backends.cudnn import rnn

from recurlm.devices import runs
from recurlm.kernels.lstm_sweep import lstm_tiles
from recurlm.kernels.native import has_bfloat16_tiles, has_tiles
from recurlm.kernels.torch_private import flatten_cudnn_weights

MOST_COLUMNS = 1 << 14
"""Most columns in one LSTM call; oneDNN refuses some hundred thousand."""

LayerState = tuple[Tensor, ...]
Weights = tuple[Tensor, Tensor, Tensor, Tensor]
LSTMPath = Literal["tiles", "onednn bf16", "widened tiles", "onednn fp32", "torch fp32"]
Step = Callable[[Tensor, LayerState], tuple[Tensor, LayerState]]


def step_by_step(step: Step, input: Tensor, state: LayerState) -> tuple[Tensor, LayerState]:
    """The plain reference: applies the cell's equations once per time step."""
    outputs = []
    for input_n in input:
        output, state = step(input_n, state)
        outputs.append(output)
    return torch.stack(outputs), state


def flatten_for_cudnn(weights: Weights, mode: str) -> None:
    """Move a layer's weights into the one block of memory that cuDNN expects; off the GPU this does nothing.

    cuDNN copies weights into such a block at each call unless they are already in one.
    mode: cuDNN's name of the layer, such as LSTM.
    """
    if not torch.backends.cudnn.is_acceptable(weights[0]):  # type: ignore[no-untyped-call]
        return
    number = rnn.get_cudnn_mode(mode)  # type: ignore[no-untyped-call]
    flatten_cudnn_weights(weights, number, weights[0].shape[1], weights[1].shape[1])


def lstm_path(bf16: bool) -> LSTMPath:
    """The path that computes an LSTM on this CPU: the first of those below that is available here."""
    if bf16 and has_bfloat16_tiles():
        return "tiles"
    if bf16 and runs("lstm bf16"):
        return "onednn bf16"
    if bf16 and has_tiles():
        return "widened tiles"
    return "onednn fp32" if runs("lstm fp32") else "torch fp32"


def lstm(weights: Weights, input: Tensor, state: LayerState) -> tuple[Tensor, LayerState]:
    """Computes an LSTM layer, on a GPU through cuDNN and on a CPU by `lstm_path`.

    The weights are weight_ih, weight_hh, bias_ih, bias_hh.
    """
    hidden, cell = state
    if input.device.type != "cpu":
        return _library_lstm(weights, input, (hidden, cell))
    path = lstm_path(_in_bf16(input))
    if path in ("tiles", "widened tiles"):
        return lstm_tiles(weights, input, (hidden, cell))
    if path == "onednn bf16" or not _in_bf16(input):
        with nullcontext() if path != "torch fp32" else _without_onednn():
            return _library_lstm(weights, input, (hidden, cell))
    with torch.autocast("cpu", enabled=False):
        return lstm(weights, input.float(), (hidden.float(), cell.float()))


def _library_lstm(weights: Weights, input: Tensor, state: LayerState) -> tuple[Tensor, LayerState]:
    hidden, cell = state
    if input.device.type == "cpu" and input.shape[1] > MOST_COLUMNS:  # columns are independent
        parts = zip(*(torch.split(each, MOST_COLUMNS, -2) for each in (input, hidden, cell)), strict=True)
        outputs, states = zip(*(_library_lstm(weights, part, (h, c)) for part, h, c in parts), strict=True)
        return torch.cat(outputs, 1), tuple(map(torch.cat, zip(*states, strict=True)))
    output, hidden, cell = torch.lstm(
        input, (hidden[None], cell[None]), weights, True, 1, 0.0, torch.is_grad_enabled(), False, False
    )
    return output, (hidden[0], cell[0])


@contextmanager
def _without_onednn() -> Iterator[None]:
    before = torch.backends.mkldnn.enabled
    torch.backends.mkldnn.enabled = False  # type: ignore[assignment]
    try:
        yield
    finally:
        torch.backends.mkldnn.enabled = before


def gru(weights: Weights, input: Tensor, state: LayerState) -> tuple[Tensor, LayerState]:
    """Computes a GRU layer with the library's kernel."""
    output, hidden = torch.gru(input, state[0][None], weights, True, 1, 0.0, torch.is_grad_enabled(), False, False)
    return output, (hidden[0],)


def tanh(weights: Weights, input: Tensor, state: LayerState) -> tuple[Tensor, LayerState]:
    """Computes a simple recurrent layer with tanh."""
    output, hidden = torch.rnn_tanh(input, state[0][None], weights, True, 1, 0.0, torch.is_grad_enabled(), False, False)
    return output, (hidden[0],)


def relu(weights: Weights, input: Tensor, state: LayerState) -> tuple[Tensor, LayerState]:
    """Computes a simple recurrent layer with relu."""
    output, hidden = torch.rnn_relu(input, state[0][None], weights, True, 1, 0.0, torch.is_grad_enabled(), False, False)
    return output, (hidden[0],)


def _in_bf16(input: Tensor) -> bool:
    """Whether autocast asks for bfloat16 on the CPU."""
    return (
        input.device.type == "cpu"
        and torch.is_autocast_enabled("cpu")
        and torch.get_autocast_dtype("cpu") == torch.bfloat16
    )
