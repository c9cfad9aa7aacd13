"""`recurlm plot`: training curves of one or several runs."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from recurlm.cli.console import JsonOption, print_json

if TYPE_CHECKING:
    from recurlm.plots.run_log import RunLog


def plot(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN...", help="Run folders; several share one picture.")],
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            metavar="FILE",
            help="Picture to write, .svg or .png. [default: training.svg and .png in RUN, "
            "comparison.svg and .png in the first of several]",
            show_default=False,
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Draw training curves of one or several runs.

    The curves are perplexity, learning rate and speed.
    """
    from recurlm.plots.figure import format_of, save
    from recurlm.plots.run_log import RunLog
    from recurlm.plots.training import training_picture, write_training_pictures
    from recurlm.runs.folder import RunFolder

    if out is None:
        written = write_training_pictures(RunFolder(runs[0]), runs)
    else:
        save(out, training_picture(runs, format_of(out)))
        written = [out]
    if as_json:
        print_json({"files": [str(path) for path in written], "runs": [_report(RunLog(run)) for run in runs]})
        return
    for path in written:
        print(path)


def _report(log: "RunLog") -> dict[str, Any]:
    best_step, best = log.best or (None, None)
    report: dict[str, Any] = {"run": str(log.run), "best_step": best_step, "best_valid_perplexity": best}
    for key in ("epoch", "step", "valid_perplexity", "test_perplexity", "signature"):
        report[key] = log.final.get(key)
    return report
