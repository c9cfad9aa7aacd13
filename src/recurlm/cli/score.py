"""`recurlm score`: the log-probability of every token of every line."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

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

if TYPE_CHECKING:
    from recurlm.scoring.scorer import Scorer


def score(
    run: RunArgument,
    file: Annotated[
        str, typer.Argument(metavar="[FILE|-]", help="A text file (.gz too), or - for standard input.")
    ] = "-",
    format: Annotated[
        str | None,
        typer.Option(
            "--format",
            help="text; jsonl, an object a line; tsv, a row a token, for R and pandas; lines, a row a "
            "line, with mean and perplexity; srilm, its -debug 2; sentence, "
            "one total a line; kaldi, utterance id and cost. [default: text]",
            show_default=False,
        ),
    ] = None,
    log_base: Annotated[
        str | None, typer.Option("--log-base", help="e, 2 or 10. [default: e; 10 in srilm]", show_default=False)
    ] = None,
    context: Annotated[
        str, typer.Option("--context", help="reset: every line alone; carry: one document, to a blank line.")
    ] = "reset",
    after: Annotated[
        str | None,
        typer.Option("--after", metavar="TEXT", help="Only what follows TEXT in a line counts, such as '|||'."),
    ] = None,
    prompt: Annotated[
        str | None, typer.Option("--prompt", help="Read before the text, or in reset before every line; not counted.")
    ] = None,
    unit: Annotated[
        str, typer.Option("--unit", help="token, or word: sums pieces; a space counts with the word that follows.")
    ] = "token",
    oov: UnknownOption = "unk",
    state_in: StateInOption = None,
    state_out: StateOutOption = None,
    precision: Annotated[
        str, typer.Option("--precision", help="fp32, or bf16 where speed counts more than the last digits; auto.")
    ] = "fp32",
    device: DeviceOption = "auto",
    cache_directory: CacheDirectoryOption = None,
    json: JsonOption = False,
) -> None:
    """Log-probability of every token.

    Every line stands alone unless --context carries the state on; its end <eos> is counted.
    """
    from recurlm.devices import keep_freed_memory, resolve_device, slower_than_fp32
    from recurlm.errors import UsageError
    from recurlm.files import check_output
    from recurlm.interface import load
    from recurlm.models.memory import State
    from recurlm.progress import open_watcher
    from recurlm.scoring.formats import open_writer
    from recurlm.scoring.scorer import scoring_options
    from recurlm.streams import raw_lines
    from recurlm.text.corpora import open_text
    from recurlm.text.lines import decoded_lines
    from recurlm.text.places import DataPlaces

    if json and format not in (None, "jsonl"):
        raise UsageError(f"--json is --format jsonl; leave out one of it and --format {format}")
    if state_out is not None:
        check_output(state_out, [file])
    if state_out is not None and context != "carry":
        raise UsageError("--state-out belongs to --context carry; otherwise every line has a state of its own")
    writer = open_writer(format or ("jsonl" if json else "text"), log_base)
    options = scoring_options(context, after, unit, oov, precision, predictions=writer.needs_predictions)
    keep_freed_memory()
    model = load(run, device=resolve_device(device).type)
    state = None if state_in is None else State.load(state_in)
    if prompt is not None:
        state = model.read(prompt, state=state)
    scorer = model.scorer(state=state, options=options)
    slower = slower_than_fp32(scorer.options.precision, model.network.device)
    if slower is not None:
        message(f"# {slower}")
    if file == "-":
        # piped lines are scored as they come; open_text would wait for the last one
        lines = decoded_lines(raw_lines(sys.stdin.buffer, "standard input"), "standard input")
        size, digest, seen = None, "", False
    elif _is_empty(Path(file)):
        lines, size, digest, seen = iter(()), 0, "", False
    else:
        text = open_text(file, DataPlaces(cache_directory=cache_directory))
        model.warn_if_altered(text, file)
        lines, size, digest, seen = text.lines(), text.size, text.sha256, model.learned_from(text)
    watcher = open_watcher(quiet=sys.stdout.isatty())
    progress = Progress(watcher, size)
    try:
        sys.stdout.write(writer.head())
        for line in scorer.lines(writer.read(progress.watch(lines))):
            sys.stdout.write(writer.line(line))
            progress.done(len(line.words))
        sys.stdout.write(writer.foot(scorer.totals, file))
        sys.stdout.flush()
    finally:
        watcher.close()
    if state_out is not None:
        scorer.state.save(state_out)
    _report(scorer, digest, seen)


def _is_empty(path: Path) -> bool:
    return path.is_file() and not path.stat().st_size


def _report(scorer: "Scorer", digest: str, seen: bool) -> None:
    """The perplexity of it all, what was counted, and a warning where many words are unknown."""
    totals = scorer.totals
    warning = scorer.options.unknown.warning(totals.oov, totals.all_tokens)
    if warning is not None:
        message(warning)
    if not totals.tokens:
        message("# no lines to score" if not totals.lines else "# no token counts, so there is no perplexity")
        return
    without = "" if totals.without_oov is None else f", {totals.without_oov:.3f} without oov"
    message(f"# perplexity {totals.perplexity:.3f}{without}")
    message(f"# {scorer.signature(digest)}" + ("|seen=training" if seen else ""))
