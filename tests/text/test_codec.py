import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recurlm.errors import CorruptFileError, InputError
from recurlm.text.codec import TOKENIZER_FILE, VOCABULARY_FILE, Codec
from recurlm.text.tokenization import BytePairs, Characters, Words
from recurlm.text.vocabulary import EOS, UNK, Vocabulary

WORDS = Codec(Words(), Vocabulary((EOS, UNK, "a", "b", "c")))
CLOSED = Codec(Words(), Vocabulary((EOS, "a", "b", "c")))


def test_a_line_gives_ids_tokens_and_what_is_missing():
    assert WORDS.line("a x <unk>  b") == ([2, 1, 1, 3], ["a", "x", UNK, "b"], [False, True, False, False])
    assert WORDS.line("") == ([], [], [])


def test_the_line_feeds_of_a_string_are_eos_and_its_end_is_not():
    assert WORDS.text_ids("a x\n\nb y") == ([2, 1, 0, 0, 3, 1], ["x", "y"])
    assert WORDS.text_ids("a\n") == ([2, 0], [])
    assert WORDS.text_ids("") == ([], [])
    with pytest.raises(InputError, match="'x' is not in the vocabulary"):
        CLOSED.text_ids("a\nx")


def test_a_text_gives_ids_with_eos_at_every_line_end(write_text):
    encoded = WORDS.encode(write_text("a b\n\nx a\n"))
    assert encoded.ids.tolist() == [2, 3, 0, 0, 1, 2, 0]
    assert encoded.ends.tolist() == [3, 4, 7]
    assert (encoded.characters, encoded.oov) == (9, 1)


def test_the_last_line_is_closed_whether_or_not_the_file_closes_it(write_text):
    open_, closed = (WORDS.encode(write_text(content, name)) for content, name in (("a\nb", "o"), ("a\nb\n", "c")))
    assert open_.ids.tolist() == closed.ids.tolist() == [2, 0, 3, 0]
    assert open_.characters == closed.characters == 4
    assert open_.digest != closed.digest


def test_an_unknown_written_in_the_text_is_a_word_like_any_other(write_text):
    assert WORDS.encode(write_text("a <unk> b\n")).oov == 0


def test_without_unknown_the_word_and_its_line_are_named(write_text):
    content = "".join("a b\n" for _ in range(6)) + "a\nc zebra\nyak\n"
    with pytest.raises(InputError, match=r"text, line 8: the token 'zebra' is not in the vocabulary"):
        CLOSED.encode(write_text(content))
    with pytest.raises(InputError, match=r"^the token 'zebra' is not in the vocabulary"):
        CLOSED.line("a zebra yak")


def test_the_line_is_right_in_a_later_block(write_text):
    content = "a b c\n" * 400_000 + "b zebra\n"
    with pytest.raises(InputError, match=r"line 400001: the token 'zebra'"):
        CLOSED.encode(write_text(content))


def test_a_written_eos_is_refused(write_text):
    with pytest.raises(InputError, match="line 2: holds the word <eos> itself"):
        WORDS.encode(write_text("a\nb <eos> c\n"))
    with pytest.raises(InputError, match="holds the word <eos> itself"):
        WORDS.line("b <eos> c")


@given(st.lists(st.lists(st.sampled_from(["a", "b", "c"]), max_size=5), min_size=1, max_size=6))
def test_words_round_trip(sentences):
    text = "\n".join(" ".join(sentence) for sentence in sentences)
    ids = [index for line in text.split("\n") for index in [*CLOSED.line(line)[0], 0]]
    assert CLOSED.decode(ids) == text + "\n"


@given(st.text(st.sampled_from("abé漢 "), max_size=20))
def test_characters_round_trip(line):
    codec = Codec(Characters(), Vocabulary((EOS, *"abé漢 ")))
    ids, tokens, missing = codec.line(line)
    assert tokens == list(line)
    assert not any(missing)
    assert codec.decode([*ids, 0]) == line + "\n"


