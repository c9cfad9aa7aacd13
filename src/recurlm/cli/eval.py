"""`recurlm eval`: perplexity under a protocol."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

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
    protocol: Annotated[str, typer.Option("--protocol", help="stream, sentence or mxnet.")] = "stream",
    full_batches: Annotated[
        int | None,
        typer.Option(
            "--full-batches",
            min=1,
            max=MOST_AT_ONCE,
            metavar="N",
            help="mxnet only: drop rows that do not fill a batch of N.",
        ),
    ] = None,
    oov: UnknownOption = "unk",
    with_: Annotated[
        list[Path] | None,
        typer.Option("--with", metavar="RUN|ARPA", help="Mix with this run or ARPA file; may be given several times."),
    ] = None,
    weight: Annotated[
        str | None,
        typer.Option(
            "--weight",
            metavar="auto|WEIGHTS",
            help="With --with: that of RUN, or all with commas; auto fits them on held-out text. [default: auto]",
        ),
    ] = None,
    held_out: Annotated[
        str | None,
        typer.Option(
            "--held-out",
            metavar="TEXT",
            help="With --weight auto: a corpus (its valid split) or a file. [default: valid]",
        ),
    ] = None,
    device: DeviceOption = "auto",
    data_directory: DataDirectoryOption = None,
    cache_directory: CacheDirectoryOption = None,
    offline: OfflineOption = False,
    json: JsonOption = False,
) -> None:
    """Perplexity of a text, with its signature.

    The signature says which tokens were counted and how the state was carried. With --with it is that of a mixture:
    the models' probabilities of each token are averaged with weights.
    """
    from recurlm.devices import resolve_device
    from recurlm.errors import UsageError
    from recurlm.evaluation.protocols import check_protocol
    from recurlm.interface import load
    from recurlm.text.places import DataPlaces
    from recurlm.text.unknown import UnknownRule

    check_protocol(protocol)
    if full_batches is not None and protocol != "mxnet":
        raise UsageError("--full-batches belongs to --protocol mxnet")
    if not with_ and (weight, held_out) != (None, None):
        raise UsageError("--weight and --held-out belong to --with RUN or ARPA file")
    places = DataPlaces(data_directory, cache_directory, offline)
    if with_:
        from recurlm.comparison.mixing import evaluate_mixture

        if oov != "unk":
            raise UsageError("--with counts unknown words as <unk>; leave --oov out")
        mixture = evaluate_mixture(
            [run, *with_],
            text,
            split=split,
            protocol=protocol,
            weight=weight or "auto",
            held_out=held_out,
            device=resolve_device(device).type,
            places=places,
        )
        if json:
            print_json(mixture.to_json())
        else:
            _print_mixture(mixture)
        return
    result = load(run, device=resolve_device(device).type).perplexity(
        text, split=split, protocol=protocol, full_batches=full_batches, oov=oov, places=places
    )
    warning = UnknownRule.parse(oov).warning(result.oov, result.all_tokens)
    if warning is not None:
        message(warning)
    if json:
        print_json(result.to_json())
    else:
        _print(result)


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
