"""Optimizers by recipe, and their memory as named tensors."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from recurlm.config import SGD, Adam, RMSProp
from recurlm.errors import CorruptFileError
from recurlm.models.language_model import LanguageModel


def build_optimizer(options: SGD | Adam | RMSProp, model: LanguageModel) -> torch.optim.Optimizer:
    """The optimizer of a recipe; weight decay touches matrices, never biases."""
    parameters = list(model.parameters())
    groups = [
        {"params": [p for p in parameters if p.dim() > 1], "weight_decay": options.weight_decay},
        {"params": [p for p in parameters if p.dim() <= 1], "weight_decay": 0.0},
    ]
    groups = [group for group in groups if group["params"]]
    rate = options.learning_rate
    if isinstance(options, SGD):
        return torch.optim.SGD(groups, rate, momentum=options.momentum, fused=True)
    if isinstance(options, RMSProp):
        return torch.optim.RMSprop(
            groups, rate, alpha=options.alpha, eps=options.epsilon, momentum=options.momentum, foreach=True
        )
    optimizer = torch.optim.AdamW if options.kind == "adamw" else torch.optim.Adam
    return optimizer(groups, rate, betas=(options.beta1, options.beta2), eps=options.epsilon, fused=True)


def set_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """The learning rate of the next step."""
    for group in optimizer.param_groups:
        group["lr"] = rate


def optimizer_tensors(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """The optimizer's memory, flat: `<parameter number>.<name>`."""
    state: Mapping[int, Mapping[str, Any]] = optimizer.state_dict()["state"]
    return {
        f"{number}.{name}": value
        for number, values in state.items()
        for name, value in values.items()
        if isinstance(value, Tensor)
    }


def restore_optimizer(optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor]) -> None:
    """Put back what `optimizer_tensors` took. Raises CorruptFileError where it belongs to another optimizer."""
    state: dict[int, dict[str, Tensor]] = {}
    try:
        for key, tensor in tensors.items():
            number, name = key.split(".", 1)
            state.setdefault(int(number), {})[name] = tensor
        optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
    except (ValueError, KeyError) as error:
        raise CorruptFileError(f"checkpoint: the optimizer's memory does not fit the recipe: {error}") from error
