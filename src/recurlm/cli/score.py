"""`recurlm score`: the log-probability of every token of every line, or of every word of a table of stimuli."""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from recurlm.cli.choices import Context, Device, LogBase, Precision, ScoreFormat, TableKind, Unit
from recurlm.cli.console import (
    CacheDirectoryOption,
    DeviceOption,
    JsonOption,
    Progress,
    RunArgument,
    StateInOption,
    StateOutOption,
    UnknownOption,
    message,
)
from recurlm.errors import UsageError

if TYPE_CHECKING:
    from recurlm.scoring.formats import Writer
    from recurlm.scoring.scorer import Scorer
    from recurlm.scoring.stimuli import Stimuli


def score(
    run: RunArgument,
    file: Annotated[
        str, typer.Argument(metavar="[FILE|-]", help="Text file or table (.gz too), or - for standard input.")
    ] = "-",
    column: Annotated[
        str | None,
        typer.Option(
            "--column",
            metavar="NAME",
            help="FILE is a table; score the sentences of this column. A row of output is a word, with surprisal, "
            "entropy and rank beside the other columns; --format lines has a row a sentence.",
        ),
    ] = None,
    regions: Annotated[
        str | None,
        typer.Option(
            "--region-column",
            metavar="NAME",
            help="Sum over regions: this column of the table holds a label for each word, with spaces between.",
        ),
    ] = None,
    table: Annotated[
        TableKind | None,
        typer.Option("--table", help="Kind of table. [default: by the name of FILE]", show_default=False),
    ] = None,
    format: Annotated[
        ScoreFormat | None,
        typer.Option(
            "--format",
            help="text; jsonl: an object a line; tsv: a row a token, for R and pandas; lines: a row a line, with mean "
            "and perplexity; srilm: as its -debug 2; sentence: one total a line; kaldi: utterance id and cost; "
            "html: a heat map for a browser. [default: text]",
            show_default=False,
        ),
    ] = None,
    log_base: Annotated[
        LogBase | None,
        typer.Option("--log-base", help="Base of logarithms. [default: e; 10 in srilm]", show_default=False),
    ] = None,
    context: Annotated[
        Context, typer.Option("--context", help="reset: every line alone; carry: one document up to a blank line.")
    ] = Context.RESET,
    after: Annotated[
        str | None,
        typer.Option("--after", metavar="TEXT", help="Count only what follows TEXT in a line, such as '|||'."),
    ] = None,
    prompt: Annotated[
        str | None,
        typer.Option("--prompt", help="Text to read before the file, with reset before every line; not counted."),
    ] = None,
    unit: Annotated[
        Unit, typer.Option("--unit", help="word sums the pieces of a word; a space counts with the word after it.")
    ] = Unit.TOKEN,
    oov: UnknownOption = "unk",
    state_in: StateInOption = None,
    state_out: StateOutOption = None,
    precision: Annotated[
        Precision, typer.Option("--precision", help="Type of matrix products; bf16 gains speed for the last digits.")
    ] = Precision.FP32,
    device: DeviceOption = Device.AUTO,
    cache_directory: CacheDirectoryOption = None,
    as_json: JsonOption = False,
) -> None:
    """Score a text: log-probability of every token.

    Each line is scored alone unless --context carry; its end <eos> counts. With --column, FILE is a table of stimuli.
    """
    from recurlm.devices import keep_freed_memory, resolve_device, slower_than_fp32
    from recurlm.interface.model import load
    from recurlm.models.memory import State
    from recurlm.scoring.formats import open_writer
    from recurlm.scoring.scorer import scoring_options
    from recurlm.scoring.stimuli import StimulusWriter
    from recurlm.text.corpora import open_lines
    from recurlm.text.places import DataPlaces

    if as_json and format not in (None, ScoreFormat.JSONL):
        raise UsageError(f"--json already means --format jsonl; drop --json or --format {format}")
    _check_state_out(state_out, file, context)
    stimuli = _stimuli(file, column, regions, table, format, as_json)
    if stimuli is not None:
        _refuse_with_column(log_base=log_base, after=after, context=context, unit=unit)
    writer = open_writer(format or ("jsonl" if as_json else "text"), log_base)
    predictions = writer.needs_predictions or stimuli is not None
    options = scoring_options(context, after, unit, oov, precision, predictions=predictions)
    keep_freed_memory()
    model = load(run, device=resolve_device(device).type)
    state = None if state_in is None else State.load(state_in)
    if prompt is not None:
        state = model.read(prompt, state=state)
    scorer = model.scorer(state=state, options=options)
    if stimuli is not None:
        writer = StimulusWriter(stimuli, model.codec.tokenization)
    scorer.place = writer.place
    slower = slower_than_fp32(scorer.options.precision, model.network.device)
    if slower is not None:
        message(f"# {slower}")
    lines, text = open_lines(file, DataPlaces(cache_directory=cache_directory))
    if text is not None:
        model.warn_if_altered(text, file)
    digest = "" if text is None else text.sha256
    seen = text is not None and model.learned_from(text)

    def signature() -> str:
        return scorer.signature(digest) + ("|seen=training" if seen else "") + writer.label

    _write(scorer, writer, lines, None if text is None else text.size, file, signature)
    if state_out is not None:
        scorer.state.save(state_out)
    _report(scorer, signature())


