"""`recurlm corpora`: the named corpora, whether they are at hand, and whether their addresses still answer."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from recurlm.cli.console import (
    CacheDirectoryOption,
    DataDirectoryOption,
    JsonOption,
    OfflineOption,
    message,
    print_json,
)
from recurlm.errors import CorruptFileError, DownloadError, UsageError

if TYPE_CHECKING:
    from recurlm.text.corpora import NamedCorpus
    from recurlm.text.places import DataPlaces


@dataclass(frozen=True)
class Row:
    """One corpus as it is reported: state is yes, no, partly, altered, or embedded; paths are the files found."""

    corpus: "NamedCorpus"
    state: str
    paths: tuple[Path, ...]
    answers: dict[str, str | None]

    @property
    def size(self) -> int | None:
        """Bytes of all files; None if the table does not tell."""
        sizes = [file.size for file in self.corpus.files]
        return sum(size for size in sizes if size) if sizes and None not in sizes else None

    @property
    def reachable(self) -> bool:
        """Whether each file has an address that answered."""
        return all(any(self.answers[url] is None for url in file.addresses) for file in self.corpus.files)


def corpora(
    check: Annotated[bool, typer.Option("--check", help="Ask every address whether it still answers.")] = False,
    as_json: JsonOption = False,
    data_directory: DataDirectoryOption = None,
    cache_directory: CacheDirectoryOption = None,
    offline: OfflineOption = False,
) -> None:
    """List the named corpora.

    Size, licence, where they come from, whether they are at hand.
    """
    from recurlm.text.corpora import named_corpora
    from recurlm.text.places import DataPlaces

    if check and offline:
        raise UsageError("--check asks the network, which --offline forbids; leave one of them out")
    places = DataPlaces(data_directory, cache_directory, offline)
    rows = []
    for corpus in named_corpora().values():
        state, paths = _at_hand(corpus, places)
        rows.append(Row(corpus, state, paths, _ask(corpus) if check else {}))
    if as_json:
        for row in rows:
            print_json(_report(row, check))
    else:
        _print_table(rows)
    lost = [row.corpus.name for row in rows if check and not row.reachable]
    if lost:
        raise DownloadError(f"no address answers for a file of: {', '.join(lost)}\nrun with --check --json for details")


def _at_hand(corpus: "NamedCorpus", places: "DataPlaces") -> tuple[str, tuple[Path, ...]]:
    from recurlm.text.corpora import local_file

    if not corpus.files:
        return "embedded", ()
    try:
        found = [local_file(corpus, file, places) for file in corpus.files]
    except CorruptFileError as error:
        message(f"recurlm: {error}")
        return "altered", ()
    paths = tuple(path for path in found if path)
    return ("yes" if len(paths) == len(found) else "partly" if paths else "no"), paths


def _ask(corpus: "NamedCorpus") -> dict[str, str | None]:
    from recurlm.text.download import probe

    answers = {}
    for address in dict.fromkeys(address for file in corpus.files for address in file.addresses):
        answers[address] = probe(address)
        message(f"{address}: {answers[address] or 'answers'}")
    return answers


def _report(row: Row, check: bool) -> dict[str, Any]:
    files = [
        {"file": file.file, "size": file.size, "digest": file.digest, "addresses": list(file.addresses)}
        for file in row.corpus.files
    ]
    report: dict[str, Any] = {
        "name": row.corpus.name,
        "description": row.corpus.description,
        "at_hand": row.state,
        "paths": [str(path) for path in row.paths],
        "size": row.size,
        "licence": row.corpus.licence,
        "citation": row.corpus.citation,
        "files": files,
    }
    if check:
        report |= {"reachable": row.reachable, "answers": row.answers}
    return report


def _print_table(rows: list[Row]) -> None:
    for row in rows:
        size = f"{row.size / 1e6:.1f} MB" if row.size else "size not known" if row.corpus.files else "made here"
        print(f"{row.corpus.name:16} at hand: {row.state:9} {size:15} {row.corpus.licence}")
        print(f"{'':16} {row.corpus.description}")
        if row.corpus.files:
            print(f"{'':16} {row.corpus.files[0].addresses[0]}")
