import math
import re
from collections.abc import Iterator, Sequence

import pytest
import torch

from recurlm.config import ModelOptions, UniformInitialisation
from recurlm.errors import RecurlmError
from recurlm.models.initialisation import initialise
from recurlm.models.language_model import LanguageModel
from recurlm.scoring.reader_words import reader_words
from recurlm.scoring.scorer import ScoringOptions, score_lines
from recurlm.text.codec import Codec
from recurlm.text.tokenization import BytePairs, Characters, Tokenization, Words
from recurlm.text.unknown import UnknownRule
from recurlm.text.vocabulary import Vocabulary

SENTENCES = ["the cat, sat.", '"the" cat', "  sat  the cat ", "cat\tsat ,,"]


class Punctuation:
    """Cuts punctuation off and lowers letters, so tokens are not spelled as the text is."""

    unit = "word"

    def split(self, block: str) -> Iterator[str]:
        return iter(re.findall(r"\w+|[^\w\s]", block.lower()))

    def join(self, tokens: Sequence[str]) -> str:
        return " ".join(tokens)


class Pairs(Punctuation):
    """Takes two words as one token."""

    def split(self, block: str) -> Iterator[str]:
        return iter(re.findall(r"\w+ \w+|\w+", block))


def byte_pairs() -> BytePairs:
    return BytePairs.train([*SENTENCES, "the cat sat the cat sat"] * 3, 270)


TOKENIZATIONS = {"words": Words, "characters": Characters, "punctuation": Punctuation, "byte pairs": byte_pairs}


def codec_of(tokenization: Tokenization, without: str = "") -> Codec:
    tokens = {token for sentence in SENTENCES for token in tokenization.split(sentence)} - {without}
    return Codec(tokenization, Vocabulary(("<eos>", "<unk>", *sorted(tokens))))


def model_of(codec: Codec) -> LanguageModel:
    torch.manual_seed(0)
    made = LanguageModel(ModelOptions(embedding_size=8, hidden_sizes=(9, 8)), len(codec.vocabulary.tokens))
    initialise(made, UniformInitialisation(scale=0.8))
    return made.eval()


def steps(model: LanguageModel, ids: Sequence[int]) -> list[tuple[float, float, int]]:
    """Surprisal and entropy in bits and rank of each id after <eos>, one step of the model at a time."""
    state, previous, found = model.initial_state(1), 0, []
    for target in ids:
        with torch.no_grad():
            logits, state = model(torch.tensor([[previous]]), state)
        chances = [chance.item() for chance in logits[0, 0].double().softmax(-1)]
        entropy = -sum(chance * math.log2(chance) for chance in chances)
        rank = 1 + sum(chance > chances[target] for chance in chances)
        found.append((-math.log2(chances[target]), entropy, rank))
        previous = target
    return found


@pytest.mark.parametrize("name", TOKENIZATIONS)
def test_words_are_sums_of_steps_of_the_model(name: str):
    """Spaces count with the word after them, and what follows the last word with <eos>."""
    codec = codec_of(TOKENIZATIONS[name]())
    model = model_of(codec)
    split, ids = codec.tokenization.split, codec.vocabulary.ids
    scores = score_lines(model, codec, SENTENCES, ScoringOptions(predictions=True))
    for sentence, score in zip(SENTENCES, scores, strict=True):
        words, end = reader_words(score, codec.tokenization)
        assert [word.word for word in words] == [word for word in sentence.split(" ") if word]
        taken = steps(model, [*(ids[token] for token in split(sentence)), 0])
        start = 0
        for word, span in zip(words, re.findall(" *[^ ]+", sentence), strict=True):
            stop = start + len(list(split(span)))
            assert word.pieces == stop - start
            assert word.surprisal == pytest.approx(sum(bits for bits, _, _ in taken[start:stop]), rel=1e-5)
            assert word.entropy == pytest.approx(taken[start][1], rel=1e-5)
            assert word.rank == taken[start][2]
            assert not word.oov
            start = stop
        assert end == pytest.approx(sum(bits for bits, _, _ in taken[start:]), rel=1e-5)


def test_punctuation_belongs_to_its_word_however_it_is_spelled():
    codec = codec_of(Punctuation())
    (score,) = score_lines(model_of(codec), codec, ["The CAT, sat."], ScoringOptions(predictions=True))
    words, _ = reader_words(score, codec.tokenization)
    assert [(word.word, word.pieces) for word in words] == [("The", 1), ("CAT,", 2), ("sat.", 2)]


def test_a_word_with_an_unknown_token_is_unknown_and_has_no_surprisal_where_that_is_not_counted():
    codec = codec_of(Punctuation(), without=",")
    model = model_of(codec)
    for rule, counted in (("unk", True), ("skip", False)):
        options = ScoringOptions(unknown=UnknownRule.parse(rule))
        (score,) = score_lines(model, codec, ["the cat, sat."], options)
        words, _ = reader_words(score, codec.tokenization)
        assert [word.oov for word in words] == [False, True, False]
        assert [word.surprisal is not None for word in words] == [True, counted, True]
        assert [word.entropy for word in words] == [None] * 3


def test_a_token_across_a_space_is_refused_rather_than_split():
    codec = Codec(Pairs(), Vocabulary(("<eos>", "the cat", "sat")))
    (score,) = score_lines(model_of(codec), codec, ["the cat sat"])
    with pytest.raises(RecurlmError, match="reaches across the space around 'the'"):
        reader_words(score, codec.tokenization)
