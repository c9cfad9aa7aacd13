"""The named corpora as `recurlm corpora` lists them: what is on this machine, and which addresses answer."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from recurlm.errors import CorruptFileError
from recurlm.text.corpora import NamedCorpus, local_file
from recurlm.text.download import probe
from recurlm.text.places import DataPlaces

Availability = Literal["yes", "partly", "no", "altered", "embedded"]


@dataclass(frozen=True)
class ListedCorpus:
    """A named corpus and how much of it is on this machine.

    availability: of its files; embedded where it needs none, altered where one has another digest · paths: of the files
    found · problem: the error about an altered file · answers: what is wrong with each address, None where it answers;
    empty where no address was asked.
    """

    corpus: NamedCorpus
    availability: Availability
    paths: tuple[Path, ...] = ()
    problem: str | None = None
    answers: Mapping[str, str | None] = field(default_factory=dict)

    @property
    def size(self) -> int | None:
        """Bytes of all files; None where the table does not say."""
        sizes = [file.size for file in self.corpus.files]
        return sum(size for size in sizes if size) if sizes and None not in sizes else None

    @property
    def is_reachable(self) -> bool:
        """Whether each file has an address that answered."""
        return all(any(self.answers[url] is None for url in file.addresses) for file in self.corpus.files)

    def to_json(self) -> dict[str, Any]:
        """The object that `corpora --json` prints."""
        files = [
            {"file": file.file, "size": file.size, "digest": file.digest, "addresses": list(file.addresses)}
            for file in self.corpus.files
        ]
        return {
            "name": self.corpus.name,
            "description": self.corpus.description,
            "at_hand": self.availability,
            "paths": [str(path) for path in self.paths],
            "size": self.size,
            "licence": self.corpus.licence,
            "citation": self.corpus.citation,
            "files": files,
        }


def listed(corpus: NamedCorpus, places: DataPlaces) -> ListedCorpus:
    """Look for the files of a corpus. Raises InputError where the data directory is missing."""
    if not corpus.files:
        return ListedCorpus(corpus, "embedded")
    try:
        found = [local_file(corpus, file, places) for file in corpus.files]
    except CorruptFileError as error:
        return ListedCorpus(corpus, "altered", problem=str(error))
    paths = tuple(path for path in found if path)
    return ListedCorpus(corpus, "yes" if len(paths) == len(found) else "partly" if paths else "no", paths)


def answers(corpus: NamedCorpus) -> Iterator[tuple[str, str | None]]:
    """Ask the addresses of a corpus one after another: each with what is wrong, or None where it answers."""
    for address in dict.fromkeys(address for file in corpus.files for address in file.addresses):
        yield address, probe(address)
