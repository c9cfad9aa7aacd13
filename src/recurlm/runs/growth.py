"""Vocabulary growth: writes a new run folder whose model has the old words and further words."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from recurlm.errors import InputError, UsageError
from recurlm.runs.config import RunConfig, Start
from recurlm.runs.folder import MODEL_FILE, RunFolder, free_folder
from recurlm.runs.manifest import digest
from recurlm.tensor_files import tensor_bytes, tensors
from recurlm.text.codec import Codec
from recurlm.text.sources import Text
from recurlm.text.store import PreparedCorpus
from recurlm.text.tokenization import BytePairs
from recurlm.text.vocabulary import EOS, UNK, Vocabulary

NOISE = 0.01
"""Standard deviation of the noise on a new word's weight, in standard deviations of that weight over the old words."""

WORD_WEIGHTS = ("embedding.weight", "decoder.weight", "decoder.bias")
"""The weights with a row for each word; a tied decoder has no weight of its own."""

INITS = ("mean", "unk")


@dataclass(frozen=True)
class Growth:
    """The words added to the vocabulary of a run, and the folder of the grown model.

    known: tokens of the file that the vocabulary had already · init: `mean` or `unk` · size: of the new vocabulary.
    """

    run: RunFolder
    origin: RunFolder
    added: tuple[str, ...]
    known: tuple[str, ...]
    init: str
    seed: int
    size: int

    def to_json(self) -> dict[str, Any]:
        """The object that `vocabulary --extend --json` prints."""
        return {
            "run": str(self.run.path),
            "from": str(self.origin.path),
            "size": self.size,
            "added": list(self.added),
            "known": list(self.known),
            "init": self.init,
            "noise": NOISE if self.init == "mean" else 0.0,
            "seed": self.seed,
        }


def extend_vocabulary(origin: RunFolder, words: Text, out: Path, *, init: str = "mean", seed: int = 1) -> Growth:
    """Writes a new run folder: the run `origin` with the tokens of `words` that it lacks. `origin` is not changed.

    Old tokens keep their ids and weights; `extended_weights` gives the weights of the new tokens. Raises UsageError for
    an unknown `init`, InputError if nothing can be added or `out` already holds a run.
    """
    if init not in INITS:
        raise UsageError(f"--init {init}: there are {' and '.join(INITS)}")
    folder = free_folder(out)
    config, codec = origin.config(), origin.codec()
    added, known = _check_growth(origin, codec, words, init)
    model = origin.read(MODEL_FILE)
    copied = codec.vocabulary.unknown_id if init == "unk" else None
    weights = extended_weights(tensors(model, origin.path / MODEL_FILE), len(added), copied=copied, seed=seed)
    grown = Codec(codec.tokenization, Vocabulary(codec.vocabulary.tokens + added))
    growth = Growth(folder, origin, added, known, init, seed, len(grown.vocabulary))
    content = _config(config, origin, digest(model), grown, sum(tensor.numel() for tensor in weights.values()))
    source = {"file": words.name, "digest": words.sha256}
    said = {key: value for key, value in growth.to_json().items() if key in ("init", "noise", "seed", "added")}
    extended = source | said | {"fine_tuned": is_fine_tuned(config)}
    folder.create_whole(content | {"extended": extended}, grown, tensor_bytes(weights))
    return growth


def is_fine_tuned(config: Mapping[str, Any]) -> bool:
    """Whether the learning rate in a config.json is already that of fine-tuning.

    Training that began with another run had such a rate. An extended run begins with another run too, but it copies the
    recipe, so it records whether the training of that run was fine-tuning.
    """
    extended = config.get("extended")
    return config.get("start") is not None if extended is None else bool(extended.get("fine_tuned", False))


def _check_growth(origin: RunFolder, codec: Codec, words: Text, init: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The tokens that a vocabulary lacks, and the tokens that it has. Raises InputError if the model cannot grow."""
    origin.load_model(codec)  # raises if weights and vocabulary do not fit
    if init == "unk" and codec.vocabulary.unknown_id is None:
        raise InputError(f"{origin.path}: its vocabulary has no {UNK} to copy; use --init mean")
    added, known = _sorted_out(codec, words)
    if not added:
        raise InputError(f"{words.path}: holds no token that the vocabulary lacks, so there is nothing to add")
    if origin.recipe().model.output.kind == "adaptive":
        raise InputError(
            f"{origin.path}: its adaptive softmax has clusters by frequency, to which no word can be added"
        )
    return added, known


def extended_weights(
    weights: Mapping[str, Tensor], count: int, *, copied: int | None = None, seed: int = 1
) -> dict[str, Tensor]:
    """Weights of a language model with rows for `count` further words in the embedding and the decoder.

    Without `copied`, each new row is the mean of the old rows plus normal noise of `NOISE` standard deviations of each
    column, and each new bias is the mean of the old biases. Apart from the noise, the logit of a new word is then the
    mean of the old logits, so m new words beside n old words lower the log-probability of an old word by at most
    log(1 + m / n) (Hewitt 2021, "Initializing new word embeddings for pretrained language models"). With `copied`,
    row and bias are those of the word with this id.
    """
    generator = torch.Generator().manual_seed(seed)
    return {
        name: torch.cat([tensor, _new_rows(tensor.float(), count, copied, generator).to(tensor.dtype)])
        if name in WORD_WEIGHTS
        else tensor
        for name, tensor in sorted(weights.items())
    }


def _new_rows(old: Tensor, count: int, copied: int | None, generator: torch.Generator) -> Tensor:
    row = old.mean(0) if copied is None else old[copied]
    rows = row.expand(count, *row.shape)
    if copied is not None or old.dim() == 1:
        return rows
    return rows + NOISE * old.std(0, correction=0) * torch.randn(rows.shape, generator=generator)


def _sorted_out(codec: Codec, words: Text) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The tokens of a text that a vocabulary lacks, and the tokens that it has, each once, in order of appearance."""
    if isinstance(codec.tokenization, BytePairs):
        raise InputError(
            "the model reads byte pairs: they spell every word already, and pieces without merges would never be met\n"
            "to have other pieces, train another model with another text.merges"
        )
    found: dict[str, None] = {}
    for number, line in enumerate(words.lines(), 1):
        tokens = list(codec.tokenization.split(line))
        if EOS in tokens:
            raise InputError(f"{words.path}, {codec.refusal(EOS, number)}")
        found |= dict.fromkeys(tokens)
    ids = codec.vocabulary.ids
    return tuple(token for token in found if token not in ids), tuple(token for token in found if token in ids)


def _config(values: Mapping[str, Any], origin: RunFolder, model: str, codec: Codec, parameters: int) -> dict[str, Any]:
    """config.json of the new run: it describes the training of the old run, and starts from its model."""
    started = Start(str(origin.path.resolve()), model)
    config = replace(RunConfig.from_json({**values, "start": None}, origin.recipe()), start=started)
    corpus = values["corpus"]
    return config.to_json(PreparedCorpus(corpus["name"], codec, {}), parameters) | {"corpus": corpus}
