"""`recurlm eval`: perplexity under a protocol."""

from typing import Annotated

import typer

from recurlm.cli.console import (
    CacheDirectoryOption,
    DataDirectoryOption,
    DeviceOption,
    JsonOption,
    OfflineOption,
    RunArgument,
    UnknownOption,
    print_json,
)


def evaluate(
    run: RunArgument,
    text: Annotated[
        str | None,
        typer.Argument(
            metavar="[TEXT]",
            help="A corpus by name, a file or -. Without it: the corpus the run learned from.",
            show_default=False,
        ),
    ] = None,
    split: Annotated[
        str | None,
        typer.Option("--split", help="train, valid or test. [default: test of a corpus, all of a file]"),
    ] = None,
    protocol: Annotated[str, typer.Option("--protocol", help="stream, sentence or mxnet.")] = "stream",
    full_batches: Annotated[
        int | None,
        typer.Option("--full-batches", min=1, metavar="N", help="mxnet only: drop rows that do not fill a batch of N."),
    ] = None,
    oov: UnknownOption = "unk",
    device: DeviceOption = "auto",
    data_directory: DataDirectoryOption = None,
    cache_directory: CacheDirectoryOption = None,
    offline: OfflineOption = False,
    json: JsonOption = False,
) -> None:
    """Perplexity of a text, with its signature.

    The signature says which tokens were counted and how the state was carried.
    """
    from recurlm.devices import resolve_device
    from recurlm.errors import UsageError
    from recurlm.interface import load

    if full_batches is not None and protocol != "mxnet":
        raise UsageError("--full-batches belongs to --protocol mxnet")
    result = load(run, device=resolve_device(device).type).perplexity(
        text,
        split=split,
        protocol=protocol,
        full_batches=full_batches,
        oov=oov,
        data_directory=data_directory,
        cache_directory=cache_directory,
        offline=offline,
    )
    if json:
        print_json(result.to_json())
        return
    print(f"perplexity          {result.value:.3f}")
    if result.without_oov is not None:
        print(f"without oov         {result.without_oov:.3f}")
    print(f"bits per token      {result.bits_per_token:.4f}")
    if result.bits_per_character is not None:
        print(f"bits per character  {result.bits_per_character:.4f}")
    print(f"tokens              {result.tokens:,}" + (f", {result.oov:,} of the text unknown" if result.oov else ""))
    print(f"signature           {result.signature}")
