"""`recurlm score`: the log-probability of every token of every line, or of every word of a table of stimuli."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from recurlm.cli.choices import Context, Device, LogBase, Precision, ScoreFormat, TableKind, Unit
from recurlm.cli.console import (
    CacheDirectoryOption,
    DeviceOption,
    JsonOption,
    Progress,
    QuietOption,
    RunArgument,
    StateInOption,
    StateOutOption,
    UnknownOption,
    message,
    print_json,
    processes_option,
)
from recurlm.errors import UsageError
from recurlm.text.members import is_pattern

if TYPE_CHECKING:
    from recurlm.bulk.job import ScoringJob, TextScoring
    from recurlm.scoring.scorer import Scorer


def score(
    run: RunArgument,
    files: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[FILE|-]",
            help="Text file or table (.gz too), or - for standard input. With --out, files and patterns such as "
            "'texts/*.gz'. [default: -]",
            show_default=False,
        ),
    ] = None,
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
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            metavar="DIR",
            help="Score many files: write the scores of each into a file of this folder, print one total, and skip "
            "what is done when started again.",
            show_default=False,
        ),
    ] = None,
    processes: Annotated[
        int | None,
        processes_option("With --out: score N files at a time. [default: 1]"),
    ] = None,
    shard: Annotated[
        str | None,
        typer.Option("--shard", metavar="I/N", help="With --out: score the I-th of N shares of the files, from 1."),
    ] = None,
    quiet: QuietOption = False,
    as_json: JsonOption = False,
) -> None:
    """Score a text: log-probability of every token.

    Each line is scored alone unless --context carry; its end <eos> counts. With --column, FILE is a table of stimuli.
    With --out, many files are scored, by several processes or machines.
    """
    if as_json and out is None and format not in (None, ScoreFormat.JSONL):
        raise UsageError(f"--json already means --format jsonl; drop --json or --format {format}")
    from recurlm.bulk.job import ScoringJob

    job = ScoringJob(
        run=str(run),
        format=format or ("jsonl" if as_json else None),
        log_base=log_base,
        context=context,
        after=after,
        prompt=prompt,
        unit=unit,
        oov=oov,
        precision=precision,
        device=device,
        state_in=None if state_in is None else str(state_in),
        column=column,
        regions=regions,
        table=table,
        cache=None if cache_directory is None else str(cache_directory),
    )
    if out is not None:
        if state_out is not None:
            raise UsageError("--state-out belongs to one text; leave it or --out out")
        _score_files(job, files or [], out, processes or 1, shard, quiet=quiet, as_json=as_json)
        return
    _refuse_without_out(files, processes, shard)
    _score_text(job, "-" if files is None else files[0], state_out, quiet=quiet)


def _refuse_without_out(files: list[str] | None, processes: int | None, shard: str | None) -> None:
    for option, value in (("--processes", processes), ("--shard", shard)):
        if value is not None:
            raise UsageError(f"{option} belongs to --out DIR, a folder for the scores of many files")
    if files is not None and (len(files) > 1 or is_pattern(files[0])):
        raise UsageError("several files are scored into a folder; add --out DIR")


def _score_files(
    job: "ScoringJob", files: list[str], out: Path, processes: int, shard: str | None, *, quiet: bool, as_json: bool
) -> None:
    """Scores files into a folder and prints the total."""
    from recurlm.bulk.scoring import BulkRequest, parse_shard, score_files, unknown_warning
    from recurlm.progress import open_watcher

    if not files:
        raise UsageError("--out is a folder for the scores of files; name the files")
    request = BulkRequest(job, tuple(files), out, processes, None if shard is None else parse_shard(shard))
    watcher = open_watcher(quiet=quiet)
    try:
        scores = score_files(request, watcher)
    finally:
        watcher.close()
    warning = unknown_warning(scores, job.oov)
    if warning is not None:
        message(warning)
    if as_json:
        print_json(scores.to_json())
    else:
        print(scores.table())
    scores.raise_failure()


def _score_text(job: "ScoringJob", file: str, state_out: Path | None, *, quiet: bool) -> None:
    """Scores one text on stdout."""
    from recurlm.bulk.job import OpenedJob
    from recurlm.devices import keep_freed_memory

    _check_state_out(state_out, file, job.context)
    job.check()
    job.stimuli(file)
    keep_freed_memory()
    opened = OpenedJob.of(job)
    if opened.remark is not None:
        message(f"# {opened.remark}")
    text = opened.open(file)
    _write(text, quiet=quiet or sys.stdout.isatty())
    if state_out is not None:
        text.scorer.state.save(state_out)
    _report(text.scorer, text.signature())


def _check_state_out(state_out: Path | None, file: str, context: str) -> None:
    from recurlm.files import check_output

    if state_out is None:
        return
    check_output(state_out, [file])
    if context != Context.CARRY:
        raise UsageError("--state-out belongs to --context carry; otherwise every line has a state of its own")


def _write(text: "TextScoring", *, quiet: bool) -> None:
    """The scores of a text on stdout, with progress on stderr."""
    from recurlm.progress import open_watcher

    watcher = open_watcher(quiet=quiet)
    progress = Progress(watcher, text.size)
    try:
        for piece in text.output(progress.watch, progress.done):
            sys.stdout.write(piece)
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
