"""Sampling: one token after another, each drawn from the model's prediction."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from recurlm.capacity import check_fits
from recurlm.errors import UsageError
from recurlm.evaluation.token_losses import token_losses
from recurlm.kernels.linear import draw_native, draw_plain
from recurlm.models.language_model import LanguageModel, evaluating
from recurlm.models.memory import State, begin
from recurlm.models.state import LayerStates
from recurlm.models.stepping import Stepper, TileStepper, open_stepper, steps_in_tiles
from recurlm.text.batching import IGNORED
from recurlm.text.vocabulary import EOS_ID

TOKENS_AHEAD = 16
STEPS_AT_ONCE, POSITIONS_AT_ONCE = 4096, 1 << 18
"""Most time steps, and tokens of all samples, whose log-probabilities are computed at once."""
BYTES_A_LOGIT, BYTES_A_TOKEN = 16, 16
COLDEST, HOTTEST = 1e-6, 1e6


@dataclass(frozen=True)
class SamplingOptions:
    """Which tokens may be drawn, and how their probabilities are sharpened or flattened.

    repetition_penalty: divides the logit of a token in the prompt or the sample so far where the logit is positive, and
    multiplies it where negative (Keskar et al. 2019, section 4.1, for positive logits) · banned: ids that are never
    drawn · temperature: above 1 more random, below 1 less, 0 always the likeliest token · top_k: only the k likeliest
    tokens · top_p: only the likeliest tokens that together reach this probability (Holtzman et al. 2020) · min_p: only
    tokens with at least this fraction of the likeliest token's probability (Nguyen et al. 2024) · typical: only the
    tokens whose surprisal is nearest to the expected one, up to this probability together (Meister et al. 2023).

    The options apply in this order, each to the result of the one before. Raises UsageError for a value out of range.
    """

    temperature: float = 1.0
    top_k: int | None = None
    top_p: float | None = None
    min_p: float | None = None
    typical: float | None = None
    repetition_penalty: float = 1.0
    banned: tuple[int, ...] = ()

    @property
    def is_plain(self) -> bool:
        """Whether only the temperature and banned tokens change the model's own probabilities."""
        return self.temperature > 0 and self == SamplingOptions(self.temperature, banned=self.banned)

    def __post_init__(self) -> None:
        if self.temperature != 0 and not COLDEST <= self.temperature <= HOTTEST:
            raise UsageError(
                f"temperature {self.temperature}: must be 0, which always takes the likeliest token, or from "
                f"{COLDEST:g} to {HOTTEST:g}; 1 leaves the model as it is"
            )
        if self.top_k is not None and self.top_k < 1:
            raise UsageError(f"top-k {self.top_k}: must be at least 1; leave it out to draw from all tokens")
        for name, share in {"top-p": self.top_p, "min-p": self.min_p, "typical": self.typical}.items():
            if share is not None and not 0 < share <= 1:
                raise UsageError(f"{name} {share}: must be above 0 and at most 1; leave it out to draw from all tokens")
        if not 0 < self.repetition_penalty < math.inf:
            raise UsageError(
                f"repetition penalty {self.repetition_penalty}: must be above 0; 1 means none, larger ones repeat less"
            )


def check_banned(banned: Sequence[int], vocabulary_size: int) -> None:
    """Raises UsageError where banned ids are out of range or leave nothing to draw."""
    if strange := [index for index in banned if not 0 <= index < vocabulary_size]:
        raise UsageError(f"banned id {strange[0]}: ids must be from 0 to {vocabulary_size - 1}")
    if len(set(banned)) == vocabulary_size:
        raise UsageError(
            "every token of the vocabulary is banned, so nothing can be drawn; leave at least one "
            "(<unk> is banned unless --allow-unk is given)"
        )


def check_samples_fit(count: int, tokens: int, vocabulary_size: int) -> None:
    """Raises UsageError if the samples together do not fit in memory."""
    needed = count * (vocabulary_size * BYTES_A_LOGIT + tokens * BYTES_A_TOKEN)
    check_fits(needed, f"{count:,} samples of {tokens:,} tokens", "ask for less with --count or --tokens")


