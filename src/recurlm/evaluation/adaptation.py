"""Adaptation at test time: its perplexity is reported beside the static one and never mixed with it.

Every method predicts the whole text under the protocol `stream`. Its options are a frozen dataclass. They are given,
or chosen on a split that is not named test.
"""

import contextlib
import dataclasses
import difflib
import itertools
import math
from collections.abc import Generator, Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from recurlm.errors import InputError, UsageError
from recurlm.evaluation.dynamic import DynamicRMS, DynamicSGD, Roots, dynamic_losses, root_mean_squares
from recurlm.evaluation.neural_cache import NeuralCache, cache_losses
from recurlm.evaluation.options import need_natural, need_positive, need_seed
from recurlm.evaluation.perplexity import Perplexity, Tick, finite
from recurlm.evaluation.protocols import stream_perplexity
from recurlm.evaluation.token_losses import STREAM_CHUNK, losses_of
from recurlm.models.language_model import LanguageModel, evaluating
from recurlm.text.batching import Batch, plain_stream
from recurlm.text.codec import EncodedText

TUNING_TOKENS = 10_000


@dataclass(frozen=True)
class Temperature:
    """p(w) proportional to p_model(w) ** (1 / temperature): all logits are divided by the temperature."""

    temperature: float = 1.0

    def __post_init__(self) -> None:
        need_positive(temperature=self.temperature)


@dataclass(frozen=True)
class MonteCarloDropout:
    """The mean probability over `passes` passes through the text with dropout on (Gal and Ghahramani 2016).

    Locked masks last for `segment` tokens; each pass carries its own state.
    """

    passes: int = 20
    segment: int = 70
    seed: int = 0

    def __post_init__(self) -> None:
        need_natural(passes=self.passes, segment=self.segment)
        need_seed(self.seed)


Adaptation = NeuralCache | DynamicSGD | DynamicRMS | Temperature | MonteCarloDropout

METHODS: dict[str, type[Adaptation]] = {
    "cache": NeuralCache,
    "dynamic-sgd": DynamicSGD,
    "dynamic-rms": DynamicRMS,
    "temperature": Temperature,
    "mc-dropout": MonteCarloDropout,
}

GRIDS: dict[type[Adaptation], dict[str, tuple[float, ...]]] = {
    NeuralCache: {"theta": (0.1, 0.3, 1.0), "share": (0.05, 0.1, 0.2, 0.3)},
    DynamicSGD: {"rate": (0.03, 0.1, 0.3, 1.0), "decay": (0.0, 0.001, 0.01)},
    DynamicRMS: {"rate": (2e-5, 5e-5, 1e-4), "decay": (0.001, 0.003, 0.01)},
    Temperature: {"temperature": tuple(step / 20 for step in range(14, 31))},
    MonteCarloDropout: {},
}
"""The values that `tune_adaptation` tries, in every combination."""


@dataclass(frozen=True)
class TuningText:
    """The text by whose first `tokens` tokens options are chosen; `split` is its name in its corpus."""

    text: EncodedText
    split: str
    tokens: int = TUNING_TOKENS


@dataclass(frozen=True)
class TunedAdaptation:
    """Options chosen on a split, with the bits per token of every trial; `tokens` and `digest` say on which text."""

    split: str
    tokens: int
    digest: str
    trials: tuple[tuple[Adaptation, float], ...]

    @property
    def best(self) -> Adaptation:
        """The options with the fewest bits per token; the first of equal ones."""
        return min(self.trials, key=lambda trial: trial[1])[0]

    def to_json(self) -> dict[str, Any]:
        """The object under `tuning` that `adapt --json` prints."""
        trials = [
            {"options": dataclasses.asdict(options), "bits_per_token": finite(bits)} for options, bits in self.trials
        ]
        return {"split": self.split, "tokens": self.tokens, "text": f"sha256:{self.digest[:8]}", "trials": trials}


@dataclass(frozen=True)
class Adapted:
    """The static perplexity of a text, and separately the perplexity with adaptation at test time."""

    static: Perplexity
    adapted: Perplexity
    options: Adaptation
    tuning: TunedAdaptation | None = None

    def to_json(self) -> dict[str, Any]:
        """The object that `adapt --json` prints."""
        return {
            "static": self.static.to_json(),
            "adapted": self.adapted.to_json(),
            "method": method_name(self.options),
            "options": dataclasses.asdict(self.options),
            "tuning": None if self.tuning is None else self.tuning.to_json(),
        }


