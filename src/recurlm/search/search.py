"""Search: many short runs of one recipe with varied values, chosen by the validation text alone."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from recurlm.config import Recipe
from recurlm.documents import json_text
from recurlm.errors import RecurlmError, StoppedError, UsageError
from recurlm.evaluation.perplexity import Perplexity
from recurlm.files import check_output_folder, refuse_link, write_within
from recurlm.progress import Silent, Watcher
from recurlm.recipe_files import apply_changes, changed_key, parse_recipe, recipe_toml
from recurlm.runs.config import RunConfig
from recurlm.runs.folder import RunFolder
from recurlm.search.description import SEARCH_FILE, describe, resumed_recipe, text_digests
from recurlm.search.findings import Findings, shown_value
from recurlm.search.search_space import Dimension, changes_for, parse_space
from recurlm.search.shared import JOURNAL_FILE, SharedStudy
from recurlm.search.study import Study, Trial
from recurlm.text.corpora import is_read_once
from recurlm.training.loop import AfterValidation
from recurlm.training.request import TrainingRequest, default_folder, new_config, parse_duration
from recurlm.training.result import Result
from recurlm.training.setup import prepare_training
from recurlm.training.step import DivergedError
from recurlm.training.stopping import StopRequest
from recurlm.wording import counted, shown_name

TRIALS_FILE = "trials.jsonl"
TRIALS_FOLDER = "trials"
BEST_FILE = "best.toml"

Objective = Callable[[Trial, AfterValidation, StopRequest], Result]
"""Trains a trial; calls the function after each validation, which may raise."""


@dataclass(frozen=True)
class SearchRequest:
    """What the command line or a notebook asks for.

    training: of every trial, without start, time limit and precision; `out` is the folder of the search, `resume`
    resumes it · vary: as `--vary` takes them, empty for `usual_variations` · trials: their number at the end ·
    time: of all trials together, as `--time` takes it · processes: number of those that carry out the search here,
    None for this one alone; with a number, the search in the folder is joined.
    """

    training: TrainingRequest
    vary: tuple[str, ...] = ()
    trials: int = 20
    time: str | None = None
    processes: int | None = None


class TimedStop(StopRequest):
    """Asks to stop after a signal, and when the time is up."""

    def __init__(self, seconds: float) -> None:
        """`seconds` count from now."""
        self.by_signal = False
        self._end = time.monotonic() + seconds
        super().__init__()

    @property
    def requested(self) -> bool:
        """Whether a signal came or the time is up."""
        return self.by_signal or time.monotonic() >= self._end

    @requested.setter
    def requested(self, value: bool) -> None:
        self.by_signal = value


class PrunedError(RecurlmError):
    """A trial is worse than the median of the others."""


@dataclass(frozen=True)
class Search:
    """A search that is ready to run.

    request: of every trial · recipe: the recipe that varies · study: the trials so far.
    """

    folder: Path
    request: TrainingRequest
    recipe: Recipe
    study: Study

    def run(self, trials: int, seconds: float, watcher: Watcher, objective: Objective | None = None) -> Findings:
        """Tries recipes until there are `trials` trials or they took `seconds`; `objective` replaces training in tests.

        Raises StoppedError after a signal; the trial in progress can be resumed. Raises RecurlmError if no trial is
        complete.
        """
        if self.carry_out(trials, seconds - self.study.seconds, watcher, objective):
            self.raise_stopped(trials)
        return self.findings()

    def carry_out(self, trials: int, seconds: float, watcher: Watcher, objective: Objective | None = None) -> bool:
        """Tries recipes until there are `trials` trials, for some seconds; returns whether a signal stopped it."""
        study = self.study
        objective = objective or self._objective(watcher)
        with TimedStop(seconds) as stop:
            while len(study.over) < trials and not stop.requested:
                trial = study.next(trials)
                if trial is None:
                    if len(study.trials) < trials:
                        watcher.say("every combination was tried")
                    break
                self._try(trial, objective, stop)
                watcher.say(self._told(trial))
        return stop.by_signal

    def raise_stopped(self, trials: int) -> None:
        """Raises StoppedError if there are fewer than `trials` trials."""
        if len(self.study.over) < trials:
            raise StoppedError(
                f"stopped; {counted(len(self.study.over), 'trial')} done; go on with the same command and --resume"
            )

    def _try(self, trial: Trial, objective: Objective, stop: StopRequest) -> None:
        """Trains one trial, and records how it ended."""
        before, began = trial.seconds, time.monotonic()
        epochs = self._recipe_of(trial).training.epochs

        def judge(epoch: int, measured: Perplexity) -> None:
            trial.curve[epoch - 1 :] = [_bounded(measured.value)]
            trial.seconds = before + time.monotonic() - began
            self.study.save(trial)
            if epoch < epochs and self.study.falls_behind(trial):
                raise PrunedError

        self._train(trial, lambda: objective(trial, judge, stop))
        trial.seconds = before + time.monotonic() - began
        self.study.save(trial)
        if trial is self.study.best:
            self._write_best(trial)
        if trial.state != "unfinished":
            RunFolder(self._place(trial)).checkpoints.discard()

    def _train(self, trial: Trial, train: Callable[[], Result]) -> None:
        """Trains a trial, and records its result or its failure; a trial that is stopped stays unfinished."""
        try:
            result = train()
            trial.state, trial.perplexity = "complete", _bounded(result.valid.value)
            trial.signature = result.valid.signature
        except StoppedError:
            pass
        except PrunedError:
            trial.state = "pruned"
        except DivergedError as error:
            trial.state, trial.note = "diverged", str(error).partition(";")[0]
        except (RecurlmError, torch.OutOfMemoryError) as error:
            trial.state, trial.note = "failed", str(error)

    def _objective(self, watcher: Watcher) -> Objective:
        def train(trial: Trial, judge: AfterValidation, stop: StopRequest) -> Result:
            place = self._place(trial)
            for folder in (place.parent, place):
                refuse_link(folder)
            recipe = place.with_suffix(".toml")
            write_within(recipe.parent, recipe.name, recipe_toml(self._recipe_of(trial)).encode())
            request = replace(self.request, recipe=str(recipe), out=place)
            return prepare_training(request, TrialWatcher(watcher, trial), judge).fit(stop)

        return train

    def _place(self, trial: Trial) -> Path:
        return self.folder / TRIALS_FOLDER / trial.name

    def _recipe_of(self, trial: Trial) -> Recipe:
        values = self.recipe.model_dump(mode="json")
        apply_changes(values, changes_for(trial.values))
        about = self.recipe.source or self.recipe.description or "a recipe of one's own"
        values |= {"source": f"trial {trial.name} of a search around: {about}", "result": ""}
        return parse_recipe(values, f"trial {trial.name}")

    def _best_recipe(self, trial: Trial) -> Recipe:
        result = f"valid perplexity {trial.perplexity:.6g} ({trial.signature})"
        text = self.request.text
        # a recipe names one text; several are given on the command line again
        corpus = shown_name(text) if isinstance(text, str) else self.recipe.corpus
        return self._recipe_of(trial).model_copy(update={"result": result, "corpus": corpus})

    def _told(self, trial: Trial) -> str:
        values = "  ".join(f"{key}={shown_value(value)}" for key, value in trial.values.items())
        told = {
            "unfinished": f"stopped after {counted(len(trial.curve), 'epoch')}, goes on with --resume",
            "complete": f"valid {trial.perplexity or 0:.6g}{', the best so far' * (trial is self.study.best)}",
            "pruned": f"pruned after {counted(len(trial.curve), 'epoch')} at {(trial.curve or [0])[-1]:.6g}",
        }
        return f"trial {trial.name}  {told.get(trial.state, f'{trial.state}: {trial.note}')}  {values}"

    def _write_best(self, trial: Trial) -> None:
        write_within(self.folder, BEST_FILE, recipe_toml(self._best_recipe(trial)).encode())

    def findings(self) -> Findings:
        """The findings of all trials so far. Raises RecurlmError if no trial is complete."""
        best = self.study.best
        if best is None:
            failed = [trial for trial in self.study.over if trial.note]
            reason = (
                f"\nthe last one: {failed[-1].note}" if failed else "; go on with --resume, more --time or --trials"
            )
            raise RecurlmError(f"{self.folder}: no trial is complete{reason}")
        self._write_best(best)
        return Findings(self.folder / BEST_FILE, best, tuple(self.study.trials), self.study.seed, self._given_texts())

    def _given_texts(self) -> tuple[str, ...]:
        texts, field = self.request.text, self.request.field
        return (*(texts if isinstance(texts, tuple) else ()), *([] if field is None else ["--field", field]))


class TrialWatcher(Silent):
    """Shows the progress of a trial; its lines go to its own metrics.jsonl only."""

    def __init__(self, watcher: Watcher, trial: Trial) -> None:
        self.watcher, self.trial = watcher, trial

    def tick(self, done: float | None, text: str) -> None:
        self.watcher.tick(done, f"trial {self.trial.name}  {text}")


def search(request: SearchRequest, watcher: Watcher) -> Findings:
    """Finds the values with the lowest validation perplexity; the test text is not read.

    Raises UsageError or InputError, before anything is written, for a request that cannot be met; then as
    `Search.run`.
    """
    seconds = math.inf if request.time is None else parse_duration(request.time, "--time")
    opened = open_search(request)
    tell_space(opened, request.trials, watcher)
    return opened.run(request.trials, seconds, watcher)


def tell_space(opened: Search, trials: int, watcher: Watcher) -> None:
    """Tells how far a search is, and what it varies."""
    watcher.say(f"search {opened.folder}: {len(opened.study.over)} of {counted(trials, 'trial')} done")
    for dimension in opened.study.space:
        watcher.say(f"       --vary {dimension}")


def open_search(request: SearchRequest) -> Search:
    """Begins a search, or resumes the one in the folder. Raises UsageError or InputError before it writes."""
    training = request.training
    config = new_config(replace(training, resume=False))
    _check_trials(training, config)
    space = parse_space(request.vary, config.recipe)
    _check_changes(training, space)
    folder = training.out or Path(f"{default_folder(config, training.text)}-search")
    description = describe(config, space, text_digests(config, training))
    recipe = config.recipe
    if (folder / SEARCH_FILE).is_file():
        recipe = resumed_recipe(folder, description, resume=training.resume or request.processes is not None)
        description["recipe"] = recipe.model_dump(mode="json")
    is_shared = request.processes is not None or (folder / JOURNAL_FILE).is_file()
    check_output_folder(folder)
    study = (SharedStudy if is_shared else Study)(folder / TRIALS_FILE, space, config.seed)
    write_within(folder, SEARCH_FILE, json_text(description, indent=2).encode())
    trial_request = replace(
        training,
        text=training.text if isinstance(training.text, tuple) else config.source,
        changes=(),
        seed=config.seed,
        device=config.device,
        resume=True,
        without_test=True,
    )
    return Search(folder, trial_request, recipe, study)


def _check_trials(request: TrainingRequest, config: RunConfig) -> None:
    """Raises UsageError if the trials of a search could not be compared."""
    if request.start or request.time_limit or request.precision:
        raise UsageError("the recipe alone decides a trial; leave --from, --time-limit and --precision out")
    if is_read_once(config.source):
        raise UsageError("a search reads its text once for each trial; write what comes through the pipe into a file")
    if config.recipe.training.until == "time":
        raise UsageError("trials of a search are of equal epochs; add --set training.until=epochs and --epochs N")
    if config.recipe.validation.every > 1:
        raise UsageError("trials are compared after each epoch; add --set validation.every=1")


def _check_changes(request: TrainingRequest, space: tuple[Dimension, ...]) -> None:
    """Raises UsageError if --set has a key that varies."""
    for change in request.changes:
        if changed_key(change) in {dimension.key for dimension in space}:
            raise UsageError(f"--set {change}: --vary has the same key; leave one of them out")


def _bounded(perplexity: float) -> float:
    """A number that JSON can hold: JSON has no infinity."""
    return min(perplexity, 1e300)
