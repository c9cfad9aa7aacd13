import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from recurlm.errors import UsageError
from recurlm.generation.endings import Ending, GrowingSample, GrowingText, collect
from recurlm.text.codec import Codec
from recurlm.text.tokenization import Characters, Words
from recurlm.text.vocabulary import Vocabulary

WORDS = Codec(Words(), Vocabulary(("<eos>", "the", "red", "fruit", "grapefruit", "is")))
LETTERS = Codec(Characters(), Vocabulary(("<eos>", *"abcdef ")))


def grown(codec: Codec, tokens: list[str], ending: Ending) -> GrowingSample:
    sample = GrowingSample(codec, ending)
    for token in tokens:
        sample.add(codec.vocabulary.ids[token])
    return sample


@pytest.mark.parametrize(
    ("stops", "left", "end"),
    [
        ((), "the red fruit <eos> the", "tokens"),
        (("is",), "the red fruit <eos> the", "tokens"),
        (("fruit",), "the red", "stop"),
        (("red fruit",), "the", "stop"),
        ((" red",), "the", "stop"),
        (("the",), "", "stop"),
        (("he r",), "", "stop"),  # the token in whose middle the text begins goes too
        (("\n",), "the red fruit", "stop"),
        (("fruit\nthe",), "the red", "stop"),
        (("is", "fruit", "red"), "the", "stop"),
    ],
)
def test_a_sample_of_words_ends_before_the_first_token_that_takes_part(stops, left, end):
    sample = grown(WORDS, ["the", "red", "fruit", "<eos>", "the"], Ending(stops))
    assert [WORDS.vocabulary.tokens[index] for index in sample.ids] == left.split()
    assert sample.end == end


def test_a_stop_text_is_met_within_a_word():
    assert grown(WORDS, ["the", "grapefruit", "is"], Ending(("fruit",))).ids == [1]


@pytest.mark.parametrize(
    ("stops", "left"), [(("cd",), "ab"), (("d", "bcd"), "a"), (("e",), "abcd"), (("abcdef",), ""), (("x",), "abcdef")]
)
def test_of_stop_texts_that_end_together_the_longest_counts(stops, left):
    assert LETTERS.decode(grown(LETTERS, list("abcdef"), Ending(stops)).ids) == left


def test_what_comes_after_the_end_is_left_out():
    assert grown(LETTERS, list("abcabc"), Ending(("c",))).ids == [1, 2]


def test_a_sentence_ends_with_its_eos_which_is_no_part_of_its_text():
    sample = grown(WORDS, ["the", "red", "<eos>", "is", "<eos>"], Ending(at_eos=True))
    assert (sample.ids, sample.sentence_ids, sample.end) == ([1, 2, 0], [1, 2], "eos")
    sample = grown(WORDS, ["the"], Ending(at_eos=True))
    assert (sample.ids, sample.sentence_ids, sample.end) == ([1], [1], "tokens")


@pytest.mark.parametrize(
    ("text", "settled"),
    # with the stop texts "cde" and "ef", by hand
    [("", 0), ("ab", 2), ("abc", 2), ("abcd", 2), ("abca", 4), ("abcc", 3), ("abce", 3), ("ababab", 6)],
)
def test_what_a_stop_text_could_still_take_back_is_not_settled(text, settled):
    assert grown(LETTERS, list(text), Ending(("cde", "ef"))).settled == settled


def test_without_stop_texts_every_token_is_settled():
    assert grown(LETTERS, list("abcdef"), Ending()).settled == 6


def test_a_word_is_settled_whole_or_not_at_all():
    ending = Ending(("fruit is",))
    assert grown(WORDS, ["the", "grapefruit"], ending).settled == 1
    assert grown(WORDS, ["the", "grapefruit", "the"], ending).settled == 3


def test_a_long_sample_finds_a_long_stop_text_as_a_search_in_the_whole_text_does():
    generator = torch.Generator().manual_seed(0)
    tokens = [("abcdef "[i]) for i in torch.randint(7, (3000,), generator=generator).tolist()]
    text = "".join(tokens)
    for stop in (text[1500:1504], text[2000:2030], text[2900:2903]):
        assert LETTERS.decode(grown(LETTERS, tokens, Ending((stop,))).ids) == text[: text.index(stop)]


def test_samples_end_each_for_itself_and_no_draw_is_asked_for_after_the_last():
    asked = []

    def draws():
        for row in ([1, 2, 1], [3, 0, 2], [0, 3, 3], [1, 1, 1], [2, 2, 2]):
            asked.append(row)
            yield torch.tensor(row)

    samples = collect(draws(), 3, WORDS, Ending(("fruit",), at_eos=True))
    assert [(sample.ids, sample.end) for sample in samples] == [([1], "stop"), ([2, 0], "eos"), ([1, 2], "stop")]
    assert len(asked) == 3


def test_without_an_ending_samples_have_all_their_tokens():
    samples = collect(iter([torch.tensor([1, 0]), torch.tensor([0, 2])]), 2, WORDS, Ending())
    assert [(sample.ids, sample.end) for sample in samples] == [([1, 0], "tokens"), ([0, 2], "tokens")]
    assert [sample.ids for sample in collect(iter([]), 2, WORDS, Ending())] == [[], []]


