"""`recurlm inspect`: what a model's memory holds over a text, as a table, a picture or a page."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from recurlm.cli.choices import Device
from recurlm.cli.console import (
    CacheDirectoryOption,
    DeviceOption,
    JsonOption,
    RunArgument,
    message,
    print_json,
)
from recurlm.errors import UsageError

if TYPE_CHECKING:
    from recurlm.cli.inspection_views import View

INSPECT_EXAMPLES = (
    ("recurlm inspect RUN sentence.txt --out memory.svg", "surprisal and the units of every layer after each token"),
    ("recurlm inspect RUN sentence.txt --span 3:7 --out units.svg", "the units that hold something over tokens 3 to 7"),
    ("recurlm inspect RUN sentence.txt --instead plum@3", "how far one other word moves the memory, and for how long"),
    ("recurlm inspect LSTM text.txt --remembered 20 --with RNN --out forgetting.svg", "how long a word is remembered"),
)
MOST_REMEMBERED = 200

QUESTION, SPAN, INSTEAD, REMEMBERED = "What to show", "--span", "--instead", "--remembered"


def inspect(
    run: RunArgument,
    text: Annotated[str, typer.Argument(metavar="TEXT", help="Text file (.gz too), or - for standard input.")],
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            metavar="FILE",
            help="Picture to write, .svg or .png, or page, .html. [default: a table on stdout]",
            show_default=False,
        ),
    ] = None,
    part: Annotated[
        str | None,
        typer.Option(
            "--part",
            metavar="NAME",
            help="Part of the memory: cell, hidden, or a gate such as forget. [default: cell where the model has one, "
            "else hidden]",
            show_default=False,
            rich_help_panel=QUESTION,
        ),
    ] = None,
    span: Annotated[
        str | None,
        typer.Option(
            "--span",
            metavar="A:B",
            help="Find the units that hold something over exactly the tokens A to B, counted from 1, and the other "
            "places where they do.",
            rich_help_panel=QUESTION,
        ),
    ] = None,
    instead: Annotated[
        str | None,
        typer.Option(
            "--instead",
            metavar="WORD@N",
            help="Read the text a second time with WORD instead of token N; show how far the two memories are apart.",
            rich_help_panel=QUESTION,
        ),
    ] = None,
    remembered: Annotated[
        int | None,
        typer.Option(
            "--remembered",
            metavar="N",
            min=1,
            max=MOST_REMEMBERED,
            help="Show how much of a word is left in the memory after 1 to N further tokens, on average.",
            rich_help_panel=QUESTION,
        ),
    ] = None,
    others: Annotated[
        list[Path] | None,
        typer.Option(
            "--with",
            metavar="RUN",
            help="Another model to compare by --remembered; may be repeated.",
            rich_help_panel=QUESTION,
        ),
    ] = None,
    device: DeviceOption = Device.AUTO,
    cache_directory: CacheDirectoryOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show what a model's memory holds over a text.

    Prints a table, or writes a picture: surprisal and the memory's units token by token. --span, --instead and
    --remembered ask three further questions.
    """
    from recurlm.cli import inspection_views as views
    from recurlm.cli.inspection_subjects import open_subjects
    from recurlm.plots.figure import save

    asked = {SPAN: span, INSTEAD: instead, REMEMBERED: remembered}
    _check(asked, part, others)
    if out is not None:
        views.check_name(out)
    subject, *further = open_subjects([run, *(others or [])], text, device, cache_directory)
    view: View
    if remembered is not None:
        view = views.Remembrance([subject, *further], remembered)
    elif instead is not None:
        view = views.Replacement(subject, instead)
    elif span is not None:
        view = views.Span(subject, span, part)
    else:
        view = views.Memory(subject, part)
    for remark in view.remarks:
        message(f"# {remark}")
    if out is not None:
        save(out, views.content_for(view, out))
    _report(view, out, as_json)


def _check(asked: dict[str, Any], part: str | None, others: Sequence[Path] | None) -> None:
    """Raises UsageError for options that do not go together."""
    given = [name for name, value in asked.items() if value is not None]
    if len(given) > 1:
        raise UsageError(f"{' and '.join(given)} ask different questions; give one of them")
    if others and asked[REMEMBERED] is None:
        raise UsageError("--with compares models by --remembered N; add --remembered 20")
    if part is not None and given and given != [SPAN]:
        raise UsageError(f"--part does not go with {given[0]}, which compares whole states; leave it out")


def _report(view: "View", out: Path | None, as_json: bool) -> None:
    if as_json:
        print_json(view.to_json() | {"file": None if out is None else str(out)})
    elif out is not None:
        print(out)
    else:
        for line in view.table():
            print(line)
