"""Several files as one text: which ones, in which order, how they are cut, and what is refused."""

import gzip
import hashlib
import json
import os
from pathlib import Path

import numpy as np
import pytest

from recurlm.config import TextOptions
from recurlm.errors import CorruptFileError, InputError, RecurlmWarning, UsageError
from recurlm.text.corpora import open_source, open_text
from recurlm.text.members import joint_name, member_files
from recurlm.text.places import DataPlaces
from recurlm.text.recorded import RecordedCorpus, describe
from recurlm.text.sources import Corpus, cut
from recurlm.text.store import prepare


@pytest.fixture
def places(tmp_path) -> DataPlaces:
    return DataPlaces(cache_directory=tmp_path / "cache")


@pytest.fixture
def folder(tmp_path) -> Path:
    path = tmp_path / "texts"
    path.mkdir()
    return path


def write(folder: Path, **texts: str) -> list[str]:
    for name, text in texts.items():
        (folder / f"{name}.txt").write_bytes(text.encode())
    return [str(folder / f"{name}.txt") for name in texts]


def content(corpus: Corpus) -> bytes:
    return corpus.train.path.read_bytes()


def parts(corpus: Corpus) -> list[list[str]]:
    return [list(text.lines()) for text in (corpus.train, corpus.valid, corpus.test)]


def test_files_are_joined_in_the_order_of_their_paths_whatever_the_order_of_the_command(folder, places):
    first, second = write(folder, b="x y\n" * 20, a="u v\n" * 20)
    corpus = open_source([first, second], places)
    assert content(corpus) == b"u v\n" * 20 + b"x y\n" * 20
    assert open_source([second, first], places) == corpus


def test_a_folder_a_pattern_and_the_files_one_by_one_are_the_same_text(folder, places):
    names = write(folder, a="u v\n" * 20, b="x y\n" * 20)
    write(folder, **{".hidden": "never\n"})
    (folder / "notes.md").write_text("never\n")
    texts = [open_source(given, places) for given in (str(folder), [f"{folder}/*.txt"], names)]
    assert {text.train.sha256 for text in texts} == {hashlib.sha256((b"u v\n" * 20 + b"x y\n" * 20)[:144]).hexdigest()}


def test_every_file_ends_its_last_line_and_loses_its_byte_order_mark(folder, places):
    write(folder, a="\ufeffa b", b="c\r\nd\r\n", c="\n", d="e f\n" * 20)
    with gzip.open(folder / "e.txt.gz", "wb") as file:
        file.write(b"g")
    assert content(open_source(str(folder), places)) == b"a b\nc\nd\n\n" + b"e f\n" * 20 + b"g\n"


def test_few_files_are_cut_at_ends_of_lines(folder, places):
    write(folder, a="a\n" * 10, b="b\n" * 10)
    assert parts(open_source(str(folder), places)) == [["a"] * 10 + ["b"] * 8, ["b"], ["b"]]


def test_many_files_are_cut_between_files(folder, places):
    write(folder, **{f"f{number:02}": f"{number}\n" * 3 for number in range(20)})
    corpus = open_source(str(folder), places)
    # 10 files of 6 bytes and 10 of 9 bytes: the 135th byte of 150 ends file 17 + 1/3, the 142nd lies in file 19
    assert [len(lines) for lines in parts(corpus)] == [54, 3, 3]


def test_documents_of_very_different_sizes_still_give_every_part_one(folder, places):
    write(folder, **{f"f{number:02}": "a\n" for number in range(19)}, z="z\n" * 10_000)
    train, valid, test = parts(open_source(str(folder), places))
    assert (len(train), len(valid), len(test)) == (18, 1, 10_000)


def test_a_file_without_a_line_is_left_out(folder, places):
    write(folder, a="a b\n" * 9, b="", c="c d\n" * 9)
    corpus = open_source(str(folder), places)
    assert [Path(member.path).name for member in corpus.files if member.is_empty] == ["b.txt"]
    assert len(corpus.train.starts) == 1
    with pytest.raises(InputError, match="1 file, none of them with a line"):
        open_source([f"{folder}/b*"], places)


