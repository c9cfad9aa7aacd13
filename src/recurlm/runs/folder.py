"""A run folder on disk: every file is written whole or not at all, recorded with its digest, and verified when read."""

import math
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from recurlm.config import Recipe
from recurlm.documents import json_text, parse_json_object
from recurlm.errors import CorruptFileError, InputError
from recurlm.files import check_output_folder, digest_of, write_within
from recurlm.files.limits import LARGEST_DOCUMENT
from recurlm.files.locks import is_locked, locked
from recurlm.files.partial import remove_partial
from recurlm.files.suggestions import did_you_mean
from recurlm.models.language_model import LanguageModel
from recurlm.models.memory_estimate import check_model_fits, model_shapes
from recurlm.recipe_files import parse_recorded_recipe
from recurlm.runs.checkpoints import Checkpoints
from recurlm.runs.config_types import check_types
from recurlm.runs.manifest import (
    MANIFEST_FILE,
    Entries,
    accepted_digests,
    digest,
    manifest_bytes,
    read_manifest,
    read_verified,
)
from recurlm.tensor_files import ITEM_BYTES, LARGEST_HEADER, check_shapes, finite_tensors, read_header
from recurlm.text.codec import TOKENIZER_FILE, VOCABULARY_FILE, Codec
from recurlm.text.recorded import RecordedCorpus

CONFIG_FILE = "config.json"
MODEL_FILE = "model.safetensors"
METRICS_FILE = "metrics.jsonl"


