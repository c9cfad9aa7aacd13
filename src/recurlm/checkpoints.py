"""A run folder on disk: every file written whole or not at all, hashed, and verified when read."""

import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors.torch
from torch import Tensor

from recurlm.config import Recipe, parse_recipe
from recurlm.documents import json_text, parse_json_object
from recurlm.errors import CorruptFileError, InputError
from recurlm.files import locked, remove_partial, sync_folder, temporary_folder, write_whole
from recurlm.models.language_model import LanguageModel
from recurlm.text.codec import TOKENIZER_FILE, VOCABULARY_FILE, Codec

CONFIG_FILE = "config.json"
MODEL_FILE = "model.safetensors"
METRICS_FILE = "metrics.jsonl"
MANIFEST_FILE = "manifest.json"
CHECKPOINTS_FOLDER = "checkpoints"
KEPT_CHECKPOINTS = 2

Entries = dict[str, str | list[str]]
"""File name to SHA-256; to the old one and the new one while a file is being replaced."""


def digest(content: bytes) -> str:
    """Hex SHA-256."""
    return hashlib.sha256(content).hexdigest()


@dataclass(frozen=True)
class RunFolder:
    """The files of one run; see docs/run-folder.md."""

    path: Path

    def holds_run(self) -> bool:
        """Whether a run was started here."""
        return (self.path / CONFIG_FILE).is_file()

    @contextmanager
    def claimed(self) -> Iterator[None]:
        """Make the folder and hold it for one process that trains. Raises InputError where another has it."""
        place = self._make()
        with ExitStack() as stack:
            try:
                stack.enter_context(locked(place, wait=False))
            except BlockingIOError as error:
                raise InputError(
                    f"{self.path}: another process is training in it; wait for it, or name another folder with --out"
                ) from error
            yield

    def _make(self) -> Path:
        folder = self.path / CHECKPOINTS_FOLDER
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except (FileExistsError, NotADirectoryError) as error:
            raise InputError(f"{self.path}: is a file, not a folder; name another --out") from error
        return folder

    def create(self, config: Mapping[str, Any], codec: Codec) -> None:
        """Begin a run: the configuration and the vocabulary."""
        self._make()
        self.write({name: content.encode() for name, content in codec.files().items()})
        content = json_text(config, indent=2).encode()
        self._write_manifest({**self._manifest(), CONFIG_FILE: digest(content)})
        # the configuration comes last: a folder that has one has the rest, its manifest too
        write_whole(self.path / CONFIG_FILE, content)

    def write(self, files: Mapping[str, bytes]) -> None:
        """Write files at the top of the folder and enter them in the manifest."""
        digests = {name: digest(content) for name, content in files.items()}
        self.path.mkdir(parents=True, exist_ok=True)
        with locked(self.path):
            before = self._manifest()
            announced: Entries = {
                name: [*_accepted(before[name]), new] for name, new in digests.items() if before.get(name, new) != new
            }
            if announced:  # until a file is replaced its old content is right, whenever a reader or a kill may come
                self._write_manifest({**before, **announced})
            for name, content in files.items():
                write_whole(self.path / name, content)
            self._write_manifest({**before, **digests})

    def seal(self, names: list[str]) -> None:
        """Enter files that grew while the run went on in the manifest."""
        with locked(self.path):
            grown: Entries = {name: digest((self.path / name).read_bytes()) for name in names}
            self._write_manifest(self._manifest() | grown)

    def read(self, name: str) -> bytes:
        """A file's content, held to the manifest. Raises CorruptFileError where it is missing or altered."""
        try:
            return _verified(self.path, name, self._manifest(required=True))
        except CorruptFileError:
            # a run in progress may have replaced the file since the manifest was read
            return _verified(self.path, name, self._manifest(required=True))

    def config(self) -> dict[str, Any]:
        """What config.json says."""
        if not self.holds_run():
            raise InputError(f"{self.path}: not a run folder (no {CONFIG_FILE}); `recurlm train --out` writes one")
        return parse_json_object(self.read(CONFIG_FILE), str(self.path / CONFIG_FILE), file_names=True)

    def recipe(self) -> Recipe:
        """The recipe the run was made with."""
        return parse_recipe(self.config()["recipe"], str(self.path / CONFIG_FILE))

    def codec(self) -> Codec:
        """The run's tokenization and vocabulary."""
        self.read(VOCABULARY_FILE)
        if (self.path / TOKENIZER_FILE).is_file():
            self.read(TOKENIZER_FILE)
        return Codec.load(self.path)

    def save_model(self, model: bytes) -> None:
        """Make these weights the run's model."""
        self.write({MODEL_FILE: model})

    def load_model(self, codec: Codec) -> LanguageModel:
        """The run's model, ready to evaluate. Raises InputError where weights and vocabulary do not fit."""
        if MODEL_FILE not in self._manifest(required=True):
            raise InputError(f"{self.path}: has no model yet; let `recurlm train --resume` finish an epoch first")
        weights = tensors(self.read(MODEL_FILE), self.path / MODEL_FILE)
        if "embedding.weight" not in weights:
            raise CorruptFileError(f"{self.path / MODEL_FILE}: holds no embedding.weight, so it is not a model")
        rows = len(weights["embedding.weight"])
        if rows != len(codec.vocabulary):
            raise InputError(
                f"{self.path}: the vocabulary has {len(codec.vocabulary):,} tokens but the model {rows:,}; "
                f"bring back the {VOCABULARY_FILE} that belongs to it"
            )
        model = LanguageModel(self.recipe().model, rows)
        try:
            model.load_weights(weights)
        except (RuntimeError, KeyError) as error:
            raise CorruptFileError(f"{self.path / MODEL_FILE}: does not fit config.json: {error}") from error
        return model.eval()

    def save_checkpoint(self, step: int, files: Mapping[str, bytes]) -> None:
        """Write a checkpoint whole or not at all, and forget all but the newest."""
        folder = self.path / CHECKPOINTS_FOLDER
        target = folder / f"step-{step:08d}"
        entries: Entries = {name: digest(content) for name, content in files.items()}
        with temporary_folder(folder) as unfinished:
            for name, content in {**files, MANIFEST_FILE: _manifest_bytes(entries)}.items():
                write_whole(unfinished / name, content)
            # the same step comes again after its epoch was validated
            before = _set_aside(target) if target.exists() else None
            os.replace(unfinished, target)
            if before is not None:
                shutil.rmtree(before, ignore_errors=True)
        sync_folder(folder)
        self._forget_old_checkpoints()

    def has_checkpoint(self) -> bool:
        """Whether training has written one yet."""
        return bool(self._checkpoints())

    def latest_checkpoint(self) -> dict[str, bytes] | None:
        """The newest checkpoint's files, verified; None where there is none yet."""
        found = self._checkpoints()
        if not found:
            return None
        folder = found[-1]
        try:
            entries = _read_manifest(folder / MANIFEST_FILE)
            return {name: _verified(folder, name, entries) for name in entries}
        except CorruptFileError as error:
            raise CorruptFileError(f"{error}\nremove {folder} to go on from the checkpoint before it") from error

    def discard_checkpoints(self) -> None:
        """Remove them all: nobody will go on with this run."""
        shutil.rmtree(self.path / CHECKPOINTS_FOLDER, ignore_errors=True)

    def discard_unfinished(self) -> None:
        """Remove what a killed process left half done."""
        remove_partial(self.path)
        remove_partial(self.path / CHECKPOINTS_FOLDER)

    def _checkpoints(self) -> list[Path]:
        return sorted((self.path / CHECKPOINTS_FOLDER).glob("step-*"))

    def _forget_old_checkpoints(self) -> None:
        for old in self._checkpoints()[:-KEPT_CHECKPOINTS]:
            shutil.rmtree(_set_aside(old), ignore_errors=True)

    def _manifest(self, *, required: bool = False) -> Entries:
        path = self.path / MANIFEST_FILE
        return _read_manifest(path) if required or path.is_file() else {}

    def _write_manifest(self, entries: Entries) -> None:
        write_whole(self.path / MANIFEST_FILE, _manifest_bytes(entries))


