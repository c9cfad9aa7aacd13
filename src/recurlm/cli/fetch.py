"""`recurlm fetch`: download a named corpus, verify it and keep it."""

from typing import Annotated

import typer

from recurlm.cli.console import CacheDirectoryOption, DataDirectoryOption, JsonOption, OfflineOption, print_json


def fetch(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Corpus name; `recurlm corpora` lists them.")],
    as_json: JsonOption = False,
    data_directory: DataDirectoryOption = None,
    cache_directory: CacheDirectoryOption = None,
    offline: OfflineOption = False,
) -> None:
    """Download and verify a named corpus.

    Keeps the corpus in the cache and prints the paths of its files.
    """
    from recurlm.text.corpora import fetch_corpus, named_corpus
    from recurlm.text.places import DataPlaces

    corpus = named_corpus(name)
    paths = fetch_corpus(corpus, DataPlaces(data_directory, cache_directory, offline))
    if as_json:
        files = {part: str(path) for part, path in paths.items()}
        print_json({"name": corpus.name, "files": files, "licence": corpus.licence, "citation": corpus.citation})
        return
    for path in paths.values():
        print(path)
