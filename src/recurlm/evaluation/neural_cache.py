"""The neural cache: tokens read recently in a similar state become more likely (Grave et al. 2017)."""

from collections.abc import Generator
from dataclasses import dataclass

import torch
from torch import Tensor

from recurlm.evaluation.options import need_natural, need_not_negative, need_share
from recurlm.models.language_model import LanguageModel, evaluating
from recurlm.text.batching import plain_stream
from recurlm.text.codec import EncodedText

CHUNK = 512


@dataclass(frozen=True)
class NeuralCache:
    """p(w) = (1 - share) p_model(w) + share p_cache(w), with p_cache over the last `window` positions i.

    p_cache(w) is the fraction of sum_i exp(theta h . h_i) from positions whose next token was w.
    """

    window: int = 500
    theta: float = 1.0
    share: float = 0.1

    def __post_init__(self) -> None:
        need_natural(window=self.window)
        need_not_negative(theta=self.theta)
        need_share(share=self.share)


@torch.no_grad()
def cache_losses(
    model: LanguageModel, text: EncodedText, options: NeuralCache, *, chunk: int = CHUNK
) -> Generator[Tensor, None, None]:
    """-ln p of each token under the protocol `stream`, in float64, `chunk` tokens at once.

    The first token, for which the cache is empty, has the model's own probability.
    """
    state = model.initial_state(1)
    old_keys: list[Tensor] = []
    old_values: list[Tensor] = []
    with evaluating(model):
        for batch in plain_stream(text, chunk).batches(0):
            batch = batch.to(model.device)
            hidden, state = model.hidden(batch.input, state, batch.restarts)
            queries, targets = hidden[:, 0], batch.target[:, 0]
            keys, values = torch.cat([*old_keys, queries]), torch.cat([*old_values, targets])
            own = -model.decoder.log_probabilities(queries).gather(1, targets[:, None])[:, 0].double()
            yield _mixed(own, _cached(queries, keys, targets, values, options), options.share).cpu()
            old_keys, old_values = [keys[-options.window :]], [values[-options.window :]]


def _cached(queries: Tensor, keys: Tensor, targets: Tensor, values: Tensor, options: NeuralCache) -> Tensor:
    """p_cache of each target (T,); queries (T, H) are the last of keys (N, H). NaN where the cache is empty."""
    position = torch.arange(len(keys) - len(queries), len(keys), device=keys.device)[:, None]
    other = torch.arange(len(keys), device=keys.device)
    outside = (other >= position) | (other < position - options.window)
    scores = (options.theta * queries @ keys.t()).double().masked_fill_(outside, -torch.inf)
    return (scores.softmax(-1) * (values == targets[:, None])).sum(-1)


def _mixed(own: Tensor, cached: Tensor, share: float) -> Tensor:
    """-ln of the mixture, from the model's own losses (T,) and the cache's probabilities (T,)."""
    mixed = (1 - share) * (-own).exp() + share * cached
    return torch.where(cached.isnan(), own, -mixed.log())