def test_ids_know_where_files_begin(folder, places, tmp_path):
    write(folder, a="x\n\ny z\n", b="x y z\n", c="z\n" * 60)
    corpus = open_source(str(folder), places)
    prepared = prepare(corpus, TextOptions(), tmp_path / "cache")
    # a is x <eos> <eos> y z <eos>, b is x y z <eos>
    assert prepared["train"].file_starts.tolist() == [6, 10]
    assert prepared["valid"].file_starts.tolist() == []
    again = prepare(corpus, TextOptions(), tmp_path / "cache")
    assert again["train"].file_starts.tolist() == [6, 10]
    assert prepared.codec.encode(corpus.train).file_starts.tolist() == [6, 10]


def test_the_same_lines_in_other_files_are_prepared_apart(folder, places, tmp_path):
    write(folder, a="x y\n" * 30, b="x y\n" * 30)
    other = tmp_path / "other"
    other.mkdir()
    write(other, a="x y\n" * 20, b="x y\n" * 40)
    starts = [
        prepare(open_source(str(each), places), TextOptions(), tmp_path / "cache")["train"].file_starts.tolist()
        for each in (folder, other)
    ]
    assert starts == [[90], [60]]


def test_records_are_documents_and_may_hold_lines(folder, places):
    path = folder / "records.jsonl"
    lines = [json.dumps({"id": n, "text": f"{n} a\n{n} b"}) for n in range(30)]
    path.write_text("\n".join([*lines[:15], "", *lines[15:]]))
    corpus = open_source(str(path), places, field="text")
    assert content(corpus) == "".join(f"{n} a\n{n} b\n" for n in range(30)).encode()
    assert corpus.documents == 30
    assert [len(lines) % 2 for lines in parts(corpus)] == [0, 0, 0]


def test_rows_of_parquet_are_documents(folder, places):
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    texts = [f"{n} a\n{n} b\n" for n in range(2500)]
    parquet.write_table(pyarrow.table({"n": list(range(2500)), "text": texts}), folder / "rows.parquet")
    corpus = open_source(str(folder), places, field="text")
    assert content(corpus) == "".join(texts).encode()
    assert corpus.documents == 2500
    with pytest.raises(InputError, match=r"row 1: has no field 'body'; its fields are: 'n', 'text'"):
        open_source(str(folder), places, field="body")
    with pytest.raises(InputError, match="row 1: its field 'n' is no text but 0"):
        open_source(str(folder), places, field="n")


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ('{"text": "a"', "line 2: not JSON"),
        ('["a"]', "line 2: not a JSON object"),
        ('{"body": "a"}', "line 2: has no field 'text'; its fields are: 'body'"),
        ('{"text": 3}', "line 2: its field 'text' is no text but 3"),
    ],
)
def test_a_broken_record_is_named_with_its_line(folder, places, line, reason):
    path = folder / "records.jsonl"
    path.write_text('{"text": "a b"}\n' + line + "\n")
    with pytest.raises(InputError, match=reason):
        open_source(str(path), places, field="text")


def test_records_need_a_field_and_texts_have_none(folder, places):
    (folder / "records.jsonl").write_text('{"text": "a b"}\n')
    with pytest.raises(UsageError, match=r"such as --field text\nthe fields of .*records\.jsonl, line 1: 'text'"):
        open_source(str(folder), places)
    (name,) = write(folder, a="a b\n" * 40)
    with pytest.raises(UsageError, match=r"--field text belongs to \.jsonl and \.parquet files"):
        open_source(name, places, field="text")


def test_a_text_named_twice_is_refused(folder, places):
    names = write(folder, a="a b\n" * 9, b="c\n")
    with pytest.raises(UsageError, match=r"a\.txt: named twice"):
        open_source([*names, f"{folder}/a*"], places)
    (folder / "link.txt").symlink_to(folder / "a.txt")
    with pytest.raises(UsageError, match="named twice"):
        member_files([str(folder)])


