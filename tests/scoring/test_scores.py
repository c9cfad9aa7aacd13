import pytest

from recurlm.scoring.scores import LineScore, Prediction
from recurlm.text.tokenization import BytePairs, Characters, Words


def line(words: list[str], predictions: list[Prediction] | None = None) -> LineScore:
    """Token n has id n and the log-probability -2^n."""
    logprobs = [-(2.0**place) for place in range(len(words))]
    ids = list(range(len(words)))
    return LineScore(1, "", words, ids, logprobs, [word == "?" for word in words], predictions=predictions)


def found(score: LineScore) -> list[tuple[str, float | None, int]]:
    return [(token.token, token.logprob, token.pieces) for token in score.tokens]


def test_characters_make_words_and_the_space_counts_with_the_word_after_it():
    score = line([*"ab  c ", "<eos>"]).by_words(Characters())
    assert found(score) == [("ab", -3.0, 2), ("c", -4.0 - 8 - 16, 3), ("<eos>", -32.0 - 64, 2)]
    assert [token.id for token in score.tokens] == [None, None, None]


def test_a_space_at_the_start_counts_with_the_first_word():
    assert found(line([*" a b", "<eos>"]).by_words(Characters())) == [
        ("a", -3.0, 2),
        ("b", -12.0, 2),
        ("<eos>", -16.0, 1),
    ]


def test_a_single_piece_keeps_its_id_and_its_prediction():
    predictions = [Prediction(1.0, 2), Prediction(3.0, 4), Prediction(5.0, 6), Prediction(7.0, 8)]
    first, second, end = line([*"a b", "<eos>"], predictions).by_words(Characters()).tokens
    assert (first.id, first.prediction) == (0, predictions[0])
    assert (second.id, second.prediction) == (None, None)
    assert (end.id, end.prediction) == (3, predictions[3])


def test_an_unknown_piece_makes_an_unknown_word():
    score = line([*"a? b", "<eos>"]).by_words(Characters())
    assert [token.oov for token in score.tokens] == [True, False, False]


def test_a_word_with_a_piece_that_does_not_count_does_not_count():
    score = LineScore(1, "", [*"ab c", "<eos>"], range(5), [-1.0, None, -2.0, -3.0, -4.0], [False, True, *[False] * 3])
    assert found(score.by_words(Characters())) == [("ab", None, 2), ("c", -5.0, 2), ("<eos>", -4.0, 1)]


def test_byte_pairs_make_words_and_characters_of_many_bytes():
    pairs = BytePairs.train(["the cat the cat über"], 260)
    text = "the über 深"
    pieces = list(pairs.split(text))
    score = line([*pieces, "<eos>"]).by_words(pairs)
    assert [token.token for token in score.tokens] == ["the", "über", "深", "<eos>"]
    assert sum(token.pieces for token in score.tokens) == len(pieces) + 1
    assert score.logprob == pytest.approx(-(2.0 ** (len(pieces) + 1) - 1))


def test_words_stay_as_they_are():
    score = line(["a", "b", "<eos>"])
    assert score.by_words(Words()) is score
