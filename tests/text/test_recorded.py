import gzip
import os
from pathlib import Path

import pytest

from recurlm.errors import CorruptFileError, InputError
from recurlm.text.corpora import open_source, open_text
from recurlm.text.places import DataPlaces
from recurlm.text.recorded import LearnedText, RecordedCorpus, describe
from recurlm.text.sources import Text, cut

LINES = "".join(f"line number {number} of this text\n" for number in range(100))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    (tmp_path / "text.txt").write_text(LINES)
    return tmp_path / "text.txt"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "folder").mkdir()
    for name in ("train", "valid", "test"):
        (tmp_path / "folder" / f"{name}.txt").write_text(f"{name} {LINES}")
    return tmp_path / "folder"


def recorded(source: Path | str, **changes) -> RecordedCorpus:
    """The record of a source as it is now."""
    described = describe(open_source(str(source))) | {"source": str(source)}
    return RecordedCorpus.from_config({"corpus": described | changes}, "the run")


def of_version_0_1_0(source: Path) -> RecordedCorpus:
    """The same without sizes, and without what was learned."""
    splits = {name: {"digest": each["digest"]} for name, each in describe(open_source(str(source)))["splits"].items()}
    return RecordedCorpus.from_config({"corpus": {"source": str(source), "splits": splits}}, "the run")


def reversed_lines(path: Path) -> None:
    path.write_text("".join(reversed(path.read_text().splitlines(keepends=True))))


def longer(path: Path) -> None:
    path.write_text(path.read_text() + "more\n")


def gone(path: Path) -> None:
    path.unlink()


@pytest.mark.parametrize("record", [recorded, of_version_0_1_0])
class TestSources:
    def test_an_unaltered_source_is_opened(self, file, folder, record):
        assert record(file).part("test").sha256 == open_source(str(file)).test.sha256
        assert record(folder).part("valid").path == folder / "valid.txt"
        assert record(folder).open().train.path == folder / "train.txt"

    @pytest.mark.parametrize("damage", [reversed_lines, longer])
    def test_an_altered_source_is_refused(self, file, folder, record, damage):
        of_file, of_folder = record(file), record(folder)
        damage(file)
        damage(folder / "test.txt")
        for corpus, name in ((of_file, "text"), (of_folder, "test")):
            with pytest.raises(CorruptFileError, match=rf"{name}\.txt is no longer the text that the run learned from"):
                corpus.part("test")
            with pytest.raises(CorruptFileError, match="name a text on the command line"):
                corpus.open()

    def test_only_what_is_measured_must_be_unaltered_where_sizes_stay(self, folder, record):
        corpus = record(folder)
        reversed_lines(folder / "train.txt")
        assert corpus.part("test").path == folder / "test.txt"
        with pytest.raises(CorruptFileError):
            corpus.part("train")

    def test_a_source_that_is_gone_is_named(self, file, record):
        corpus = record(file)
        file.unlink()
        with pytest.raises(InputError, match=r"text\.txt is not there; name a text"):
            corpus.part("test")

    @pytest.mark.parametrize("source", ["pipe", "/dev/zero", "/dev/stdin", "-", "folder-of-pipes", "link-to-a-device"])
    def test_what_is_no_regular_file_is_not_opened(self, file, tmp_path, record, source, monkeypatch):
        monkeypatch.chdir(tmp_path)
        os.mkfifo("pipe")
        Path("folder-of-pipes").mkdir()
        for name in ("train", "test"):
            os.mkfifo(Path("folder-of-pipes", f"{name}.txt"))
        Path("link-to-a-device").symlink_to("/dev/zero")
        corpus = record(file)
        other = RecordedCorpus("the run", source, corpus.splits, corpus.whole, corpus.learned)
        with pytest.raises(
            (CorruptFileError, InputError), match=r"neither a regular file|is not there|has no training"
        ):
            other.part("test")

    def test_a_compressed_source_is_held_to_the_digest_of_its_content(self, tmp_path, record, monkeypatch):
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
        path = tmp_path / "text.txt.gz"
        path.write_bytes(gzip.compress(LINES.encode()))
        corpus = record(path)
        path.write_bytes(gzip.compress(LINES.encode(), 1))  # other bytes, the same text
        assert corpus.part("test").size > 0
        path.write_bytes(gzip.compress(LINES.replace("9", "8").encode()))
        with pytest.raises(CorruptFileError, match="is no longer the text"):
            corpus.part("test")