@pytest.mark.parametrize(
    ("given", "error", "reason"),
    [
        (["{}/a.txt", "{}/b.txt"], InputError, r"no file is named '.*/b\.txt'; did you mean .*a\.txt"),
        (["{}/*.md"], InputError, r"no file matches .*/\*\.md"),
        (["{}/a.txt", "ptb"], UsageError, r"ptb is a corpus by name; train on it alone, or give files \(\./ptb\)"),
        (["{}/a.txt", "-"], UsageError, "standard input is a text of its own"),
        (["{}/empty"], InputError, r"has no training text: neither a file named train\.txt nor files ending in \.txt"),
    ],
)
def test_texts_that_are_not_there_or_do_not_go_together_are_refused(folder, places, given, error, reason):
    write(folder, a="a b\n" * 9)
    (folder / "empty").mkdir()
    texts = [each.format(folder) for each in given]
    with pytest.raises(error, match=reason):
        open_source(texts, places)


def test_a_folder_of_folders_is_told_the_pattern_that_reads_them(folder, places):
    (folder / "1851").mkdir()
    with pytest.raises(InputError, match=r"recurlm train '.*/\*\*/\*\.txt'"):
        open_source([str(folder)], places)


def test_a_file_that_is_not_utf8_is_named_itself(folder, places):
    write(folder, a="a b\n" * 9)
    (folder / "b.txt").write_bytes(b"caf\xe9\n")
    with pytest.raises(InputError, match=r"b\.txt is not UTF-8: byte 0xe9 at offset 3"):
        open_source(str(folder), places)


def test_a_joined_text_that_was_altered_in_the_cache_is_joined_again(folder, places):
    write(folder, a="a b\n" * 9, b="c d\n" * 9)
    corpus = open_source(str(folder), places)
    right = content(corpus)
    corpus.train.path.write_bytes(right.replace(b"a", b"z"))
    assert content(open_source(str(folder), places)) == right


def test_names_that_are_not_utf8_are_files_like_others(folder, places):
    name = os.fsdecode(os.fsencode(folder) + b"/caf\xe9.txt")
    Path(name).write_bytes(b"a b\n" * 40)
    corpus = open_source([f"{folder}/*.txt"], places)
    assert corpus.files[0].path == name
    assert open_source([f"{folder}/*.txt"], places) == corpus


def test_a_file_without_a_line_is_left_out_packed_or_marked_too(folder, places):
    write(folder, a="a b\n" * 40, b="\ufeff")
    (folder / "c.txt.gz").write_bytes(gzip.compress(b""))
    corpus = open_source(str(folder), places)
    assert [Path(member.path).name for member in corpus.files if member.is_empty] == ["b.txt", "c.txt.gz"]
    assert content(corpus) == b"a b\n" * 40


def test_the_ending_of_a_link_says_what_its_file_holds(folder, places, tmp_path):
    blob = tmp_path / "5d41402abc"
    blob.write_text('{"text": "a b"}\n' * 40)
    (folder / "posts.jsonl").symlink_to(blob)
    corpus = open_source(str(folder), places, field="text")
    assert content(corpus) == b"a b\n" * 40
    assert corpus.files[0].path == str(folder / "posts.jsonl")


@pytest.mark.parametrize("given", ["{}", "{}/*.txt"])
def test_links_to_nothing_and_pipes_are_not_left_out_in_silence(folder, places, given):
    write(folder, a="a b\n" * 40)
    (folder / "b.txt").symlink_to(folder / "gone")
    with pytest.raises(InputError, match=r"b\.txt is a link to a file that is not there"):
        open_source([given.format(folder)], places)
    (folder / "b.txt").unlink()
    os.mkfifo(folder / "b.txt")
    with pytest.raises(InputError, match=r"b\.txt is a pipe or device, a text of its own"):
        open_source([given.format(folder)], places)


