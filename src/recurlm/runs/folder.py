"""A run folder on disk: every file written whole or not at all, hashed, and verified when read."""

import hashlib
import json
import math
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, InstanceOf, TypeAdapter, ValidationError

from recurlm.capacity import machine_memory
from recurlm.config import Recipe
from recurlm.documents import json_text, parse_json_object
from recurlm.errors import CorruptFileError, InputError
from recurlm.files import digest_of, read_bounded, refuse_link, write_within
from recurlm.limits import LARGEST_DOCUMENT
from recurlm.locks import locked
from recurlm.models.language_model import LanguageModel
from recurlm.models.memory_estimate import check_model_fits, model_shapes
from recurlm.partial_files import remove_partial, sync_folder, temporary_folder
from recurlm.recipe_files import parse_recorded_recipe
from recurlm.tensor_files import ITEM_BYTES, LARGEST_HEADER, check_shapes, finite_tensors, read_header
from recurlm.text.codec import TOKENIZER_FILE, VOCABULARY_FILE, Codec
from recurlm.text.recorded import RecordedCorpus

CONFIG_FILE = "config.json"
MODEL_FILE = "model.safetensors"
METRICS_FILE = "metrics.jsonl"
MANIFEST_FILE = "manifest.json"
CHECKPOINTS_FOLDER = "checkpoints"
WEIGHTS_FILE = "weights.safetensors"
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
        """Make the folder and hold it for one process that writes a run. Raises InputError where another has it."""
        place = self._make()
        with ExitStack() as stack:
            try:
                stack.enter_context(locked(place, wait=False))
            except BlockingIOError as error:
                raise InputError(
                    f"{self.path}: another process is writing a run in it; wait, or name another folder with --out"
                ) from error
            yield

    def _make(self) -> Path:
        folder = self.path / CHECKPOINTS_FOLDER
        refuse_link(folder)
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
        self._write_manifest({**self._entries(), CONFIG_FILE: digest(content)})
        # the configuration comes last: a folder that has one has the rest, its manifest too
        write_within(self.path, CONFIG_FILE, content)

    def create_whole(self, config: Mapping[str, Any], codec: Codec, model: bytes) -> None:
        """Write a run that is not trained here. Raises InputError where there is one, or another process writes one."""
        with self.claimed():
            free_folder(self.path)  # another process may have been quicker
            self.save_model(model)
            # the configuration, which makes a folder a run, comes last
            self.create(config, codec)

    def write(self, files: Mapping[str, bytes]) -> None:
        """Write files at the top of the folder and enter them in the manifest."""
        digests = {name: digest(content) for name, content in files.items()}
        self.path.mkdir(parents=True, exist_ok=True)
        with locked(self.path):
            before = self._entries()
            announced: Entries = {
                name: [*_accepted(before[name]), new] for name, new in digests.items() if before.get(name, new) != new
            }
            if announced:  # until a file is replaced its old content is right, whenever a reader or a kill may come
                self._write_manifest({**before, **announced})
            for name, content in files.items():
                write_within(self.path, name, content)
            self._write_manifest({**before, **digests})

    def seal(self, names: list[str]) -> None:
        """Enter files that grew while the run went on in the manifest."""
        with locked(self.path):
            grown: Entries = {name: digest_of(self.path / name).removeprefix("sha256:") for name in names}
            self._write_manifest(self._entries() | grown)

    def read(self, name: str, largest: int = LARGEST_DOCUMENT) -> bytes:
        """A file's content, held to the manifest.

        Raises CorruptFileError where it is missing, altered, larger than `largest` bytes, or not a regular file.
        """
        try:
            return _verified(self.path, name, self.manifest(), largest)
        except CorruptFileError:
            # a run in progress may have replaced the file since the manifest was read
            return _verified(self.path, name, self.manifest(), largest)

    def config(self, *needed: str) -> dict[str, Any]:
        """What config.json says, its values of the types of `CONFIG_TYPES`.

        Raises InputError where there is no run, CorruptFileError where a value has another type or a needed key is
        missing.
        """
        if not self.holds_run():
            raise InputError(f"{self.path}: not a run folder (no {CONFIG_FILE}); `recurlm train --out` writes one")
        place = str(self.path / CONFIG_FILE)
        values = parse_json_object(self.read(CONFIG_FILE), place, file_names=True)
        _check_types(values, place)
        for key in needed:
            if key not in values:
                raise CorruptFileError(f"{place}: lacks {key}, which every run of this program has")
        return values

    def recipe(self) -> Recipe:
        """The recipe the run was made with."""
        return parse_recorded_recipe(self.config("recipe")["recipe"], str(self.path / CONFIG_FILE))

    def corpus(self) -> RecordedCorpus:
        """The texts that the run learned from."""
        return RecordedCorpus.from_config(self.config(), str(self.path))

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
        if MODEL_FILE not in self.manifest():
            raise InputError(f"{self.path}: has no model yet; let `recurlm train --resume` finish an epoch first")
        place, options = self.path / MODEL_FILE, self.recipe().model
        check_model_fits(options, len(codec.vocabulary), str(self.path / CONFIG_FILE))
        content = self.read_model(codec)
        model = LanguageModel(options, len(codec.vocabulary))
        try:
            model.load_weights(finite_tensors(content, place))
        except (RuntimeError, KeyError) as error:
            raise CorruptFileError(f"{place}: does not fit config.json: {error}") from error
        return model.eval()

    def read_model(self, codec: Codec) -> bytes:
        """The content of the run's model, its shapes held to config.json and the vocabulary before it is loaded."""
        place, size = self.path / MODEL_FILE, len(codec.vocabulary)
        expected = model_shapes(self.recipe().model, size)
        content = self.read(
            MODEL_FILE, LARGEST_HEADER + max(ITEM_BYTES.values()) * sum(map(math.prod, expected.values()))
        )
        header = read_header(content, place)
        if "embedding.weight" not in header.tensors:
            raise CorruptFileError(f"{place}: holds no embedding.weight, so it is not a model")
        rows = header.shapes["embedding.weight"][:1]
        if rows != (size,):
            raise InputError(
                f"{self.path}: the vocabulary has {size:,} tokens but the model {rows[0] if rows else 0:,}; "
                f"bring back the {VOCABULARY_FILE} that belongs to it"
            )
        check_shapes(header, expected, place, "config.json")
        return content

    def save_checkpoint(self, step: int, files: Mapping[str, bytes]) -> None:
        """Write a checkpoint whole or not at all, and forget all but the newest."""
        folder = self._make()
        target = folder / f"step-{step:08d}"
        entries: Entries = {name: digest(content) for name, content in files.items()}
        with temporary_folder(folder) as unfinished:
            for name, content in {**files, MANIFEST_FILE: _manifest_bytes(entries)}.items():
                write_within(unfinished, name, content)
            # the same step comes again after its epoch was validated
            before = _set_aside(target) if target.exists() else None
            os.replace(unfinished, target)
            if before is not None:
                shutil.rmtree(before, ignore_errors=True)
        sync_folder(folder)
        self._forget_old_checkpoints()

    def has_checkpoint(self) -> bool:
        """Whether training has written one yet."""
        return bool(self.checkpoints())

    def latest_checkpoint(self, tell: Callable[[str], None] = lambda _: None) -> dict[str, bytes] | None:
        """The files of the newest checkpoint that is whole; None where there is none yet.

        Damaged ones after it are renamed to ``damaged-step-…``, and `tell` gets a line about each. Raises
        CorruptFileError where all are damaged.
        """
        damages: dict[Path, CorruptFileError] = {}
        for folder in reversed(self.checkpoints()):
            try:
                files = read_checkpoint(folder)
            except CorruptFileError as error:
                damages[folder] = error
                continue
            for damaged, damage in damages.items():
                _put_away(damaged)
                tell(f"{damage}\n{damaged.name} is damaged; going on from the checkpoint before it, {folder.name}")
            return files
        if not damages:
            return None
        newest, damage = next(iter(damages.items()))
        raise CorruptFileError(
            f"{damage}\nno checkpoint is whole; to begin again, remove {newest.parent} and run the command "
            "with --resume"
        )

    def discard_checkpoints(self) -> None:
        """Remove them all: nobody will go on with this run."""
        shutil.rmtree(self.path / CHECKPOINTS_FOLDER, ignore_errors=True)

    def discard_unfinished(self) -> None:
        """Remove what a killed process left half done."""
        remove_partial(self.path)
        remove_partial(self.path / CHECKPOINTS_FOLDER)

    def checkpoints(self) -> list[Path]:
        """Their folders, oldest first."""
        return sorted((self.path / CHECKPOINTS_FOLDER).glob("step-*"))

    def _forget_old_checkpoints(self) -> None:
        for old in self.checkpoints()[:-KEPT_CHECKPOINTS]:
            shutil.rmtree(_set_aside(old), ignore_errors=True)

    def manifest(self) -> Entries:
        """What the manifest lists. Raises CorruptFileError where it is missing or damaged."""
        return _read_manifest(self.path / MANIFEST_FILE)

    def _entries(self) -> Entries:
        """The same, or nothing before the first file is written."""
        return self.manifest() if (self.path / MANIFEST_FILE).exists() else {}

    def _write_manifest(self, entries: Entries) -> None:
        write_within(self.path, MANIFEST_FILE, _manifest_bytes(entries))


