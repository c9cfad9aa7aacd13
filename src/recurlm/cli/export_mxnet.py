"""`recurlm export-mxnet`: write a run as files that MXNet 1.x loads."""

from typing import Annotated

import typer

from recurlm.cli.console import JsonOption, RunArgument, message, print_json


def export_mxnet(
    run: RunArgument,
    prefix: Annotated[str, typer.Argument(metavar="PREFIX", help="Prefix of the output files.")],
    as_json: JsonOption = False,
) -> None:
    """Write a model as files that MXNet 1.x loads.

    The files are PREFIX-symbol.json, PREFIX-0000.params and PREFIX-vocabulary.json.
    """
    from recurlm.mxnet.exporting import export_model
    from recurlm.runs.folder import RunFolder

    exported = export_model(RunFolder(run), prefix)
    if as_json:
        print_json(exported.to_json())
        return
    for path in (exported.symbol, exported.params, exported.vocabulary):
        print(path)
    for note in exported.notes:
        message(f"note  {note}")
