"""What every cell has: its parameters, one time step, and a sweep over all time steps.

Names are those of docs/notation.md. Weights are stacked gate by gate in PyTorch's order. A cell is one class;
to run it over a sequence by hand:

    state = cell.initial_state(batch)
    for input in inputs:  # (T, B, I)
        output, state = cell(input, state)
"""

import threading
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any, ClassVar, Self

import torch
from torch import Tensor, nn

from recurlm.kernels import recurrent_sweep
from recurlm.models.dropout import column_mask, weight_mask
from recurlm.models.state import LayerState


class Cell(nn.Module, ABC):
    """The parameters and the step of one layer; weight_ih (G H, I) and bias_ih (G H,) act on the input."""

    gates: int
    state_names: tuple[str, ...] = ("h",)
    weight_ih: nn.Parameter

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__()
        self.input_size, self.hidden_size = input_size, hidden_size
        self._observed: dict[str, list[Tensor]] | None = None
        self._observer: int | None = None

    @contextmanager
    def observing(self) -> Iterator[dict[str, list[Tensor]]]:
        """Inside, every step of this thread adds the values (B, H) of its gates to the dictionary that this yields."""
        self._observed, self._observer = {}, threading.get_ident()
        try:
            yield self._observed
        finally:
            self._observed = self._observer = None

    def observe(self, **gates: Tensor) -> None:
        """Tells the values of the gates by the names of docs/notation.md; kept only inside `observing`."""
        observed = self._observed
        if observed is not None and self._observer == threading.get_ident():
            for name, value in gates.items():
                observed.setdefault(name, []).append(value)

    @abstractmethod
    def forward(self, input: Tensor, state: LayerState) -> tuple[Tensor, LayerState]:
        """Computes one time step: input (B, I) and the state before it; returns the output (B, H) and the new state."""

    @abstractmethod
    def sweep(self, input: Tensor, state: LayerState) -> tuple[Tensor, LayerState]:
        """Computes all time steps: input (T, B, I); returns outputs (T, B, H) and the last state. Fast."""

    @property
    def carried(self) -> int:
        """Number of tensors that a step passes to the next."""
        return len(self.state_names)

    @property
    def state_sizes(self) -> tuple[int, ...]:
        """Width of each tensor of the state."""
        return (self.hidden_size,) * self.carried

    def initial_state(self, batch: int) -> LayerState:
        """The state before any input: zeros."""
        return tuple(self.weight_ih.new_zeros(batch, size) for size in self.state_sizes)

    def extra_repr(self) -> str:
        return f"{self.input_size}, {self.hidden_size}"


class RecurrentCell(Cell):
    """A layer whose step multiplies the hidden state by weight_hh (G H, H) and adds bias_hh (G H,)."""

    cudnn_mode: ClassVar[str | None] = None
    sweeps_masked_state: ClassVar[bool] = False

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__(input_size, hidden_size)
        rows = self.gates * hidden_size
        self.weight_ih = nn.Parameter(torch.zeros(rows, input_size))
        self.weight_hh = nn.Parameter(torch.zeros(rows, hidden_size))
        self.bias_ih = nn.Parameter(torch.zeros(rows))
        self.bias_hh = nn.Parameter(torch.zeros(rows))
        self._dropped_weight_hh: Tensor | None = None
        self._state_mask: Tensor | None = None

    @abstractmethod
    def advance(self, from_input: Tensor, state: LayerState) -> tuple[Tensor, LayerState]:
        """Computes one time step from the result of `from_input`."""

    def forward(self, input: Tensor, state: LayerState) -> tuple[Tensor, LayerState]:
        return self.advance(self.from_input(input), state)

    def sweep(self, input: Tensor, state: LayerState) -> tuple[Tensor, LayerState]:
        # the products with the input do not depend on the state, so one product serves all steps
        return recurrent_sweep.step_by_step(self.advance, self.from_input(input), state)

    def _apply(self, fn: Callable[..., Any], recurse: bool = True) -> Self:
        """Moves the weights to another device or type, then lays them out for cuDNN again."""
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        if self.cudnn_mode is not None:
            recurrent_sweep.flatten_for_cudnn(self.weights, self.cudnn_mode)
        return self

    @contextmanager
    def dropping(self, batch: int, *, recurrent_weights: float, state: float) -> Iterator[None]:
        """Inside, while training, all steps of the cell use the same masks; the entries of a mask are 0 or 1 / (1 - p).

        recurrent_weights: W ∘ M, with one M (G H, H) for the whole batch; steps and sweeps apply it (DropConnect, Wan
        et al. 2013; on recurrent weights Merity et al. 2018, section 2) · state: W (m ∘ S_{n-1}), with one m (H,) for
        each sequence; steps apply it, and sweeps where `sweeps_masked_state` is true (Gal and Ghahramani 2016, eq. 7;
        Semeniuta et al. 2016). A path around W, such as a GRU's from hidden state to hidden state, is not masked.
        """
        if self.training and recurrent_weights:
            self._dropped_weight_hh = self.weight_hh * weight_mask(self.weight_hh, recurrent_weights)
        if self.training and state:
            self._state_mask = column_mask((batch, self.hidden_size), state, self.weight_hh, dim=0)
        try:
            with nullcontext() if self._dropped_weight_hh is None else _without_layout_warning():
                yield
        finally:
            self._dropped_weight_hh = self._state_mask = None

    @property
    def weights(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Input weights, recurrent weights after dropout, and their biases."""
        weight_hh = self.weight_hh if self._dropped_weight_hh is None else self._dropped_weight_hh
        return self.weight_ih, weight_hh, self.bias_ih, self.bias_hh

    def from_input(self, input: Tensor) -> Tensor:
        """U I_n plus its bias, for all gates: input (..., I), result (..., G H)."""
        return input @ self.weight_ih.t() + self.bias_ih

    def from_hidden(self, hidden: Tensor) -> Tensor:
        """W S_{n-1} plus its bias, for all gates (B, G H)."""
        return self.recurrent_product(hidden) + self.bias_hh

    def recurrent_product(self, hidden: Tensor) -> Tensor:
        """W S_{n-1} without bias, after dropout of W and of the state."""
        return self.dropped_state(hidden) @ self.weights[1].t()

    def dropped_state(self, hidden: Tensor) -> Tensor:
        """m ∘ S_{n-1}: the hidden state after dropout."""
        return hidden if self._state_mask is None else hidden * self._state_mask


@contextmanager
def _without_layout_warning() -> Iterator[None]:
    """Silences cuDNN's warning that a dropped weight is not in the block of the other weights.

    It cannot be: it is a new tensor for every batch.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "RNN module weights are not part of single contiguous chunk")
        yield
