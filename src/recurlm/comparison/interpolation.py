"""Linear interpolation of language models: p = sum of lambda_i p_i, token by token (Jelinek and Mercer 1980)."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from recurlm.errors import UsageError

Floats = NDArray[np.float64]

AUTO = "auto"
ITERATIONS = 1000
TOLERANCE = 1e-9
"""EM stops when an iteration gains less than this, in nats per token."""


@dataclass(frozen=True)
class FittedWeights:
    """The weights that EM found, and the mean nats per token of the mixture with them."""

    weights: tuple[float, ...]
    nats: float


def mixed_nats(nats: Floats, weights: Sequence[float]) -> Floats:
    """-ln of the mixture's probability of each token, from nats (models, tokens); `inf` means probability zero."""
    smallest = nats.min(0)
    shift = np.where(np.isfinite(smallest), smallest, 0.0)
    with np.errstate(divide="ignore"):
        return np.asarray(shift - np.log(np.asarray(weights) @ np.exp(shift - nats)))


def fit_weights(nats: Floats) -> FittedWeights:
    """Fits the weights that give a text the highest probability, by EM from equal weights; nats (models, tokens).

    The likelihood is concave in the weights, so EM has no local optimum to get stuck in (Dempster, Laird and Rubin
    1977). Tokens to which every model gives probability zero do not count.
    """
    nats = nats[:, np.isfinite(nats).any(0)]
    probabilities = np.exp(nats.min(0) - nats)
    weights = np.full(len(nats), 1 / len(nats))
    before = math.inf
    for _ in range(ITERATIONS):
        mixture = weights @ probabilities
        reached = float((nats.min(0) - np.log(mixture)).mean())
        if before - reached < TOLERANCE:
            break
        weights = weights * (probabilities / mixture).mean(1)
        before = reached
    return FittedWeights(tuple(weights.tolist()), reached)


def parse_weights(given: str, models: int) -> tuple[float, ...] | None:
    """Parses weights: one number for each model, or with two models the weight of the first; None for ``auto``.

    Raises UsageError for anything else, and for weights that do not sum to one.
    """
    if given == AUTO:
        return None
    try:
        weights = tuple(float(part) for part in given.split(","))
    except ValueError:
        weights = ()
    if len(weights) == 1 and models == 2:
        weights = (weights[0], 1 - weights[0])
    if len(weights) != models:
        raise UsageError(f"--weight {given}: give auto or {models} numbers with commas between, one for each model")
    if not all(0 <= weight <= 1 for weight in weights) or abs(sum(weights) - 1) > 1e-6:
        raise UsageError(f"--weight {given}: weights lie between 0 and 1 and sum to 1")
    return weights
