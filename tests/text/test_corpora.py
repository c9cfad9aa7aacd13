import gzip
import hashlib
import io
import os
import sys
import types
from pathlib import Path

import pytest

from recurlm.errors import CorruptFileError, DownloadError, InputError
from recurlm.text import corpora
from recurlm.text.corpora import (
    CorpusFile,
    NamedCorpus,
    fetch_corpus,
    named_corpora,
    named_corpus,
    open_lines,
    open_part,
    open_source,
    open_text,
)
from recurlm.text.places import DataPlaces
from recurlm.text.python_docs import python_docs

LINES = b"".join(b"line %04d\n" % number for number in range(200))
SHARED = Path(os.environ.get("RECURLM_DATA_DIR", Path(__file__).parents[3] / "shared" / "data"))


def shared_corpus(name: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(
        not (SHARED / name).is_dir(), reason=f"{name} is not in RECURLM_DATA_DIR or ../shared/data"
    )


def standard_input(monkeypatch: pytest.MonkeyPatch, content: bytes) -> None:
    monkeypatch.setattr(sys, "stdin", types.SimpleNamespace(buffer=io.BytesIO(content)))


def folder_with(folder: Path, *names: str) -> Path:
    for name in names:
        content = f"{name}\n".encode()
        (folder / name).write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
    return folder


@pytest.fixture
def own_corpus(monkeypatch: pytest.MonkeyPatch) -> NamedCorpus:
    files = tuple(
        CorpusFile(part, f"{part}.txt", f"sha256:{hashlib.sha256(part.encode()).hexdigest()}", ("http://127.0.0.1:9/",))
        for part in ("train", "valid", "test")
    )
    corpus = NamedCorpus("own", "a corpus", "free", "nobody", files)
    monkeypatch.setattr(corpora, "named_corpora", lambda: {"own": corpus})
    return corpus


def test_the_table_names_the_five_corpora_with_addresses_digests_and_licences():
    assert set(named_corpora()) == {"ptb", "tinyshakespeare", "wikitext-2", "enwik8", "python-docs"}
    for corpus in named_corpora().values():
        assert corpus.licence
        assert corpus.citation
        for file in corpus.files:
            algorithm, _, digest = file.digest.partition(":")
            assert len(digest) == 2 * hashlib.new(algorithm).digest_size
            assert len(file.addresses) >= 2
            assert all(address.startswith("https://") for address in file.addresses)


def test_an_unknown_name_is_refused_with_the_nearest(tmp_path):
    with pytest.raises(InputError, match=r"'wikitext2'; did you mean wikitext-2\?"):
        named_corpus("wikitext2")
    with pytest.raises(InputError, match=r"no corpus and no file is named 'ptbb'; did you mean ptb\?"):
        open_source("ptbb", DataPlaces(cache_directory=tmp_path))


def test_a_named_corpus_is_found_in_the_data_directory(own_corpus, tmp_path):
    (tmp_path / "own").mkdir()
    for part in ("train", "valid", "test"):
        (tmp_path / "own" / f"{part}.txt").write_text(part)
    corpus = open_source("own", DataPlaces(data_directory=tmp_path, cache_directory=tmp_path / "cache", offline=True))
    assert [corpus.split(part).path for part in ("train", "valid", "test")] == [
        tmp_path / "own" / f"{part}.txt" for part in ("train", "valid", "test")
    ]
    assert (corpus.name, corpus.licence, corpus.citation) == ("own", "free", "nobody")
    assert corpus.split("valid").sha256 == own_corpus.files[1].digest.removeprefix("sha256:")


def test_a_file_with_another_digest_is_refused_with_both(own_corpus, tmp_path):
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "train.txt").write_text("altered")
    with pytest.raises(CorruptFileError) as caught:
        open_source("own", DataPlaces(data_directory=tmp_path, cache_directory=tmp_path / "cache"))
    assert str(tmp_path / "own" / "train.txt") in str(caught.value)
    assert own_corpus.files[0].digest in str(caught.value)
    assert hashlib.sha256(b"altered").hexdigest() in str(caught.value)


def test_a_data_directory_that_is_missing_is_refused(own_corpus, tmp_path):
    with pytest.raises(InputError, match=r"absent is missing.*RECURLM_DATA_DIR"):
        open_source("own", DataPlaces(data_directory=tmp_path / "absent", cache_directory=tmp_path))