@torch.no_grad()
def sample(
    model: LanguageModel,
    prompt: Sequence[int],
    options: SamplingOptions,
    *,
    count: int = 1,
    seed: int = 0,
    start: State | None = None,
) -> Iterator[Tensor]:
    """Yields the next ids (count,), without end.

    The model starts after ``<eos>``, or from the state `start`, and reads the prompt. The same seed gives the same
    tokens on the same machine. Raises UsageError where every token is banned.
    """
    check_banned(options.banned, model.vocabulary_size)
    generator = torch.Generator().manual_seed(seed)
    logits, stepper = _stepper_after_prompt(model, prompt, start, count)
    if isinstance(stepper, TileStepper) and options.is_plain:
        yield from _plain_draws(stepper, logits, options, generator)
    seen = None
    if options.repetition_penalty != 1:
        seen = torch.zeros(count, model.vocabulary_size, dtype=torch.bool)
        seen[:, list(prompt)] = True
    while True:
        ids = draw(logits.cpu(), options, generator, seen)
        if seen is not None:
            seen.scatter_(1, ids[:, None], True)
        yield ids
        logits = stepper.step(ids)


def _stepper_after_prompt(
    model: LanguageModel, prompt: Sequence[int], start: State | None, count: int
) -> tuple[Tensor, Stepper]:
    """Logits (count, V) of the token after the prompt, and a stepper that has read the prompt.

    Tiles round. They read the prompt too, so that a text does not depend on where a prompt ends and sampling begins.
    """
    if not steps_in_tiles(model):
        logits, state = after_prompt(model, prompt, start, count)
        return logits, open_stepper(model, state)
    first, layers = begin(model, start, count)
    *read, last = first, *prompt
    stepper = TileStepper(model, layers)
    stepper.read(read)
    return stepper.step(torch.full((count,), last)), stepper


def _plain_draws(
    stepper: TileStepper, logits: Tensor, options: SamplingOptions, generator: torch.Generator
) -> Iterator[Tensor]:
    """Yields the next ids without end, `TOKENS_AHEAD` computed at once; banned tokens cost no time."""
    temperature = options.temperature
    if options.banned:
        stepper.ban(options.banned)
        logits = _without(logits, options.banned)
    ids = draw_native(logits, temperature, _shares(1, logits, generator)[0])
    yield ids
    while True:
        drawn = stepper.draw(ids, temperature, _shares(TOKENS_AHEAD, logits, generator))
        yield from drawn
        ids = drawn[-1]


def _shares(steps: int, logits: Tensor, generator: torch.Generator) -> Tensor:
    return torch.rand(steps, len(logits), dtype=torch.float64, generator=generator)


def after_prompt(
    model: LanguageModel, prompt: Sequence[int], start: State | None, count: int
) -> tuple[Tensor, LayerStates]:
    """Logits (count, V) of the token after the prompt, and the state after the prompt."""
    first, layers = begin(model, start, count)
    tokens = torch.tensor([first, *prompt], device=model.device)[:, None].expand(-1, count)
    with evaluating(model):
        hidden, layers = model.hidden(tokens, layers)
    return model.decoder(hidden[-1]), layers