@pytest.mark.parametrize(
    "names",
    [
        ("train.jsonl", "validation.jsonl", "test.jsonl"),
        ("train-00000-of-00002.parquet", "test-00000-of-00001.parquet"),
        ("wiki.train.jsonl.gz", "wiki.dev.jsonl.gz"),
    ],
)
def test_the_parts_of_a_data_set_are_not_mixed(folder, names):
    for name in names:
        (folder / name).write_bytes(b"x")
    with pytest.raises(InputError, match=r"holds the parts of a data set .*\n.* recurlm train '.*/train\*'"):
        member_files([str(folder)])
    assert len(member_files([f"{folder}/*train*"])) == 1


def test_a_folder_of_train_valid_and_test_files_is_not_joined_to_other_files(folder, places, tmp_path):
    write(folder, train="a\n", valid="b\n", test="c\n")
    (tmp_path / "more.txt").write_text("d\n")
    with pytest.raises(InputError, match="holds the parts of a data set"):
        open_source([str(folder), str(tmp_path / "more.txt")], places)


def test_files_about_tests_and_trains_are_texts_like_others(folder):
    write(folder, **{"how-to-train-a-dog": "a\n", "test-of-time": "b\n", "dev": "c\n"})
    assert len(member_files([str(folder)])) == 3


def test_endings_are_read_without_regard_to_case(folder, places):
    (folder / "POSTS.JSONL.GZ").write_bytes(gzip.compress(b'{"text": "a b"}\n' * 40))
    assert content(open_source(str(folder), places, field="text")) == b"a b\n" * 40
    parquet = pytest.importorskip("pyarrow.parquet")
    table = pytest.importorskip("pyarrow").table({"text": ["c d"] * 40})
    parquet.write_table(table, folder / "ROWS.PARQUET")
    assert content(open_source(str(folder), places, field="text")) == b"a b\n" * 40 + b"c d\n" * 40


def test_half_a_surrogate_pair_in_a_record_is_refused(folder, places):
    (folder / "posts.jsonl").write_text('{"text": "a \\ud800"}\n')
    with pytest.raises(InputError, match=r"posts\.jsonl, line 1: half of a surrogate pair"):
        open_source(str(folder), places, field="text")


