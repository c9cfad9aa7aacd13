"""`recurlm compare`: several models on one text, pair by pair."""

import itertools
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from recurlm.cli.choices import ComparableProtocol, Device
from recurlm.cli.console import (
    LARGEST_SEED,
    CacheDirectoryOption,
    DataDirectoryOption,
    DeviceOption,
    JsonOption,
    OfflineOption,
    SplitOption,
    print_json,
)
from recurlm.wording import counted, readable

if TYPE_CHECKING:
    from recurlm.comparison.report import Comparison, Pair
    from recurlm.comparison.statistics import TokenDifference


def compare(
    models: Annotated[
        list[Path], typer.Argument(metavar="RUN", help="Run folders and ARPA files.", show_default=False)
    ],
    text: Annotated[str, typer.Argument(metavar="TEXT", help="Corpus name, file, folder, or - for standard input.")],
    split: SplitOption = None,
    protocol: Annotated[
        ComparableProtocol, typer.Option("--protocol", help="How perplexity is counted.")
    ] = ComparableProtocol.STREAM,
    seed: Annotated[
        int, typer.Option("--seed", min=0, max=LARGEST_SEED, help="Seed of the intervals and the tests.")
    ] = 1,
    device: DeviceOption = Device.AUTO,
    data_directory: DataDirectoryOption = None,
    cache_directory: CacheDirectoryOption = None,
    offline: OfflineOption = False,
    as_json: JsonOption = False,
) -> None:
    """Compare the perplexities of several models on one text.

    Prints 95 % intervals over sentences, a paired permutation test of each pair, and the tokens on which the models
    of a pair differ most.
    """
    from recurlm.comparison.contenders import open_contenders
    from recurlm.comparison.report import compare as compare_models
    from recurlm.devices import resolve_device
    from recurlm.text.corpora import open_part
    from recurlm.text.places import DataPlaces

    contenders = open_contenders(models, resolve_device(device).type)
    measured = open_part(text, split, DataPlaces(data_directory, cache_directory, offline))
    comparison = compare_models(contenders, measured, protocol=protocol, seed=seed)
    if as_json:
        print_json(comparison.to_json())
    else:
        _print(comparison)


def _print(comparison: "Comparison") -> None:
    first = comparison.measurements[0].perplexity
    print(f"{comparison.text.name}: {counted(comparison.sentences, 'sentence')}, {counted(first.tokens, 'token')}")
    print()
    width = max(len("model"), *(len(each.name) for each in comparison.measurements))
    print(f"    {'model':<{width}}  perplexity  95 % interval          bits per token     oov")
    rows = zip(comparison.measurements, comparison.intervals, strict=True)
    for number, (each, (low, high)) in enumerate(rows, 1):
        result = each.perplexity
        interval = f"{low:.2f} to {high:.2f}"
        print(
            f"{number:>2}  {each.name:<{width}}  {result.value:>10.2f}  {interval:<21}  "
            f"{result.bits_per_token:>14.4f}  {result.oov:>6,}"
        )
    for warning in comparison.warnings:
        print(f"warning: {warning}")
    if comparison.pairs:
        _print_pairs(comparison.pairs)
    print()
    for number, each in enumerate(comparison.measurements, 1):
        print(f"signature {number}  {each.perplexity.signature}")


def _print_pairs(pairs: list["Pair"]) -> None:
    test = pairs[0].test
    patterns = f"all {counted(test.patterns, 'pattern')}" if test.exact else counted(test.patterns, "random pattern")
    print()
    print(f"paired permutation test over sentences, {patterns}; p (Holm) is for all pairs")
    print("pair      nats a sentence       p  p (Holm)  better")
    for pair in pairs:
        difference = pair.test.difference
        better = "-" if not difference else str(pair.first + 1 if difference > 0 else pair.second + 1)
        name = f"{pair.first + 1} and {pair.second + 1}"
        print(f"{name:<8}  {abs(difference):>15.4f}  {pair.test.p:>6.4f}  {pair.adjusted_p:>8.4f}  {better:>6}")
    for pair in pairs:
        _print_tokens(pair)


def _print_tokens(pair: "Pair") -> None:
    first, second = pair.first + 1, pair.second + 1
    print()
    print(f"tokens on which {first} and {second} differ most, in nats over all their occurrences")
    print(f"{f'{first} better':>8}   times  {'':<20}  {f'{second} better':>8}   times")
    for left, right in itertools.zip_longest(pair.first_better, pair.second_better):
        print(f"{_cells(left)}  {_cells(right)}".rstrip())


def _cells(token: "TokenDifference | None") -> str:
    if token is None:
        return " " * 38
    return f"{token.nats:>8.1f}  {token.count:>6,}  {readable(token.token):<20}"
