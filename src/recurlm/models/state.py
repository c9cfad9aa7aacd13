"""The carried state: for each layer, the tensors (B, H) that its cell passes to the next step."""

from collections.abc import Callable

from torch import Tensor

LayerState = tuple[Tensor, ...]
LayerStates = tuple[LayerState, ...]


def map_state(function: Callable[[Tensor], Tensor], state: LayerStates) -> LayerStates:
    """The state with `function` applied to each tensor."""
    return tuple(tuple(function(tensor) for tensor in layer) for layer in state)


def detach(state: LayerStates) -> LayerStates:
    """The same values without their graph; here truncated back-propagation cuts."""
    return map_state(lambda tensor: tensor.detach(), state)


def restart(state: LayerStates, columns: Tensor) -> LayerStates:
    """The state with zeros in those of its B columns for which `columns` (B,) is true."""
    return map_state(lambda tensor: tensor.masked_fill(columns.to(tensor.device)[:, None], 0), state)
