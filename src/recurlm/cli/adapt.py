"""`recurlm adapt`: perplexity with adaptation at test time, beside the static figure."""

from typing import TYPE_CHECKING, Annotated

import typer

from recurlm.cli.choices import Device, Method, Split
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
    method: Annotated[Method, typer.Option("--method", help="How the model adapts to what it has read.")],
    text: MeasuredTextArgument = None,
    changes: Annotated[
        list[str] | None,
        typer.Option(
            "--set", metavar="KEY=VALUE", help="Set an option of the method, such as rate=0.0001; repeatable."
        ),
    ] = None,
    tune: Annotated[
        Split | None,
        typer.Option("--tune", help="Choose options on this split of the run's corpus; test is refused."),
    ] = None,
    tuning_tokens: Annotated[
        int | None,
        typer.Option(
            "--tune-tokens",
            min=1,
            max=LARGEST_COUNT,
            metavar="N",
            help="With --tune: choose on the first N tokens. [default: 10000]",
        ),
    ] = None,
    split: SplitOption = None,
    device: DeviceOption = Device.AUTO,
    data_directory: DataDirectoryOption = None,
    cache_directory: CacheDirectoryOption = None,
    offline: OfflineOption = False,
    as_json: JsonOption = False,
) -> None:
    """Measure perplexity with adaptation at test time.

    The static figure stands beside the adapted one. Both follow the protocol stream; each has its own column and
    signature. The run does not change.
    """
    from recurlm.devices import resolve_device
    from recurlm.errors import UsageError
    from recurlm.evaluation.adaptation import parse_adaptation
    from recurlm.interface.model import load
    from recurlm.text.places import DataPlaces

    if tuning_tokens is not None and tune is None:
        raise UsageError("--tune-tokens belongs to --tune SPLIT")
    options = parse_adaptation(method, changes or ())
    result = load(run, device=resolve_device(device).type).adapt(
        text,
        options,
        split=split,
        tune_on=tune,
        tuning_tokens=tuning_tokens,
        places=DataPlaces(data_directory, cache_directory, offline),
    )
    if as_json:
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