def _stimuli(
    file: str,
    column: str | None,
    regions: str | None,
    table: TableKind | None,
    format: ScoreFormat | None,
    as_json: bool,
) -> "Stimuli | None":
    """The table that the options describe; None where they name no column. Raises UsageError where they disagree."""
    from recurlm.scoring.stimuli import Stimuli
    from recurlm.text.lines import STANDARD_INPUT
    from recurlm.text.tables import table_kind

    if column is None:
        for option, value in (("--region-column", regions), ("--table", table)):
            if value is not None:
                raise UsageError(f"{option} describes a table; add --column NAME for the column of its sentences")
        return None
    if format not in (None, ScoreFormat.TSV, ScoreFormat.JSONL, ScoreFormat.LINES):
        raise UsageError(f"--format {format}: a table of stimuli is written as tsv, jsonl or lines")
    return Stimuli(
        column=column,
        kind=table_kind(file, table),
        name=STANDARD_INPUT if file == "-" else file,
        regions=regions,
        lines=format == ScoreFormat.LINES,
        as_json=as_json or format == ScoreFormat.JSONL,
    )


def _refuse_with_column(*, log_base: LogBase | None, after: str | None, context: Context, unit: Unit) -> None:
    refused = {
        "--log-base": (log_base is not None, "surprisal is in bits"),
        "--after": (after is not None, "every word of a sentence counts"),
        "--context carry": (context != Context.RESET, "every sentence is read alone"),
        "--unit word": (unit != Unit.TOKEN, "a row already is a word as the reader sees it"),
    }
    for option, (is_given, reason) in refused.items():
        if is_given:
            raise UsageError(f"{option} does not go with --column: {reason}; leave it out")


def _check_state_out(state_out: Path | None, file: str, context: Context) -> None:
    from recurlm.files import check_output

    if state_out is None:
        return
    check_output(state_out, [file])
    if context != Context.CARRY:
        raise UsageError("--state-out belongs to --context carry; otherwise every line has a state of its own")


def _write(
    scorer: "Scorer",
    writer: "Writer",
    lines: Iterator[str],
    size: int | None,
    name: str,
    signature: Callable[[], str],
) -> None:
    """The scores of lines on stdout, with progress on stderr; `size` is that of the text in bytes, if known."""
    from recurlm.progress import open_watcher

    watcher = open_watcher(quiet=sys.stdout.isatty())
    progress = Progress(watcher, size)
    try:
        sys.stdout.write(writer.head())
        for line in scorer.lines(writer.scored_parts(progress.watch(lines))):
            sys.stdout.write(writer.line(line))
            progress.done(len(line.words))
        sys.stdout.write(writer.foot(scorer.totals, name, signature()))
        sys.stdout.flush()
    finally:
        watcher.close()


def _report(scorer: "Scorer", signature: str) -> None:
    """The perplexity, what was counted, and a warning where many words are unknown."""
    totals = scorer.totals
    warning = scorer.options.unknown.warning(totals.oov, totals.all_tokens)
    if warning is not None:
        message(warning)
    if not totals.tokens:
        message("# no lines to score" if not totals.lines else "# no token counts, so there is no perplexity")
        return
    without = "" if totals.without_oov is None else f", {totals.without_oov:.3f} without oov"
    message(f"# perplexity {totals.perplexity:.3f}{without}")
    message(f"# {signature}")