def test_byte_pairs_are_cut_between_pieces_and_never_within_a_character():
    pytest.importorskip("tokenizers")
    from recurlm.text.tokenization import BytePairs

    tokenization = BytePairs.train(["ab"], 256)  # single bytes only
    codec = Codec(tokenization, Vocabulary(("<eos>", *tokenization.pieces)))
    tokens = list(tokenization.split("aé一b"))
    assert len(tokens) == 1 + 2 + 3 + 1
    assert codec.decode(grown(codec, tokens, Ending(("一b",))).ids) == "aé"
    assert codec.decode(grown(codec, tokens, Ending(("é",))).ids) == "a"
    assert grown(codec, tokens[:6], Ending(("一b",))).settled == 3


def test_an_empty_stop_text_is_refused():
    with pytest.raises(UsageError, match="empty"):
        Ending(("the", ""))


def bytes_codec() -> Codec:
    pytest.importorskip("tokenizers")
    from recurlm.text.tokenization import BytePairs

    tokenization = BytePairs.train(["ab", "一二 三", "é é é"], 270)
    return Codec(tokenization, Vocabulary(("<eos>", *tokenization.pieces)))


def pieces(codec: Codec, ids: list[int], before: list[int]) -> list[str]:
    text = GrowingText(codec, before)
    return [*map(text.add, ids), text.rest()]


@pytest.mark.parametrize("name", ["words", "letters", "bytes"])
@given(st.data())
def test_ids_taken_together_give_the_text_of_all_ids(name, data):
    codec = {"words": WORDS, "letters": LETTERS}.get(name) or bytes_codec()
    some = st.lists(st.integers(0, len(codec.vocabulary) - 1), max_size=7)
    first, *parts = data.draw(st.lists(some, min_size=1, max_size=12))
    text = GrowingText(codec)
    found = text.extend(first) + "".join(map(text.extend, parts)) + text.rest()
    assert found == codec.decode([*first, *(index for part in parts for index in part)])


@given(
    st.lists(st.integers(0, 5), max_size=30),
    st.sampled_from([Ending(), Ending(at_eos=True), Ending(("red", "fruit is"))]),
)
def test_a_sample_takes_many_ids_as_it_takes_them_one_by_one(ids, ending):
    together, alone = GrowingSample(WORDS, ending), GrowingSample(WORDS, ending)
    for index in ids:
        alone.add(index)
    taken = together.extend(ids)
    assert (together.ids, together.end) == (alone.ids, alone.end)
    assert taken == len(ids) or together.has_ended


@pytest.mark.parametrize("name", ["words", "letters", "bytes"])
@given(st.data())
def test_the_pieces_of_a_growing_text_join_to_the_text_of_all_ids(name, data):
    codec = {"words": WORDS, "letters": LETTERS}.get(name) or bytes_codec()
    ids = data.draw(st.lists(st.integers(0, len(codec.vocabulary) - 1), max_size=60))
    prompt = [codec.vocabulary.ids[token] for token in codec.tokenization.split({"words": "the red"}.get(name, "ab"))]
    assert codec.decode(prompt) + "".join(pieces(codec, ids, prompt)) == codec.decode([*prompt, *ids])
    assert "".join(pieces(codec, ids, [])) == codec.decode(ids)


def test_a_piece_never_ends_within_a_character():
    codec = bytes_codec()
    byte = {piece: codec.vocabulary.ids[piece] for piece in codec.tokenization.pieces if len(piece) == 1}
    ids = [byte[token] for character in "a四b" for token in "".join(codec.tokenization.split(character))]
    assert pieces(codec, ids, []) == ["a", "", "", "四", "b", ""]
    assert pieces(codec, ids[:3], []) == ["a", "", "", "\ufffd"]


def test_bytes_that_are_no_text_are_never_given_out_within_a_character():
    """The sixteenth byte makes the first twelve go, and the twelfth stands within what decodes to one character."""
    codec = bytes_codec()
    first, second, third, _ = (codec.vocabulary.ids[piece] for piece in codec.tokenization.split("😀"))
    alone = codec.vocabulary.ids["ÿ"]  # the byte 0xFF
    ids = [alone] * 10 + [first, second, third] + [alone] * 3
    found = pieces(codec, ids, [])
    assert "".join(found) == codec.decode(ids) == "\ufffd" * 14
    assert [len(piece) for piece in found if piece] == [11, 3]


@pytest.mark.parametrize("name", ["words", "letters", "bytes", "no text"])
def test_a_text_twice_as_long_takes_twice_the_work(monkeypatch, name):
    codec = {"words": WORDS, "letters": LETTERS}.get(name) or bytes_codec()
    generator = torch.Generator().manual_seed(1)
    ids = torch.randint(len(codec.vocabulary), (4000,), generator=generator).tolist()
    if name == "no text":  # bytes that only continue a character, none of which begins one
        ids = [codec.vocabulary.ids["".join(codec.tokenization.split("一"))[-1]]] * 4000
    decoded, decode = [], Codec.decode
    monkeypatch.setattr(
        Codec, "decode", lambda self, ids: (decoded.append(len(ids := list(ids))), decode(self, ids))[1]
    )
    pieces(codec, ids[:2000], [])
    half = sum(decoded)
    decoded.clear()
    pieces(codec, ids, [])
    assert half < 2000 * 250
    assert sum(decoded) < 2.2 * half


def test_a_stop_text_has_a_largest_length():
    Ending(("a" * 1000,))
    with pytest.raises(UsageError, match="1,001 characters"):
        Ending(("a" * 1001,))
