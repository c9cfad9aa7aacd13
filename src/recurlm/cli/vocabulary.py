"""`recurlm vocabulary`: what a model's vocabulary holds, and how it grows."""

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from recurlm.cli.choices import NewWeights
from recurlm.cli.console import (
    LARGEST_SEED,
    CacheDirectoryOption,
    JsonOption,
    RunArgument,
    message,
    print_json,
)
from recurlm.wording import readable

if TYPE_CHECKING:
    from recurlm.runs.folder import RunFolder
    from recurlm.text.codec import Codec

SHOWN = 10
NAMED = 20


def vocabulary(
    run: RunArgument,
    extend: Annotated[
        str | None,
        typer.Option(
            "--extend", metavar="FILE", help="Add the words of this text file (.gz too, - for standard input)."
        ),
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="NEW", help="With --extend: run folder to write.")
    ] = None,
    init: Annotated[
        NewWeights | None,
        typer.Option(
            "--init",
            help="With --extend: weights of new words, the mean of all words or those of <unk>. [default: mean]",
        ),
    ] = None,
    seed: Annotated[
        int | None,
        typer.Option("--seed", min=0, max=LARGEST_SEED, help="With --init mean: seed of the noise. [default: 1]"),
    ] = None,
    cache_directory: CacheDirectoryOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show a model's vocabulary, or add words to it.

    The run does not change; the model with the new words becomes a new run.
    """
    from recurlm.errors import UsageError
    from recurlm.runs.folder import RunFolder

    folder = RunFolder(run)
    if extend is None:
        if (out, init, seed) != (None, None, None):
            raise UsageError("--out, --init and --seed belong to --extend FILE")
        _show(folder, as_json)
        return
    if out is None:
        raise UsageError("--extend needs --out NEW: the run itself is never changed")
    if init == NewWeights.UNK and seed is not None:
        raise UsageError("--seed belongs to --init mean: copies of <unk> have no noise")
    from recurlm.runs.growth import extend_vocabulary
    from recurlm.text.corpora import open_text
    from recurlm.text.places import DataPlaces

    words = open_text(extend, DataPlaces(cache_directory=cache_directory))
    growth = extend_vocabulary(folder, words, out, init=init or "mean", seed=1 if seed is None else seed)
    message(f"new    {_count_or_names(growth.added)}")
    message(f"known  {_count_or_names(growth.known)}")
    grown = shlex.quote(str(out))
    message(f"next   recurlm train TEXT --from {grown} --out OTHER     recurlm eval {grown}")
    if as_json:
        print_json(growth.to_json())
    else:
        print(out)


def _show(folder: "RunFolder", as_json: bool) -> None:
    extended, codec = folder.config().get("extended"), folder.codec()
    tokens = codec.vocabulary.tokens
    if not as_json:
        _print_vocabulary(codec, extended)
        return
    print_json(
        {
            "run": str(folder.path),
            "unit": codec.tokenization.unit,
            "size": len(tokens),
            "unknown": codec.vocabulary.unknown_id is not None,
            "digest": codec.vocabulary.digest,
            "first": list(tokens[:SHOWN]),
            "last": list(tokens[-SHOWN:]),
            "extended": extended,
        }
        | ({"cut": codec.tokenization.cut} if codec.tokenization.cut else {})
    )


def _print_vocabulary(codec: "Codec", extended: dict[str, Any] | None) -> None:
    """The size, the first and the last tokens; `extended` is what config.json says of words that were added."""
    from recurlm.text.tokenization import PLURALS

    tokens = codec.vocabulary.tokens
    unknown = "<unk> for all others" if codec.vocabulary.unknown_id is not None else "others are refused"
    print(f"size   {len(tokens):,} {PLURALS[codec.tokenization.unit]}; {unknown}")
    if codec.tokenization.cut:
        print(f"cut    {codec.tokenization.cut}")
    print(f"first  {_listed(tokens[:SHOWN])}")
    print(f"last   {_listed(tokens[-SHOWN:])}")
    if extended is not None:
        print(f"added  {len(extended['added']):,}, after training, from {extended['file']}; init {extended['init']}")


def _count_or_names(tokens: Sequence[str]) -> str:
    return f"{len(tokens):,}" + (f": {_listed(tokens)}" if 0 < len(tokens) <= NAMED else "")


def _listed(tokens: Sequence[str]) -> str:
    return " ".join(map(readable, tokens))
