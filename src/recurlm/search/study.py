"""The trials of a search, which decide the values of the next trial and whether a trial falls behind.

Optuna, an extra, decides both: with a tree-structured Parzen estimator (Bergstra et al. 2011) and the median rule
(Golovin et al. 2017). Each question gives it all trials so far, so an interrupted search resumes without a difference.
"""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from recurlm.documents import parse_record
from recurlm.errors import CorruptFileError, UsageError
from recurlm.files import read_bounded, write_within
from recurlm.search.search_space import Choice, Dimension, Range

if TYPE_CHECKING:
    import optuna

TrialState = Literal["unfinished", "complete", "pruned", "diverged", "failed"]
UNPRUNED_TRIALS = 5
"""Number of complete trials before one can be pruned."""
UNPRUNED_EPOCHS = 1
"""Number of epochs that every trial trains before it can be pruned."""
DRAWS = 100
"""Draws of values that were tried before; after them, the search counts as exhausted."""
DIGITS = 4
"""Significant digits of a value, so that recipes stay readable."""


@dataclass
class Trial:
    """One recipe that is tried.

    values: of the keys that vary · curve: validation perplexity after each epoch, as measured while training ·
    perplexity, signature: of the kept model on the validation text, exact · seconds: over all restarts ·
    note: why the trial failed.
    """

    number: int
    values: dict[str, Any]
    state: TrialState = "unfinished"
    curve: list[float] = field(default_factory=list)
    perplexity: float | None = None
    signature: str | None = None
    seconds: float = 0.0
    note: str = ""

    @property
    def name(self) -> str:
        """The name of its folder."""
        return f"{self.number:03d}"


def load_optuna() -> ModuleType:
    """The library. Raises UsageError with the install command if it is absent."""
    try:
        import optuna
    except ImportError as error:
        raise UsageError("search needs the optuna library: pip install 'recurlm[search]'") from error
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna


