"""`recurlm score`: the log-probability of every token of every line."""

from collections.abc import Iterator
from typing import Annotated

import typer

from recurlm.cli.console import CacheDirectoryOption, DeviceOption, JsonOption, RunArgument, message, print_json


def score(
    run: RunArgument,
    file: Annotated[
        str, typer.Argument(metavar="[FILE|-]", help="A text file (.gz too), or - for standard input.")
    ] = "-",
    precision: Annotated[
        str, typer.Option("--precision", help="fp32, or bf16 where speed counts more than the last digits; auto.")
    ] = "fp32",
    device: DeviceOption = "auto",
    cache_directory: CacheDirectoryOption = None,
    json: JsonOption = False,
) -> None:
    """Log-probability of every token.

    Natural logarithms; every line stands alone, its end <eos> is counted.
    """
    import sys

    from recurlm.devices import keep_freed_memory, resolve_device
    from recurlm.interface import load
    from recurlm.text.corpora import open_text

    keep_freed_memory()
    model = load(run, device=resolve_device(device).type)
    if file == "-":
        # piped lines are scored as they come; open_text would wait for the last one
        lines: Iterator[str] = (line.rstrip("\r\n") for line in sys.stdin)
    else:
        lines = open_text(file, cache_directory=cache_directory).lines()
    if not json:
        message(
            f"# nats, {precision}; each line from a zero state, <eos> counted: total, each token; ? marks unknown words"
        )
    for line in model.score_lines(lines, precision=precision):
        if json:
            print_json(line.to_json())
            continue
        tokens = "  ".join(f"{t.token}{'?' if t.oov else ''} {t.logprob:.3f}" for t in line.tokens)
        print(f"{line.logprob:.4f}\t{tokens}")
