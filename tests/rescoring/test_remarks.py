from dataclasses import replace

import pytest

from recurlm.rescoring.combination import combination_for
from recurlm.rescoring.nbest import GivenScales, Hypothesis, NBestFile, group
from recurlm.rescoring.remarks import Given, remarks
from recurlm.rescoring.report import report
from recurlm.rescoring.rescorer import RescoredHypothesis, RescoredList
from recurlm.rescoring.tuning import tune_combination
from recurlm.text.codec import Codec
from recurlm.text.tokenization import Words
from recurlm.text.unknown import UnknownRule
from recurlm.text.vocabulary import EOS, UNK, Vocabulary

CODEC = Codec(Words(), Vocabulary((EOS, UNK, *"abcde")))
GUESS = "--tune finds better options, on development lists with --references"
Row = tuple[str, float | None, float | None, float]
"""Text, acoustic cost, language cost, ln p of a hypothesis."""
COSTS: list[Row] = [("a b", 1.0, 2.0, -4.0), ("a c", 1.0, 3.0, -2.0)]
"""The old best is a b, the new best with a weight of 0.5 is a c."""


def said(
    rows: list[Row],
    references: str | None = None,
    *,
    given: Given | None = None,
    tune: bool = False,
    format: str = "kaldi",
) -> list[str]:
    """The remarks about one list."""
    given = Given() if given is None else given
    known = set(CODEC.vocabulary.tokens)
    hypotheses = [Hypothesis("u", at, text, ac, lm) for at, (text, ac, lm, _) in enumerate(rows, 1)]
    file = NBestFile(group(hypotheses), format, "list")
    combination = combination_for(file, weight=given.weight, lm_scale=given.scales.lm_scale)
    scored = tuple(
        RescoredHypothesis(each, row[3], combination.total(each, row[3]), sum(word not in known for word in each.words))
        for each, row in zip(hypotheses, rows, strict=True)
    )
    rescored, tuned = [RescoredList("u", scored)], None
    words = None if references is None else {"u": tuple(references.split())}
    if tune and words is not None:
        tuned = tune_combination(rescored, file, words, combination)
        combination = tuned.combination
        best = [replace(each, total=combination.total(each.hypothesis, each.logprob)) for each in scored]
        rescored = [RescoredList("u", tuple(best))]
    found = report(rescored, file, combination, words, rule=given.rule)
    return remarks(found, rescored, CODEC, replace(given, references=words), tuned)


@pytest.mark.parametrize(
    ("rows", "given", "expected"),
    [
        (COSTS, Given(), f"--weight 0.5, --lm-scale 1 and --length-bonus 0 are guesses\n{GUESS}"),
        (COSTS, Given(scales=GivenScales(0.1)), f"--weight 0.5 and --length-bonus 0 are guesses\n{GUESS}"),
        ([(text, None, lm, p) for text, _, lm, p in COSTS], Given(),
         f"--weight 0.5 and --length-bonus 0 are guesses\n{GUESS}"),
        ([(text, None, None, p) for text, _, _, p in COSTS], Given(), f"--length-bonus 0 is a guess\n{GUESS}"),
    ],
)  # fmt: skip
def test_options_that_nobody_tuned_are_guesses(rows, given, expected):
    assert said(rows, given=given) == [expected]


def test_lattices_bring_their_own_scales_but_no_weight():
    assert said(COSTS, format="htk") == [f"--weight 0.5 is a guess\n{GUESS}"]


@pytest.mark.parametrize("given", [Given(weight=0.5), Given(ranks=False)])
def test_options_that_the_user_chose_or_that_do_not_count_are_no_guesses(given):
    assert said(COSTS, given=given) == []


def test_a_word_error_rate_that_rose_is_said():
    assert said(COSTS, "a b") == [
        "rescoring raised the word error rate from 0.00 % to 50.00 %\n"
        f"{GUESS}; --weight 0 keeps the old language model alone"
    ]
    assert said([(text, None, None, p) for text, _, _, p in COSTS], "a b") == [
        "rescoring raised the word error rate from 0.00 % to 50.00 %: the lists have no costs of the recognizer, so "
        "this model chose alone\nname files with --acoustic-costs and --language-costs"
    ]
    assert said(COSTS, "a c", given=Given(weight=0.5)) == []


def test_tuning_is_held_to_the_first_pass_under_the_given_scales():
    """No scale or bonus makes a model that is wrong by 1000 nats agree with the acoustic costs."""
    rows = [("a b", 1.0, None, -1000.0), ("a c", 2.0, None, 0.0)]
    assert said(rows, "a b", tune=True) == [
        "rescoring raised the word error rate from 0.00 % to 50.00 %, under the best options tried\n"
        "train the model on text like these utterances"
    ]


