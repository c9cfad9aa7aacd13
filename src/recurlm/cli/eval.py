"""`recurlm eval`: perplexity under a protocol."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from recurlm.cli.choices import Device, Protocol
from recurlm.cli.console import (
    MACHINE,
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
    processes_option,
)
from recurlm.cli.interrupts import interrupt_held
from recurlm.cli.processes import number_of_processes, settle_processes, told_by_first, told_once
from recurlm.errors import RecurlmError, UsageError

if TYPE_CHECKING:
    from recurlm.comparison.mixing import Mixture
    from recurlm.distributed import Team
    from recurlm.evaluation.perplexity import Perplexity, Tick
    from recurlm.interface.model import Model

AFTER_A_LOSS = "nothing was measured; give the same command again"


def evaluate(
    run: RunArgument,
    text: MeasuredTextArgument = None,
    split: SplitOption = None,
    protocol: Annotated[Protocol, typer.Option("--protocol", help="How perplexity is counted.")] = Protocol.STREAM,
    columns: Annotated[
        int,
        typer.Option(
            "--columns",
            metavar="N",
            min=1,
            max=MOST_AT_ONCE,
            help="With --protocol stream: read the text in N columns side by side, as validations in training do; "
            "quicker than the exact stream, within one percent of it, and named in the signature.",
        ),
    ] = 1,
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
    processes: Annotated[
        int | None,
        processes_option(
            "Measure with N processes on this machine, which share the columns of a stream (two or more each) or "
            "the sentences. [default: 1]",
            MACHINE,
        ),
    ] = None,
    data_directory: DataDirectoryOption = None,
    cache_directory: CacheDirectoryOption = None,
    offline: OfflineOption = False,
    as_json: JsonOption = False,
) -> None:
    """Measure perplexity, with its signature.

    The signature says which tokens were counted and how the state was carried. With --with it measures a mixture of
    models: a weighted average of their probabilities of each token.
    """
    if full_batches is not None and protocol != Protocol.MXNET:
        raise UsageError("--full-batches belongs to --protocol mxnet")
    if columns > 1 and (protocol != Protocol.STREAM or with_):
        raise UsageError("--columns belongs to --protocol stream without --with")
    if not with_ and (weight, held_out) != (None, None):
        raise UsageError("--weight and --held-out belong to --with RUN or ARPA file")
    if with_ and oov != "unk":
        raise UsageError("--with counts unknown words as <unk>; leave --oov out")
    with told_by_first():
        _refuse_what_cannot_be_shared(number_of_processes(processes), protocol, columns, text, with_)
        launched = settle_processes(processes, 0, AFTER_A_LOSS)
    if launched is not None:
        raise typer.Exit(launched)
    with interrupt_held():
        from recurlm.devices import resolve_device
        from recurlm.text.places import DataPlaces

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
    from recurlm.distributed import open_team

    team = open_team(where)
    with told_once(team, AFTER_A_LOSS):
        result = _model(run, where, team).perplexity(
            text,
            split=split,
            protocol=protocol,
            columns=columns,
            full_batches=full_batches,
            oov=oov,
            places=places,
            tick=_end_if_abandoned(team),
            team=team,
        )
    if not team.leads:
        return
    _warn_of_unknown(result, oov)
    if as_json:
        print_json(result.to_json())
    else:
        _print(result)


def _refuse_what_cannot_be_shared(
    processes: int, protocol: Protocol, columns: int, text: str | None, with_: list[Path] | None
) -> None:
    from recurlm.text.corpora import is_read_once

    if processes == 1:
        return
    if with_:
        raise UsageError("--with measures a mixture in one process; leave --processes out")
    if text is not None and is_read_once(text):
        name = "standard input" if text == "-" else text
        raise UsageError(f"{processes} processes cannot read {name}: name a file, which each of them reads")
    if protocol == Protocol.STREAM and columns < 2 * processes:
        cause = "the exact stream is one column" if columns == 1 else f"{columns} columns are fewer than two for each"
        raise UsageError(
            f"{processes} processes cannot share this stream: {cause}\n"
            f"add --columns {max(2 * processes, 16)}, or measure by --protocol sentence"
        )


def _model(run: Path, device: str, team: "Team") -> "Model":
    """The model of a run; the first process, which tells what is wrong with it, is done before the others begin."""
    from recurlm.interface.model import load
    from recurlm.runs.computation import kernels

    with team.first_before_others():
        if team.count > 1:
            kernels(device)  # a machine may have to build the compiled library first, while the others wait
        return load(run, device=device)


def _end_if_abandoned(team: "Team") -> "Tick":
    def tick(_: int) -> None:
        if not team.abandoned:
            return
        if team.leads:
            raise RecurlmError("the command was ended, so its processes end too")
        raise SystemExit(RecurlmError.exit_code)

    return tick


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