class Study:
    """All trials of a search, in a file with one JSON object a line that is written whole at each change."""

    def __init__(self, path: Path, space: tuple[Dimension, ...], seed: int) -> None:
        """Reads the trials in the file. Raises UsageError without optuna, CorruptFileError for a damaged file."""
        self.path, self.space, self.seed = path, space, seed
        self.trials = _read(path, space) if path.is_file() else []
        self._optuna = load_optuna()

    @property
    def over(self) -> list[Trial]:
        """The trials that have ended, successful or not."""
        return [trial for trial in self.trials if trial.state != "unfinished"]

    @property
    def best(self) -> Trial | None:
        """The complete trial with the lowest perplexity; of equal trials the earliest."""
        complete = [trial for trial in self.trials if trial.perplexity is not None]
        return min(complete, key=lambda trial: trial.perplexity or 0.0, default=None)

    @property
    def seconds(self) -> float:
        """Seconds of all trials."""
        return sum(trial.seconds for trial in self.trials)

    def next(self, most: int | None = None) -> Trial | None:
        """The interrupted trial, or a new one; None if everything was tried, or if there are `most` trials."""
        for trial in self.trials:
            if trial.state == "unfinished":
                return trial
        if most is not None and len(self.trials) >= most:
            return None
        new = self._new()
        if new is not None:
            self.trials.append(new)
            self.save(new)
        return new

    def refresh(self) -> None:
        """Reads what other processes have done; here, there are none."""

    def _new(self) -> Trial | None:
        """A trial whose values were not tried before; None if everything was tried."""
        number = len(self.trials) + 1
        tried = [trial.values for trial in self.trials]
        for draw in range(DRAWS):
            values = self._draw(number, draw)
            if values not in tried:
                return Trial(number, values)
        return None

    def falls_behind(self, trial: Trial) -> bool:
        """Whether the best validation of a trial is worse than the median of complete trials after as many epochs."""
        study = self._history(self._optuna.samplers.RandomSampler(seed=0))
        study.enqueue_trial(self.coordinates(trial))
        asked = study.ask(self.distributions())
        for epoch, perplexity in enumerate(trial.curve, start=1):
            asked.report(perplexity, epoch)
        return bool(asked.should_prune())

    def save(self, trial: Trial) -> None:
        """Writes the file after a change of this trial."""
        lines = (json.dumps(asdict(trial), ensure_ascii=False, allow_nan=False) + "\n" for trial in self.trials)
        write_within(self.path.parent, self.path.name, "".join(lines).encode())

    def _draw(self, number: int, draw: int) -> dict[str, Any]:
        """Values for a trial, decided by the seed, the number and the trials before."""
        seed = int(np.random.SeedSequence([self.seed, number, draw]).generate_state(1)[0])
        study = self._history(self._optuna.samplers.TPESampler(seed=seed))
        asked = study.ask(self.distributions())
        return {each.key: _value(each, asked.params[each.key]) for each in self.space}

    def _history(self, sampler: "optuna.samplers.BaseSampler") -> "optuna.Study":
        """The trials that are over, as a study of Optuna in memory."""
        # a trial reports its first epoch as step 1
        pruner = self._optuna.pruners.MedianPruner(UNPRUNED_TRIALS, n_warmup_steps=UNPRUNED_EPOCHS + 1)
        study: optuna.Study = self._optuna.create_study(sampler=sampler, pruner=pruner)
        study.add_trials([self._frozen(trial) for trial in self.over])
        return study

    def _frozen(self, trial: Trial) -> "optuna.trial.FrozenTrial":
        frozen: optuna.trial.FrozenTrial = self._optuna.trial.create_trial(
            state=self.ending(trial),
            value=trial.perplexity,
            params=self.coordinates(trial),
            distributions=self.distributions(),
            intermediate_values=dict(enumerate(trial.curve, start=1)),
        )
        return frozen

    def ending(self, trial: Trial) -> "optuna.trial.TrialState":
        """How a trial that is over ended, as Optuna calls it."""
        states = self._optuna.trial.TrialState
        # values that diverge are to be avoided, so they count as pruned; a failure says nothing about values
        seen = {"complete": states.COMPLETE, "pruned": states.PRUNED, "diverged": states.PRUNED, "failed": states.FAIL}
        ended: optuna.trial.TrialState = seen[trial.state]
        return ended

    def coordinates(self, trial: Trial) -> dict[str, Any]:
        """The values of a trial as Optuna takes them."""
        return {each.key: _coordinate(each, trial.values[each.key]) for each in self.space}

    def distributions(self) -> dict[str, Any]:
        """The space as Optuna takes it."""
        return {each.key: self._distribution(each) for each in self.space}

    def _distribution(self, dimension: Dimension) -> Any:
        kinds = self._optuna.distributions
        if isinstance(dimension, Choice):
            return kinds.CategoricalDistribution(tuple(range(len(dimension.values))))
        kind = kinds.IntDistribution if dimension.whole else kinds.FloatDistribution
        return kind(dimension.low, dimension.high, log=dimension.logarithmic)


def _coordinate(dimension: Dimension, value: Any) -> Any:
    """A value as Optuna takes it: a number, or the place among the choices."""
    return dimension.values.index(value) if isinstance(dimension, Choice) else value


def _value(dimension: Dimension, coordinate: Any) -> Any:
    if isinstance(dimension, Choice):
        return dimension.values[coordinate]
    return coordinate if dimension.whole else _rounded(dimension, coordinate)


def _rounded(dimension: Range, number: float) -> float:
    return min(max(float(f"{number:.{DIGITS}g}"), float(dimension.low)), float(dimension.high))


def _read(path: Path, space: tuple[Dimension, ...]) -> list[Trial]:
    lines = read_bounded(path, error=CorruptFileError).split(b"\n")
    try:
        trials = [parse_record(Trial, line, f"{path}, line {at}") for at, line in enumerate(lines, 1) if line.strip()]
    except CorruptFileError as error:
        raise CorruptFileError(f"{error}; start the search again in another folder") from error
    for number, trial in enumerate(trials, 1):
        if trial.number != number or not _is_of(trial, space):
            raise CorruptFileError(
                f"{path}, line {number}: not trial {number} of this search; start it again in another folder"
            )
    return trials


def _is_of(trial: Trial, space: tuple[Dimension, ...]) -> bool:
    """Whether the trial fits a search over this space."""
    values = trial.values
    if trial.seconds < 0 or (trial.state == "complete") != (trial.perplexity is not None):
        return False
    if set(values) != {each.key for each in space}:
        return False
    return all(_is_in(values[each.key], each) for each in space)


def _is_in(value: Any, dimension: Dimension) -> bool:
    if isinstance(dimension, Choice):
        return value in dimension.values
    return type(value) in (int, float) and dimension.low <= value <= dimension.high
