"""Imports a model that MXNet trained, as an ordinary run folder."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from recurlm.config import ModelOptions, Recipe
from recurlm.errors import InputError
from recurlm.files import digest_of
from recurlm.mxnet.architecture import Architecture
from recurlm.mxnet.conversion import model_tensors, model_values
from recurlm.mxnet.params import read_params
from recurlm.mxnet.symbol import read_symbol
from recurlm.mxnet.vocabulary import LINE_FEED, check_vocabulary_size, read_vocabulary
from recurlm.mxnet.weights import Array, model_weights, unused_params
from recurlm.recipe_files import load_recipe, parse_recipe
from recurlm.runs.config import RunConfig
from recurlm.runs.folder import RunFolder, free_folder
from recurlm.tensor_files import tensor_bytes
from recurlm.text.codec import Codec
from recurlm.text.store import PreparedCorpus
from recurlm.text.tokenization import Words
from recurlm.text.vocabulary import EOS, UNK, Vocabulary

RECIPE = "mxnet-bucketing"


@dataclass(frozen=True)
class ImportedModel:
    """What was imported, and where it is now.

    dtypes: of the stored weights · unused: parameters of the file that the graph does not name · notes: what
    the user must know.
    """

    run: RunFolder
    options: ModelOptions
    vocabulary_size: int
    parameters: int
    dtypes: tuple[str, ...]
    unused: tuple[str, ...]
    notes: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """The object that `import-mxnet --json` prints."""
        return {
            "run": str(self.run.path),
            "model": self.options.model_dump(mode="json"),
            "vocabulary": self.vocabulary_size,
            "parameters": self.parameters,
            "dtypes": list(self.dtypes),
            "unused": list(self.unused),
            "notes": list(self.notes),
        }


def symbol_path(prefix: str) -> Path:
    """The file in which MXNet keeps a model's graph."""
    return Path(f"{prefix}-symbol.json")


def params_path(prefix: str, epoch: int) -> Path:
    """The file in which MXNet keeps a model's parameters after an epoch."""
    return Path(f"{prefix}-{epoch:04d}.params")


def import_model(prefix: str, epoch: int, vocabulary: Path, out: Path, *, widen: bool = False) -> ImportedModel:
    """Writes the model of ``PREFIX-symbol.json`` and ``PREFIX-NNNN.params`` as a run folder.

    Half precision stays half in the file unless ``widen`` makes it float32; what is computed is the same, for
    models compute in float32. Raises InputError for what is absent or cannot be imported and where ``out``
    already holds a run, CorruptFileError for damaged files.
    """
    folder = free_folder(out)
    symbol, params_file = symbol_path(prefix), params_path(prefix, epoch)
    architecture = read_symbol(symbol)
    params = read_params(params_file, widen=False)
    words = read_vocabulary(vocabulary)
    check_vocabulary_size(vocabulary, words, architecture.embedding.input_dim)
    codec = _codec(vocabulary, words)
    tensors = _tensors(params_file, architecture, params, widen)
    recipe = _recipe(symbol, architecture, codec)
    imported = ImportedModel(
        folder,
        recipe.model,
        len(codec.vocabulary),
        sum(tensor.numel() for tensor in tensors.values()),
        tuple(sorted({str(tensor.dtype).removeprefix("torch.") for tensor in tensors.values()})),
        tuple(unused_params(architecture, params)),
        tuple(_notes(params, words)),
    )
    sources = {path.name: digest_of(path) for path in (symbol, params_file, vocabulary)}
    _write(imported, recipe, codec, tensors, {"prefix": prefix, "epoch": epoch, "files": sources})
    return imported


def _codec(path: Path, ids: Mapping[str, int]) -> Codec:
    """Words keep MXNet's ids; id 0, which is both end of sentence and padding there, is ``<eos>``."""
    words = sorted(ids, key=ids.__getitem__)
    if words[0] not in (LINE_FEED, EOS):
        raise InputError(
            f"{path}: id 0 is the word {words[0]!r}, but it must be the end of a sentence, which is padding too\n"
            'if this word stands for it, write "\\n": 0 in its place; otherwise give words ids from 1 on'
        )
    for word in (LINE_FEED, EOS):
        if ids.get(word, 0) != 0:
            raise InputError(
                f"{path}: {word!r} has id {ids[word]}, but it means the end of a sentence, which is {words[0]!r} with "
                "id 0; give the word another name"
            )
    return Codec(Words(), Vocabulary((EOS, *words[1:])))


def _tensors(path: Path, architecture: Architecture, params: Mapping[str, Array], widen: bool) -> dict[str, Tensor]:
    try:
        return model_tensors(architecture, model_weights(architecture, params), widen=widen)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error


def _recipe(path: Path, architecture: Architecture, codec: Codec) -> Recipe:
    """The recipe of MXNet's training with this model, which further training uses by default."""
    try:
        model = model_values(architecture)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    values = load_recipe(RECIPE).model_dump(mode="json")
    values["description"] = "A model that MXNet trained, trained on as MXNet would."
    values["source"] = values["corpus"] = ""
    values["model"] = model
    values["text"]["unknown"] = UNK in codec.vocabulary.ids
    values["validation"] = {"split": "valid", "protocol": "mxnet", "keep": "best"}
    return parse_recipe(values, str(path))


def _notes(params: Mapping[str, Array], words: Mapping[str, int]) -> list[str]:
    notes = []
    if any(array.dtype == "<f8" for array in params.values()):
        notes.append("float64 weights were rounded to float32, in which models compute")
    joined = [word for word in words if LINE_FEED in word and word != LINE_FEED]
    if joined:
        notes.append(
            f"{len(joined):,} words hold a line feed, such as {joined[0]!r}: the training text had no space before its "
            "line ends; here a line end is always <eos>, so no text contains these words"
        )
    return notes


def _write(
    imported: ImportedModel, recipe: Recipe, codec: Codec, tensors: Mapping[str, Tensor], origin: Mapping[str, Any]
) -> None:
    config = RunConfig(
        recipe,
        RECIPE,
        source="",
        seed=1,
        device="cpu",
        precision="fp32",
        threads=torch.get_num_threads(),
        time_limit=None,
    )
    content = config.to_json(PreparedCorpus("", codec, {}), imported.parameters) | {"imported": {"mxnet": origin}}
    imported.run.create_whole(content, codec, tensor_bytes(tensors))
