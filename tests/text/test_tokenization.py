import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recurlm.errors import CorruptFileError, InputError
from recurlm.text import tokenization
from recurlm.text.tokenization import LONGEST_REMEMBERED, BytePairs, Characters, Remembered, Words

LINES = ["the cat sat on the mat", "the dog sat on the log", "", "naïve café 漢字 \t tab", "12 + 34 = 46!"]
texts = st.text(st.sampled_from("ab é漢\t\r<>\n"), max_size=40)


@pytest.fixture(scope="module")
def byte_pairs() -> BytePairs:
    pytest.importorskip("tokenizers")
    return BytePairs.train(LINES, 300)


def test_words_are_split_at_spaces_only():
    assert list(Words().split("a  b\tc \n\n d\r\n")) == ["a", "b\tc", "\n", "\n", "d\r", "\n"]
    assert list(Words().split("")) == []
    assert list(Words().split("   ")) == []


@given(texts)
def test_words_are_those_of_a_naive_split(text):
    naive = []
    for number, line in enumerate(text.split("\n")):
        naive += (["\n"] if number else []) + [word for word in line.split(" ") if word]
    assert list(Words().split(text)) == naive


@given(texts)
def test_words_join_to_the_text_up_to_runs_of_spaces(text):
    tidy = "\n".join(" ".join(word for word in line.split(" ") if word) for line in text.split("\n"))
    assert Words().join(list(Words().split(text))) == tidy


@given(st.text(max_size=40))
def test_characters_are_code_points(text):
    assert list(Characters().split(text)) == list(text)
    assert Characters().join(list(Characters().split(text))) == text


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=40))
def test_byte_pairs_spell_any_text_exactly(byte_pairs, text):
    assert byte_pairs.join(list(byte_pairs.split(text))) == text


@given(st.text(st.sampled_from("abé 漢  \n\t\r\x1c\x85\u3000\u0301'.1"), max_size=30))
def test_the_pieces_of_words_are_those_of_the_library_for_whole_lines(byte_pairs, text):
    tokenizers = pytest.importorskip("tokenizers")
    text = f"{text} ab {text}"
    library = tokenizers.Tokenizer.from_str(byte_pairs.serialized)
    expected = []
    for number, line in enumerate(text.split("\n")):
        expected += (["\n"] if number else []) + library.encode(line).tokens
    assert list(byte_pairs.split(text)) == expected


def test_words_are_remembered_up_to_a_number_and_a_length(monkeypatch):
    monkeypatch.setattr(tokenization, "REMEMBERED_WORDS", 2)
    cuts = []
    remembered = Remembered(lambda word: cuts.append(word) or (word,))
    long = "x" * (LONGEST_REMEMBERED + 1)
    assert [remembered[word] for word in ("a", "b", "a", long, long, "c", "a")] == [
        ("a",), ("b",), ("a",), (long,), (long,), ("c",), ("a",)
    ]  # fmt: skip
    assert cuts == ["a", "b", long, long, "c", "a"]


def test_byte_pairs_learn_frequent_pieces(byte_pairs):
    assert len(byte_pairs.pieces) == 300 or len(byte_pairs.pieces) > 256
    assert "Ġthe" in byte_pairs.pieces or "the" in byte_pairs.pieces
    assert list(byte_pairs.split("the\nthe")).count("\n") == 1
    assert len(list(byte_pairs.split("the"))) == 1


def test_byte_pairs_never_make_a_special_token(byte_pairs):
    learned = BytePairs.train(["<eos> <unk>"] * 50, 400)
    assert not {"<eos>", "<unk>", "\n"} & set(learned.pieces)


def test_byte_pairs_come_back_from_their_serialized_form(byte_pairs):
    again = BytePairs(byte_pairs.serialized)
    assert again.pieces == byte_pairs.pieces
    assert list(again.split("the dog, naïve\n")) == list(byte_pairs.split("the dog, naïve\n"))


def without_a_byte(value):
    del value["model"]["vocab"]["!"]


def with_a_gap(value):
    value["model"]["vocab"]["!"] = 4_000_000_000


def with_another_piece_for_a_byte(value):
    vocabulary = value["model"]["vocab"]
    value["model"]["vocab"] = {"??" if piece == "!" else piece: index for piece, index in vocabulary.items()}


def with_a_strange_merge(value):
    value["model"]["merges"].append(["qqq", "zzz"])


def without_pieces(value):
    value["model"]["vocab"] = ["a"]


def without_merges(value):
    value["model"]["merges"] = None


def with_a_merge_of_three(value):
    value["model"]["merges"].append("a b c")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"pre_tokenizer": {"type": "Split", "pattern": {"Regex": "(a+)+$"}, "behavior": "Isolated"}}, "pre_tokenizer"),
        ({"normalizer": {"type": "Precompiled", "precompiled_charsmap": "AAAA"}}, "normalizer"),
        ({"padding": {"strategy": {"Fixed": 1_000_000_000}, "pad_id": 0, "pad_token": "x"}}, "padding"),
        ({"truncation": {"max_length": 0, "stride": 5}}, "truncation"),
        ({"added_tokens": [{"id": 0, "content": ""}]}, "added_tokens"),
        ({"model": {"type": "Unigram", "vocab": [["a", -1.0]]}}, "type"),
        ({"model": None}, "model"),
        (without_a_byte, "not 0 to"),
        (with_a_gap, "not 0 to"),
        (with_another_piece_for_a_byte, "lacks 1 of the single bytes"),
        (with_a_strange_merge, "qqq"),
        (without_pieces, "not an object of pieces and ids"),
        (without_merges, "not a list"),
        (with_a_merge_of_three, "not pairs of pieces"),
    ],
)
def test_a_tokenizer_that_this_program_never_writes_is_refused(byte_pairs, change, reason):
    value = json.loads(byte_pairs.serialized)
    if callable(change):
        change(value)
    else:
        value |= change
    with pytest.raises(CorruptFileError, match=f"my.json: not a tokenizer of this program: .*{reason}"):
        BytePairs(json.dumps(value), "my.json")


def test_merges_of_older_versions_of_the_library_are_read(byte_pairs):
    value = json.loads(byte_pairs.serialized)
    value["model"]["merges"] = [" ".join(pair) for pair in value["model"]["merges"]]
    again = BytePairs(json.dumps(value))
    assert list(again.split("the dog, naïve\n")) == list(byte_pairs.split("the dog, naïve\n"))


def test_fewer_byte_pairs_than_bytes_are_refused():
    pytest.importorskip("tokenizers")
    with pytest.raises(InputError, match=r"text\.merges: 255 is less than the 256 single bytes"):
        BytePairs.train(LINES, 255)