def test_damaged_parquet_is_named(folder, places):
    parquet = pytest.importorskip("pyarrow.parquet")
    path = folder / "rows.parquet"
    table = pytest.importorskip("pyarrow").table({"text": [f"the dog {number}" for number in range(300)]})
    parquet.write_table(table, path, write_page_checksum=True)
    whole = path.read_bytes()
    footer = len(whole) - 8 - int.from_bytes(whole[-8:-4], "little")
    damaged = [
        b"",
        whole[: len(whole) // 2],
        whole[:footer] + bytes(byte ^ 0x11 for byte in whole[footer:-8]) + whole[-8:],
        whole[:100] + bytes(byte ^ 0x5A for byte in whole[100:200]) + whole[200:],
    ]
    for content in damaged:
        path.write_bytes(content)
        with pytest.raises(InputError, match=r"rows\.parquet: not a parquet file, or a damaged one: ."):
            open_source(str(folder), places, field="text")


def test_too_small_a_text_is_named_as_given_rather_than_by_its_file_in_the_cache(folder, places):
    (folder / "posts.jsonl").write_text('{"text": "a b"}\n')
    with pytest.raises(InputError, match=r"^posts is too small to be cut in three \(number of lines: 1\)"):
        open_source(str(folder / "posts.jsonl"), places, field="text")


@pytest.mark.parametrize(
    ("texts", "name"),
    [
        (["/t/b.x.txt"], "b"),
        (["/t/books/*.txt"], "books"),
        (["/t/books/**/*.txt"], "books"),
        (["/t/b.txt", "/t/c.txt", "/t/d.txt"], "b-and-2-more"),
    ],
)
def test_joined_texts_have_a_name(texts, name):
    assert joint_name(texts) == name


class TestRecorded:
    def recorded(self, corpus: Corpus, source: str) -> RecordedCorpus:
        config = {"corpus": json.loads(json.dumps({"source": source, "name": corpus.name} | describe(corpus)))}
        return RecordedCorpus.from_config(config, "run")

    def test_each_file_is_listed_with_its_digest(self, folder, places):
        names = write(folder, a="a b\n" * 9, b="c d\n" * 9)
        described = describe(open_source(str(folder), places))
        assert described["files"] == [
            {"path": name, "digest": hashlib.sha256(text).hexdigest(), "bytes": 36}
            for name, text in zip(names, (b"a b\n" * 9, b"c d\n" * 9), strict=True)
        ]

    def test_the_same_text_is_opened_again_though_the_folder_has_more_files_now(self, folder, places):
        write(folder, a="a b\n" * 9, b="c d\n" * 9)
        corpus = open_source(str(folder), places)
        recorded = self.recorded(corpus, str(folder))
        write(folder, c="e f\n")
        assert recorded.open(places) == corpus

    def test_a_file_that_changed_or_is_gone_is_refused(self, folder, places):
        _, name = write(folder, a="a b\n" * 9, b="c d\n" * 9)
        recorded = self.recorded(open_source(str(folder), places), str(folder))
        Path(name).write_text("c e\n" * 9)
        with pytest.raises(CorruptFileError, match=r"b\.txt is no longer the text that run learned from"):
            recorded.open(places)
        assert "is no longer the text" in str(recorded.altered(open_text(name), name))
        Path(name).unlink()
        with pytest.raises(InputError, match=r"its text .*b\.txt is not there"):
            recorded.open(places)

    def test_files_that_were_learned_from_are_recognized_and_held_out_ones_are_not(self, folder, places):
        names = write(folder, **{f"f{number:02}": f"{number} a\n" * 3 for number in range(20)})
        recorded = self.recorded(open_source(str(folder), places), str(folder))
        learned = [recorded.learned_from(open_text(name)) for name in names]
        assert learned[:15] == [True] * 15
        assert not learned[-1]
        assert recorded.altered(open_text(names[0]), names[0]) is None

    def test_a_folder_that_changed_is_noticed_and_a_new_file_in_it_is_not(self, folder, places):
        write(folder, a="a b\n" * 20, b="c d\n" * 20)
        recorded = self.recorded(open_source(str(folder), places), str(folder))
        assert recorded.altered(open_source(str(folder), places).test, str(folder)) is None
        (new,) = write(folder, c="e f\n" * 20)
        assert "no longer the text that run learned from" in str(
            recorded.altered(open_source(str(folder), places).test, str(folder))
        )
        assert recorded.altered(open_text(new), new) is None

    def test_a_run_on_the_lines_of_a_file_of_records_stays_readable(self, folder, places):
        path = folder / "posts.jsonl"
        path.write_text('{"text": "a b"}\n' * 40)
        text = open_text(path)
        corpus = Corpus("posts", *cut(text))
        assert self.recorded(corpus, str(path)).open(places) == corpus


def test_starts_are_counted_in_lines(folder, places):
    write(folder, a="x\n\ny z\n", b="x y z\n", c="z\n" * 60)
    assert open_source(str(folder), places).train.lines_before_starts().tolist() == [3, 4]
    assert np.array_equal(open_source(str(folder), places).test.lines_before_starts(), np.zeros(0, np.int64))


def test_no_warning_for_a_text_in_order(folder, places, recwarn):
    write(folder, a="a b\n" * 9, b="c d\n" * 9)
    open_source(str(folder), places)
    open_source(str(folder), places)
    assert not [each for each in recwarn if issubclass(each.category, RecurlmWarning)]


def test_the_first_of_several_damaged_files_is_named(folder, places):
    for number in range(6):
        packed = gzip.compress(b"u v\n" * 20)
        (folder / f"{number}.txt.gz").write_bytes(packed[:-9] if number in (2, 4) else packed)
    with pytest.raises(CorruptFileError, match=r"2\.txt\.gz"):
        open_source(str(folder), places)
