"""What the commands share: data on stdout, progress and messages on stderr, options of several commands."""

import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from recurlm.cli.choices import Device, Split
from recurlm.documents import json_text
from recurlm.wording import counted, shown_name

if TYPE_CHECKING:
    from recurlm.progress import Watcher

PROGRESS_SECONDS = 0.5

RECIPE, TEXTS, MACHINE, OUTPUT = "Model and training", "Texts and cache", "Machine", "Output"
"""Groups of options on the help page of a command that has many."""

RunArgument = Annotated[Path, typer.Argument(metavar="RUN", help="Run folder, as `train` writes it.")]
MeasuredTextArgument = Annotated[
    str | None,
    typer.Argument(
        metavar="[TEXT]",
        help="Corpus name, file, or - for standard input. [default: the corpus that the run learned from]",
        show_default=False,
    ),
]
LARGEST_SEED = 2**32 - 1
"""The largest seed that every generator of random numbers takes."""

SplitOption = Annotated[
    Split | None,
    typer.Option("--split", help="Which text of a corpus. [default: test of a corpus, all of a file]"),
]
LARGEST_COUNT = 1_000_000_000
MOST_AT_ONCE = 1_000_000
MOST_TOKENS = 100_000_000
"""These limits only keep nonsense out; a smaller number that does not fit in memory is refused with its size."""

EpochsOption = Annotated[
    int | None,
    typer.Option(
        "--epochs",
        metavar="N",
        min=1,
        max=MOST_AT_ONCE,
        help="Short for --set training.epochs=N.",
        rich_help_panel=RECIPE,
    ),
]
FieldOption = Annotated[
    str | None,
    typer.Option(
        "--field",
        metavar="NAME",
        help="The text in the records of .jsonl and .parquet files.",
        rich_help_panel=TEXTS,
    ),
]
QuietOption = Annotated[bool, typer.Option("--quiet", "-q", help="Show no progress.", rich_help_panel=OUTPUT)]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON on stdout.", rich_help_panel=OUTPUT)]
DataDirectoryOption = Annotated[
    Path | None,
    typer.Option(
        "--data-dir",
        metavar="FOLDER",
        envvar="RECURLM_DATA_DIR",
        help="Folder searched for corpora before the network.",
        rich_help_panel=TEXTS,
    ),
]
CacheDirectoryOption = Annotated[
    Path | None,
    typer.Option(
        "--cache-dir",
        metavar="FOLDER",
        envvar="RECURLM_CACHE_DIR",
        help="Folder for downloads and prepared texts.",
        rich_help_panel=TEXTS,
    ),
]
OfflineOption = Annotated[
    bool,
    typer.Option("--offline", envvar="RECURLM_OFFLINE", help="Never use the network.", rich_help_panel=TEXTS),
]
UnknownOption = Annotated[
    str,
    typer.Option(
        "--oov",
        metavar="RULE",
        help="Unknown words: unk, counted as <unk>; skip, not counted; floor:LOGPROB, charged that much in nats; "
        "share:N, P(<unk>) divided among N words.",
    ),
]
StateInOption = Annotated[
    Path | None,
    typer.Option("--state-in", metavar="FILE", help="Start from the state in this file instead of an empty one."),
]
StateOutOption = Annotated[
    Path | None, typer.Option("--state-out", metavar="FILE", help="Write the state after the text to this file.")
]
DeviceOption = Annotated[
    Device,
    typer.Option("--device", envvar="RECURLM_DEVICE", help="Where to compute.", rich_help_panel=MACHINE),
]


def processes_option(help: str, panel: str | None = None) -> Any:
    """The option --processes N of a command; `panel` is the group of options that lists it."""
    return typer.Option("--processes", metavar="N", min=1, help=help, rich_help_panel=panel)


def print_json(value: dict[str, Any] | list[Any]) -> None:
    """One JSON value on one line of stdout."""
    sys.stdout.write(json_text(value) + "\n")
    sys.stdout.flush()


def message(text: str) -> None:
    """One plain line on stderr."""
    print(shown_name(text), file=sys.stderr, flush=True)


def one_or_several(texts: list[str] | None) -> str | tuple[str, ...] | None:
    """The texts of a command as a request names them."""
    return tuple(texts) if texts and len(texts) > 1 else texts[0] if texts else None


def recipe_changes(changes: list[str] | None, epochs: int | None, unit: str | None = None) -> tuple[str, ...]:
    """The changes of --set, --epochs and --unit together."""
    further = {"training.epochs": epochs, "text.unit": unit}
    return (*(changes or ()), *(f"{key}={value}" for key, value in further.items() if value is not None))


class Progress:
    """Tells a watcher from time to time how far a text has been read, and how quickly."""

    def __init__(self, watcher: "Watcher", total_bytes: int | None) -> None:
        self.watcher, self.total = watcher, total_bytes
        self.bytes = self.lines = self.tokens = 0
        self.begun = self.told = time.monotonic()

    def watch(self, lines: Iterable[str]) -> Iterator[str]:
        """The same lines, their bytes counted as they are read."""
        for line in lines:
            self.bytes += len(line.encode()) + 1
            yield line

    def done(self, tokens: int) -> None:
        """Count one line with this many tokens."""
        self.lines += 1
        self.tokens += tokens
        now = time.monotonic()
        if now - self.told > PROGRESS_SECONDS:
            self.told = now
            share = min(self.bytes / self.total, 1) if self.total else None
            rate = self.tokens / (now - self.begun)
            self.watcher.tick(
                share, f"{counted(self.lines, 'line')}  {counted(self.tokens, 'token')}  {rate:,.0f} tokens/s"
            )
