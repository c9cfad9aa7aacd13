from recurlm.rescoring.letter_case import ErrorsByCase, UnknownByCase, case_of, errors_by_case, unknown_by_case
from recurlm.rescoring.nbest import Hypothesis, NBestFile, group
from recurlm.rescoring.rescorer import RescoredHypothesis, RescoredList
from recurlm.rescoring.word_errors import WordErrors
from recurlm.text.codec import Codec
from recurlm.text.tokenization import Words
from recurlm.text.vocabulary import EOS, UNK, Vocabulary

CODEC = Codec(Words(), Vocabulary((EOS, UNK, "the", "cat", "Paris", "é")))


def hypotheses(*texts: str) -> NBestFile:
    return NBestFile(group([Hypothesis("u", number, text) for number, text in enumerate(texts, 1)]), "mikolov", "list")


def best(utterance: str, text: str) -> RescoredList:
    return RescoredList(utterance, (RescoredHypothesis(Hypothesis(utterance, 1, text), -1.0, -1.0, 0),))


def test_unknown_words_that_the_vocabulary_has_in_another_case_are_counted():
    found = unknown_by_case(hypotheses("THE CAT dog", "THE É cat"), CODEC)
    assert found == UnknownByCase(count=4, unknown=5, words=6, example=("THE", "the"), case="lower")
    assert unknown_by_case(hypotheses("the dog", "cat"), CODEC) is None


def test_errors_that_vanish_without_case_are_counted():
    rescored = [best("u", "a b c"), best("v", "THE CAT sat"), best("w", "The the")]
    references = {"u": ("a", "x", "c"), "v": ("the", "cat", "sat", "up"), "w": ("the", "The")}
    # as written 1 + 3 + 2 errors, without case 1 + 1 + 0
    expected = ErrorsByCase(4, WordErrors(1, 1, 0, 9), ("THE", "the"))
    assert errors_by_case(rescored, references) == expected
    assert errors_by_case(rescored[:1], references) is None


def test_an_example_is_found_where_the_reference_has_both_forms():
    found = errors_by_case([best("u", "the x the")], {"u": ("The", "x", "the")})
    assert found is not None
    assert (found.count, found.example) == (1, ("the", "The"))


def test_the_case_of_a_text_is_the_case_of_nearly_all_words():
    assert case_of(["a", "b", "1", "中"]) == "lower"
    assert case_of(["A", "É", "1"]) == "upper"
    assert case_of(["The", "cat"]) == "mixed"
    assert case_of([*("a" for _ in range(9)), "B"]) == "lower"
    assert case_of([*("a" for _ in range(8)), "B"]) == "mixed"
    assert case_of(["1", "中"]) == case_of([]) == "mixed"