_Text = InstanceOf[str]
"""Not `str`, for pydantic's refuses the names of files that are not UTF-8."""


class _Recorded(BaseModel):
    model_config = ConfigDict(strict=True, allow_inf_nan=False)


class RecordedStart(_Recorded):
    """The run that a run began with."""

    model_config = ConfigDict(extra="forbid")
    run: _Text
    model: _Text


class RecordedSource(_Recorded):
    """Where the text of a run came from; `RecordedCorpus` reads the rest of it."""

    source: _Text
    name: _Text = ""


class RecordedGrowth(_Recorded):
    """The words that a run's vocabulary was given after training."""

    file: _Text
    init: _Text
    added: list[_Text]


CONFIG_TYPES: dict[str, Any] = {
    "corpus": RecordedSource,
    "parameters": int,
    "seed": Annotated[int, Field(ge=-(1 << 63), lt=1 << 64)],
    "device": _Text,
    "precision": Literal["fp32", "bf16"],
    "threads": Annotated[int, Field(ge=1, le=1 << 16)],
    "versions": dict[str, _Text],
    "kernels": dict[str, Any],
    "time_limit": float | None,
    "start": RecordedStart | None,
    "recipe_name": _Text,
    "recipe": dict[str, Any],
    "extended": RecordedGrowth,
}
"""What this program reads in config.json; docs/run-folder.md lists all that is there."""
_CONFIG_ADAPTERS = {key: TypeAdapter[Any](kind) for key, kind in CONFIG_TYPES.items()}


