import hashlib
from pathlib import Path

import pytest

from recurlm.errors import InputError
from recurlm.text.corpora import CorpusFile, NamedCorpus
from recurlm.text.listing import ListedCorpus, answers, listed
from recurlm.text.places import DataPlaces


def corpus(*parts: str, size: int | None = 5) -> NamedCorpus:
    """Each file holds the name of its part."""
    digests = {part: f"sha256:{hashlib.sha256(part.encode()).hexdigest()}" for part in parts}
    files = (CorpusFile(part, f"{part}.txt", digests[part], (f"https://{part}", "https://all"), size) for part in parts)
    return NamedCorpus("own", "a corpus", "free", "none", tuple(files))


@pytest.fixture
def places(tmp_path: Path) -> DataPlaces:
    (tmp_path / "data" / "own").mkdir(parents=True)
    return DataPlaces(tmp_path / "data", tmp_path / "cache", offline=True)


def put(places: DataPlaces, part: str, content: str) -> Path:
    assert places.data_directory is not None
    path = places.data_directory / "own" / f"{part}.txt"
    path.write_text(content)
    return path


def test_a_corpus_is_on_this_machine_wholly_partly_or_not(places):
    own = corpus("train", "valid")
    assert (listed(own, places).availability, listed(own, places).paths) == ("no", ())
    train = put(places, "train", "train")
    assert (listed(own, places).availability, listed(own, places).paths) == ("partly", (train,))
    valid = put(places, "valid", "valid")
    assert (listed(own, places).availability, listed(own, places).paths) == ("yes", (train, valid))
    assert listed(corpus(), places).availability == "embedded"


def test_an_altered_file_is_listed_with_the_error(places):
    put(places, "train", "other")
    found = listed(corpus("train"), places)
    assert (found.availability, found.paths) == ("altered", ())
    assert found.problem is not None
    assert "train.txt has the digest sha256:" in found.problem


def test_a_missing_data_directory_is_refused(tmp_path):
    with pytest.raises(InputError, match="absent is missing"):
        listed(corpus("train"), DataPlaces(tmp_path / "absent", tmp_path))


def test_the_size_is_that_of_all_files_or_not_known():
    assert ListedCorpus(corpus("train", "valid"), "no").size == 10
    assert ListedCorpus(corpus("train", size=None), "no").size is None
    assert ListedCorpus(corpus(), "embedded").size is None


def test_a_corpus_is_reachable_where_each_file_has_an_address_that_answers(monkeypatch):
    own = corpus("train", "valid")
    problems = {"https://train": None, "https://all": "HTTP 404", "https://valid": "HTTP 503"}
    monkeypatch.setattr("recurlm.text.listing.probe", problems.__getitem__)
    assert list(answers(own)) == [("https://train", None), ("https://all", "HTTP 404"), ("https://valid", "HTTP 503")]
    assert not ListedCorpus(own, "no", answers=problems).is_reachable
    assert ListedCorpus(own, "no", answers=problems | {"https://valid": None}).is_reachable
