import itertools
import math
from collections import Counter, defaultdict

import numpy as np
import pytest

from recurlm.errors import InputError
from recurlm.ngrams.kneser_ney import FALLBACK, Discounts, kneser_ney, text_codec
from recurlm.ngrams.model import NGramModel
from recurlm.text.codec import Codec
from recurlm.text.corpora import open_source
from recurlm.text.places import DataPlaces
from recurlm.text.tokenization import Characters, Words
from recurlm.text.vocabulary import Vocabulary


def probability(model: NGramModel, context: list[str], word: str) -> float:
    """p(word | context) through the back-off rule; the context begins a sentence where it is short."""
    ids = np.array([model.vocabulary.ids[token] for token in [*context, word]])
    return math.exp(-model.token_nats(ids)[-1])


def test_a_bigram_model_by_hand(write_text):
    text = write_text("a b\na b\na c\n")
    model, (unigrams, bigrams) = kneser_ney(text, text_codec(text), 2)
    # different words before each: a 1, b 1, c 1, </s> 2; no count is three
    assert unigrams == Discounts(FALLBACK, (3, 1, 0, 0), False)
    # counts: <s> a 3, a b 2, b </s> 2, a c 1, c </s> 1; Y = 2 / (2 + 2 * 2)
    assert bigrams.counts_of_counts == (2, 2, 1, 0)
    assert bigrams.values == pytest.approx((1 - 2 / 3, 2 - 1 / 2, 3))
    assert bigrams.estimated
    # gamma = (3 * 0.5 + 1) / 5, and a quarter of it for each of a, b, c, </s>
    unigram, end = 0.5 / 5 + 0.5 / 4, 1 / 5 + 0.5 / 4
    assert probability(model, [], "a") == pytest.approx(unigram)
    gamma_a = (1.5 + 1 / 3) / 3
    assert probability(model, ["a"], "b") == pytest.approx(0.5 / 3 + gamma_a * unigram)
    assert probability(model, ["a"], "c") == pytest.approx((1 - 1 / 3) / 3 + gamma_a * unigram)
    assert probability(model, ["a"], "a") == pytest.approx(gamma_a * unigram)
    assert probability(model, ["a", "b"], "<eos>") == pytest.approx(0.5 / 2 + 1.5 / 2 * end)


def test_discounts_by_hand():
    counts = np.repeat([1, 2, 3, 4, 9], [40, 10, 5, 2, 3])
    share = 40 / 60
    expected = (1 - 2 * share * 10 / 40, 2 - 3 * share * 5 / 10, 3 - 4 * share * 2 / 5)
    assert Discounts.from_counts(counts).values == pytest.approx(expected)
    # so many threes that 2 - 3 * (1 / 3) * 40 / 10 would be less than nothing
    regular = np.repeat([1, 2, 3, 4], [10, 10, 40, 1])
    assert Discounts.from_counts(regular) == Discounts(FALLBACK, (10, 10, 40, 1), False)


@pytest.fixture(scope="module")
def sentences() -> list[list[str]]:
    """Sentences over few words, so that counts are many and some contexts are never met."""
    generator = np.random.default_rng(1)
    lengths = generator.integers(0, 8, 150)
    return [generator.choice(list("abcde"), length, p=[0.45, 0.3, 0.15, 0.07, 0.03]).tolist() for length in lengths]


@pytest.fixture
def text(sentences, write_text):
    return write_text("".join(" ".join(sentence) + "\n" for sentence in sentences))


VOCABULARY = Vocabulary(("<eos>", "<unk>", "a", "b", "c", "d", "e", "never"))


