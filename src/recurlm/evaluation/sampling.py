"""Generation: one token after another, each drawn from what the model predicts."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from recurlm.errors import UsageError
from recurlm.models.language_model import LanguageModel, evaluating
from recurlm.models.state import State
from recurlm.text.vocabulary import EOS_ID


@dataclass(frozen=True)
class SamplingOptions:
    """temperature: above 1 more random, below less, 0 always the likeliest · top_k: only the k likeliest tokens ·
    top_p: only the likeliest tokens that together reach this probability (Holtzman et al. 2020)."""

    temperature: float = 1.0
    top_k: int | None = None
    top_p: float | None = None

    def __post_init__(self) -> None:
        if not self.temperature >= 0:
            raise UsageError(f"temperature {self.temperature}: must be 0 or more; 1 is the model as it is")
        if self.top_k is not None and self.top_k < 1:
            raise UsageError(f"top-k {self.top_k}: must be at least 1")
        if self.top_p is not None and not 0 < self.top_p <= 1:
            raise UsageError(f"top-p {self.top_p}: must be above 0 and at most 1")


@torch.no_grad()
def sample(
    model: LanguageModel, prompt: Sequence[int], options: SamplingOptions, *, count: int = 1, seed: int = 0
) -> Iterator[tuple[Tensor, Tensor]]:
    """Without end, the next ids (count,) and their natural log-probabilities (count,) under the model itself.

    The model first reads ``<eos>`` and the prompt. Log-probabilities are those of temperature 1 and of all tokens,
    as `score` gives them. The same seed gives the same tokens on the same machine.
    """
    generator = torch.Generator().manual_seed(seed)
    read = torch.tensor([EOS_ID, *prompt], device=model.device)[:, None].expand(-1, count)
    logits, state = _after(model, read, count)
    while True:
        logprobs = logits.log_softmax(-1).cpu()
        ids = draw(logprobs, options, generator)
        yield ids, logprobs.gather(1, ids[:, None])[:, 0]
        logits, state = model.step(ids.to(model.device), state)


def _after(model: LanguageModel, tokens: Tensor, count: int) -> tuple[Tensor, State]:
    """Logits (B, V) of what follows tokens (T, B), and the state after them."""
    with evaluating(model):
        hidden, state = model.hidden(tokens, model.initial_state(count))
    return model.decoder(hidden[-1]), state


def prompt_logprob(model: LanguageModel, prompt: Sequence[int]) -> float:
    """Natural log-probability of a prompt after ``<eos>``."""
    if not prompt:
        return 0.0
    with torch.no_grad(), evaluating(model):
        inputs = torch.tensor([EOS_ID, *prompt[:-1]], device=model.device)[:, None]
        logits, _ = model(inputs, model.initial_state(1))
        logprobs = logits[:, 0].log_softmax(-1)
    return float(logprobs[torch.arange(len(prompt)), torch.tensor(prompt)].double().sum())


def draw(logprobs: Tensor, options: SamplingOptions, generator: torch.Generator) -> Tensor:
    """One id for each row of log-probabilities (B, V); returns (B,)."""
    if options.temperature == 0:
        return logprobs.argmax(-1)
    logits = logprobs / options.temperature
    if options.top_k is not None and options.top_k < logits.shape[-1]:
        likeliest = logits.topk(options.top_k, dim=-1)
        logits = torch.full_like(logits, -torch.inf).scatter(-1, likeliest.indices, likeliest.values)
    # rounding of the sum must not cut the tail off where all tokens are asked for
    if options.top_p is not None and options.top_p < 1:
        logits = _nucleus(logits, options.top_p)
    return _pick(logits.softmax(-1), generator)


def _pick(probabilities: Tensor, generator: torch.Generator) -> Tensor:
    """Where a uniform number falls in the cumulated probabilities (B, V); one number a row, none falls on a zero."""
    cumulated = probabilities.double().cumsum(-1)
    total = cumulated[:, -1:].contiguous()
    at = torch.rand(len(cumulated), 1, dtype=torch.float64, generator=generator) * total
    last = torch.searchsorted(cumulated, total)
    return torch.searchsorted(cumulated, at, right=True).minimum(last)[:, 0]


def _nucleus(logits: Tensor, probability: float) -> Tensor:
    ordered, order = logits.softmax(-1).sort(dim=-1, descending=True)
    # a token stays while the likelier ones before it do not yet reach the probability
    outside = ordered.cumsum(-1) - ordered >= probability
    return logits.masked_fill(outside.scatter(-1, order, outside), -torch.inf)
