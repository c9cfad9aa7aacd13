"""`recurlm runs`: a table of the runs in a folder."""

import datetime
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from recurlm.cli.console import JsonOption, message, print_json
from recurlm.wording import counted

if TYPE_CHECKING:
    from recurlm.runs.listing import ListedRun

DEFAULT_DIRECTORY = Path("runs")
WIDTH = 80
NAME_WIDTH = 30
"""With longer names a row would be wider than `WIDTH`; a longer name takes a line of its own."""


def runs(
    directory: Annotated[
        Path | None, typer.Argument(metavar="[DIR]", help="Folder that holds runs. [default: runs]", show_default=False)
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """List the runs in a folder, newest first.

    Shows perplexities, state and start of each run, then its corpus, recipe, model, parameters and steps. The state is
    finished, stopped or running; imported or extended if `train` did not write the run. A damaged folder and a folder
    without a run are named on stderr.
    """
    from recurlm.runs.listing import list_runs

    chosen = directory or DEFAULT_DIRECTORY
    if directory is None and not chosen.exists():
        message("no runs yet: there is no folder runs; begin a run with: recurlm train")
        return
    listing = list_runs(chosen)
    if as_json:
        for run in listing.runs:
            print_json(run.to_json())
    elif listing.runs:
        _print_table(listing.runs)
    else:
        message(f"{chosen}: holds no run; begin one with: recurlm train TEXT --out {chosen / 'NAME'}")
    for problem in listing.problems:
        message(f"recurlm: {problem}")


def _print_table(rows: "tuple[ListedRun, ...]") -> None:
    width = min(max(len("run"), *(len(row.name) for row in rows)), NAME_WIDTH)
    print(f"{'run':{width}}  {'valid':>8}  {'test':>8}  {'state':8}  began")
    for row in rows:
        if len(row.name) > width:
            print(row.name)
        name = row.name if len(row.name) <= width else ""
        valid, test = _figure(row.valid_perplexity), _figure(row.test_perplexity)
        print(f"{name:{width}}  {valid:>8}  {test:>8}  {row.state:8}  {_local_time(row.created)}")
        print(textwrap.fill(_details(row), WIDTH, initial_indent="  ", subsequent_indent="  "))


def _details(row: "ListedRun") -> str:
    from recurlm.text.tokenization import PLURALS

    unit = "" if row.unit == "word" else PLURALS[row.unit]
    parts = [row.corpus, f"recipe {row.recipe}" if row.recipe else "", unit, row.model]
    parts.append("" if row.parameters is None else f"{row.parameters:,} parameters")
    parts.append(counted(row.steps, "step") if row.steps else "")
    return ", ".join(filter(None, parts))


def _figure(perplexity: float | None) -> str:
    """A perplexity in at most eight characters."""
    if perplexity is None:
        return "-"
    return f"{perplexity:.2f}" if perplexity < 1e5 else f"{perplexity:.2g}"


def _local_time(created: str) -> str:
    """The start of a run to the minute, in the time zone of this machine."""
    try:
        return f"{datetime.datetime.fromisoformat(created).astimezone():%Y-%m-%d %H:%M}"
    except (ValueError, OverflowError):
        return "?"
