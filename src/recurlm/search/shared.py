"""A study that several processes carry out together, also on several machines with one folder.

Optuna's journal, a file that only grows, holds the trials; each trial's record is an attribute of Optuna's. Whoever
carries out a trial holds the lock of a file, which the system releases when the process dies.
"""

import json
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from recurlm.documents import parse_record
from recurlm.files.locks import locked
from recurlm.search.search_space import Dimension
from recurlm.search.study import Study, Trial

JOURNAL_FILE = "study.journal"
LOCKS_FOLDER = "locks"
STUDY_NAME = "search"
RECORD = "recurlm"
"""The attribute of Optuna's trials that holds ours."""


class SharedStudy(Study):
    """All trials of a search that other processes carry out too."""

    def __init__(self, path: Path, space: tuple[Dimension, ...], seed: int) -> None:
        """Joins the study in the folder of `path`; the first to come takes over the trials in the file of that name."""
        super().__init__(path, space, seed)
        self._own: dict[int, Trial] = {}
        self._held = ExitStack()
        path.parent.mkdir(parents=True, exist_ok=True)
        self._storage = self._optuna.storages.JournalStorage(self._backend())
        with self._turn():
            self._optuna.create_study(storage=self._storage, study_name=STUDY_NAME, load_if_exists=True)
            self._study = self._storage.get_study_id_from_name(STUDY_NAME)
            before = self.trials
            self.refresh()
            for trial in before[len(self.trials) :]:
                self._create(trial)
                self._end(trial)
            self.refresh()

    def refresh(self) -> None:
        """Reads what other processes have done."""
        trials = []
        for each in self._storage.get_all_trials(self._study, deepcopy=False):
            trial = parse_record(Trial, each.user_attrs[RECORD], str(self.path.with_name(JOURNAL_FILE)))
            trials.append(self._own.get(trial.number, trial))
        self.trials = trials

    def next(self, most: int | None = None) -> Trial | None:
        """A trial that no process carries out: one whose process died or stopped, or a new one."""
        self._held.close()  # of the trial before
        with self._turn():
            self.refresh()
            for trial in self.trials:
                if trial.state == "unfinished" and self._claim(trial):
                    return trial
            if most is not None and len(self.trials) >= most:
                return None
            new = self._new()
            if new is not None:
                self._create(new)
                self._claim(new)
                self.trials.append(new)
            return new

    def falls_behind(self, trial: Trial) -> bool:
        self.refresh()
        return super().falls_behind(trial)

    def save(self, trial: Trial) -> None:
        """Writes a trial of this process into the journal, and all trials into the file."""
        with self._turn():
            self._storage.set_trial_user_attr(self._id(trial), RECORD, _record(trial))
            self._end(trial)
            self.refresh()
            super().save(trial)

    def _claim(self, trial: Trial) -> bool:
        """Holds a trial for this process; False where another process carries it out."""
        place = self.path.parent / LOCKS_FOLDER / trial.name
        place.parent.mkdir(exist_ok=True)
        place.touch()
        try:
            self._held.enter_context(locked(place, wait=False))
        except BlockingIOError:
            return False
        self._own[trial.number] = trial
        return True

    def _create(self, trial: Trial) -> None:
        begun = self._optuna.trial.create_trial(
            state=self._optuna.trial.TrialState.RUNNING,
            params=self.coordinates(trial),
            distributions=self.distributions(),
            user_attrs={RECORD: _record(trial)},
        )
        self._storage.create_new_trial(self._study, begun)

    def _id(self, trial: Trial) -> Any:
        return self._storage.get_trial_id_from_study_id_trial_number(self._study, trial.number - 1)

    def _end(self, trial: Trial) -> None:
        """Gives Optuna's trial its end, for Optuna's own tools."""
        if trial.state == "unfinished":
            return
        values = None if trial.perplexity is None else [trial.perplexity]
        self._storage.set_trial_state_values(self._id(trial), self.ending(trial), values)

    @contextmanager
    def _turn(self) -> Iterator[None]:
        """Inside, no other process begins or records a trial."""
        lock = self._lock("turn")
        lock.acquire()
        try:
            yield
        finally:
            lock.release()

    def _backend(self) -> Any:
        journal = self.path.with_name(JOURNAL_FILE)
        return self._optuna.storages.journal.JournalFileBackend(str(journal), lock_obj=self._lock("journal"))

    def _lock(self, name: str) -> Any:
        """A lock that works on shared folders too."""
        kinds = self._optuna.storages.journal
        kind = kinds.JournalFileSymlinkLock if os.name == "posix" else kinds.JournalFileOpenLock
        return kind(str(self.path.parent / f"study.{name}"))


def _record(trial: Trial) -> str:
    return json.dumps(asdict(trial), ensure_ascii=False, allow_nan=False)
