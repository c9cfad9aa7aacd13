"""What a model predicted before each token: the entropy, the token's rank, and the likeliest tokens."""

import torch
from torch import Tensor

from recurlm.evaluation.shapes import parts
from recurlm.models.language_model import LanguageModel
from recurlm.scoring.scores import Prediction

LOGITS_AT_ONCE = 1 << 20
"""Numbers held at once for entropies and ranks, sized to fit in cache."""


def predictions(model: LanguageModel, hidden: Tensor, target: Tensor, alternatives: int = 0) -> list[Prediction]:
    """The predictions from outputs (N, H) of the last layer, for targets (N,), with so many likeliest tokens each."""
    found: list[Prediction] = []
    for rows in parts(len(hidden), max(LOGITS_AT_ONCE // model.vocabulary_size, 1)):
        logits = model.decoder(hidden[rows]).float()
        wanted = logits.gather(1, target[rows].clamp(min=0)[:, None])
        ranks = (logits > wanted).sum(-1) + 1
        likeliest = _likeliest(logits, wanted, alternatives)
        logits -= logits.amax(-1, keepdim=True)
        weights = logits.exp()
        total = weights.sum(-1)
        # with p = w / total, -sum p ln p = ln total - sum w ln w / total
        entropies = total.log() - weights.mul_(logits).sum(-1) / total
        found += map(Prediction, entropies.tolist(), ranks.tolist(), likeliest)
    return found


def _likeliest(logits: Tensor, wanted: Tensor, count: int) -> list[tuple[tuple[int, float], ...]]:
    """For each row of logits (N, V) the likeliest ids, each with the difference of its logit to the wanted one."""
    best = torch.topk(logits, min(count, logits.shape[1]))
    differences = best.values.double() - wanted.double()
    return [
        tuple(zip(ids, row, strict=True)) for ids, row in zip(best.indices.tolist(), differences.tolist(), strict=True)
    ]
