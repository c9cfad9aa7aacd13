"""Training from the page: the command that one would type, as a child process."""

import contextlib
import os
import shlex
import signal
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from recurlm.errors import InputError, RecurlmError
from recurlm.files import write_within
from recurlm.runs.folder import RunFolder
from recurlm.studio.folder import StudioFolder

TEXTS = ".texts"
"""Folder, within the folder of runs, of the texts that the page was given; `recurlm runs` passes it over."""
MOST_LINES = 400
STOPPING_SECONDS = 30.0
REPEAT_SECONDS = 2.0
BEGUN = "run "
"""How the line begins that `train` prints last before it learns."""


class TrainingBusyError(RecurlmError):
    """A training runs already."""


@dataclass
class Training:
    """One child process and what it has written."""

    run: str
    arguments: tuple[str, ...]
    process: subprocess.Popen[str]
    lines: deque[str] = field(default_factory=lambda: deque(maxlen=MOST_LINES))

    def __post_init__(self) -> None:
        self.stop_asked = self._has_begun = False
        self._reader = threading.Thread(target=self._read, name="recurlm-training", daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        with self.process.stdout as output:
            for line in output:
                self.lines.append(line.rstrip("\n"))
                self._has_begun |= line.startswith(BEGUN)
        self.process.wait()

    @property
    def is_running(self) -> bool:
        """Whether the process has not ended."""
        return self.process.poll() is None

    def stop(self) -> None:
        """Asks for a checkpoint and the end, as Ctrl-C does, and only once: a second time would lose the checkpoint."""
        if self.is_running and not self.stop_asked:
            self.stop_asked = True
            self.process.send_signal(signal.SIGINT)
            threading.Thread(target=self._insist, name="recurlm-stopping", daemon=True).start()

    def _insist(self) -> None:
        """Asks again while training is prepared, when there is no checkpoint to lose: a library may drop the signal."""
        while True:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(REPEAT_SECONDS)
            if not self.is_running or self._has_begun:
                return
            self.process.send_signal(signal.SIGINT)

    def to_json(self) -> dict[str, Any]:
        """What the page shows."""
        return {
            "run": self.run,
            "command": shlex.join(("recurlm", *self.arguments)),
            "running": self.is_running,
            "exit_code": self.process.poll(),
            "stop_asked": self.stop_asked,
            "lines": list(self.lines),
        }


class Trainings:
    """The training that the page has started; one at a time."""

    def __init__(self, folder: StudioFolder) -> None:
        self._folder, self._lock = folder, threading.Lock()
        self.last: Training | None = None

    def start(
        self,
        name: str,
        text: str | None,
        *,
        recipe: str | None = None,
        unit: str | None = None,
        time: str | None = None,
    ) -> Training:
        """Trains a new run on a corpus or file. Raises TrainingBusyError, and InputError where the run exists."""
        path = self._folder.path(name)
        if path.exists():
            raise InputError(f"{path} exists already; choose another name")
        options = {"--recipe": recipe, "--unit": unit, "--time-limit": time}
        chosen = [part for option, value in options.items() if value for part in (option, value)]
        return self._begin(name, ["train", *([text] if text else []), "--out", str(path), *chosen])

    def resume(self, name: str, time: str | None = None) -> Training:
        """Goes on with a stopped run. Raises TrainingBusyError, and InputError where there is none."""
        folder: RunFolder = self._folder.run(name)
        limit = ["--time-limit", time] if time else []
        return self._begin(name, ["train", "--out", str(folder.path), "--resume", *limit])

    def stop(self) -> None:
        """Asks the training to write a checkpoint and end, as Ctrl-C does. Does nothing where none runs."""
        with self._lock:
            if self.last is not None:
                self.last.stop()

    def close(self) -> None:
        """Stops the training and waits for its checkpoint."""
        self.stop()
        if self.last is not None:
            try:
                self.last.process.wait(STOPPING_SECONDS)
            except subprocess.TimeoutExpired:
                self.last.process.kill()

    def save_text(self, name: str, text: str) -> Path:
        """Writes a text that the page was given, and returns its path."""
        texts = self._folder.directory / TEXTS
        texts.mkdir(parents=True, exist_ok=True)
        write_within(texts, f"{name}.txt", text.encode("utf-8"))
        return texts / f"{name}.txt"

    def check_free(self) -> None:
        """Raises TrainingBusyError where a training runs."""
        if self.last is not None and self.last.is_running:
            raise TrainingBusyError(f"{self.last.run} is training; stop it first")

    def _begin(self, name: str, arguments: Sequence[str]) -> Training:
        with self._lock:
            self.check_free()
            process = subprocess.Popen(
                [sys.executable, "-m", "recurlm.cli.main", *arguments],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                encoding="utf-8",
                errors="replace",
                env=os.environ | {"PYTHONUTF8": "1"},
                start_new_session=True,  # Ctrl-C at the terminal reaches this process alone, which stops the training
            )
            self.last = Training(name, tuple(arguments), process)
            return self.last
