"""Search: many short runs of one recipe with other values, chosen by the validation text alone."""

import json
import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch

from recurlm.config import Recipe
from recurlm.documents import json_text, parse_json_object
from recurlm.errors import CorruptFileError, InputError, RecurlmError, StoppedError, UsageError
from recurlm.evaluation.perplexity import Perplexity
from recurlm.files import read_bounded, refuse_link, write_within
from recurlm.progress import Silent, Watcher, clock
from recurlm.recipe_files import (
    apply_changes,
    changed_key,
    differing_keys,
    parse_recipe,
    parse_recorded_recipe,
    recipe_toml,
)
from recurlm.runs.config import RunConfig
from recurlm.runs.folder import RunFolder
from recurlm.search.search_space import Dimension, changes_for, parse_space
from recurlm.search.study import Study, Trial
from recurlm.text.corpora import is_read_once, open_source
from recurlm.training.counters import Result
from recurlm.training.loop import AfterValidation
from recurlm.training.request import TrainingRequest, default_folder, new_config, parse_duration
from recurlm.training.setup import prepare_training
from recurlm.training.step import DivergedError
from recurlm.training.stopping import StopRequest
from recurlm.wording import counted, shown_name

SEARCH_FORMAT = "recurlm search 1"
SEARCH_FILE = "search.json"
TRIALS_FILE = "trials.jsonl"
TRIALS_FOLDER = "trials"
BEST_FILE = "best.toml"

Objective = Callable[[Trial, AfterValidation, StopRequest], Result]
"""Trains a trial; calls after each validation, which may raise."""


@dataclass(frozen=True)
class SearchRequest:
    """What the command line or a notebook asks for.

    training: of every trial, without start, time limit and precision; `out` is the folder of the search, `resume`
    whether it goes on · vary: as `--vary` has it,
    empty for what is usual · trials: how many there are in the end · time: for all of them together.
    """

    training: TrainingRequest
    vary: tuple[str, ...] = ()
    trials: int = 20
    time: str | None = None


