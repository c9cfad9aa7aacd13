"""Verification of a run folder: reads every file back, and says what is damaged, what that costs, and what to do."""

import shlex
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

from recurlm.capacity import machine_memory
from recurlm.documents import parse_json_object
from recurlm.errors import CorruptFileError, DownloadError, InputError, RecurlmError
from recurlm.files import opened
from recurlm.files.streams import raw_lines
from recurlm.files.suggestions import did_you_mean
from recurlm.runs.checkpoints import CHECKPOINTS_FOLDER, read_checkpoint
from recurlm.runs.folder import CONFIG_FILE, METRICS_FILE, MODEL_FILE, RunFolder
from recurlm.runs.manifest import MANIFEST_FILE
from recurlm.tensor_files import finite_tensors
from recurlm.text.codec import TOKENIZER_FILE, VOCABULARY_FILE
from recurlm.text.places import DataPlaces

State = Literal["whole", "damaged", "absent", "left over"]

BRING_BACK = "bring it back from a copy"
LOST = {
    CONFIG_FILE: f"the recipe and the record of the texts are lost, so nothing of the run can be used; {BRING_BACK}",
    VOCABULARY_FILE: f"the tokens of the ids are lost, so the model cannot be used; {BRING_BACK}",
    TOKENIZER_FILE: f"the pieces of words are lost, so the model cannot read text; {BRING_BACK}",
    MODEL_FILE: f"the model that validation chose is lost, and checkpoints hold other weights; {BRING_BACK}",
    METRICS_FILE: "figures and curves of the training are lost; the model is not affected",
    MANIFEST_FILE: f"no file of the run can be held to its digest, so none is read; {BRING_BACK}",
}


@dataclass(frozen=True)
class Finding:
    """The state of a file, a checkpoint or a text, with the problem and the way out if there is one."""

    name: str
    state: State = "whole"
    problem: str = ""
    advice: str = ""


@dataclass(frozen=True)
class Verification:
    """All findings about a run folder."""

    run: Path
    findings: tuple[Finding, ...]

    @property
    def damaged(self) -> list[Finding]:
        """The findings that name damage."""
        return [finding for finding in self.findings if finding.state == "damaged"]

    def to_json(self) -> dict[str, Any]:
        """The object that `verify --json` prints."""
        return {"run": str(self.run), "whole": not self.damaged, "findings": list(map(asdict, self.findings))}


def verify(folder: RunFolder, places: DataPlaces | None = None) -> Verification:
    """Verifies a run folder, without the network. `places` say where the texts of the run are searched.

    Raises InputError if the folder holds no run.
    """
    if not folder.path.is_dir() or not (folder.path / CONFIG_FILE).exists():
        hint = did_you_mean(folder.path, lambda path: RunFolder(path).holds_run())
        raise InputError(f"{folder.path}: not a run folder (no {CONFIG_FILE}){hint}")
    places = replace(places or DataPlaces.from_environment(), offline=True)
    findings = [*_files(folder), *_checkpoints(folder), *_texts(folder, places), *_left_over(folder)]
    return Verification(folder.path, tuple(findings))


def _files(folder: RunFolder) -> Iterator[Finding]:
    manifest = _checked(MANIFEST_FILE, folder.manifest, LOST[MANIFEST_FILE])
    yield manifest
    if manifest.state == "damaged":
        return
    listed = folder.manifest()
    for name in sorted({*listed, CONFIG_FILE, VOCABULARY_FILE}):
        advice = LOST.get(
            name, f"draw it again: recurlm plot {shlex.quote(str(folder.path))}" if _is_picture(name) else BRING_BACK
        )
        yield _checked(name, partial(_read, folder, name), advice)
    if MODEL_FILE not in listed:
        yield Finding(MODEL_FILE, "absent", "no epoch is finished yet", _resume(folder))
    if (
        METRICS_FILE not in listed and (folder.path / METRICS_FILE).exists()
    ):  # it is entered in the manifest when the run ends
        yield _checked(METRICS_FILE, lambda: _read_metrics(folder), LOST[METRICS_FILE])


