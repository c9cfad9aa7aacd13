"""The folder whose runs the page shows."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from recurlm.errors import InputError
from recurlm.runs.folder import METRICS_FILE, MODEL_FILE, RunFolder
from recurlm.runs.listing import list_runs
from recurlm.runs.metrics import LastEntries, State, state_of
from recurlm.runs.summary import summarize

MOST_CHARACTERS = 100


@dataclass(frozen=True)
class StudioFolder:
    """A folder that holds runs, or is a run itself; it need not exist before the first run."""

    directory: Path

    @property
    def is_run(self) -> bool:
        """Whether the folder is itself a run."""
        return RunFolder(self.directory).holds_run()

    def listing(self) -> dict[str, Any]:
        """The runs, newest first, and a line about each folder that cannot be listed."""
        if not self.directory.exists():
            return {"folder": str(self.directory), "runs": [], "problems": []}
        listing = list_runs(self.directory)
        runs = [run.to_json() | {"has_model": self.holds_model(run.name)} for run in listing.runs]
        return {"folder": str(self.directory), "runs": runs, "problems": list(listing.problems)}

    def path(self, name: str) -> Path:
        """The folder of a run, existing or not. Raises InputError for a name that is no plain name of a folder."""
        check_name(name)
        if self.is_run:
            if name != self.directory.name:
                raise InputError(f"{name}: no such run; {self.directory} is itself a run")
            return self.directory
        return self.directory / name

    def run(self, name: str) -> RunFolder:
        """A run. Raises InputError where there is none of this name."""
        folder = RunFolder(self.path(name))
        if not folder.holds_run():
            raise InputError(f"{name}: no such run in {self.directory}")
        return folder

    def summary(self, name: str) -> dict[str, Any]:
        """The object that `recurlm show --json` prints, with the run's name."""
        return {"name": name} | summarize(self.run(name)).to_json()

    def state(self, name: str) -> State:
        """What became of a run."""
        folder = self.run(name)
        return state_of(folder, folder.config("corpus"), LastEntries.of(folder))

    def metrics(self, name: str) -> Path:
        """The file of a run's metrics."""
        return self.run(name).path / METRICS_FILE

    def holds_model(self, name: str) -> bool:
        """Whether a run of this name has a model to use."""
        try:
            return (self.run(name).path / MODEL_FILE).is_file()
        except InputError:
            return False


def check_name(name: str) -> None:
    """Raises InputError for a name that is not one plain component of a path."""
    plain = name.isprintable() and not set(name) & set('/\\:*?"<>|')
    if not plain or not 0 < len(name) <= MOST_CHARACTERS or name[0] in ".-" or name != name.strip():
        raise InputError(
            f"{name!r}: not a name for a run; use up to {MOST_CHARACTERS} letters, digits, hyphens and dots"
        )