def logprobs_after(model: LanguageModel, prompt: Sequence[int], ids: Tensor, start: State | None = None) -> Tensor:
    """Natural log-probability of each of ids (T, B) after the start and the prompt, as `score` gives them; float64.

    The options of the draw do not matter: temperature is 1 and all tokens are allowed.
    """
    first, layers = begin(model, start, ids.shape[1])
    before = torch.tensor([first, *prompt])[:, None].expand(-1, ids.shape[1])
    input = torch.cat([before, ids[:-1]])
    target = torch.cat([torch.full((len(prompt), ids.shape[1]), IGNORED), ids])
    found = []
    steps = min(STEPS_AT_ONCE, max(1, POSITIONS_AT_ONCE // ids.shape[1]))
    for inputs, targets in zip(*(torch.split(each, steps) for each in (input, target)), strict=True):
        losses, layers = token_losses(model, inputs, targets, layers)
        found.append(losses)
    return -torch.cat(found)[len(prompt) :]


def summed_logprobs(
    model: LanguageModel, prompt: Sequence[int], rows: Sequence[Sequence[int]], start: State | None = None
) -> list[float]:
    """Natural log-probability of each of several continuations of a prompt; their lengths may differ."""
    lengths = torch.tensor([len(row) for row in rows])
    if not lengths.any():
        return [0.0] * len(rows)
    ids = pad_sequence([torch.tensor(row, dtype=torch.int64) for row in rows], padding_value=EOS_ID)
    present = torch.arange(len(ids))[:, None] < lengths
    total: list[float] = logprobs_after(model, prompt, ids, start).where(present, 0.0).sum(0).tolist()
    return total


def prompt_logprob(model: LanguageModel, prompt: Sequence[int], start: State | None = None) -> float:
    """Natural log-probability of a prompt after the start."""
    if not prompt:
        return 0.0
    return float(logprobs_after(model, [], torch.tensor(prompt)[:, None], start).sum())


def draw(logits: Tensor, options: SamplingOptions, generator: torch.Generator, seen: Tensor | None = None) -> Tensor:
    """Draws one id (B,) for each row of logits (B, V); seen (B, V) marks the tokens that each row holds so far."""
    logits = _allowed(logits, options, seen)
    if options.temperature == 0:
        return logits.argmax(-1)
    shares = _shares(1, logits, generator)[0]
    return draw_plain(_filtered(logits / options.temperature, options), 1.0, shares)


def drawn_probabilities(logits: Tensor, options: SamplingOptions, seen: Tensor | None = None) -> Tensor:
    """The probability (B, V) with which `draw` takes each token; its arguments are those of `draw`."""
    logits = _allowed(logits, options, seen)
    if options.temperature == 0:
        return torch.zeros_like(logits).scatter(-1, logits.argmax(-1, keepdim=True), 1.0)
    return _filtered(logits / options.temperature, options).softmax(-1)


def _allowed(logits: Tensor, options: SamplingOptions, seen: Tensor | None) -> Tensor:
    """Logits (B, V) with the repetition penalty, and minus infinity for every banned token."""
    if seen is not None:
        logits = logits.where(~seen, _penalized(logits, options.repetition_penalty))
    return _without(logits, options.banned) if options.banned else logits


def _without(logits: Tensor, banned: Sequence[int]) -> Tensor:
    return logits.index_fill(-1, torch.tensor(banned), -torch.inf)


def _penalized(logits: Tensor, penalty: float) -> Tensor:
    """Multiplies negative logits, because dividing them would make their tokens likelier."""
    return torch.where(logits > 0, logits / penalty, logits * penalty)


def _filtered(logits: Tensor, options: SamplingOptions) -> Tensor:
    """Logits (B, V) with minus infinity for every token that may not be drawn."""
    if options.top_k is not None and options.top_k < logits.shape[-1]:
        likeliest = logits.topk(options.top_k, dim=-1)
        logits = torch.full_like(logits, -torch.inf).scatter(-1, likeliest.indices, likeliest.values)
    # at 1, rounding of the sum must not cut off the tail
    if options.top_p is not None and options.top_p < 1:
        logits = _first_to_reach(options.top_p, logits, -logits)
    if options.min_p is not None:
        least = logits.amax(-1, keepdim=True) + math.log(options.min_p)
        logits = logits.masked_fill(logits < least, -torch.inf)
    if options.typical is not None and options.typical < 1:
        surprisal = -logits.log_softmax(-1)
        entropy = torch.special.entr((-surprisal).exp()).sum(-1, keepdim=True)
        logits = _first_to_reach(options.typical, logits, (surprisal - entropy).abs())
    return logits


def _first_to_reach(probability: float, logits: Tensor, distance: Tensor) -> Tensor:
    """Logits (B, V) of the tokens of smallest distance that together reach a probability, minus infinity elsewhere."""
    order = distance.argsort(dim=-1, stable=True)
    ordered = logits.softmax(-1).gather(-1, order)
    # a token stays if those before it do not reach the probability
    outside = ordered.cumsum(-1) - ordered >= probability
    outside[:, 0] = False  # also where the probability is too small for float32
    return logits.masked_fill(outside.scatter(-1, order, outside), -torch.inf)
