"""A text as tokens, with their names in pictures."""

import pytest

from recurlm.errors import InputError
from recurlm.inspection.reading import ReadToken, names_of, read_text
from recurlm.text.codec import Codec
from recurlm.text.tokenization import BytePairs, Characters, Words
from recurlm.text.vocabulary import Vocabulary

CODEC = Codec(Words(), Vocabulary(("<eos>", "<unk>", "red", "fruit")))


def test_lines_are_one_document_without_its_last_end():
    found = read_text(CODEC, ["red plum", "", "fruit", ""], "text")
    assert found == (
        ReadToken("red", 2),
        ReadToken("plum", 1, True),
        ReadToken("<eos>", 0),
        ReadToken("<eos>", 0),
        ReadToken("fruit", 3),
    )


def test_names_show_spaces_and_ends_of_lines():
    reading = [ReadToken(token, 1) for token in ("a", " ", "\t", "<eos>", "é")]
    assert names_of(reading, Characters()) == ["a", "␣", "⇥", "⏎", "é"]


def test_names_of_byte_pairs_are_the_texts_or_bytes_that_they_stand_for():
    pairs = BytePairs.train(["the café"], 256)
    tokens = list(pairs.split("x é\x00\xad"))
    assert names_of([ReadToken(token, 1) for token in tokens], pairs) == [
        "x",
        "␣",
        "<C3>",
        "<A9>",
        "\x00",
        "<C2>",
        "<AD>",
    ]
    assert names_of([ReadToken("ĠcafÃ©", 1), ReadToken("<eos>", 0)], pairs) == ["␣café", "⏎"]


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ([], "text: the text is empty"),
        (["", ""], "text: the text is empty"),
        (["red", "red <eos>"], "text, line 2: "),
        (["red"] * 5001, "text: more than 10,000 tokens up to line 5001"),
    ],
)
def test_texts_that_cannot_be_read_are_refused(lines, said):
    with pytest.raises(InputError, match=said):
        read_text(CODEC, lines, "text")
