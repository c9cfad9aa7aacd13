"""The vocabulary that the user brings: JSON, a list of words, or the training text itself."""

import json
from pathlib import Path

import pytest

from recurlm.errors import CorruptFileError, InputError
from recurlm.mxnet.vocabulary import check_vocabulary_size, read_vocabulary, write_vocabulary

TINY = Path(__file__).parents[1] / "fixtures" / "mxnet"


def stored(folder: Path, content: str | bytes, name: str = "words") -> Path:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def test_training_text_gives_the_ids_that_mxnet_gave() -> None:
    recorded = json.loads((TINY / "lstm_packed" / "vocab.json").read_text())
    assert read_vocabulary(TINY / "tiny.train.txt") == recorded
    assert read_vocabulary(TINY / "lstm_packed" / "vocab.json") == recorded


def test_line_feed_without_a_space_before_it_belongs_to_the_word(tmp_path: Path) -> None:
    path = stored(tmp_path, "a b a\n b  c \n\nthe\tend")
    assert read_vocabulary(path) == {"\n": 0, "a": 1, "b": 2, "a\n": 3, "c": 4, "the\tend": 5}


def test_line_ends_of_other_systems_are_line_feeds(tmp_path: Path) -> None:
    path = stored(tmp_path, b"a b \r\na \r\n")
    assert read_vocabulary(path) == {"\n": 0, "a": 1, "b": 2}


def test_list_of_words_is_numbered_from_one(tmp_path: Path) -> None:
    expected = {"\n": 0, "the": 1, "{": 2, "é": 3}
    assert read_vocabulary(stored(tmp_path, "the\n{\né\n")) == expected
    assert read_vocabulary(stored(tmp_path, "\n\nthe\n{\né")) == expected


def test_list_with_a_word_twice_is_a_text(tmp_path: Path) -> None:
    assert read_vocabulary(stored(tmp_path, "a\nb\na\n")) == {"\n": 0, "a\n": 1, "b\n": 2}


def test_text_that_begins_with_a_brace_is_no_json(tmp_path: Path) -> None:
    assert read_vocabulary(stored(tmp_path, "{ a } \n")) == {"\n": 0, "{": 1, "a": 2, "}": 3}


def test_json_by_content_or_by_name(tmp_path: Path) -> None:
    vocabulary = {"\n": 0, "b": 2, "a": 1}
    content = json.dumps(vocabulary)
    assert read_vocabulary(stored(tmp_path, f"\n  {content}", "words.txt")) == vocabulary
    assert read_vocabulary(stored(tmp_path, content, "words.json")) == vocabulary


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"a": 0, "b": 2}', "0 to 1"),
        ('{"a": 0, "b": 0}', "0 to 1"),
        ('{"a": -1, "b": 0}', "0 to 1"),
        ('{"a": 0, "a": 1}', "'a' occurs twice"),
        ('{"a": "0"}', "an id is expected"),
        ('{"a": true}', "an id is expected"),
        ('{"a": 0.0}', "an id is expected"),
        ('{"a": {"b": 0}}', "an id is expected"),
        ('{"\\ud800": 0}', "an id is expected"),
        ("{}", "no words"),
        ("[1, 2]", "a JSON object"),
        ('[["a", 0]]', "a JSON object"),
        ('"a"', "a JSON object"),
    ],
)
def test_json_that_is_no_vocabulary(tmp_path: Path, content: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        read_vocabulary(stored(tmp_path, content, "words.json"))


@pytest.mark.parametrize("content", [b"", b'{"a": 0', b'{"a": ' * 100_000, b'{"\xff": 0}', b'{"a": ' + b"9" * 5000])
def test_damaged_json(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(CorruptFileError, match=r"not JSON|not UTF-8|nested more than|400 digits"):
        read_vocabulary(stored(tmp_path, content, "words.json"))


@pytest.mark.parametrize(("content", "message"), [(b"", "no words"), (b"\n\n", "no words"), (b"a \xff", "not UTF-8")])
def test_text_that_is_no_vocabulary(tmp_path: Path, content: bytes, message: str) -> None:
    with pytest.raises(InputError, match=message):
        read_vocabulary(stored(tmp_path, content))


def test_missing_file(tmp_path: Path) -> None:
    for path in (tmp_path / "absent", tmp_path / "absent.json", tmp_path):
        with pytest.raises(InputError, match=r"no such file|is a folder"):
            read_vocabulary(path)


def test_size_must_be_the_models() -> None:
    path = TINY / "tiny.train.txt"
    vocabulary = read_vocabulary(path)
    check_vocabulary_size(path, vocabulary, 38)
    with pytest.raises(InputError, match="38 words, the line feed among them, but the model has 40"):
        check_vocabulary_size(path, vocabulary, 40)


def test_written_vocabulary_is_read_again(tmp_path: Path) -> None:
    vocabulary = {"\n": 0, "é\n": 2, "a": 1}
    write_vocabulary(tmp_path / "words.json", vocabulary)
    assert read_vocabulary(tmp_path / "words.json") == vocabulary
    assert json.loads((tmp_path / "words.json").read_text()) == vocabulary
