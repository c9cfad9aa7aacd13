"""The runs in a folder, as `recurlm runs` lists them."""

import shlex
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from recurlm.errors import InputError, RecurlmError
from recurlm.files.suggestions import did_you_mean
from recurlm.runs.folder import CONFIG_FILE, RunFolder
from recurlm.runs.metrics import LastEntries, State, state_of


@dataclass(frozen=True)
class ListedRun:
    """A run in one row.

    name: of its folder, within the listed folder · unit: what one token is, on which perplexities depend · model: cells
    and sizes · parameters: number of trained weights · steps, epochs: done so far · valid_perplexity, test_perplexity:
    of the end of the run, else of its last validation; None if not measured · created: when the run began, in ISO 8601.
    """

    name: str
    run: str
    corpus: str
    recipe: str
    unit: str
    model: str
    parameters: int | None
    epochs: int
    steps: int
    valid_perplexity: float | None
    test_perplexity: float | None
    created: str
    state: State

    @classmethod
    def of(cls, folder: RunFolder, within: Path) -> "ListedRun":
        """The row of a run. Raises CorruptFileError or InputError for a damaged one."""
        config = folder.config("corpus", "recipe")
        last, recipe = LastEntries.of(folder), folder.recipe()
        results = {split: value for split, (value, _) in last.results.items()}
        return cls(
            name=str(folder.path.relative_to(within)) if folder.path != within else folder.path.name,
            run=str(folder.path),
            corpus=config["corpus"].get("name") or config["corpus"]["source"],
            recipe=config.get("recipe_name", ""),
            unit=recipe.text.unit,
            model=recipe.model.layers_in_words,
            parameters=config.get("parameters"),
            epochs=last.epochs,
            steps=last.steps,
            valid_perplexity=results.get("valid"),
            test_perplexity=results.get("test"),
            created=str(config.get("created", "")),
            state=state_of(folder, config, last),
        )

    def to_json(self) -> dict[str, Any]:
        """The object that `runs --json` prints."""
        return asdict(self)


@dataclass(frozen=True)
class Listing:
    """The runs in a folder, newest first, and a line about each folder there that cannot be listed."""

    runs: tuple[ListedRun, ...]
    problems: tuple[str, ...]


def list_runs(directory: Path) -> Listing:
    """The runs directly in a folder; a run folder itself is a list of one.

    Raises InputError if there is no such folder.
    """
    if not directory.is_dir():
        hint = did_you_mean(directory, Path.is_dir) or "; name the folder that holds your runs"
        raise InputError(f"{directory}: no such folder{hint}")
    runs, problems = [], []
    for path in _candidates(directory):
        try:
            runs.append(_listed(path, directory))
        except RecurlmError as error:
            problems.append(str(error))
    return Listing(tuple(sorted(runs, key=lambda run: (run.created, run.name), reverse=True)), tuple(problems))


def _candidates(directory: Path) -> Iterator[Path]:
    """The folders that may be runs, in alphabetical order."""
    if RunFolder(directory).holds_run():
        yield directory
        return
    try:
        yield from sorted(path for path in directory.iterdir() if path.is_dir() and not path.name.startswith("."))
    except PermissionError:
        raise InputError(f"no permission to read the folder {directory}") from None


def _listed(path: Path, directory: Path) -> ListedRun:
    """The row of one folder. Raises InputError, with one line, for a folder that is no run or damaged."""
    folder = RunFolder(path)
    if not folder.holds_run():
        advice = f"; its runs: recurlm runs {shlex.quote(str(path))}" if any(path.glob(f"*/{CONFIG_FILE}")) else ""
        raise InputError(f"{path}: not a run folder (no {CONFIG_FILE}){advice}")
    try:
        return ListedRun.of(folder, directory)
    except RecurlmError as error:
        reason = str(error).partition("\n")[0]
        raise InputError(f"{reason}; see: recurlm verify {shlex.quote(str(path))}") from error