def test_a_corpus_that_is_not_at_hand_is_refused_offline(own_corpus, tmp_path):
    with pytest.raises(DownloadError, match=r"DIRECTORY/own/train\.txt"):
        open_source("own", DataPlaces(cache_directory=tmp_path, offline=True))


def test_the_name_of_a_corpus_wins_over_a_folder(own_corpus, tmp_path, monkeypatch):
    (tmp_path / "own").mkdir()
    folder_with(tmp_path / "own", "train.txt")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DownloadError):
        open_source("own", DataPlaces(cache_directory=tmp_path / "cache", offline=True))
    assert list(open_source("./own", DataPlaces(cache_directory=tmp_path / "cache")).train.lines()) == ["train.txt"]


@shared_corpus("ptb")
def test_penn_treebank_has_its_known_counts(tmp_path):
    corpus = open_source("ptb", DataPlaces(data_directory=SHARED, cache_directory=tmp_path, offline=True))
    tokens = [
        [sum(len(line.split()) + 1 for line in text.lines()), sum(1 for _ in text.lines())]
        for text in (corpus.train, corpus.split("valid"), corpus.split("test"))
    ]
    assert tokens == [[929_589, 42_068], [73_760, 3_370], [82_430, 3_761]]


@shared_corpus("tinyshakespeare")
def test_tinyshakespeare_is_cut_by_bytes(tmp_path):
    corpus = open_source("tinyshakespeare", DataPlaces(data_directory=SHARED, cache_directory=tmp_path, offline=True))
    parts = [corpus.train, corpus.split("valid"), corpus.split("test")]
    assert sum(part.size for part in parts) == 1_115_394
    assert parts[0].size == pytest.approx(0.90 * 1_115_394, abs=100)
    assert parts[1].size == pytest.approx(0.05 * 1_115_394, abs=200)
    assert len({letter for part in parts for block in part.blocks() for letter in block}) == 65


def test_a_file_is_cut_in_three(tmp_path):
    (tmp_path / "book.txt").write_bytes(LINES)
    corpus = open_source(str(tmp_path / "book.txt"), DataPlaces(cache_directory=tmp_path / "cache"))
    assert corpus.name == "book"
    assert [len(list(corpus.split(part).lines())) for part in ("train", "valid", "test")] == [180, 10, 10]
    assert not (tmp_path / "cache").exists()


def test_a_gzip_file_is_unpacked_once(tmp_path, monkeypatch):
    (tmp_path / "book.txt.gz").write_bytes(gzip.compress(LINES))
    corpus = open_source(str(tmp_path / "book.txt.gz"), DataPlaces(cache_directory=tmp_path / "cache"))
    assert corpus.name == "book"
    assert corpus.train.path.read_bytes() == LINES
    monkeypatch.setattr(gzip, "open", None)
    assert open_text(tmp_path / "book.txt.gz", DataPlaces(cache_directory=tmp_path / "cache")).path == corpus.train.path


@pytest.mark.parametrize("damage", ["altered", "cut short", "missing", "no digest", "another digest", "a link"])
def test_an_altered_copy_of_the_content_of_a_gzip_file_is_made_again(tmp_path, damage):
    path = tmp_path / "book.txt.gz"
    path.write_bytes(gzip.compress(LINES))
    copy = open_text(path, DataPlaces(cache_directory=tmp_path / "cache")).path
    seal = copy.with_name("book.txt.sha256")
    assert seal.read_text() == f"sha256:{hashlib.sha256(LINES).hexdigest()}"
    if damage in ("altered", "cut short"):
        copy.write_bytes(LINES[::-1] if damage == "altered" else LINES[:-1])
    elif damage in ("missing", "a link"):
        copy.unlink()
        if damage == "a link":
            (tmp_path / "elsewhere").write_text("mine")
            copy.symlink_to(tmp_path / "elsewhere")
    else:
        seal.write_text("md5:0" if damage == "another digest" else "")
    assert open_text(path, DataPlaces(cache_directory=tmp_path / "cache")).path == copy
    assert copy.read_bytes() == LINES
    assert not copy.is_symlink()
    assert damage != "a link" or (tmp_path / "elsewhere").read_text() == "mine"


def test_a_link_in_the_place_of_the_embedded_text_is_replaced(tmp_path):
    path = open_source("python-docs", DataPlaces(cache_directory=tmp_path / "cache")).train.path
    content = path.read_bytes()
    path.unlink()
    (tmp_path / "mine").write_text("mine")
    path.symlink_to(tmp_path / "mine")
    assert open_source("python-docs", DataPlaces(cache_directory=tmp_path / "cache")).train.path.read_bytes() == content
    assert (tmp_path / "mine").read_text() == "mine"


