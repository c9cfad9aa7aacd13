import math

import numpy as np
import pytest

from recurlm.errors import InputError
from recurlm.ngrams.model import NGramModel, NGramTable

WORDS = ["<s>", "</s>", "a", "b", "<unk>"]


def table(order: int, ngrams: dict[str, tuple[float, float]]) -> NGramTable:
    """N-grams with probabilities and back-off weights, as numbers and not as logarithms."""
    ids = [[WORDS.index(word) for word in ngram.split()] for ngram in ngrams]
    values = np.array(list(ngrams.values())).reshape(-1, 2)
    with np.errstate(divide="ignore"):
        logarithms = np.log(values)
    return NGramTable(np.array(ids).reshape(-1, order), logarithms[:, 0], logarithms[:, 1])


UNIGRAMS = {"<s>": (0.0, 0.5), "</s>": (0.2, 1.0), "a": (0.4, 0.25), "b": (0.3, 2.0), "<unk>": (0.1, 1.0)}
BIGRAMS = {"<s> a": (0.6, 0.1), "a b": (0.7, 0.3), "b </s>": (0.9, 1.0)}
TRIGRAMS = {"<s> a b": (0.05, 1.0), "b a b": (0.45, 1.0)}


@pytest.fixture
def model() -> NGramModel:
    tables = [table(1, UNIGRAMS), table(2, BIGRAMS), table(3, TRIGRAMS)]
    return NGramModel.from_tables(WORDS, tables)


def probabilities(model: NGramModel, text: str) -> list[float]:
    known = model.vocabulary.ids
    ids = np.array([known.get(token, known["<unk>"]) for token in text.split()])
    return np.exp(-model.token_nats(ids)).tolist()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        # a after <s>: listed; b after <s> a: listed; </s> after a b: bow(a b) p(</s> | b)
        ("a b <eos>", [0.6, 0.05, 0.3 * 0.9]),
        # b after <s>: bow(<s>) p(b); </s> after <s> b: <s> b is not listed, so p(</s> | b)
        ("b <eos>", [0.5 * 0.3, 0.9]),
        # a after b: <s> b is not listed, bow(b) p(a); b after b a: the context is listed only by its trigram
        ("b a b <eos>", [0.5 * 0.3, 2.0 * 0.4, 0.45, 0.3 * 0.9]),
        # a after <s> a: bow(<s> a) bow(a) p(a); </s> after a a: bow(a) p(</s>)
        ("a a <eos>", [0.6, 0.1 * 0.25 * 0.4, 0.25 * 0.2]),
        ("<eos>", [0.5 * 0.2]),
        # no n-gram reaches over the end of a sentence
        ("a <eos> a b <eos>", [0.6, 0.1 * 0.25 * 0.2, 0.6, 0.05, 0.27]),
        # an unknown word, and a written sentence start, are <unk>
        ("c <s> <eos>", [0.5 * 0.1, 0.1, 0.2]),
    ],
)
def test_the_back_off_rule_by_hand(model, text, expected):
    assert probabilities(model, text) == pytest.approx(expected)


def test_a_context_that_is_not_listed_is_taken_for_no_other():
    """The first n-gram of each order, by the numbers of its words, is the one that a wrong place would meet."""
    first = {"<s> </s>": (0.15, 1.0)}, {"<s> </s> </s>": (0.35, 1.0), "<s> a </s>": (0.25, 1.0)}
    tables = [table(1, UNIGRAMS), table(2, BIGRAMS | first[0]), table(3, TRIGRAMS | first[1])]
    model = NGramModel.from_tables(WORDS, tables)
    assert probabilities(model, "b a b <eos>") == pytest.approx([0.5 * 0.3, 2.0 * 0.4, 0.45, 0.3 * 0.9])
    assert probabilities(model, "c c <eos>") == pytest.approx([0.5 * 0.1, 0.1, 0.2])
    assert probabilities(model, "a <eos>") == pytest.approx([0.6, 0.25])


def test_the_vocabulary_is_that_of_texts(model):
    assert model.vocabulary.tokens == ("<eos>", "a", "b", "<unk>")
    capital = NGramModel.from_tables(
        ["<UNK>", "a", "</s>", "<s>"], [NGramTable(np.arange(4)[:, None], *np.zeros((2, 4)))]
    )
    assert capital.vocabulary.tokens == ("<eos>", "<unk>", "a")
    closed = NGramModel.from_tables(["a", "</s>", "<s>"], [NGramTable(np.arange(3)[:, None], *np.zeros((2, 3)))])
    assert closed.vocabulary.unknown_id is None


def test_probability_zero_is_infinite_surprisal():
    model = NGramModel.from_tables(WORDS, [table(1, UNIGRAMS | {"b": (0.0, 1.0)})])
    assert model.token_nats(np.array([1, 2, 0])).tolist() == pytest.approx([-math.log(0.4), math.inf, -math.log(0.2)])


def test_a_text_may_end_without_its_last_sentence_end(model):
    assert probabilities(model, "a b") == pytest.approx([0.6, 0.05])


def test_an_order_without_ngrams_is_left_out():
    model = NGramModel.from_tables(WORDS, [table(1, UNIGRAMS), table(2, BIGRAMS), table(3, {})])
    assert model.order == 2
    assert probabilities(model, "a b <eos>") == pytest.approx([0.6, 0.7, 0.9])


def test_an_ngram_listed_twice_is_refused():
    twice = NGramTable(np.array([[2, 3], [2, 3]]), np.zeros(2), np.zeros(2))
    with pytest.raises(InputError, match="2-gram 'a b' is listed twice"):
        NGramModel.from_tables(WORDS, [table(1, UNIGRAMS), twice])