def test_another_file_of_another_size_is_not_read(file, monkeypatch):
    corpus = recorded(file)
    other = RecordedCorpus("the run", "/etc/passwd", corpus.splits, corpus.whole, corpus.learned)
    monkeypatch.setattr("recurlm.text.recorded.open_single", None)
    with pytest.raises(CorruptFileError, match="is no longer the text"):
        other.part("test")


def test_a_compressed_source_is_expanded_to_the_recorded_size_only(tmp_path, file):
    corpus = recorded(file)
    bomb = tmp_path / "bomb.gz"
    bomb.write_bytes(gzip.compress(bytes(1 << 22)))
    other = RecordedCorpus("the run", str(bomb), corpus.splits, corpus.whole, corpus.learned)
    with pytest.raises(CorruptFileError, match="is no longer the text"):
        other.part("test", DataPlaces(cache_directory=tmp_path / "cache"))
    assert [path for path in (tmp_path / "cache").rglob("*") if path.is_file()] == []


def test_a_run_that_recorded_no_digest_opens_nothing(file):
    for corpus in ({"source": str(file)}, {"source": str(file), "splits": {"train": {}}}):
        with pytest.raises(CorruptFileError, match=r"config\.json has no digest of its test text"):
            RecordedCorpus.from_config({"corpus": corpus}, "the run").part("test")


STRANGE_RECORDS = [
    {"splits": [1]},
    {"splits": {"train": 1}},
    {"splits": {"train": {"digest": 1}}},
    {"whole": {"bytes": "1"}},
    {"learned": {}},
    {"learned": [1]},
    {"learned": [{"digest": "d"}]},
]


@pytest.mark.parametrize("corpus", [None, 1, {}, {"source": 1}, *({"source": "a"} | each for each in STRANGE_RECORDS)])
def test_a_record_that_is_none_is_refused(corpus):
    with pytest.raises(CorruptFileError, match="the run"):
        RecordedCorpus.from_config({"corpus": corpus}, "the run")


class TestLearned:
    def test_the_text_its_file_and_copies_of_them_are_known_again(self, file, tmp_path):
        train, valid, test = cut(open_text(file))
        copy = tmp_path / "copy.txt"
        copy.write_text(LINES)
        part = tmp_path / "part.txt"
        part.write_text("".join(train.blocks()))
        for learned in (LearnedText.of(train), LearnedText.from_json(LearnedText.of(train).to_json(), "x")):
            for seen in (train, open_text(file), open_text(copy), open_text(part), Text("some", copy, 30, 90)):
                assert learned.overlaps(seen)
            for unseen in (valid, test, cut(open_text(copy))[2]):
                assert not learned.overlaps(unseen)

    def test_a_text_of_the_same_range_in_another_file_is_another(self, file, tmp_path):
        learned = LearnedText.of(cut(open_text(file))[0])
        other = tmp_path / "other.txt"
        other.write_text(LINES.replace("number", "NUMBER"))
        assert not learned.overlaps(open_text(other))

    def test_a_part_of_a_training_file_is_known_again(self, folder):
        assert recorded(folder).learned_from(cut(open_text(folder / "train.txt"))[2])
        assert not recorded(folder).learned_from(open_text(folder / "test.txt"))

    def test_of_version_0_1_0_the_training_text_and_the_beginning_of_the_file_are_known(self, file, folder):
        old = of_version_0_1_0(file)
        train, _, test = cut(open_text(file))
        assert old.learned_from(train)
        assert old.learned_from(open_text(file))
        assert not old.learned_from(test)
        assert of_version_0_1_0(folder).learned_from(open_text(folder / "train.txt"))
        assert not of_version_0_1_0(folder).learned_from(open_text(folder / "test.txt"))

    @pytest.mark.parametrize("record", [recorded, of_version_0_1_0])
    def test_an_altered_source_that_is_named_is_told_from_other_texts(self, file, folder, record):
        corpus = record(file)
        assert not corpus.altered(open_text(file), str(file))
        assert not corpus.altered(cut(open_text(file))[2], str(file))
        assert not corpus.altered(open_text(folder / "test.txt"), str(folder))
        reversed_lines(file)
        assert corpus.altered(open_text(file), str(file))
        assert corpus.altered(cut(open_text(file))[2], str(file))