@pytest.mark.parametrize(
    "content",
    [
        gzip.compress(LINES)[:-9],
        gzip.compress(LINES)[:-4] + b"xxxx",
        b"plain text",
        gzip.compress(LINES)[:40] + b"?" * 40,
    ],
    ids=["cut short", "wrong length", "no gzip", "altered"],
)
def test_a_gzip_file_that_is_not_whole_is_refused(tmp_path, content):
    (tmp_path / "book.txt.gz").write_bytes(content)
    with pytest.raises(CorruptFileError, match=r"book\.txt\.gz is not a whole gzip file"):
        open_text(tmp_path / "book.txt.gz", DataPlaces(cache_directory=tmp_path / "cache"))
    assert [path for path in (tmp_path / "cache").rglob("*") if path.is_file()] == []


def test_standard_input_is_kept_under_its_digest(tmp_path, monkeypatch):
    standard_input(monkeypatch, LINES)
    corpus = open_source("-", DataPlaces(cache_directory=tmp_path))
    kept = tmp_path / "standard-input" / f"{hashlib.sha256(LINES).hexdigest()}.txt"
    assert corpus.name == "standard-input"
    assert corpus.train.path == kept
    assert kept.read_bytes() == LINES
    assert len(list(kept.parent.iterdir())) == 1


def test_empty_standard_input_is_refused(tmp_path, monkeypatch):
    standard_input(monkeypatch, b"")
    with pytest.raises(InputError, match="is empty"):
        open_text("-", DataPlaces(cache_directory=tmp_path))


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_a_pipe_is_read_like_standard_input(tmp_path):
    reading, writing = os.pipe()
    os.write(writing, b"one\ntwo\n")
    os.close(writing)
    try:
        text = open_text(f"/dev/fd/{reading}", DataPlaces(cache_directory=tmp_path))
    finally:
        os.close(reading)
    assert list(text.lines()) == ["one", "two"]


@pytest.mark.parametrize(
    ("train", "valid", "test"),
    [
        ("train.txt", "valid.txt", "test.txt"),
        ("train", "validation", "test"),
        ("own.train.txt", "own.dev.txt", "own.test.txt"),
        ("wiki.train.tokens", "wiki.valid.tokens", "wiki.test.tokens"),
        ("train.txt.gz", "dev.txt.gz", "test.gz"),
    ],
)
def test_a_folder_gives_its_three_texts(tmp_path, train, valid, test):
    folder = tmp_path / "mine"
    folder.mkdir()
    folder_with(folder, train, valid, test, "README", "training.log", ".train.txt", "untrain.txt")
    corpus = open_source(str(folder), DataPlaces(cache_directory=tmp_path / "cache"))
    assert corpus.name == "mine"
    assert [list(corpus.split(part).lines()) for part in ("train", "valid", "test")] == [[train], [valid], [test]]


def test_a_folder_may_lack_valid_and_test(tmp_path):
    corpus = open_source(str(folder_with(tmp_path, "train.txt")), DataPlaces(cache_directory=tmp_path))
    assert (corpus.valid, corpus.test) == (None, None)
    with pytest.raises(InputError, match="has no split 'test'"):
        corpus.split("test")


def test_a_folder_without_a_training_text_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"has no training text; .*train\.txt"):
        open_source(str(folder_with(tmp_path, "valid.txt", "notes.txt")), DataPlaces(cache_directory=tmp_path))


def test_an_ambiguous_folder_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"more than one train text: a\.train\.txt, train\.txt"):
        open_source(str(folder_with(tmp_path, "train.txt", "a.train.txt")), DataPlaces(cache_directory=tmp_path))


@pytest.mark.parametrize("name", ["empty.txt", "train.txt"])
def test_an_empty_file_is_refused(tmp_path, name):
    (tmp_path / name).touch()
    with pytest.raises(InputError, match="is empty"):
        open_source(str(tmp_path / name if name == "empty.txt" else tmp_path), DataPlaces(cache_directory=tmp_path))


def test_a_folder_is_no_text(tmp_path):
    with pytest.raises(InputError, match="is a folder"):
        open_text(tmp_path, DataPlaces(cache_directory=tmp_path))


