import json
from collections import Counter

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from recurlm.errors import CorruptFileError, InputError
from recurlm.text.vocabulary import EOS, EOS_ID, UNK, Vocabulary

encodable = st.characters(exclude_categories=["Cs"])
words = st.lists(st.sampled_from(["a", "b", "c", "d", "e", UNK]), min_size=1, max_size=40)


def counted(sentence: list[str]) -> dict[str, int]:
    """Counts in order of first appearance."""
    return dict(Counter(sentence))


def test_ids_by_appearance():
    vocabulary = Vocabulary.build(counted(list("babcab")), order="appearance", unknown=False)
    assert vocabulary.tokens == (EOS, "b", "a", "c")
    assert vocabulary.ids == {EOS: 0, "b": 1, "a": 2, "c": 3}
    assert vocabulary.unknown_id is None


@given(words)
def test_ids_by_frequency_are_those_of_a_counter(sentence):
    vocabulary = Vocabulary.build(counted(sentence), order="frequency", unknown=False)
    assert vocabulary.tokens[1:] == tuple(token for token, _ in Counter(sentence).most_common())


@given(words)
def test_ids_by_appearance_are_those_of_the_text(sentence):
    vocabulary = Vocabulary.build(counted(sentence), order="appearance", unknown=False)
    assert vocabulary.tokens[1:] == tuple(dict.fromkeys(sentence))


@given(words, st.sampled_from(["frequency", "appearance"]))
def test_unknown_stands_where_the_text_has_it_and_else_after_eos(sentence, order):
    vocabulary = Vocabulary.build(counted(sentence), order=order, unknown=True)
    assert vocabulary.tokens.count(UNK) == 1
    if UNK not in sentence:
        assert vocabulary.unknown_id == 1
    plain = Vocabulary.build(counted(sentence), order=order, unknown=False)
    assert (plain == vocabulary) == (UNK in sentence)


@given(words, st.integers(1, 5), st.sampled_from(["frequency", "appearance"]))
def test_minimum_count_leaves_out_exactly_the_rarer_tokens(sentence, minimum, order):
    vocabulary = Vocabulary.build(counted(sentence), order=order, minimum_count=minimum)
    kept = {token for token, count in Counter(sentence).items() if count >= minimum}
    assert set(vocabulary.tokens) == kept | {EOS, UNK}


@given(words, st.integers(2, 8), st.sampled_from(["frequency", "appearance"]))
def test_maximum_size_keeps_the_most_frequent_tokens_and_unknown(sentence, size, order):
    vocabulary = Vocabulary.build(counted(sentence), order=order, maximum_size=size)
    counts = Counter(sentence)
    del counts[UNK]
    assert len(vocabulary) == min(size, len(counts) + 2)
    assert UNK in vocabulary.tokens
    kept = set(vocabulary.tokens) - {EOS, UNK}
    assert kept == {token for token, _ in counts.most_common(size - 2)}


def test_ties_keep_the_order_of_appearance():
    counts = {"z": 2, "y": 1, "x": 2, "w": 1}
    assert Vocabulary.build(counts, unknown=False).tokens == (EOS, "z", "x", "y", "w")
    assert Vocabulary.build(counts, maximum_size=5).tokens == (EOS, UNK, "z", "x", "y")


@pytest.mark.parametrize("tokens", [(), ("a",), ("a", EOS)])
def test_id_zero_must_be_eos(tokens):
    with pytest.raises(InputError, match="id 0 must be <eos>"):
        Vocabulary(tokens)


def test_a_token_that_stands_twice_is_named():
    with pytest.raises(InputError, match="'b' stands in it twice"):
        Vocabulary((EOS, "a", "b", "c", "b"))
    with pytest.raises(InputError, match="'<eos>' stands in it twice"):
        Vocabulary((EOS, "a", EOS))


awkward = st.one_of(
    st.text(encodable, min_size=1, max_size=8),
    st.sampled_from(
        ['"', "\\", '\\"', "\\n", "\n", "\t", "\x00", "\x1f", "\x7f", "\u2028", " ", "é", "漢", "😀", "\ufeff"]
    ),
)


@given(st.lists(awkward, unique=True, max_size=20), st.sampled_from(["word", "character", "bpe"]))
def test_json_gives_the_same_vocabulary_back(tokens, unit):
    assume(EOS not in tokens)
    vocabulary = Vocabulary((EOS, *tokens))
    text = vocabulary.to_json(unit)
    assert Vocabulary.from_json(text.encode().decode(), "v.json") == (vocabulary, unit)
    assert json.loads(text)["tokens"] == [EOS, *tokens]


def test_json_is_readable_one_token_a_line():
    lines = Vocabulary((EOS, UNK, "café")).to_json("word").split("\n")
    assert '    "café"' in lines
    assert json.loads("\n".join(lines)) == {
        "format": "recurlm vocabulary 1",
        "unit": "word",
        "eos": EOS,
        "unk": UNK,
        "tokens": [EOS, UNK, "café"],
    }
    assert json.loads(Vocabulary((EOS, "a")).to_json("word"))["unk"] is None


GOOD = {"format": "recurlm vocabulary 1", "unit": "word", "tokens": [EOS, "a"]}


@pytest.mark.parametrize(
    "value",
    [
        [],
        {**GOOD, "format": "another"},
        {"tokens": [EOS]},
        {**GOOD, "tokens": None},
        {**GOOD, "tokens": [EOS, 1]},
        {**GOOD, "tokens": {EOS: 0}},
        {**GOOD, "tokens": []},
        {**GOOD, "tokens": ["a", EOS]},
        {**GOOD, "tokens": [EOS, "a", "a"]},
        {**GOOD, "unit": "sentence"},
        {**GOOD, "unit": ["word"]},
    ],
)
def test_damaged_content_is_refused_with_the_file(value):
    with pytest.raises(CorruptFileError, match=r"^v\.json: "):
        Vocabulary.from_json(json.dumps(value), "v.json")


def test_truncated_json_is_refused_with_file_and_line():
    text = Vocabulary((EOS, "a", "b")).to_json("word")
    with pytest.raises(CorruptFileError, match=r"^v\.json: not JSON at line \d+"):
        Vocabulary.from_json(text[:-10], "v.json")


def test_the_digest_depends_on_tokens_and_their_order():
    one, other = Vocabulary((EOS, "a", "b")), Vocabulary((EOS, "b", "a"))
    assert one.digest == Vocabulary((EOS, "a", "b")).digest
    assert len({one.digest, other.digest, Vocabulary((EOS, "a")).digest}) == 3
    assert len(one) == 3
    assert one.tokens[EOS_ID] == EOS