def method_name(options: Adaptation) -> str:
    """The name of the method on the command line and in signatures."""
    return next(name for name, kind in METHODS.items() if kind is type(options))


def parse_adaptation(method: str, changes: Iterable[str] = ()) -> Adaptation:
    """Parses the name of a method and `key=value` changes of its options.

    Raises UsageError for an unknown name or key, and for a value out of range.
    """
    if method not in METHODS:
        raise UsageError(f"no method named {method!r}; there are {', '.join(METHODS)}")
    options = METHODS[method]()
    known = dataclasses.asdict(options)
    values: dict[str, float] = {}
    for change in changes:
        key, equals, written = (part.strip() for part in change.partition("="))
        if not equals:
            raise UsageError(f"--set {change}: write it as key=value, such as --set {next(iter(known))}=...")
        if key not in known:
            nearest = difflib.get_close_matches(key, known, n=1)
            hint = f"did you mean {nearest[0]}?" if nearest else f"it has {', '.join(known)}"
            raise UsageError(f"--set {change}: {method} has no option {key!r}; {hint}")
        values[key] = _number(change, written, type(known[key]))
    return dataclasses.replace(options, **values)  # type: ignore[arg-type]


def _number(change: str, written: str, kind: type[int] | type[float]) -> float:
    with contextlib.suppress(ValueError, OverflowError):
        value = kind(written)
        if math.isfinite(value):
            return value
    raise UsageError(f"--set {change:.60}: {'a whole' if kind is int else 'a'} number is needed")


def adapted_perplexity(
    model: LanguageModel,
    text: EncodedText,
    options: Adaptation,
    *,
    roots: Roots | None = None,
    tuning: TunedAdaptation | None = None,
    tick: Tick | None = None,
) -> Adapted:
    """Measures a text with and without adaptation; `roots` are those that dynamic-rms needs, see `gathered_roots`.

    Raises UsageError where dynamic-rms has no roots, or where the text's rule for unknown tokens is not the plain one;
    InputError where learning diverges.
    """
    if text.rule.kind != "unk":
        raise UsageError("adaptation counts unknown words as <unk> only; leave the rule for them out")
    static = stream_perplexity(model, text, tick=tick)
    costs = token_costs(model, text, options, roots, tick=tick)
    if not np.isfinite(costs).all():
        raise InputError(f"{method_name(options)} diverged on {text.name}: its losses are not finite; lower the rate")
    return Adapted(static, _marked(static, text, costs, options, tuning), options, tuning)


def tune_adaptation(
    model: LanguageModel,
    chosen_by: TuningText,
    options: Adaptation,
    *,
    roots: Roots | None = None,
    tick: Tick | None = None,
) -> TunedAdaptation:
    """Try the method's grid on a tuning text; options outside the grid stay as given.

    Raises UsageError for a split named test, and for a method that has nothing to choose.
    """
    refuse_test(chosen_by.split)
    grid = GRIDS[type(options)]
    if not grid:
        raise UsageError(f"{method_name(options)} has nothing to tune; leave out --tune")
    part = chosen_by.text.first(chosen_by.tokens, None)
    trials = []
    for values in itertools.product(*grid.values()):
        trial = dataclasses.replace(options, **dict(zip(grid, values, strict=True)))  # type: ignore[arg-type]
        costs = token_costs(model, part, trial, roots, tick=tick)
        trials.append((trial, float(costs.mean()) / math.log(2)))
    return TunedAdaptation(chosen_by.split, len(part.ids), part.digest, tuple(trials))


def refuse_test(split: str) -> None:
    """Raises UsageError for a split named test, on which options are never chosen."""
    if split == "test":
        raise UsageError("options are never chosen on a split named test; tune on valid")


def gathered_roots(
    model: LanguageModel, training: EncodedText, options: DynamicRMS, *, tick: Tick | None = None
) -> Roots:
    """What dynamic-rms needs from the training text: gradient sizes over its first `options.gathered` tokens."""
    part = training.first(options.gathered, None)
    return root_mean_squares(model, part, options.segment, tick=tick)