@dataclass(frozen=True)
class RunFolder:
    """The files of one run; see docs/run-folder.md."""

    path: Path

    @property
    def checkpoints(self) -> Checkpoints:
        """The checkpoints of the run."""
        return Checkpoints(self.path)

    def holds_run(self) -> bool:
        """Whether a run was started here."""
        return (self.path / CONFIG_FILE).is_file()

    @property
    def is_claimed(self) -> bool:
        """Whether a process trains in the folder now."""
        return is_locked(self.checkpoints.path)

    @contextmanager
    def claimed(self) -> Iterator[None]:
        """Makes the folder and holds it for this process alone. Raises InputError if another process holds it."""
        self.checkpoints.make()
        with ExitStack() as stack:
            try:
                stack.enter_context(locked(self.checkpoints.path, wait=False))
            except BlockingIOError as error:
                raise InputError(
                    f"{self.path}: another process is writing a run in it; wait, or name another folder with --out"
                ) from error
            yield

    def create(self, config: Mapping[str, Any], codec: Codec) -> None:
        """Begins a run: writes the vocabulary and config.json."""
        self.checkpoints.make()
        self.write({name: content.encode() for name, content in codec.files().items()})
        content = json_text(config, indent=2).encode()
        self._write_manifest({**self._entries(), CONFIG_FILE: digest(content)})
        # config.json comes last: a folder that has it has the rest, the manifest included
        write_within(self.path, CONFIG_FILE, content)

    def create_whole(self, config: Mapping[str, Any], codec: Codec, model: bytes) -> None:
        """Writes a run that is not trained here.

        Raises InputError if the folder holds a run, or if another process writes one in it.
        """
        with self.claimed():
            free_folder(self.path)  # another process may have written a run since the caller looked
            self.save_model(model)
            # config.json makes a folder a run, so it comes last
            self.create(config, codec)

    def write(self, files: Mapping[str, bytes]) -> None:
        """Writes files at the top of the folder and enters them in the manifest.

        While a file is replaced, the manifest accepts the old and the new digest, so readers and crashes are safe.
        """
        digests = {name: digest(content) for name, content in files.items()}
        self.path.mkdir(parents=True, exist_ok=True)
        with locked(self.path):
            before = self._entries()
            announced: Entries = {
                name: [*accepted_digests(before[name]), new]
                for name, new in digests.items()
                if before.get(name, new) != new
            }
            if announced:
                self._write_manifest({**before, **announced})
            for name, content in files.items():
                write_within(self.path, name, content)
            self._write_manifest({**before, **digests})

    def seal(self, names: list[str]) -> None:
        """Enters files that grew during the run in the manifest."""
        with locked(self.path):
            grown: Entries = {name: digest_of(self.path / name).removeprefix("sha256:") for name in names}
            self._write_manifest(self._entries() | grown)

    def unseal(self, names: list[str]) -> None:
        """Takes files that will grow again out of the manifest."""
        with locked(self.path):
            self._write_manifest({name: entry for name, entry in self._entries().items() if name not in names})

    def read(self, name: str, largest: int = LARGEST_DOCUMENT) -> bytes:
        """The content of a file, held to the manifest.

        Raises CorruptFileError if the file is missing, altered, larger than `largest` bytes, or not a regular file.
        """
        try:
            return read_verified(self.path, name, self.manifest(), largest)
        except CorruptFileError:
            # a run in progress may have replaced the file since the manifest was read
            return read_verified(self.path, name, self.manifest(), largest)

    def config(self, *needed: str) -> dict[str, Any]:
        """The values of config.json, of the types in `CONFIG_TYPES`.

        Raises InputError if the folder holds no run, CorruptFileError if a value has another type or a needed key is
        missing.
        """
        if not self.holds_run():
            hint = did_you_mean(self.path, _holds_run) or "; `recurlm train --out` writes one"
            raise InputError(f"{self.path}: not a run folder (no {CONFIG_FILE}){hint}")
        place = str(self.path / CONFIG_FILE)
        values = parse_json_object(self.read(CONFIG_FILE), place, file_names=True)
        check_types(values, place)
        for key in needed:
            if key not in values:
                raise CorruptFileError(f"{place}: lacks {key}, which every run of this program has")
        return values

    def recipe(self) -> Recipe:
        """The recipe of the run."""
        return parse_recorded_recipe(self.config("recipe")["recipe"], str(self.path / CONFIG_FILE))

    def corpus(self) -> RecordedCorpus:
        """The texts that the run learned from."""
        return RecordedCorpus.from_config(self.config(), str(self.path))

    def codec(self) -> Codec:
        """The tokenization and vocabulary of the run."""
        self.read(VOCABULARY_FILE)
        if (self.path / TOKENIZER_FILE).is_file():
            self.read(TOKENIZER_FILE)
        return Codec.load(self.path)

    def save_model(self, model: bytes) -> None:
        """Writes the model of the run."""
        self.write({MODEL_FILE: model})

    def load_model(self, codec: Codec) -> LanguageModel:
        """The model of the run, ready to evaluate. Raises InputError if weights and vocabulary do not fit."""
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
        """The content of the model file; its shapes are held to config.json and the vocabulary before it is loaded."""
        place, size = self.path / MODEL_FILE, len(codec.vocabulary)
        expected = model_shapes(self.recipe().model, size)
        largest = LARGEST_HEADER + max(ITEM_BYTES.values()) * sum(map(math.prod, expected.values()))
        content = self.read(MODEL_FILE, largest)
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

    def discard_unfinished(self) -> None:
        """Removes what a killed process left half written."""
        remove_partial(self.path)
        self.checkpoints.discard_unfinished()

    def manifest(self) -> Entries:
        """The entries of the manifest. Raises CorruptFileError if it is missing or damaged."""
        return read_manifest(self.path / MANIFEST_FILE)

    def _entries(self) -> Entries:
        """The entries of the manifest; none before the first file is written."""
        return self.manifest() if (self.path / MANIFEST_FILE).exists() else {}

    def _write_manifest(self, entries: Entries) -> None:
        write_within(self.path, MANIFEST_FILE, manifest_bytes(entries))


def _holds_run(path: Path) -> bool:
    return RunFolder(path).holds_run()


def free_folder(out: Path) -> RunFolder:
    """The folder of a run that is still to be written. Raises InputError if it is a file or holds a run."""
    folder = RunFolder(out)
    check_output_folder(out)
    if folder.holds_run():
        raise InputError(f"{out} already holds a run; name another folder with --out")
    return folder