def _check_types(values: Mapping[str, Any], place: str) -> None:
    for key in values.keys() & _CONFIG_ADAPTERS.keys():
        try:
            _CONFIG_ADAPTERS[key].validate_python(values[key], strict=True)
        except ValidationError as error:
            first = error.errors()[0]
            raise CorruptFileError(f"{place}: {'.'.join(map(str, (key, *first['loc'])))}: {first['msg']}") from error


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


def _put_away(damaged: Path) -> None:
    """Rename a damaged checkpoint so that no command takes it for one; its files stay for inspection."""
    target = damaged.with_name(f"damaged-{damaged.name}")
    shutil.rmtree(target, ignore_errors=True)
    os.replace(damaged, target)


def read_checkpoint(folder: Path) -> dict[str, bytes]:
    """A checkpoint's files. Raises CorruptFileError where one is missing or altered, or weights are not finite."""
    entries = _read_manifest(folder / MANIFEST_FILE)
    files = {name: _verified(folder, name, entries, machine_memory()) for name in entries}
    for name, content in files.items():
        if name.endswith(".safetensors"):
            read_header(content, folder / name)
    if WEIGHTS_FILE in files:
        finite_tensors(files[WEIGHTS_FILE], folder / WEIGHTS_FILE)
    return files


def _manifest_bytes(entries: Entries) -> bytes:
    return json.dumps({"sha256": dict(sorted(entries.items()))}, indent=2).encode()


def _read_manifest(path: Path) -> Entries:
    if not path.exists():
        raise CorruptFileError(f"{path}: missing, so the files beside it cannot be verified")
    entries = parse_json_object(read_bounded(path, error=CorruptFileError), str(path)).get("sha256")
    if not isinstance(entries, dict) or not all(map(_is_entry, entries, entries.values())):
        raise CorruptFileError(f"{path}: not a manifest")
    return entries


def _is_entry(name: str, accepted: Any) -> bool:
    """Whether this is the plain name of a file, with its digest or two of them."""
    plain = name not in ("", ".", "..") and not set(name) & set("/\\\0")
    digests = [accepted] if isinstance(accepted, str) else accepted
    return plain and isinstance(digests, list) and all(isinstance(each, str) for each in digests)


def _accepted(entry: str | list[str]) -> list[str]:
    return [entry] if isinstance(entry, str) else entry


def _verified(folder: Path, name: str, entries: Entries, largest: int) -> bytes:
    path = folder / name
    if name not in entries:
        raise CorruptFileError(f"{path}: the manifest does not know this file")
    if not os.path.exists(path):  # unlike Path.exists, of names too long for any file too
        raise CorruptFileError(f"{path}: missing, though the manifest lists it")
    content = read_bounded(path, largest, error=CorruptFileError)
    if digest(content) not in _accepted(entries[name]):
        raise CorruptFileError(f"{path}: altered or truncated since it was written (its SHA-256 is another)")
    return content