def adapted_losses(
    model: LanguageModel, text: EncodedText, options: Adaptation, roots: Roots | None = None
) -> Generator[Tensor, None, None]:
    """-ln p of each token in order, as one float64 tensor for each part of the text that the method reads at once."""
    match options:
        case DynamicSGD():
            return dynamic_losses(model, text, options.segment, options.update)
        case DynamicRMS():
            if roots is None:
                raise UsageError("dynamic-rms needs the training text for its gradients; give it, or use dynamic-sgd")
            return dynamic_losses(model, text, options.segment, options.update_by(roots))
        case NeuralCache():
            return cache_losses(model, text, options)
        case Temperature():
            return _tempered_losses(model, text, options)
        case MonteCarloDropout():
            return _dropout_losses(model, text, options)


@torch.no_grad()
def _tempered_losses(model: LanguageModel, text: EncodedText, options: Temperature) -> Generator[Tensor, None, None]:
    state = model.initial_state(1)
    with evaluating(model):
        for batch in _stream_batches(model, text, STREAM_CHUNK):
            logits, state = model(batch.input, state, batch.restarts)
            logprobs = (logits / options.temperature).log_softmax(-1)
            yield -logprobs.gather(-1, batch.target[..., None]).flatten().double().cpu()


@torch.no_grad()
def _dropout_losses(
    model: LanguageModel, text: EncodedText, options: MonteCarloDropout
) -> Generator[Tensor, None, None]:
    states = [model.initial_state(1)] * options.passes
    with _dropping(model, options.seed):
        for batch in _stream_batches(model, text, options.segment):
            drawn = []
            for number, state in enumerate(states):
                hidden, states[number] = model.hidden(batch.input, state, batch.restarts)
                drawn.append(losses_of(model, hidden, batch.target).flatten().cpu())
            yield math.log(options.passes) - (-torch.stack(drawn)).logsumexp(0)


@contextmanager
def _dropping(model: LanguageModel, seed: int) -> Iterator[None]:
    """Turns dropout on, drawn from a seed; the model's mode and torch's generators are restored at the end."""
    training = model.training
    devices = [model.device] if model.device.type == "cuda" else []
    with torch.random.fork_rng(devices):
        torch.manual_seed(seed)
        model.train(True)
        try:
            yield
        finally:
            model.train(training)


def _stream_batches(model: LanguageModel, text: EncodedText, length: int) -> Iterator[Batch]:
    """The text as one stream, in batches of `length` tokens on the model's device."""
    for batch in plain_stream(text, length).batches(0):
        yield batch.to(model.device)


def token_costs(
    model: LanguageModel,
    text: EncodedText,
    options: Adaptation,
    roots: Roots | None = None,
    *,
    tick: Tick | None = None,
) -> NDArray[np.float64]:
    """-ln p of every id of the text (N,), in its order; `inf` from the first non-finite loss onward."""
    costs = np.full(len(text.ids), np.inf)
    done = 0
    # closing the generator restores the weights, even after an early stop
    with closing(adapted_losses(model, text, options, roots)) as found:
        for losses in found:
            if not losses.isfinite().all():
                break
            costs[done : done + len(losses)] = losses
            done += len(losses)
            if tick is not None:
                tick(len(losses))
    return costs


def _marked(
    static: Perplexity,
    text: EncodedText,
    costs: NDArray[np.float64],
    options: Adaptation,
    tuning: TunedAdaptation | None,
) -> Perplexity:
    """The static perplexity with other costs; its signature names the adaptation right after the protocol."""
    values = ",".join(f"{name}={value}" for name, value in dataclasses.asdict(options).items())
    marks = [f"adapted={method_name(options)}({values})"]
    if tuning is not None:
        marks.append(f"tuned={tuning.split}:{tuning.tokens}")
    protocol, _, contract = static.signature.partition("|")
    known = None
    if text.missing is not None:
        of_known = np.delete(costs, text.missing)
        known = float(of_known.sum()), len(of_known)
    signature = "|".join([protocol, *marks, contract])
    return dataclasses.replace(static, nats=float(costs.sum()), signature=signature, known=known)
