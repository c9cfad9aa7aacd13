"""The optimizers of recipes, and their memory as named tensors."""

import itertools
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor

from recurlm.config import SGD, Muon, Optimizer, RMSProp
from recurlm.errors import CorruptFileError
from recurlm.models.language_model import LanguageModel

Group = dict[str, Any]
"""Parameters and their options, as torch's optimizers take them."""


class MuonWithAdamW(torch.optim.Optimizer):
    """Muon and AdamW as one optimizer: one memory, and one learning rate, which torch's Muon needs on the host."""

    def __init__(self, muon: torch.optim.Optimizer, adamw: torch.optim.Optimizer) -> None:
        super().__init__([*muon.param_groups, *adamw.param_groups], {})
        self.parts = ((muon, slice(None, len(muon.param_groups))), (adamw, slice(len(muon.param_groups), None)))

    def step(self, closure: None = None) -> None:  # type: ignore[override]
        for part, groups in self.parts:
            # loading a state replaces both
            part.state, part.param_groups = self.state, self.param_groups[groups]
            part.step()


def build_optimizer(options: Optimizer, model: LanguageModel) -> torch.optim.Optimizer:
    """The optimizer of a recipe; weight decay applies to matrices, never to biases.

    On a GPU, everything that changes from step to step is kept there, the learning rate included, so that a replayed
    CUDA graph reads the present values.
    """
    if isinstance(options, Muon):
        return _muon(options, model)
    groups = _groups(model.parameters(), options.weight_decay)
    on_gpu = model.device.type == "cuda"
    rate = torch.tensor(options.learning_rate, device=model.device) if on_gpu else options.learning_rate
    if isinstance(options, SGD):
        return torch.optim.SGD(groups, rate, momentum=options.momentum, fused=True)
    if isinstance(options, RMSProp):
        return _rmsprop(options, groups, rate, capturable=on_gpu)
    optimizer = torch.optim.AdamW if options.kind == "adamw" else torch.optim.Adam
    betas = (options.beta1, options.beta2)
    return optimizer(groups, rate, betas=betas, eps=options.epsilon, fused=True, capturable=on_gpu)


def _rmsprop(options: RMSProp, groups: list[Group], rate: float | Tensor, *, capturable: bool) -> torch.optim.RMSprop:
    return torch.optim.RMSprop(
        groups,
        rate,
        alpha=options.alpha,
        eps=options.epsilon,
        momentum=options.momentum,
        foreach=True,
        capturable=capturable,
    )


def _groups(parameters: Iterable[Tensor], weight_decay: float) -> list[Group]:
    parameters = list(parameters)
    groups = [
        {"params": [p for p in parameters if p.dim() > 1], "weight_decay": weight_decay},
        {"params": [p for p in parameters if p.dim() <= 1], "weight_decay": 0.0},
    ]
    return [group for group in groups if group["params"]]


def _muon(options: Muon, model: LanguageModel) -> MuonWithAdamW:
    matrices = [parameter for parameter in model.stack.parameters() if parameter.dim() == 2]
    chosen = {id(parameter) for parameter in matrices}
    rest = [parameter for parameter in model.parameters() if id(parameter) not in chosen]
    muon = torch.optim.Muon(
        matrices,
        options.learning_rate,
        weight_decay=options.weight_decay,
        momentum=options.momentum,
        adjust_lr_fn="match_rms_adamw",
    )
    betas = (options.beta1, options.beta2)
    groups = _groups(rest, options.weight_decay)
    return MuonWithAdamW(
        muon, torch.optim.AdamW(groups, options.learning_rate, betas=betas, eps=options.epsilon, fused=True)
    )


def set_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Sets the learning rate of the next step."""
    for group in optimizer.param_groups:
        if isinstance(group["lr"], Tensor):
            group["lr"].fill_(rate)
        else:
            group["lr"] = rate


def optimizer_tensors(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """The memory of an optimizer as tensors named `<parameter number>.<name>`."""
    state: Mapping[int, Mapping[str, Any]] = optimizer.state_dict()["state"]
    return {
        f"{number}.{name}": value
        for number, values in state.items()
        for name, value in values.items()
        if isinstance(value, Tensor)
    }


def restore_optimizer(optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor]) -> None:
    """Restores what `optimizer_tensors` returned. Raises CorruptFileError if it belongs to another optimizer."""
    state: dict[int, dict[str, Tensor]] = {}
    try:
        for key, tensor in tensors.items():
            number, name = key.split(".", 1)
            state.setdefault(int(number), {})[name] = tensor
        _check_memory(optimizer, state)
        optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
    except (ValueError, KeyError) as error:
        raise CorruptFileError(f"checkpoint: the optimizer's memory does not fit the recipe: {error}") from error


def _check_memory(optimizer: torch.optim.Optimizer, state: Mapping[int, Mapping[str, Tensor]]) -> None:
    """Raises ValueError if a parameter has other values than the rest of its group, or values of another shape."""
    parameters = itertools.count()
    numbered = [[(next(parameters), each) for each in group["params"]] for group in optimizer.param_groups]
    strange = state.keys() - {number for group in numbered for number, _ in group}
    if strange:
        raise ValueError(f"there is no parameter {min(strange)}")
    for group in numbered:
        if len({frozenset(state[number]) for number, _ in group if number in state}) > 1:
            raise ValueError("parameters of one group have different values")
        for number, parameter in group:
            for name, tensor in state.get(number, {}).items():
                if tensor.dim() and tensor.shape != parameter.shape:
                    raise ValueError(f"{number}.{name} has the shape {list(tensor.shape)}")
