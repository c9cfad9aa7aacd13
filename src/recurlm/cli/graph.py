"""`recurlm graph`: the network of a run or a recipe, as a picture or as a table."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from recurlm.cli.console import LARGEST_COUNT, JsonOption, print_json
from recurlm.errors import UsageError

if TYPE_CHECKING:
    from recurlm.config import ModelOptions
    from recurlm.plots.layers import NetworkLayer

DEFAULT_VOCABULARY = 10_000


def graph(
    source: Annotated[str, typer.Argument(metavar="RUN|RECIPE", help="Run folder, shipped recipe, or recipe file.")],
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="FILE", help="Picture to write, .svg or .png. [default: a table on stdout]"),
    ] = None,
    unrolled: Annotated[
        bool, typer.Option("--unrolled", help="Draw three time steps side by side; needs --out.")
    ] = False,
    vocabulary: Annotated[
        int | None,
        typer.Option(
            "--vocabulary",
            min=1,
            max=LARGEST_COUNT,
            help=f"Vocabulary size V, for a recipe. [default: {DEFAULT_VOCABULARY}]",
            show_default=False,
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Draw or list the network of a run or a recipe.

    The picture and the table show shapes and parameter counts.
    """
    from recurlm.plots.figure import format_of, save
    from recurlm.plots.layers import network_layers, parameter_count
    from recurlm.plots.network import network_picture
    from recurlm.plots.unrolled import unrolled_picture

    if unrolled and out is None:
        raise UsageError("--unrolled draws a picture; say where with --out FILE.svg or --out FILE.png")
    options, size = _network(source, vocabulary)
    if out is not None:
        draw = unrolled_picture if unrolled else network_picture
        save(out, draw(options, size, format_of(out)))
    layers = network_layers(options, size)
    if as_json:
        print_json(
            {
                "layers": [layer.to_json() for layer in layers],
                "parameters": parameter_count(layers),
                "vocabulary": size,
                "tied": options.tied,
                "file": None if out is None else str(out),
            }
        )
    elif out is not None:
        print(out)
    else:
        _print_table(layers, parameter_count(layers))


def _network(source: str, vocabulary: int | None) -> tuple["ModelOptions", int]:
    """Options and vocabulary size V; the name of a shipped recipe wins over a folder of the same name."""
    from recurlm.recipe_files import load_recipe, recipe_names
    from recurlm.runs.folder import RunFolder
    from recurlm.text.codec import VOCABULARY_FILE
    from recurlm.text.vocabulary import Vocabulary

    path = Path(source)
    if source in recipe_names() or not path.is_dir():
        return load_recipe(source).model, vocabulary or DEFAULT_VOCABULARY
    if vocabulary is not None:
        raise UsageError(f"--vocabulary belongs to a recipe; {source} is a run and its {VOCABULARY_FILE} decides")
    run = RunFolder(path)
    options = run.recipe().model
    text = run.read(VOCABULARY_FILE).decode()
    return options, len(Vocabulary.from_json(text, str(path / VOCABULARY_FILE))[0])


def _print_table(layers: list["NetworkLayer"], total: int) -> None:
    rows = [("layer", "output shape", "parameters", "")]
    rows += [(layer.name, layer.shape, f"{layer.parameters:,}", _remark(layer)) for layer in layers]
    rows.append(("total", "", f"{total:,}", ""))
    names, shapes, counts = (max(len(row[column]) for row in rows) for column in range(3))
    lines = [f"{name:{names}}  {shape:{shapes}}  {count:>{counts}}  {remark}" for name, shape, count, remark in rows]
    rule = "─" * max(map(len, lines))
    for line in (lines[0], rule, *lines[1:-1], rule, lines[-1]):
        print(line.rstrip())


def _remark(layer: "NetworkLayer") -> str:
    remarks = [layer.detail]
    if layer.carried:
        remarks.append(f"carries {', '.join(layer.carried)}")
    if layer.residual:
        remarks.append("residual")
    if layer.skip:
        remarks.append("summed with the other layers")
    return " · ".join(remarks)
