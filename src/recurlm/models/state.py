"""The carried state: for each layer, the tensors (B, H) that its cell passes to the next step."""

import itertools
from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

LayerState = tuple[Tensor, ...]
LayerStates = tuple[LayerState, ...]
Restarts = NDArray[np.bool_]
"""(T, B), on the host: where a column's state is zero before the step reads its input."""
Sweep = Callable[[Tensor, LayerState], tuple[Tensor, LayerState]]


def map_state(function: Callable[[Tensor], Tensor], state: LayerStates) -> LayerStates:
    """The state with `function` applied to each tensor."""
    return tuple(tuple(function(tensor) for tensor in layer) for layer in state)


def detach(state: LayerStates) -> LayerStates:
    """The same values without their graph; here truncated back-propagation cuts."""
    return map_state(lambda tensor: tensor.detach(), state)


def restart(state: LayerStates, columns: NDArray[np.bool_]) -> LayerStates:
    """The state with zeros in those of its B columns for which `columns` (B,) is true."""
    mask = torch.from_numpy(columns)[:, None]
    return map_state(lambda tensor: tensor.masked_fill(mask.to(tensor.device), 0), state)


def sweep_restarting(
    sweep: Sweep, input: Tensor, state: LayerState, restarts: Restarts | None
) -> tuple[Tensor, LayerState]:
    """Sweeps one layer over all time steps, in pieces between the steps at which columns restart.

    Takes input (T, B, I) and the layer's state; returns outputs (T, B, H) and the last state, as `sweep` does.
    """
    if restarts is None:
        return sweep(input, state)
    outputs = []
    steps = np.flatnonzero(restarts.any(axis=1)).tolist()
    for begin, end in itertools.pairwise(sorted({0, *steps, len(input)})):
        (state,) = restart((state,), restarts[begin])
        output, state = sweep(input[begin:end], state)
        outputs.append(output)
    return outputs[0] if len(outputs) == 1 else torch.cat(outputs), state
