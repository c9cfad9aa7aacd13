"""What the user asks for, and the configuration of the new run that meets it."""

import dataclasses
import hashlib
import os
import re
import shlex
from dataclasses import dataclass
from pathlib import Path

import torch

from recurlm.config import Recipe
from recurlm.devices import resolve_device, resolve_precision
from recurlm.errors import InputError, UsageError
from recurlm.recipe_files import apply_changes, changed_key, load_recipe, parse_recipe
from recurlm.runs.config import RunConfig, Start
from recurlm.runs.folder import MODEL_FILE, RunFolder
from recurlm.runs.manifest import digest
from recurlm.text.corpora import PIPED_TEXT, is_read_once, named_corpora
from recurlm.text.members import joint_name
from recurlm.text.places import DataPlaces
from recurlm.training.fine_tuning import fit_for_fine_tuning
from recurlm.wording import shown_name

LONGEST_LIST_NAME = 500
"""Characters of a list of texts that a run records as it was typed; config.json lists the files themselves."""


@dataclass(frozen=True)
class TrainingRequest:
    """What the command line or a notebook asks for; None leaves the choice to the recipe or the program.

    text: one text, or several that are read together · field: the name of the text in files of records ·
    places: where texts are searched and kept; by default as the environment says · without_test: leave the test text
    unread · began: when the process began, by `time.monotonic`; the time limit counts from then, or from the call if
    it is None.
    """

    text: str | tuple[str, ...] | None = None
    recipe: str | None = None
    start: Path | None = None
    changes: tuple[str, ...] = ()
    out: Path | None = None
    seed: int | None = None
    device: str = "auto"
    precision: str | None = None
    resume: bool = False
    time_limit: str | None = None
    tensorboard: bool = False
    places: DataPlaces = dataclasses.field(default_factory=DataPlaces.from_environment)
    without_test: bool = False
    began: float | None = None
    field: str | None = None

    @property
    def names_a_run(self) -> bool:
        """Whether the request says which run to begin if there is none to resume."""
        return any(each is not None for each in (self.text, self.recipe, self.start, self.out))


def new_config(request: TrainingRequest) -> RunConfig:
    """The configuration of a new run. Raises UsageError or InputError for a request that cannot be met."""
    recipe = asked_recipe(request)
    if recipe.training.until == "time" and "training.epochs" in map(changed_key, request.changes):
        raise UsageError(
            "the recipe trains until a time is up, in as many epochs as fit; add --set training.until=epochs"
        )
    device = resolve_device(request.device)
    return RunConfig(
        recipe,
        shown_name(Path(_recipe_name(request)).stem),
        source_name(request.text or _own_corpus(request, recipe)),
        1 if request.seed is None else request.seed,
        device.type,
        resolve_precision(request.precision or recipe.training.precision, device),
        torch.get_num_threads(),
        None if request.time_limit is None else parse_duration(request.time_limit),
        None if request.start is None else start_of(request.start),
    )


def _own_corpus(request: TrainingRequest, recipe: Recipe) -> str:
    """The text of a request that names none: the text of the recipe, or of the run to start from."""
    if request.start is None:
        return recipe.corpus
    source: str = RunFolder(request.start).config("corpus")["corpus"]["source"]
    if not source:
        raise InputError(f"{request.start}: does not say which corpus it learned from; name a text to train on")
    return source


def asked_recipe(request: TrainingRequest) -> Recipe:
    """The recipe with its changes.

    A run to start from gives the whole recipe, with the learning rate of `fit_for_fine_tuning`, or its sections `text`
    and `model` if another recipe is named.
    """
    if request.start is None:
        return load_recipe(_recipe_name(request), request.changes)
    values = RunFolder(request.start).recipe().model_dump(mode="json")
    if request.recipe is not None:
        own = {key: values[key] for key in ("text", "model")}
        values = load_recipe(request.recipe).model_dump(mode="json") | own
    else:
        fit_for_fine_tuning(values, RunFolder(request.start).config(), request.changes)
    apply_changes(values, request.changes)
    return parse_recipe(values, f"--from {request.start}")


def start_of(path: Path) -> Start:
    """The run in a folder, as the start of another run."""
    return Start(str(path.resolve()), digest(RunFolder(path).read(MODEL_FILE)))


def source_name(text: str | tuple[str, ...]) -> str:
    """The name under which a run records its text: a file or folder by its whole path, everything else as it is.

    Several texts are recorded as one would type them, sorted; of a long list only the first, with a digest of all.
    """
    if not isinstance(text, str):
        return source_name(text[0]) if len(text) == 1 else _list_name(sorted(map(source_name, text)))
    if text in named_corpora() or is_read_once(text):
        return text
    return str(Path(text).resolve())


def _list_name(names: list[str]) -> str:
    typed = shlex.join(names)
    if len(typed) <= LONGEST_LIST_NAME:
        return typed
    digest = hashlib.sha256(os.fsencode(typed)).hexdigest()
    return f"{shlex.quote(names[0])} and {len(names) - 1:,} more, sha256:{digest[:8]}"


def _recipe_name(request: TrainingRequest) -> str:
    if request.start is not None:
        return request.recipe or request.start.resolve().name
    return request.recipe or ("demo" if request.text is None else "default")


def default_folder(config: RunConfig, text: str | tuple[str, ...] | None) -> Path:
    """The folder of a run on this text for which the user names none."""
    texts = text if isinstance(text, tuple) else (config.source,)
    corpus = PIPED_TEXT if is_read_once(config.source) else joint_name(texts)
    return Path("runs") / f"{corpus}-{config.recipe_name}"


def parse_duration(text: str, option: str = "--time-limit") -> float:
    """Seconds from a duration such as 90s, 10m, 1.5h or 1h30m. Raises UsageError, naming `option`."""
    match = re.fullmatch(r"(?:([\d.]+)h)?(?:([\d.]+)m)?(?:([\d.]+)s?)?", text.strip())
    try:
        hours, minutes, seconds = (float(part or 0) for part in match.groups()) if match else (0.0, 0.0, 0.0)
    except ValueError:
        hours = minutes = seconds = 0.0
    total = hours * 3600 + minutes * 60 + seconds
    if total <= 0:
        raise UsageError(f"{option} {text}: write it as 90s, 10m, 1.5h or 1h30m")
    return total
