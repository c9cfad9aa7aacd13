"""`recurlm adapt`: perplexity with adaptation at test time, beside the static figure."""

from typing import TYPE_CHECKING, Annotated

import typer

from recurlm.cli.console import (
    LARGEST_COUNT,
    CacheDirectoryOption,
    DataDirectoryOption,
    DeviceOption,
    JsonOption,
    MeasuredTextArgument,
    OfflineOption,
    RunArgument,
    SplitOption,
    print_json,
)

if TYPE_CHECKING:
    from recurlm.evaluation.adaptation import Adapted


def adapt(
    run: RunArgument,
    method: Annotated[
        str, typer.Option("--method", help="cache, dynamic-sgd, dynamic-rms, temperature or mc-dropout.")
    ],
    text: MeasuredTextArgument = None,
    changes: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="An option of the method, such as rate=0.0001; repeatable."),
    ] = None,
    tune: Annotated[
        str | None,
        typer.Option(
            "--tune", metavar="SPLIT", help="Choose options on this split of the run's corpus: valid; test is refused."
        ),
    ] = None,
    tuning_tokens: Annotated[
        int | None,
        typer.Option(
            "--tune-tokens",
            min=1,
            max=LARGEST_COUNT,
            metavar="N",
            help="Choose by the first N tokens. [default: 10000]",
        ),
    ] = None,
    split: SplitOption = None,
    device: DeviceOption = "auto",
    data_directory: DataDirectoryOption = None,
    cache_directory: CacheDirectoryOption = None,
    offline: OfflineOption = False,
    json: JsonOption = False,
) -> None:
    """Perplexity of a text with adaptation at test time, beside the static one.

    Both are counted under the protocol stream; each has its own column and its own signature. The run stays as it is.
    """
    from recurlm.devices import resolve_device
    from recurlm.errors import UsageError
    from recurlm.evaluation.adaptation import TUNING_TOKENS, parse_adaptation
    from recurlm.interface import load
    from recurlm.text.places import DataPlaces

    if tuning_tokens is not None and tune is None:
        raise UsageError("--tune-tokens belongs to --tune SPLIT")
    options = parse_adaptation(method, changes or ())
    result = load(run, device=resolve_device(device).type).adapt(
        text,
        options,
        split=split,
        tune_on=tune,
        tuning_tokens=tuning_tokens or TUNING_TOKENS,
        places=DataPlaces(data_directory, cache_directory, offline),
    )
    if json:
        print_json(result.to_json())
    else:
        _show(result, method)


def _show(result: "Adapted", method: str) -> None:
    static, adapted = result.static, result.adapted
    print(f"{'':18}  {'static':>12}  {method:>12}")
    print(f"{'perplexity':18}  {static.value:12.3f}  {adapted.value:12.3f}")
    print(f"{'bits per token':18}  {static.bits_per_token:12.4f}  {adapted.bits_per_token:12.4f}")
    if static.bits_per_character is not None and adapted.bits_per_character is not None:
        print(f"{'bits per character':18}  {static.bits_per_character:12.4f}  {adapted.bits_per_character:12.4f}")
    print(f"{'static':18}  {static.signature}")
    print(f"{method:18}  {adapted.signature}")
