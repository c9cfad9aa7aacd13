"""`recurlm eval`: perplexity under a protocol."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from recurlm.cli.choices import Device, Protocol
from recurlm.cli.console import (
    MOST_AT_ONCE,
    CacheDirectoryOption,
    DataDirectoryOption,
    DeviceOption,
    JsonOption,
    MeasuredTextArgument,
    OfflineOption,
    RunArgument,
    SplitOption,
    UnknownOption,
    message,
    print_json,
)

if TYPE_CHECKING:
    from recurlm.comparison.mixing import Mixture
    from recurlm.evaluation.perplexity import Perplexity


def evaluate(
    run: RunArgument,
    text: MeasuredTextArgument = None,
    split: SplitOption = None,
    protocol: Annotated[Protocol, typer.Option("--protocol", help="How perplexity is counted.")] = Protocol.STREAM,
    full_batches: Annotated[
        int | None,
        typer.Option(
            "--full-batches",
            min=1,
            max=MOST_AT_ONCE,
            metavar="N",
            help="With --protocol mxnet: drop rows that do not fill a batch of N.",
        ),
    ] = None,
    oov: UnknownOption = "unk",
    with_: Annotated[
        list[Path] | None,
        typer.Option("--with", metavar="RUN|ARPA", help="Mix with this run or ARPA file; repeatable."),
    ] = None,
    weight: Annotated[
        str | None,
        typer.Option(
            "--weight",
            metavar="auto|WEIGHTS",
            help="With --with: weight of RUN, or all weights, comma-separated; auto fits them. [default: auto]",
        ),
    ] = None,
    held_out: Annotated[
        str | None,
        typer.Option(
            "--held-out",
            metavar="TEXT",
            help="With --weight auto: file, or corpus whose valid split is used. [default: the valid split]",
        ),
    ] = None,
    device: DeviceOption = Device.AUTO,
    data_directory: DataDirectoryOption = None,
    cache_directory: CacheDirectoryOption = None,
    offline: OfflineOption = False,
    as_json: JsonOption = False,
) -> None:
    """Measure perplexity, with its signature.

    The signature says which tokens were counted and how the state was carried. With --with it measures a mixture of
    models: a weighted average of their probabilities of each token.
    """
    from recurlm.devices import resolve_device
    from recurlm.errors import UsageError
    from recurlm.text.places import DataPlaces

    if full_batches is not None and protocol != Protocol.MXNET:
        raise UsageError("--full-batches belongs to --protocol mxnet")
    if not with_ and (weight, held_out) != (None, None):
        raise UsageError("--weight and --held-out belong to --with RUN or ARPA file")
    if with_ and oov != "unk":
        raise UsageError("--with counts unknown words as <unk>; leave --oov out")
    places, where = DataPlaces(data_directory, cache_directory, offline), resolve_device(device).type
    if with_:
        from recurlm.comparison.mixing import MixtureTexts, evaluate_mixture

        mixture = evaluate_mixture(
            [run, *with_],
            MixtureTexts(text, split, held_out, places),
            protocol=protocol,
            weight=weight or "auto",
            device=where,
        )
        if as_json:
            print_json(mixture.to_json())
        else:
            _print_mixture(mixture)
        return
    from recurlm.interface.model import load

    result = load(run, device=where).perplexity(
        text, split=split, protocol=protocol, full_batches=full_batches, oov=oov, places=places
    )
    _warn_of_unknown(result, oov)
    if as_json:
        print_json(result.to_json())
    else:
        _print(result)


def _warn_of_unknown(result: "Perplexity", oov: str) -> None:
    from recurlm.text.unknown import UnknownRule

    warning = UnknownRule.parse(oov).warning(result.oov, result.all_tokens)
    if warning is not None:
        message(warning)


def _print_mixture(mixture: "Mixture") -> None:
    names = [each.name for each in mixture.measurements]
    width = max(len("mixture"), *map(len, names))
    chosen = "as given" if mixture.held_out is None else f"fitted on {mixture.held_out.name}"
    print(f"{'model':<{width}}  perplexity  weight, {chosen}")
    for each, weight in zip(mixture.measurements, mixture.weights, strict=True):
        print(f"{each.name:<{width}}  {each.perplexity.value:>10.3f}  {weight:.4f}")
    print(f"{'mixture':<{width}}  {mixture.perplexity.value:>10.3f}")
    for warning in mixture.warnings:
        print(f"warning: {warning}")
    print()
    _print(mixture.perplexity)


def _print(result: "Perplexity") -> None:
    print(f"perplexity          {result.value:.3f}")
    if result.without_oov is not None:
        print(f"without oov         {result.without_oov:.3f}")
    print(f"bits per token      {result.bits_per_token:.4f}")
    if result.bits_per_character is not None:
        print(f"bits per character  {result.bits_per_character:.4f}")
    print(f"tokens              {result.tokens:,}" + (f", {result.oov:,} of the text unknown" if result.oov else ""))
    print(f"signature           {result.signature}")
