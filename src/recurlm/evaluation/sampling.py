"""Generation: one token after another, each drawn from what the model predicts."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from recurlm.errors import UsageError
from recurlm.evaluation.perplexity import token_losses
from recurlm.kernels.linear import draw_native, draw_plain
from recurlm.models.language_model import LanguageModel, evaluating
from recurlm.models.state import State
from recurlm.models.stepping import TileStepper, open_stepper
from recurlm.text.batching import IGNORED
from recurlm.text.vocabulary import EOS_ID

TOKENS_AHEAD = 16


@dataclass(frozen=True)
class SamplingOptions:
    """temperature: above 1 more random, below less, 0 always the likeliest · top_k: only the k likeliest tokens ·
    top_p: only the likeliest tokens that together reach this probability (Holtzman et al. 2020)."""

    temperature: float = 1.0
    top_k: int | None = None
    top_p: float | None = None

    @property
    def is_plain(self) -> bool:
        """Whether the model's own probabilities are drawn from, at most at another temperature."""
        return self.temperature > 0 and self.top_k is None and self.top_p is None

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
) -> Iterator[Tensor]:
    """Without end, the next ids (count,); the model first reads ``<eos>`` and the prompt.

    The same seed gives the same tokens on the same machine.
    """
    generator = torch.Generator().manual_seed(seed)
    read = torch.tensor([EOS_ID, *prompt], device=model.device)[:, None].expand(-1, count)
    logits, state = _after(model, read, count)
    stepper = open_stepper(model, state)
    if isinstance(stepper, TileStepper) and options.is_plain:
        yield from _plain_draws(stepper, logits, options.temperature, generator)
    while True:
        ids = draw(logits.cpu(), options, generator)
        yield ids
        logits = stepper.step(ids)


def _plain_draws(
    stepper: TileStepper, logits: Tensor, temperature: float, generator: torch.Generator
) -> Iterator[Tensor]:
    """The same without end, some tokens ahead of who asks."""
    ids = draw_native(logits, temperature, _shares(1, logits, generator)[0])
    yield ids
    while True:
        drawn = stepper.draw(ids, temperature, _shares(TOKENS_AHEAD, logits, generator))
        yield from drawn
        ids = drawn[-1]


def _shares(steps: int, logits: Tensor, generator: torch.Generator) -> Tensor:
    return torch.rand(steps, len(logits), dtype=torch.float64, generator=generator)


def _after(model: LanguageModel, tokens: Tensor, count: int) -> tuple[Tensor, State]:
    """Logits (B, V) of what follows tokens (T, B), and the state after them."""
    with evaluating(model):
        hidden, state = model.hidden(tokens, model.initial_state(count))
    return model.decoder(hidden[-1]), state


def logprobs_after(model: LanguageModel, prompt: Sequence[int], ids: Tensor) -> Tensor:
    """Natural log-probability of each of ids (T, B) after ``<eos>`` and the prompt, as `score` gives them; float64.

    They are those of temperature 1 and of all tokens, whatever the options of the draw.
    """
    before = torch.tensor([EOS_ID, *prompt])[:, None].expand(-1, ids.shape[1])
    input = torch.cat([before, ids[:-1]])
    target = torch.cat([torch.full((len(prompt), ids.shape[1]), IGNORED), ids])
    losses, _ = token_losses(model, input, target, model.initial_state(ids.shape[1]))
    return -losses[len(prompt) :]


def prompt_logprob(model: LanguageModel, prompt: Sequence[int]) -> float:
    """Natural log-probability of a prompt after ``<eos>``."""
    if not prompt:
        return 0.0
    return float(logprobs_after(model, [], torch.tensor(prompt)[:, None]).sum())


def draw(logits: Tensor, options: SamplingOptions, generator: torch.Generator) -> Tensor:
    """One id for each row of logits (B, V); returns (B,)."""
    if options.temperature == 0:
        return logits.argmax(-1)
    shares = _shares(1, logits, generator)[0]
    logits = logits / options.temperature
    if options.top_k is not None and options.top_k < logits.shape[-1]:
        likeliest = logits.topk(options.top_k, dim=-1)
        logits = torch.full_like(logits, -torch.inf).scatter(-1, likeliest.indices, likeliest.values)
    # rounding of the sum must not cut the tail off where all tokens are asked for
    if options.top_p is not None and options.top_p < 1:
        logits = _nucleus(logits, options.top_p)
    return draw_plain(logits, 1.0, shares)


def _nucleus(logits: Tensor, probability: float) -> Tensor:
    ordered, order = logits.softmax(-1).sort(dim=-1, descending=True)
    # a token stays while the likelier ones before it do not yet reach the probability
    outside = ordered.cumsum(-1) - ordered >= probability
    return logits.masked_fill(outside.scatter(-1, order, outside), -torch.inf)
