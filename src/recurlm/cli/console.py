"""What the commands share: data on stdout, progress and messages on stderr, options met more than once."""

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

RunArgument = Annotated[Path, typer.Argument(metavar="RUN", help="A run folder that `train` wrote.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON on stdout.")]
DataDirectoryOption = Annotated[
    Path | None,
    typer.Option("--data-dir", envvar="RECURLM_DATA_DIR", help="Folder searched for corpora before the network."),
]
CacheDirectoryOption = Annotated[
    Path | None,
    typer.Option("--cache-dir", envvar="RECURLM_CACHE_DIR", help="Folder for downloads and prepared texts."),
]
OfflineOption = Annotated[bool, typer.Option("--offline", envvar="RECURLM_OFFLINE", help="Never use the network.")]
UnknownOption = Annotated[
    str,
    typer.Option(
        "--oov",
        metavar="RULE",
        help="Unknown words: unk, counted as <unk>; skip, not counted; floor:LOGPROB, charged that much in nats.",
    ),
]
DeviceOption = Annotated[str, typer.Option("--device", envvar="RECURLM_DEVICE", help="auto, cpu or cuda.")]


def print_json(value: dict[str, Any] | list[Any]) -> None:
    """One JSON value on one line of stdout; NaN and infinity are refused by the standard and become null."""
    sys.stdout.write(json.dumps(value, ensure_ascii=False, allow_nan=False) + "\n")
    sys.stdout.flush()


def message(text: str) -> None:
    """One plain line on stderr."""
    print(text, file=sys.stderr, flush=True)
