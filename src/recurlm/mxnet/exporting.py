"""Exports a run as files that MXNet 1.x loads."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from recurlm.config import ModelOptions
from recurlm.errors import InputError
from recurlm.mxnet.architecture import fused_layer_by_layer
from recurlm.mxnet.conversion import architecture_of, weights_of
from recurlm.mxnet.importing import params_path, symbol_path
from recurlm.mxnet.params import write_params
from recurlm.mxnet.symbol import write_symbol
from recurlm.mxnet.vocabulary import LINE_FEED, write_vocabulary
from recurlm.mxnet.weights import model_params
from recurlm.runs.folder import RunFolder

EPOCH = 0


@dataclass(frozen=True)
class ExportedModel:
    """The written files, and what the user must know about them."""

    symbol: Path
    params: Path
    vocabulary: Path
    parameters: int
    notes: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """The object that `export-mxnet --json` prints."""
        return {
            "symbol": str(self.symbol),
            "params": str(self.params),
            "vocabulary": str(self.vocabulary),
            "parameters": self.parameters,
            "notes": list(self.notes),
        }


def export_model(run: RunFolder, prefix: str) -> ExportedModel:
    """Writes ``PREFIX-symbol.json``, ``PREFIX-0000.params`` and ``PREFIX-vocabulary.json``.

    The graph takes word ids (B, T) as ``data`` and gives probabilities (B·T, V), one ``RNN`` operator per layer,
    for sentences of any length. Raises InputError where the run has no model, for a cell that MXNet's operator
    lacks, and where one of the files is already there.
    """
    codec = run.codec()
    model = run.load_model(codec)
    files = (symbol_path(prefix), params_path(prefix, EPOCH), Path(f"{prefix}-vocabulary.json"))
    for path in files:
        if path.exists():
            raise InputError(f"{path} is already there; name another PREFIX")
    symbol, params, vocabulary = files
    architecture = fused_layer_by_layer(architecture_of(model.options, len(codec.vocabulary)))
    words = (LINE_FEED, *codec.vocabulary.tokens[1:])
    write_symbol(symbol, architecture)
    write_params(params, model_params(architecture, weights_of(model)))
    write_vocabulary(vocabulary, {word: number for number, word in enumerate(words)})
    notes = _notes(model.options, codec.tokenization.unit)
    if codec.tokenization.cut:
        notes.append(
            "the vocabulary holds words of prose; cut texts at Unicode's word boundaries, as docs/texts.md says"
        )
    return ExportedModel(symbol, params, vocabulary, model.parameter_count(), tuple(notes))


def _notes(options: ModelOptions, unit: str) -> list[str]:
    notes = []
    dropout = options.dropout
    if dropout.locked and (dropout.input or any(options.dropouts_between) or dropout.output):
        notes.append("dropout keeps its probabilities, but MXNet draws a new mask at every step; only training differs")
    if dropout.embedding:
        notes.append("dropout of whole word types has no operator in MXNet and is left out; only training differs")
    if unit == "bpe":
        notes.append("the vocabulary holds byte pairs; cut texts into them with the run's tokenizer.json")
    return notes
