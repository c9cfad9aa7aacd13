"""Entry point: the commands, and errors turned into plain lines and exit codes."""

import contextlib
import io
import os
import sys
import traceback
import warnings
from typing import IO, Annotated, Any

import typer

from recurlm.cli.adapt import adapt
from recurlm.cli.compare import compare
from recurlm.cli.corpora import corpora
from recurlm.cli.doctor import doctor
from recurlm.cli.eval import evaluate
from recurlm.cli.export_mxnet import export_mxnet
from recurlm.cli.fetch import fetch
from recurlm.cli.generate import generate
from recurlm.cli.graph import graph
from recurlm.cli.help import GroupedCommands, GroupedOptions, examples
from recurlm.cli.import_mxnet import import_mxnet
from recurlm.cli.inspect import INSPECT_EXAMPLES, inspect
from recurlm.cli.interrupts import INTERRUPTED, CommandInterrupted
from recurlm.cli.ngram import ngram
from recurlm.cli.plot import plot
from recurlm.cli.recipes import recipes
from recurlm.cli.rescore import rescore
from recurlm.cli.runs import runs
from recurlm.cli.score import score
from recurlm.cli.search import search
from recurlm.cli.serve import serve
from recurlm.cli.show import show
from recurlm.cli.studio import studio
from recurlm.cli.threads import settle_threads
from recurlm.cli.train import TRAIN_EXAMPLES, train
from recurlm.cli.verify import verify
from recurlm.cli.vocabulary import vocabulary
from recurlm.errors import RecurlmError, RecurlmWarning
from recurlm.files.errors import explained
from recurlm.launched import is_launched_here, tells_first
from recurlm.terminal import for_terminal
from recurlm.version import CODE_VERSION
from recurlm.wording import shown_name

settle_threads()  # before a command loads torch

app = typer.Typer(
    name="recurlm",
    cls=GroupedCommands,
    help="Train small recurrent language models from your text, in minutes on a laptop.",
    epilog="Start with: recurlm train     Then: recurlm generate runs/python-docs-demo",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("train", cls=GroupedOptions, epilog=examples(TRAIN_EXAMPLES))(train)
app.command("search")(search)
app.command("eval")(evaluate)
app.command("adapt")(adapt)
app.command("compare")(compare)
app.command("score")(score)
app.command("rescore")(rescore)
app.command("generate")(generate)
app.command("serve")(serve)
app.command("studio")(studio)
app.command("vocabulary")(vocabulary)
app.command("ngram")(ngram)
app.command("graph")(graph)
app.command("inspect", cls=GroupedOptions, epilog=examples(INSPECT_EXAMPLES))(inspect)
app.command("plot")(plot)
app.command("runs")(runs)
app.command("show")(show)
app.command("verify")(verify)
app.command("corpora")(corpora)
app.command("fetch")(fetch)
app.command("recipes")(recipes)
app.command("import-mxnet")(import_mxnet)
app.command("export-mxnet")(export_mxnet)
app.command("doctor")(doctor)


def _print_version(wanted: bool) -> None:
    if wanted:
        import torch

        print(f"recurlm {CODE_VERSION} (torch {torch.__version__}, Python {sys.version.split()[0]})")
        raise typer.Exit


@app.callback()
def options(
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print versions.")
    ] = False,
) -> None:
    """Options that stand before the command."""


def main() -> None:
    """Run the command line; every failure leaves one or two plain lines and its exit code."""
    warnings.showwarning = _show_warning
    warnings.simplefilter("always", RecurlmWarning)
    _prepare_streams()
    debug = "--debug" in sys.argv or bool(os.environ.get("RECURLM_DEBUG"))
    try:
        try:
            app()
        finally:
            sys.stdout.flush()  # what is still buffered may meet a closed pipe or a full disk, too
    except BrokenPipeError:
        _drop_unwritten_output()
        sys.exit(1)
    except (KeyboardInterrupt, CommandInterrupted):
        if not is_launched_here():  # the launcher tells the user
            print(INTERRUPTED, file=sys.stderr)
        sys.exit(130)
    except Exception as error:
        if debug:
            traceback.print_exc()
        sys.exit(_report(error))


def _prepare_streams() -> None:
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, _nowhere(mode))
    if isinstance(sys.stdout, io.TextIOWrapper):
        # UTF-8, as for every text that is read; bytes of file names that are not UTF-8 are written as they are
        sys.stdout.reconfigure(encoding="utf-8", errors="surrogateescape")
    sys.stdout, sys.stderr = for_terminal(sys.stdout), for_terminal(sys.stderr)


def _nowhere(mode: str) -> IO[Any]:
    """Replaces a stream that the caller closed. Without it, the next file opened would get the stream's descriptor."""
    return open(os.open(os.devnull, os.O_RDWR), mode, encoding="utf-8", closefd=False)


def _report(error: Exception) -> int:
    """Print an error on stderr; returns the exit code."""
    if isinstance(error, RecurlmError):
        _tell(shown_name(f"recurlm: {error}"))
        return error.exit_code
    if isinstance(error, OSError):
        _tell(shown_name(f"recurlm: {explained(error)}"))
        _drop_unwritten_output()
        return 1
    _tell(f"recurlm: {_unexpected(error)}")
    return 1


def _tell(text: str) -> None:
    """Prints on stderr what several processes of one command may meet alike; only the first of them prints it."""
    if tells_first(text):
        print(text, file=sys.stderr, flush=True)


def _unexpected(error: Exception) -> str:
    reason = next(iter(str(error).splitlines()), "") or "no reason given"
    if isinstance(error, MemoryError) or "memory" in reason:
        return f"out of memory: {reason}\nuse a smaller batch or model, or another --device"
    return f"{type(error).__name__}: {reason}\nthis is an error of the program; --debug before the command shows where"


def _drop_unwritten_output() -> None:
    """Python would try again at exit to write what a full disk or a closed pipe refused, and change the exit code."""
    try:
        sys.stdout.flush()
    except OSError:
        with contextlib.suppress(OSError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _show_warning(message: Warning | str, category: type[Warning], *place: Any, **more: Any) -> None:
    """Print this program's own warnings as one plain line, those of libraries as Python does."""
    if issubclass(category, RecurlmWarning):
        _tell(f"recurlm: warning: {message}")
    else:
        _show_any_warning(message, category, *place, **more)


_show_any_warning = warnings.showwarning


if __name__ == "__main__":
    main()
