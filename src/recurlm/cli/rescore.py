"""`recurlm rescore`: n-best lists and lattices of a speech recogniser in a new order."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from recurlm.cli.choices import Device, NBestFormat, RescoredFormat
from recurlm.cli.console import MOST_AT_ONCE, DeviceOption, JsonOption, RunArgument, UnknownOption, message, print_json

if TYPE_CHECKING:
    from recurlm.rescoring.report import Report
    from recurlm.rescoring.tuning import TunedCombination


def rescore(
    run: RunArgument,
    nbest: Annotated[
        list[str],
        typer.Argument(metavar="NBEST", help="N-best file or folder, - for standard input, or lattices."),
    ],
    format: Annotated[
        NBestFormat, typer.Option("--format", help="Format of NBEST; htk are lattices.")
    ] = NBestFormat.AUTO,
    acoustic_costs: Annotated[
        Path | None, typer.Option("--acoustic-costs", metavar="FILE", help="Acoustic costs of the hypotheses.")
    ] = None,
    language_costs: Annotated[
        Path | None, typer.Option("--language-costs", metavar="FILE", help="Costs of the old language model.")
    ] = None,
    graph_costs: Annotated[
        Path | None,
        typer.Option("--graph-costs", metavar="FILE", help="Costs of the old graph without its language model."),
    ] = None,
    weight: Annotated[
        float | None,
        typer.Option(
            "--weight", help="Weight of this model against the old one, 0 to 1. [default: 0.5; 1 without old costs]"
        ),
    ] = None,
    acoustic_scale: Annotated[
        float | None, typer.Option("--acoustic-scale", help="Factor of acoustic costs. [default: 1, or the lattice's]")
    ] = None,
    lm_scale: Annotated[
        float | None, typer.Option("--lm-scale", help="Factor of language scores. [default: 1, or the lattice's]")
    ] = None,
    length_bonus: Annotated[
        float | None, typer.Option("--length-bonus", help="Bonus for each word. [default: 0, or the lattice's]")
    ] = None,
    paths: Annotated[
        int | None,
        typer.Option(
            "--nbest",
            min=1,
            max=MOST_AT_ONCE,
            metavar="N",
            help="Number of word sequences to take from a lattice. [default: 100]",
        ),
    ] = None,
    carry: Annotated[
        bool,
        typer.Option("--carry", help="Read each list after the best hypotheses of the lists before it, as one text."),
    ] = False,
    references: Annotated[
        Path | None,
        typer.Option(
            "--references", metavar="FILE", help="References as lines `utt words`; report the word error rate."
        ),
    ] = None,
    tune: Annotated[
        bool,
        typer.Option(
            "--tune", help="Find the options with the fewest word errors on this development list, and print them."
        ),
    ] = False,
    output_format: Annotated[
        RescoredFormat,
        typer.Option(
            "--output-format",
            help="best: lines `utt words`; nbest: a table; scores: lines `utt-1 cost`, costs of this model; jsonl.",
        ),
    ] = RescoredFormat.BEST,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FILE", help="File to write. [default: standard output]")
    ] = None,
    oov: UnknownOption = "unk",
    device: DeviceOption = Device.AUTO,
    as_json: JsonOption = False,
) -> None:
    """Put n-best lists of speech recognition in a new order.

    Costs are negative natural logs. Ranks by -acoustic_scale acoustic + lm_scale (weight ln p - (1 - weight) language
    - graph) + length_bonus words. --json prints one object with options and word error rates; the list goes to --out.
    """
    from recurlm.devices import keep_freed_memory, resolve_device
    from recurlm.errors import UsageError
    from recurlm.files import check_output
    from recurlm.interface.model import load
    from recurlm.rescoring.combination import combination_for
    from recurlm.rescoring.formats.reading import read_nbest
    from recurlm.rescoring.formats.text_lists import CostFiles, read_references
    from recurlm.rescoring.formats.writing import check_utterances, writer
    from recurlm.rescoring.nbest import GivenScales
    from recurlm.rescoring.remarks import Given, remarks
    from recurlm.rescoring.report import report
    from recurlm.rescoring.rescorer import recombined
    from recurlm.rescoring.tuning import tune_combination
    from recurlm.text.unknown import UnknownRule

    if tune and (references is None or carry or out is not None):
        raise UsageError(
            "--tune needs --references; it goes neither with --carry, where scores change with the options, "
            "nor with --out, for it prints options and no list"
        )
    if out is not None:
        check_output(out, [*nbest, acoustic_costs, language_costs, graph_costs, references])
    rule, lines = UnknownRule.parse(oov), writer(output_format)
    said = None if references is None else read_references(references)
    scales = GivenScales(acoustic_scale, lm_scale, length_bonus)
    costs = CostFiles(acoustic_costs, language_costs, graph_costs)
    file = read_nbest(nbest, format, costs, count=paths, scales=scales)
    if out is not None or not (as_json or tune):
        check_utterances(file.lists, output_format)
    combination = combination_for(
        file, weight=weight, acoustic_scale=acoustic_scale, lm_scale=lm_scale, length_bonus=length_bonus
    )
    keep_freed_memory()
    model = load(run, device=resolve_device(device).type)
    rescored = list(model.rescore(file.lists, combination, carry=carry, oov=oov))
    tuning = None
    if tune and said is not None:
        tuning = tune_combination(rescored, file, said, combination)
        rescored, combination = recombined(rescored, tuning.combination), tuning.combination
    result = report(rescored, file, combination, said, carry=carry, rule=rule)
    given = Given(weight, scales, rule, said, ranks=carry or output_format is not RescoredFormat.SCORES)
    noticed = remarks(result, rescored, model.codec, given, tuning)
    for remark in noticed:
        message(f"warning: {remark}")
    _print_report(result, tuning, noticed, as_json)
    if tuning is not None:
        message(f"# {tuning}")
        if not as_json:
            print(combination.options())
    elif out is not None or not as_json:
        _write(lines(rescored), out)


def _write(lines: Iterator[str], out: Path | None) -> None:
    """The rescored lists in a file, or on standard output."""
    from recurlm.files import write_whole

    if out is not None:
        write_whole(out, "".join(f"{line}\n" for line in lines).encode())
        return
    for line in lines:
        print(line)


def _print_report(report: "Report", tuning: "TunedCombination | None", noticed: Sequence[str], as_json: bool) -> None:
    if as_json:
        tuned = None if tuning is None else tuning.to_json()
        print_json(report.to_json() | {"tuned": tuned, "warnings": list(noticed)})
        return
    for line in report.lines():
        message(f"# {line}")
