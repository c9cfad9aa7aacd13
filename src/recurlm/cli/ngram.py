"""`recurlm ngram`: an n-gram model from a text."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from recurlm.cli.choices import Split
from recurlm.cli.console import (
    CacheDirectoryOption,
    DataDirectoryOption,
    JsonOption,
    OfflineOption,
    message,
    print_json,
)

if TYPE_CHECKING:
    from recurlm.ngrams.kneser_ney import Discounts


def ngram(
    text: Annotated[str, typer.Argument(metavar="TEXT", help="Corpus name, file, folder, or - for standard input.")],
    out: Annotated[Path, typer.Option("--out", metavar="FILE", help="ARPA file to write; .gz compresses it.")],
    order: Annotated[int, typer.Option("--order", min=1, max=9, help="Largest number of words in an n-gram.")] = 3,
    vocabulary: Annotated[
        Path | None,
        typer.Option(
            "--vocabulary",
            metavar="RUN",
            help="Use the words of this run; others become <unk>. [default: words of TEXT]",
        ),
    ] = None,
    split: Annotated[
        Split | None,
        typer.Option("--split", help="Which text of TEXT; a file is cut as `train` cuts it. [default: train]"),
    ] = None,
    whole: Annotated[
        bool, typer.Option("--whole", help="Use all of a file, including the parts that `train` holds out.")
    ] = False,
    data_directory: DataDirectoryOption = None,
    cache_directory: CacheDirectoryOption = None,
    offline: OfflineOption = False,
    as_json: JsonOption = False,
) -> None:
    """Estimate an n-gram model and write it as an ARPA file.

    Interpolated modified Kneser-Ney smoothing. `compare` and `eval --with` read the file, which holds the digest of
    the text: a figure on text that the model was estimated from says so.
    """
    from recurlm.errors import UsageError
    from recurlm.files import check_output
    from recurlm.ngrams.arpa import write_arpa
    from recurlm.ngrams.kneser_ney import kneser_ney, text_codec
    from recurlm.runs.folder import RunFolder
    from recurlm.text.corpora import is_single_file, open_part
    from recurlm.text.places import DataPlaces

    check_output(out, [text])
    if whole and (split is not None or not is_single_file(text)):
        raise UsageError("--whole takes all of one file; leave --split out, and name a file")
    part = None if whole else split or "train"
    learned = open_part(text, part, DataPlaces(data_directory, cache_directory, offline))
    codec = text_codec(learned) if vocabulary is None else RunFolder(vocabulary).codec()
    model, discounts = kneser_ney(learned, codec, order)
    write_arpa(model, out)
    counts = [len(level.keys) for level in model.levels]
    for number, (count, discount) in enumerate(zip(counts, discounts, strict=True), 1):
        message(f"order {number}: {count:,} n-grams, {_in_words(discount)}")
    if as_json:
        orders = [
            {"order": number, "ngrams": count} | discount.to_json()
            for number, (count, discount) in enumerate(zip(counts, discounts, strict=True), 1)
        ]
        print_json({"file": str(out), "text": learned.name, "digest": f"sha256:{learned.sha256}", "orders": orders})
    else:
        print(out)


def _in_words(discounts: "Discounts") -> str:
    values = ", ".join(f"{value:.3f}" for value in discounts.values)
    return f"{'discounts' if discounts.estimated else 'too regular a text to estimate discounts, so'} {values}"