def plain_probability(sentences, discounts, order, context, word):
    """The definition, n-gram by n-gram, from counts in dictionaries."""
    padded = [["<s>", *sentence, "<eos>"] for sentence in sentences]
    raw = {k: Counter(tuple(s[i : i + k]) for s in padded for i in range(len(s) - k + 1)) for k in range(1, order + 2)}
    before = defaultdict(set)
    for ngram in itertools.chain.from_iterable(raw.values()):
        before[ngram[1:]].add(ngram[0])

    def count(ngram):
        highest_or_first = len(ngram) == order or (ngram[0] == "<s>" and len(ngram) > 1)
        return 0 if ngram == ("<s>",) else raw[len(ngram)][ngram] if highest_or_first else len(before[ngram])

    def discount(ngram):
        return 0.0 if not count(ngram) else discounts[len(ngram) - 1].values[min(count(ngram), 3) - 1]

    def interpolated(context, word):
        ngrams = [(*context, each) for each in VOCABULARY.tokens]
        total = sum(map(count, ngrams))
        shorter = interpolated(context[1:], word) if context else 1 / len(VOCABULARY)
        if not total:
            return shorter
        ngram = (*context, word)
        return (count(ngram) - discount(ngram) + sum(map(discount, ngrams)) * shorter) / total

    return interpolated(context, word)


@pytest.mark.parametrize("order", [1, 2, 3, 4])
def test_every_context_gives_a_distribution_that_is_the_definitions(text, sentences, order):
    model, discounts = kneser_ney(text, Codec(Words(), VOCABULARY), order)
    assert order == 1 or discounts[-1].estimated
    met = [("e", "e", "never"), ("never",), ("a", "a", "a"), ("b", "d", "e"), ("<unk>", "a", "b"), ("a",), ()]
    for context in met:
        found = [probability(model, list(context), word) for word in VOCABULARY.tokens]
        assert sum(found) == pytest.approx(1, abs=1e-9)
        history = ("<s>", *context)[-(order - 1) :] if order > 1 else ()
        expected = [plain_probability(sentences, discounts, order, history, word) for word in VOCABULARY.tokens]
        assert found == pytest.approx(expected, rel=1e-9)


def test_the_vocabulary_of_a_text_has_unk_only_where_the_text_has(write_text):
    assert text_codec(write_text("b a\n\nb\n")).vocabulary.tokens == ("<eos>", "b", "a")
    assert text_codec(write_text("b <unk>\n")).vocabulary.tokens == ("<eos>", "b", "<unk>")


def test_words_outside_the_vocabulary_are_counted_as_unk(write_text):
    vocabulary = Vocabulary(("<eos>", "<unk>", "a"))
    given, _ = kneser_ney(write_text("a x\ny a\n"), Codec(Words(), vocabulary), 2)
    written, _ = kneser_ney(write_text("a <unk>\n<unk> a\n"), Codec(Words(), vocabulary), 2)
    for context in ([], ["a"], ["<unk>"]):
        for word in vocabulary.tokens:
            assert probability(given, context, word) == probability(written, context, word)


def test_what_an_arpa_file_cannot_hold_is_refused(write_text):
    text = write_text("a b\n")
    with pytest.raises(InputError, match="' ' does not fit into an ARPA file"):
        kneser_ney(text, Codec(Characters(), Vocabulary(("<eos>", "a", " ", "b"))), 2)
    with pytest.raises(InputError, match="'<s>' does not fit"):
        kneser_ney(text, Codec(Words(), Vocabulary(("<eos>", "a", "b", "<s>"))), 2)
    with pytest.raises(InputError, match="use at most 4"):
        kneser_ney(text, text_codec(text), 5)


@pytest.mark.shared_data
def test_five_grams_of_penn_treebank_are_those_of_the_literature(shared_data):
    # 141.2: Mikolov et al. 2011, "Empirical evaluation and combination of advanced language modeling techniques"
    corpus = open_source("ptb", DataPlaces(data_directory=shared_data))
    model, discounts = kneser_ney(corpus.train, text_codec(corpus.train), 5)
    assert all(each.estimated for each in discounts)
    text = Codec(Words(), model.vocabulary).encode(corpus.test)
    assert (len(text.ids), text.oov) == (82430, 0)
    assert math.exp(model.token_nats(text.ids).mean()) == pytest.approx(141.2, abs=0.3)
