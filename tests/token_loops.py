"""Plain loops over tokens, to which faster ways are held."""

import torch

from recurlm.models.language_model import LanguageModel

VOCABULARY = 13


def step_by_step_nats(model: LanguageModel, inputs: list[int], targets: list[int]) -> list[float]:
    """-ln p of each target, one token at a time through all logits."""
    state = model.initial_state(1)
    nats = []
    with torch.no_grad():
        for token, target in zip(inputs, targets, strict=True):
            logits, state = model(torch.tensor([[token]]), state)
            nats.append(-logits[0, 0].double().log_softmax(-1)[target].item())
    return nats