@given(st.lists(st.text(st.characters(exclude_characters="\n", exclude_categories=["Cs"]), max_size=12), max_size=4))
def test_byte_pairs_round_trip(byte_pair_codec, lines):
    ids = [index for line in lines for index in [*byte_pair_codec.line(line)[0], 0]]
    assert byte_pair_codec.decode(ids) == "".join(line + "\n" for line in lines)


@pytest.fixture(scope="module")
def byte_pair_codec() -> Codec:
    pytest.importorskip("tokenizers")
    tokenization = BytePairs.train(["the cat sat on the mat"], 280)
    return Codec(tokenization, Vocabulary((EOS, *tokenization.pieces)))


@pytest.mark.parametrize("tokenization", [Words(), Characters()])
def test_a_codec_comes_back_from_its_files(tmp_path, tokenization):
    codec = Codec(tokenization, Vocabulary((EOS, UNK, "a", "é", '"')))
    for name, content in codec.files().items():
        (tmp_path / name).write_text(content, "utf-8")
    again = Codec.load(tmp_path)
    assert again.vocabulary == codec.vocabulary
    assert again.tokenization.unit == tokenization.unit


def test_byte_pairs_come_back_from_their_files(tmp_path, byte_pair_codec):
    for name, content in byte_pair_codec.files().items():
        (tmp_path / name).write_text(content, "utf-8")
    assert Codec.load(tmp_path).line("the hat") == byte_pair_codec.line("the hat")
    (tmp_path / TOKENIZER_FILE).unlink()
    with pytest.raises(CorruptFileError, match=rf"{TOKENIZER_FILE}: missing"):
        Codec.load(tmp_path)


def test_a_damaged_tokenizer_is_refused_with_the_file(tmp_path, byte_pair_codec):
    files = byte_pair_codec.files()
    (tmp_path / VOCABULARY_FILE).write_text(files[VOCABULARY_FILE], "utf-8")
    (tmp_path / TOKENIZER_FILE).write_text(files[TOKENIZER_FILE][:200], "utf-8")
    with pytest.raises(CorruptFileError, match=rf"{TOKENIZER_FILE}: "):
        Codec.load(tmp_path)


def test_a_missing_or_binary_vocabulary_is_refused_with_the_file(tmp_path):
    with pytest.raises(CorruptFileError, match=rf"{VOCABULARY_FILE}: missing"):
        Codec.load(tmp_path)
    (tmp_path / VOCABULARY_FILE).write_bytes(b"{\xff")
    with pytest.raises(CorruptFileError, match=rf"{VOCABULARY_FILE}: not UTF-8 at byte 1"):
        Codec.load(tmp_path)


def test_ids_are_unsigned_and_fit_the_vocabulary(write_text):
    ids = WORDS.encode(write_text("a b c d\n")).ids
    assert np.issubdtype(ids.dtype, np.unsignedinteger)
    assert ids.max() < len(WORDS.vocabulary)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("padding", {"strategy": {"Fixed": 1_000_000_000}, "direction": "Right", "pad_id": 0, "pad_token": "x"}),
        ("truncation", {"max_length": 1, "strategy": "LongestFirst", "stride": 0, "direction": "Right"}),
        ("normalizer", {"type": "Replace", "pattern": {"Regex": "(a+)+$"}, "content": ""}),
        ("pre_tokenizer", None),
        ("decoder", {"type": "WordPiece"}),
        ("model", {"type": "Unigram", "vocab": []}),
        ("model", []),
    ],
)
def test_a_tokenizer_of_another_kind_is_refused(tmp_path, byte_pair_codec, key, value):
    files = byte_pair_codec.files()
    files[TOKENIZER_FILE] = json.dumps(json.loads(files[TOKENIZER_FILE]) | {key: value})
    for name, content in files.items():
        (tmp_path / name).write_text(content, encoding="utf-8")
    with pytest.raises(CorruptFileError, match=r"tokenizer\.json: not a tokenizer of byte pairs"):
        Codec.load(tmp_path)
