"""`recurlm import-mxnet`: write a model that MXNet trained as a run folder."""

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from recurlm.cli.console import JsonOption, message, print_json

if TYPE_CHECKING:
    from recurlm.mxnet.importing import ImportedModel


def import_mxnet(
    prefix: Annotated[
        str, typer.Argument(metavar="PREFIX", help="Prefix of the files PREFIX-symbol.json and PREFIX-NNNN.params.")
    ],
    epoch: Annotated[int, typer.Option("--epoch", min=0, max=9999, help="Number NNNN of the parameter file.")],
    vocabulary: Annotated[
        Path,
        typer.Option(
            "--vocabulary",
            metavar="FILE",
            help="JSON object from word to id, list of words by id from 1 on, or the text the model was trained on.",
        ),
    ],
    out: Annotated[Path, typer.Option("--out", metavar="RUN", help="Run folder to write.")],
    widen: Annotated[bool, typer.Option("--widen", help="Store float16 and bfloat16 weights as float32.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Import a language model of mx.rnn, without MXNet."""
    from recurlm.mxnet.importing import import_model

    imported = import_model(prefix, epoch, vocabulary, out, widen=widen)
    if as_json:
        print_json(imported.to_json())
        return
    for line in _summary(imported):
        print(line)
    run = shlex.quote(str(out))
    message(f"next        recurlm eval {run} TEXT --protocol mxnet     recurlm train TEXT --from {run} --out NEW")


def _summary(imported: "ImportedModel") -> list[str]:
    options = imported.options
    dropout = options.dropout
    yes_no = {True: "yes", False: "no"}
    residual = _one_or_several([yes_no[each] for each in options.residuals])
    between = _one_or_several([f"{each:g}" for each in options.dropouts_between]) or "none"
    rows = {
        "run": str(imported.run.path),
        "vocabulary": f"{imported.vocabulary_size:,} words, <eos> among them",
        "embedding": f"{options.embedding_size:,}, tied to the softmax: {yes_no[options.tied]}",
        "layers": f"{options.layers_in_words}, residual: {residual}",
        "dropout": f"input {dropout.input:g}, between {between}, output {dropout.output:g}",
        "parameters": f"{imported.parameters:,}, {', '.join(imported.dtypes)}",
        "not used": ", ".join(imported.unused) or "none",
    }
    return [f"{name:12}{value}" for name, value in rows.items()] + [f"{'note':12}{note}" for note in imported.notes]


def _one_or_several(values: list[str]) -> str:
    """One value where all layers agree, else the value of each."""
    return ", ".join(values if len(set(values)) > 1 else values[:1])