def free_folder(out: Path) -> RunFolder:
    """The folder of a run that is still to be written. Raises InputError where it is a file or holds a run."""
    folder = RunFolder(out)
    if out.exists() and not out.is_dir():
        raise InputError(f"{out}: is a file, not a folder; name another --out")
    if folder.holds_run():
        raise InputError(f"{out} already holds a run; name another folder with --out")
    return folder


def _set_aside(folder: Path) -> Path:
    """Rename a folder so that nobody takes it for a whole one while it is being removed."""
    aside = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(aside, ignore_errors=True)
    os.replace(folder, aside)
    return aside


def tensors(content: bytes, place: Path) -> dict[str, Tensor]:
    """The tensors of a safetensors file. Raises CorruptFileError naming `place`."""
    try:
        return safetensors.torch.load(content)
    except Exception as error:
        raise CorruptFileError(f"{place}: not a whole safetensors file: {error}") from error


def tensor_bytes(values: Mapping[str, Tensor]) -> bytes:
    """Tensors in the safetensors format."""
    return safetensors.torch.save({name: tensor.detach().cpu().contiguous() for name, tensor in values.items()})


def _manifest_bytes(entries: Entries) -> bytes:
    return json.dumps({"sha256": dict(sorted(entries.items()))}, indent=2).encode()


def _read_manifest(path: Path) -> Entries:
    try:
        entries = _json_object(path.read_bytes(), path).get("sha256")
    except FileNotFoundError as error:
        raise CorruptFileError(f"{path}: missing, so the files beside it cannot be verified") from error
    if not isinstance(entries, dict):
        raise CorruptFileError(f"{path}: not a manifest")
    return entries


def _accepted(entry: str | list[str]) -> list[str]:
    return [entry] if isinstance(entry, str) else entry


def _verified(folder: Path, name: str, entries: Entries) -> bytes:
    path = folder / name
    if name not in entries:
        raise CorruptFileError(f"{path}: the manifest does not know this file")
    try:
        content = path.read_bytes()
    except FileNotFoundError as error:
        raise CorruptFileError(f"{path}: missing, though the manifest lists it") from error
    if digest(content) not in _accepted(entries[name]):
        raise CorruptFileError(f"{path}: altered or truncated since it was written (its SHA-256 is another)")
    return content


def _json_object(content: bytes, place: Path) -> dict[str, Any]:
    try:
        value = json.loads(content)
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise CorruptFileError(f"{place}: not JSON: {error}") from error
    if not isinstance(value, dict):
        raise CorruptFileError(f"{place}: not a JSON object")
    return value