@dataclass(frozen=True)
class Findings:
    """What a search has found; `best` stands as a whole recipe in the file `recipe`."""

    recipe: Path
    best: Trial
    trials: tuple[Trial, ...]
    seed: int

    def to_json(self) -> dict[str, Any]:
        """What `search --json` prints."""
        return {
            "recipe": str(self.recipe),
            "best": self.best.number,
            "valid_perplexity": self.best.perplexity,
            "signature": self.best.signature,
            "trials": [asdict(trial) for trial in self.trials],
        }

    def table(self) -> str:
        """A row for each trial: the complete ones first, by perplexity, and the others in their order."""
        ordered = sorted(self.trials, key=lambda trial: math.inf if trial.perplexity is None else trial.perplexity)
        keys = list(self.best.values)
        rows = [["trial", "state", "valid", "epochs", "time", *(key.split(".", 1)[1] for key in keys)]]
        for trial in ordered:
            valid = "" if trial.perplexity is None else f"{trial.perplexity:.6g}"
            values = [_shown(trial.values[key]) for key in keys]
            rows.append([trial.name, trial.state, valid, str(len(trial.curve)), clock(trial.seconds), *values])
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = ("  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) for row in rows)
        return "\n".join(lines)

    def summary(self) -> str:
        """What was best, and what to type next."""
        seed = "" if self.seed == 1 else f" --seed {self.seed}"
        return (
            f"best   trial {self.best.name}: valid perplexity {self.best.perplexity:.2f}  [{self.best.signature}]\n"
            f"next   recurlm train --recipe {self.recipe}{seed}"
        )


class TimedStop(StopRequest):
    """Asks to stop on a signal, and when the time is up."""

    def __init__(self, seconds: float) -> None:
        """`seconds` from now on."""
        self.by_signal = False
        self._end = time.monotonic() + seconds
        super().__init__()

    @property
    def requested(self) -> bool:
        """Whether either has happened."""
        return self.by_signal or time.monotonic() >= self._end

    @requested.setter
    def requested(self, value: bool) -> None:
        self.by_signal = value


class PrunedError(RecurlmError):
    """A trial falls behind the others."""


@dataclass(frozen=True)
class Search:
    """A search that is ready: its folder, what every trial is asked for, the recipe that varies, the trials so far."""

    folder: Path
    request: TrainingRequest
    recipe: Recipe
    study: Study

    def run(self, trials: int, seconds: float, watcher: Watcher, objective: Objective | None = None) -> Findings:
        """Try until there are so many trials or the time of all is up; `objective` trains, unless another is given.

        Raises StoppedError after a signal: the trial in progress goes on later. RecurlmError where none is complete.
        """
        study = self.study
        objective = objective or self._objective(watcher)
        with TimedStop(seconds - study.seconds) as stop:
            while len(study.over) < trials and not stop.requested:
                trial = study.next()
                if trial is None:
                    watcher.say("every combination was tried")
                    break
                self._try(trial, objective, stop)
                watcher.say(self._told(trial))
        if stop.by_signal and len(study.over) < trials:
            raise StoppedError(
                f"stopped; {counted(len(study.over), 'trial')} done; go on with the same command and --resume"
            )
        return self._findings()

    def _try(self, trial: Trial, objective: Objective, stop: StopRequest) -> None:
        """Train one trial to its end, and keep what came of it."""
        before, began = trial.seconds, time.monotonic()
        epochs = self._recipe_of(trial).training.epochs

        def judge(epoch: int, measured: Perplexity) -> None:
            trial.curve[epoch - 1 :] = [_bounded(measured.value)]
            trial.seconds = before + time.monotonic() - began
            self.study.save()
            if epoch < epochs and self.study.falls_behind(trial):
                raise PrunedError

        try:
            result = objective(trial, judge, stop)
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
        trial.seconds = before + time.monotonic() - began
        if trial is self.study.best:
            write_within(self.folder, BEST_FILE, recipe_toml(self._best_recipe(trial)).encode())
        self.study.save()
        if trial.state != "unfinished":
            RunFolder(self._place(trial)).discard_checkpoints()

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
        return self._recipe_of(trial).model_copy(
            update={"result": result, "corpus": shown_name(self.request.text or "")}
        )

    def _told(self, trial: Trial) -> str:
        values = "  ".join(f"{key}={_shown(value)}" for key, value in trial.values.items())
        told = {
            "unfinished": f"stopped after {counted(len(trial.curve), 'epoch')}, goes on with --resume",
            "complete": f"valid {trial.perplexity or 0:.6g}{', the best so far' * (trial is self.study.best)}",
            "pruned": f"pruned after {counted(len(trial.curve), 'epoch')} at {(trial.curve or [0])[-1]:.6g}",
        }
        return f"trial {trial.name}  {told.get(trial.state, f'{trial.state}: {trial.note}')}  {values}"

    def _findings(self) -> Findings:
        best = self.study.best
        if best is None:
            failed = [trial for trial in self.study.over if trial.note]
            reason = (
                f"\nthe last one: {failed[-1].note}" if failed else "; go on with --resume, more --time or --trials"
            )
            raise RecurlmError(f"{self.folder}: no trial is complete{reason}")
        return Findings(self.folder / BEST_FILE, best, tuple(self.study.trials), self.study.seed)


class TrialWatcher(Silent):
    """Shows how far a trial is; its lines stand in its own metrics.jsonl."""

    def __init__(self, watcher: Watcher, trial: Trial) -> None:
        self.watcher, self.trial = watcher, trial

    def tick(self, done: float | None, text: str) -> None:
        self.watcher.tick(done, f"trial {self.trial.name}  {text}")


def search(request: SearchRequest, watcher: Watcher) -> Findings:
    """Find the values with the lowest validation perplexity; the test text is neither read nor measured.

    Raises UsageError or InputError for what cannot be, before anything is written; then as `Search.run`.
    """
    seconds = math.inf if request.time is None else parse_duration(request.time, "--time")
    opened = open_search(request)
    watcher.say(f"search {opened.folder}: {len(opened.study.over)} of {counted(request.trials, 'trial')} done")
    for dimension in opened.study.space:
        watcher.say(f"       --vary {dimension}")
    return opened.run(request.trials, seconds, watcher)


def open_search(request: SearchRequest) -> Search:
    """Begin a search, or go on with the one in the folder. Raises UsageError or InputError before it writes."""
    training = request.training
    config = new_config(replace(training, resume=False))
    if training.start or training.time_limit or training.precision:
        raise UsageError("the recipe alone decides a trial; leave --from, --time-limit and --precision out")
    if is_read_once(config.source):
        raise UsageError("a search reads its text once for each trial; write what comes through the pipe into a file")
    if config.recipe.training.until == "time":
        raise UsageError("trials of a search are of equal epochs; add --set training.until=epochs and --epochs N")
    if config.recipe.validation.every > 1:
        raise UsageError("trials are compared after each epoch; add --set validation.every=1")
    space = parse_space(request.vary, config.recipe)
    for change in training.changes:
        if changed_key(change) in {dimension.key for dimension in space}:
            raise UsageError(f"--set {change}: --vary has the same key; leave one of them out")
    folder = training.out or default_folder(config).with_name(f"{default_folder(config).name}-search")
    description = _description(config, space, _text_digests(config, training))
    recipe = config.recipe
    if (folder / SEARCH_FILE).is_file():
        recipe = _resumed_recipe(folder, description, resume=training.resume)
        description["recipe"] = recipe.model_dump(mode="json")
    study = Study(folder / TRIALS_FILE, space, config.seed)
    write_within(folder, SEARCH_FILE, json_text(description, indent=2).encode())
    own = replace(
        training,
        text=config.source,
        changes=(),
        seed=config.seed,
        device=config.device,
        resume=True,
        without_test=True,
    )
    return Search(folder, own, recipe, study)


def _text_digests(config: RunConfig, request: TrainingRequest) -> dict[str, str]:
    """SHA-256 of the texts a search reads. Raises InputError where there is none that it may choose by."""
    if config.recipe.validation.split != "valid":
        raise InputError(
            "the recipe validates on the test text, which no choice may rest on; add --set validation.split=valid"
        )
    corpus = open_source(config.source, request.places)
    if corpus.valid is None:
        raise InputError(f"{corpus.name}: has no valid text to choose by; put valid.txt beside the training text")
    return {"train": corpus.train.sha256, "valid": corpus.valid.sha256}


def _description(config: RunConfig, space: tuple[Dimension, ...], texts: dict[str, str]) -> dict[str, Any]:
    return {
        "format": SEARCH_FORMAT,
        "text": config.source,
        "digests": texts,
        "vary": [str(dimension) for dimension in space],
        "seed": config.seed,
        "device": config.device,
        "precision": config.precision,
        "recipe": config.recipe.model_dump(mode="json"),
    }


def _resumed_recipe(folder: Path, asked: dict[str, Any], *, resume: bool) -> Recipe:
    """The recipe that a search was begun with.

    Raises InputError where the folder holds another search than the one asked for, or `resume` was not asked for.
    """
    path = folder / SEARCH_FILE
    if not resume:
        raise InputError(f"{folder} already holds a search; add --resume to go on with it, or name another --out")
    recorded = parse_json_object(read_bounded(path, error=CorruptFileError), str(path), file_names=True)
    if not isinstance(recorded.get("recipe"), dict):
        raise CorruptFileError(f"{path}: holds no recipe; start the search again in another folder")
    recipe = parse_recorded_recipe(recorded["recipe"], str(path))
    differing = [key for key, value in asked.items() if key != "recipe" and recorded.get(key) != value]
    differing += differing_keys(parse_recipe(asked["recipe"], "the command"), recorded["recipe"])
    if differing:
        raise InputError(
            f"{folder}: was begun with another {differing[0]}; give the same command, or name another --out"
        )
    return recipe


def _bounded(perplexity: float) -> float:
    """JSON knows no infinity."""
    return min(perplexity, 1e300)


def _shown(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else json.dumps(value)