def test_lists_without_a_better_hypothesis_are_said():
    assert said(COSTS, "a d", given=Given(weight=0.5)) == [
        "rescoring cannot lower the word error rate of 50.00 %: no list holds a hypothesis with fewer errors than its "
        "old best one\nask the recognizer for more hypotheses"
    ]


def test_lists_of_one_hypothesis_are_said_and_nothing_else():
    expected = ["every list has one hypothesis, so rescoring changes nothing\nask the recognizer for more hypotheses"]
    assert said(COSTS[:1]) == said(COSTS[:1], "a d") == expected


def test_a_tuned_weight_at_the_end_says_which_model_helps():
    # the old model is right by 1 nat, this one wrong by 1000: from 0.95 down to 0 no step but the last is right
    old_is_right = [("a b", None, 2.0, -1000.0), ("a c", None, 3.0, 0.0)]
    assert said(old_is_right, "a b", tune=True) == [
        "the tuned --weight 0 is the lowest there is: the model does not help on these lists\n"
        "train it on text like these utterances"
    ]
    new_is_right = [("a b", None, 1000.0, -2.0), ("a c", None, 0.0, -3.0)]
    assert said(new_is_right, "a b", tune=True) == [
        "the tuned --weight 1 is the highest there is: the old language model adds nothing on these lists"
    ]


def test_tuned_scales_at_the_edge_of_the_grid_say_how_to_go_on():
    """Only 16 times the lm scale outweighs 15 nats of acoustic cost, and only 2 nats a word those of length."""
    go_on = "add the printed options to the command and tune again: the values tried lie around the given ones"
    assert said([("a b", 15.0, None, -2.0), ("c d", 0.0, None, -3.0)], "a b", tune=True) == [
        f"tuning ended at the edge of the values tried: --lm-scale 16 (highest); better ones may lie beyond\n{go_on}"
    ]
    assert said([("a b", None, None, -3.9), ("a", None, None, -2.0)], "a b", tune=True) == [
        f"tuning ended at the edge of the values tried: --length-bonus 2 (highest); better ones may lie beyond\n{go_on}"
    ]
    assert said([("a b", None, None, -2.9), ("a", None, None, -2.0)], "a b", tune=True) == []


def test_references_in_another_case_are_measured():
    upper = said([("a b c", 0.0, 0.0, 0.0), ("a b", 9.0, 9.0, -9.0)], "A B D", given=Given(weight=0.5))
    assert upper == [
        "2 of 3 word errors are differences of case alone, such as 'a' for the reference's 'A'; without them the word "
        "error rate is 33.33 %\nwrite the references in lower case; for lines that begin with an id: "
        r"perl -CSD -pe 's/\s.*/\L$&/' FILE > NEW",
        *upper[1:],
    ]
    # nothing to say about a single error in a larger number
    few = said([("a x x x x x x x x x x", 0.0, 0.0, 0.0)], "A " + "y " * 10)
    assert not any("case" in remark for remark in few)


UPPER: list[Row] = [("A B C", 0.0, 0.0, 0.0), ("A B E", 9.0, 9.0, -9.0)]


@pytest.mark.parametrize("rule", ["unk", "skip", "floor:-11.51", "share:10"])
def test_hypotheses_that_the_vocabulary_knows_in_another_case_are_measured(rule):
    given = Given(weight=0.5, rule=UnknownRule.parse(rule))
    about = "6 of 6 words of the hypotheses (100.0%) are unknown only by their case: the vocabulary has 'a', not 'A'\n"
    command = r"in lower case; for lines that begin with an id: perl -CSD -pe 's/\s.*/\L$&/' FILE > NEW"
    assert said(UPPER, given=given) == [f"{about}write the hypotheses {command}"]
    first, *_ = said(UPPER, "A B D", given=given)
    assert first == f"{about}write the hypotheses and references {command}"
    first, second, *_ = said(UPPER, "a b d", given=given)
    assert first == f"{about}write the hypotheses {command}"
    assert second.endswith("\nhypotheses in the case of the vocabulary remove these errors too")


def test_other_unknown_words_have_the_usual_warning():
    rows: list[Row] = [("x y z", 0.0, 0.0, 0.0), ("x y b", 9.0, 9.0, -9.0)]
    (found,) = said(rows, given=Given(weight=0.5))
    assert found.startswith("5 of 6 tokens (83.3%) are not in the vocabulary and count as <unk>")
    assert said(rows, given=Given(weight=0.5, rule=UnknownRule.parse("floor:-9"))) == []
