"""`recurlm corpora`: the named corpora, whether they are on this machine, and whether their addresses answer."""

from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

import typer

from recurlm.cli.console import (
    CacheDirectoryOption,
    DataDirectoryOption,
    JsonOption,
    OfflineOption,
    message,
    print_json,
)
from recurlm.errors import DownloadError, UsageError

if TYPE_CHECKING:
    from recurlm.text.listing import ListedCorpus


def corpora(
    check: Annotated[bool, typer.Option("--check", help="Ask every address whether it still answers.")] = False,
    as_json: JsonOption = False,
    data_directory: DataDirectoryOption = None,
    cache_directory: CacheDirectoryOption = None,
    offline: OfflineOption = False,
) -> None:
    """List the named corpora.

    Shows size, license, address, and whether a corpus is on this machine.
    """
    from recurlm.text.corpora import named_corpora
    from recurlm.text.listing import listed
    from recurlm.text.places import DataPlaces

    if check and offline:
        raise UsageError("--check asks the network, which --offline forbids; leave out one of the two")
    places = DataPlaces(data_directory, cache_directory, offline)
    rows = []
    for corpus in named_corpora().values():
        row = listed(corpus, places)
        if row.problem is not None:
            message(f"recurlm: {row.problem}")
        rows.append(_checked(row) if check else row)
    for row in rows:
        if as_json:
            checked = {"reachable": row.is_reachable, "answers": dict(row.answers)} if check else {}
            print_json(row.to_json() | checked)
        else:
            _print_row(row)
    lost = [row.corpus.name for row in rows if check and not row.is_reachable]
    if lost:
        raise DownloadError(f"no address answers for a file of: {', '.join(lost)}\nrun with --check --json for details")


def _checked(row: "ListedCorpus") -> "ListedCorpus":
    """The row with the answers of its addresses; each answer is printed on stderr as it comes."""
    from recurlm.text.listing import answers

    found = {}
    for address, problem in answers(row.corpus):
        found[address] = problem
        message(f"{address}: {problem or 'answers'}")
    return replace(row, answers=found)


def _print_row(row: "ListedCorpus") -> None:
    size = f"{row.size / 1e6:.1f} MB" if row.size else "size not known" if row.corpus.files else "made here"
    print(f"{row.corpus.name:16} at hand: {row.availability:9} {size:15} {row.corpus.licence}")
    print(f"{'':16} {row.corpus.description}")
    if row.corpus.files:
        print(f"{'':16} {row.corpus.files[0].addresses[0]}")