def _checked(name: str, read: Callable[[], object], advice: str) -> Finding:
    try:
        read()
    except RecurlmError as error:
        return Finding(name, "damaged", str(error), advice)
    return Finding(name)


def _read(folder: RunFolder, name: str) -> None:
    """Checks the digest and the form of a file."""
    if name == MODEL_FILE:
        _read_model(folder)
        return
    folder.read(name)
    if name == CONFIG_FILE:
        folder.recipe()
        folder.corpus()
    elif name in (VOCABULARY_FILE, TOKENIZER_FILE):
        _check_vocabulary(folder)
    elif name == METRICS_FILE:
        _read_metrics(folder)


def _check_vocabulary(folder: RunFolder) -> None:
    found = folder.codec().vocabulary.digest
    recorded: Any = None
    with suppress(RecurlmError):  # a damaged config.json has its own finding
        recorded = folder.config().get("vocabulary")
    if isinstance(recorded, dict) and recorded.get("digest") not in (None, found):
        raise CorruptFileError(f"{folder.path / VOCABULARY_FILE}: not the vocabulary that {CONFIG_FILE} records")


def _read_model(folder: RunFolder) -> None:
    try:
        codec = folder.codec()
        folder.recipe()
    except RecurlmError:  # these have their own findings; the digest can be checked without them
        content = folder.read(MODEL_FILE, machine_memory())
    else:
        content = folder.read_model(codec)
    finite_tensors(content, folder.path / MODEL_FILE)


def _read_metrics(folder: RunFolder) -> None:
    path = folder.path / METRICS_FILE
    with opened(path, error=CorruptFileError) as file:
        for number, line in enumerate(raw_lines(file, str(path)), 1):
            if line.endswith(b"\n"):  # a run in progress may be writing the last one
                parse_json_object(line, f"{path}, line {number}", file_names=True)


def _checkpoints(folder: RunFolder) -> Iterator[Finding]:
    found = [
        _checked(f"{CHECKPOINTS_FOLDER}/{each.name}", partial(read_checkpoint, each), "")
        for each in folder.checkpoints.folders
    ]
    whole = [finding.name for finding in found if finding.state == "whole"]
    for finding in found:
        if not whole:
            advice = f"no checkpoint is whole; to begin again, remove {CHECKPOINTS_FOLDER} and use --resume"
        elif finding.name < whole[-1]:
            advice = f"--resume does not need it: it goes on from {whole[-1]}"
        else:
            advice = f"--resume goes on from {whole[-1]}"
        yield replace(finding, advice=advice) if finding.state == "damaged" else finding


def _texts(folder: RunFolder, places: DataPlaces) -> Iterator[Finding]:
    try:
        corpus = folder.corpus()
    except RecurlmError:
        return  # config.json has its own finding
    for split in corpus.splits:
        name = f"{split} text of {corpus.source}"
        try:
            corpus.part(split, places)
        except CorruptFileError as error:
            advice = "the model is not affected; --resume, and eval and adapt without a text, refuse until it is back"
            yield Finding(name, "damaged", str(error), advice)
        except (InputError, DownloadError) as error:
            advice = "only --resume, and eval and adapt without a text, need it"
            yield Finding(name, "absent", str(error).partition(";")[0], advice)
        else:
            yield Finding(name)


def _left_over(folder: RunFolder) -> Iterator[Finding]:
    for place in (folder.path, folder.path / CHECKPOINTS_FOLDER):
        for path in sorted(place.glob(".*.partial")):
            name = str(path.relative_to(folder.path))
            yield Finding(name, "left over", "a process was killed while it wrote this", "--resume removes it")
        for path in sorted(place.glob("damaged-step-*")):
            name = str(path.relative_to(folder.path))
            yield Finding(name, "left over", "a damaged checkpoint that --resume passed over", "remove it")


def _is_picture(name: str) -> bool:
    return name.endswith((".svg", ".png"))


def _resume(folder: RunFolder) -> str:
    return f"go on with: recurlm train --out {shlex.quote(str(folder.path))} --resume"