def test_the_embedded_corpus_is_written_once(tmp_path):
    first = fetch_corpus(named_corpus("python-docs"), DataPlaces(cache_directory=tmp_path, offline=True))
    times = [path.stat().st_mtime_ns for path in first.values()]
    second = fetch_corpus(named_corpus("python-docs"), DataPlaces(cache_directory=tmp_path, offline=True))
    assert first == second
    assert times == [path.stat().st_mtime_ns for path in second.values()]


def test_an_altered_embedded_corpus_is_written_again(tmp_path):
    paths = fetch_corpus(named_corpus("python-docs"), DataPlaces(cache_directory=tmp_path))
    whole = paths["train"].read_bytes()
    paths["train"].write_bytes(whole[:100])
    fetch_corpus(named_corpus("python-docs"), DataPlaces(cache_directory=tmp_path))
    assert paths["train"].read_bytes() == whole


def test_the_embedded_corpus_is_ninety_five_five(tmp_path):
    corpus = open_source("python-docs", DataPlaces(cache_directory=tmp_path, offline=True))
    sizes = [corpus.split(part).size for part in ("train", "valid", "test")]
    assert [size / sum(sizes) for size in sizes] == pytest.approx([0.90, 0.05, 0.05], abs=0.02)
    assert sum(1 for _ in corpus.train.lines()) > 1500
    assert "PSF" in corpus.licence


def embed(monkeypatch: pytest.MonkeyPatch, topics: dict[str, str]) -> str:
    module = types.ModuleType("pydoc_data.topics")
    module.topics = topics
    monkeypatch.setitem(sys.modules, "pydoc_data.topics", module)
    return python_docs()["train"]


def test_prose_becomes_sentences_with_spaces_between_tokens(monkeypatch):
    topic = (
        'The "with" statement\n********************\n\n'
        'The object *self* is passed to "object.__len__()", e.g. by a user-\ndefined class (see PEP 343). Its\nvalue\n'
        "isn’t changed for the object.\n\n"
        '   with_stmt ::= "with" expression ":" suite\n\n'
        "   >>> with open(name) as file:\n   ...     file.read()\n\n"
        "* Items of lists are\n  lines of their own.\n* This is the other one.\n"
    )
    assert embed(monkeypatch, {"with": topic}) == (
        "the object self is passed to object.__len__() , e.g. by a user-defined class ( see PEP 343 ) .\n"
        "Its value isn't changed for the object .\n"
        "Items of lists are lines of their own .\n"
        "This is the other one .\n"
    )


def test_a_repeated_paragraph_counts_once(monkeypatch):
    topics = {"a": "One thing is said here.\n", "b": "One thing is\nsaid here.\n\nAnother thing is said here.\n"}
    assert embed(monkeypatch, topics) == "One thing is said here .\nAnother thing is said here .\n"


def test_a_python_without_topics_is_told(monkeypatch):
    monkeypatch.setitem(sys.modules, "pydoc_data.topics", None)
    with pytest.raises(InputError, match="lacks pydoc_data"):
        python_docs()


def test_a_part_to_measure_is_a_whole_file_or_a_split(tmp_path):
    path = tmp_path / "text.txt"
    path.write_bytes(LINES)
    folder = tmp_path / "folder"
    folder.mkdir()
    folder_with(folder, "train.txt", "valid.txt", "test.txt")
    assert open_part(str(path)).size == len(LINES)
    assert open_part(str(path), "valid").sha256 == open_source(str(path)).split("valid").sha256
    assert list(open_part(str(folder)).lines()) == ["test.txt"]
    assert list(open_part(str(folder), "valid").lines()) == ["valid.txt"]


def test_lines_of_standard_input_come_before_it_ends(monkeypatch):
    reading, writing = os.pipe()
    with open(reading, "rb") as pipe, open(writing, "wb", buffering=0) as sender:
        monkeypatch.setattr(sys, "stdin", types.SimpleNamespace(buffer=pipe))
        lines, text = open_lines("-")
        sender.write(b"first\nsec")
        assert (next(lines), text) == ("first", None)


def test_lines_of_a_file_come_with_its_text_and_an_empty_file_has_none(tmp_path):
    (tmp_path / "text.txt").write_text("a b\nc\n")
    lines, text = open_lines(str(tmp_path / "text.txt"))
    assert list(lines) == ["a b", "c"]
    assert text == open_text(tmp_path / "text.txt")
    (tmp_path / "empty.txt").write_text("")
    lines, text = open_lines(str(tmp_path / "empty.txt"))
    assert (list(lines), text) == ([], None)
    with pytest.raises(InputError, match="no such file"):
        open_lines(str(tmp_path / "absent.txt"))
