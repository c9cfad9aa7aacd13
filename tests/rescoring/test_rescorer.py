import math

import pytest
import torch

from recurlm.config import ModelOptions, UniformInitialisation
from recurlm.errors import InputError, UsageError
from recurlm.models.initialisation import initialise
from recurlm.models.language_model import LanguageModel
from recurlm.rescoring.combination import Combination, combination_for
from recurlm.rescoring.nbest import Hypothesis, NBestFile, group
from recurlm.rescoring.report import error_report, report
from recurlm.rescoring.rescorer import RescoredHypothesis, RescoredList, recombined, rescore
from recurlm.rescoring.tuning import tune_combination
from recurlm.scoring.scorer import score_lines
from recurlm.text.codec import Codec
from recurlm.text.tokenization import Words
from recurlm.text.unknown import UnknownRule
from recurlm.text.vocabulary import Vocabulary

CODEC = Codec(Words(), Vocabulary(("<eos>", "<unk>", *"abcdefgh")))
CLOSED = Codec(Words(), Vocabulary(("<eos>", *"abcdefghi")))
TEXTS = {"one": ["a b c", "a b", "a c c", ""], "two": ["h g f e", "h g", "a b c"], "three": ["d"]}


def hypothesis(utterance: str, number: int, text: str, *costs: float) -> Hypothesis:
    return Hypothesis(utterance, number, text, *costs, place=f"list, line {number}")


LISTS = group([hypothesis(name, number, text) for name, texts in TEXTS.items() for number, text in enumerate(texts, 1)])


@pytest.fixture(scope="module")
def model() -> LanguageModel:
    torch.manual_seed(0)
    made = LanguageModel(ModelOptions(embedding_size=8, hidden_sizes=(9, 8)), 10)
    initialise(made, UniformInitialisation(scale=1.2))
    return made.eval()


def line(model: LanguageModel, text: str) -> float:
    return next(score_lines(model, CODEC, [text])).logprob


@torch.no_grad()
def after(model: LanguageModel, before: list[str], text: str) -> float:
    """ln p of a text and its end after other texts, <eos> between them."""
    ids = [0, *(index for each in before for index in [*CODEC.line(each)[0], 0]), *CODEC.line(text)[0]]
    logits, _ = model(torch.tensor(ids)[:, None], model.initial_state(1))
    targets = [*CODEC.line(text)[0], 0]
    rows = logits[-len(targets) :, 0].double().log_softmax(-1)
    return sum(row[target].item() for row, target in zip(rows, targets, strict=True))


def test_the_total_by_hand():
    combination = Combination(weight=0.25, acoustic_scale=0.1, lm_scale=2.0, length_bonus=0.5)
    each = hypothesis("u", 1, "three small words", 120.0, 8.0, 1.5)
    # -0.1 x 120 + 2 (0.25 x -12 - 0.75 x 8 - 1.5) + 0.5 x 3
    assert combination.total(each, -12.0) == pytest.approx(-12 - 21 + 1.5)
    # without costs: 2 x 0.25 x -12 + 1.5
    assert combination.total(hypothesis("u", 1, "three small words"), -12.0) == pytest.approx(-4.5)


def test_every_hypothesis_has_the_score_of_its_line(model):
    found = list(rescore(model, CODEC, LISTS, Combination(weight=1)))
    assert [each.utterance for each in found] == list(TEXTS)
    for each in found:
        assert [scored.hypothesis.text for scored in each.scored] == TEXTS[each.utterance]
        for scored in each.scored:
            assert scored.logprob == pytest.approx(line(model, scored.hypothesis.text), abs=1e-5)
            assert scored.total == scored.logprob


def test_blocks_of_lists_do_not_change_the_result(monkeypatch, model):
    expected = list(rescore(model, CODEC, LISTS, Combination(weight=1)))
    monkeypatch.setattr("recurlm.rescoring.rescorer.HYPOTHESES_AT_ONCE", 2)
    for found, each in zip(rescore(model, CODEC, LISTS, Combination(weight=1)), expected, strict=True):
        assert [scored.total for scored in found.scored] == pytest.approx(
            [scored.total for scored in each.scored], abs=1e-5
        )


def test_carried_state_is_that_after_the_best_hypotheses_before(model):
    best: list[str] = []
    for each in rescore(model, CODEC, LISTS, Combination(weight=1), carry=True):
        expected = {text: after(model, best, text) for text in TEXTS[each.utterance]}
        found = {scored.hypothesis.text: scored.logprob for scored in each.scored}
        assert found == pytest.approx(expected, abs=1e-5)
        best.append(max(expected, key=expected.__getitem__))
        assert each.best.hypothesis.text == best[-1]
    assert len(best) == 3


def test_what_is_best_in_all_is_carried_and_not_what_the_model_prefers(model):
    costs = {"a b c": 900.0, "a b": 900.0, "a c c": 0.0, "": 900.0}
    lists = group([hypothesis("one", n, text, costs[text]) for n, text in enumerate(costs, 1)] + [*LISTS[1].hypotheses])
    _, second = rescore(model, CODEC, lists, Combination(weight=1), carry=True)
    for scored in second.scored:
        assert scored.logprob == pytest.approx(after(model, ["a c c"], scored.hypothesis.text), abs=1e-5)


def test_the_order_is_that_of_totals_and_ties_keep_their_own():
    totals = [-3.0, -1.0, -2.0, -1.0]
    each = RescoredList(
        "u", tuple(RescoredHypothesis(hypothesis("u", n, ""), 0.0, total, 0) for n, total in enumerate(totals, 1))
    )
    assert [scored.hypothesis.number for scored in each.ranked] == [2, 4, 3, 1]
    assert each.best.hypothesis.number == 2


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        (UnknownRule(), lambda tokens: sum(tokens)),
        (UnknownRule("skip"), lambda tokens: sum(tokens) - tokens[1] - tokens[2]),
        (UnknownRule("floor", -11.51), lambda tokens: sum(tokens) - tokens[1] - tokens[2] - 2 * 11.51),
        (UnknownRule("share", words=500), lambda tokens: sum(tokens) - 2 * math.log(500)),
    ],
    ids=["unk", "skip", "floor", "share"],
)
def test_unknown_words_count_by_the_rule_and_are_read_as_unk(model, rule, expected):
    tokens = next(score_lines(model, CODEC, ["a zebra yak b"])).logprobs
    (found,) = rescore(model, CODEC, group([hypothesis("u", 1, "a zebra yak b")]), Combination(weight=1), rule=rule)
    assert found.best.logprob == pytest.approx(expected(list(tokens)), abs=1e-5)
    assert found.best.oov == 2


def test_without_unk_words_are_left_out_or_refused(model):
    lists = group([hypothesis("u", 1, "a zebra b")])
    (found,) = rescore(model, CLOSED, lists, Combination(weight=1), rule=UnknownRule("floor", -5.0))
    known = next(score_lines(model, CLOSED, ["a b"])).logprob
    assert found.best.logprob == pytest.approx(known - 5, abs=1e-5)
    with pytest.raises(InputError, match=r"list, line 1: .*'zebra'"):
        list(rescore(model, CLOSED, lists, Combination(weight=1)))


def scored_file() -> tuple[NBestFile, list[RescoredList], dict[str, tuple[str, ...]]]:
    """Two utterances whose right hypothesis the old costs put second, and the new model first."""
    hypotheses = [
        hypothesis("u", 1, "a b x", 10.0, 1.0),
        hypothesis("u", 2, "a b c", 10.0, 2.0),
        hypothesis("v", 1, "d d", 5.0, 1.0),
        hypothesis("v", 2, "d e f", 5.0, 3.0),
    ]
    logprobs = [-9.0, -4.0, -8.0, -2.0]
    file = NBestFile(group(hypotheses), "kaldi", "list")
    paired = iter(zip(hypotheses, logprobs, strict=True))
    raw = [
        RescoredList(each.utterance, tuple(RescoredHypothesis(*next(paired), 0.0, 0) for _ in range(2)))
        for each in file.lists
    ]
    return file, raw, {"u": ("a", "b", "c"), "v": ("d", "e", "f")}


def test_errors_of_the_new_order_of_the_old_one_and_of_the_best_there_is():
    file, raw, references = scored_file()
    # with little say for the new model u is -1.8 against -2.2, and v -1.7 against -2.9
    little, much = Combination(weight=0.1), Combination(weight=0.9)
    found = error_report(recombined(raw, little), file, references, little)
    assert (found.new.total, found.old.total, found.oracle.total) == (3, 3, 0)
    assert (found.old.substitutions, found.old.deletions) == (2, 1)
    found = error_report(recombined(raw, much), file, references, much)
    assert (found.new.total, found.old.total, found.new.words) == (0, 3, 6)


def test_without_costs_the_old_choice_is_the_first():
    file = NBestFile(group([hypothesis("u", 1, "a"), hypothesis("u", 2, "b")]), "mikolov", "list")
    raw = [
        RescoredList(
            "u", tuple(RescoredHypothesis(each, -1.0, -float(each.number == 1), 0) for each in file.hypotheses)
        )
    ]
    found = error_report(raw, file, {"u": ("b",)}, Combination(weight=1))
    assert (found.new.total, found.old.total) == (0, 1)


def test_a_reference_that_lacks_is_named_and_one_too_many_is_counted():
    file, raw, references = scored_file()
    with pytest.raises(InputError, match=r"list, line 1: no reference for the utterance 'v'"):
        error_report(raw, file, {"u": ()}, Combination())
    assert report(raw, file, Combination(), references | {"w": ()}).missing == 1


def test_weights_follow_from_what_the_list_has():
    file, _, _ = scored_file()
    assert combination_for(file) == Combination(0.5)
    bare = NBestFile(group([hypothesis("u", 1, "a")]), "mikolov", "list", 0.5, 12.0, -1.0)
    assert combination_for(bare) == Combination(1.0, 0.5, 12.0, -1.0)
    assert combination_for(bare, lm_scale=3.0, length_bonus=0.0) == Combination(1.0, 0.5, 3.0, 0.0)
    with pytest.raises(UsageError, match="no costs of an old language model"):
        combination_for(bare, weight=0.3)


@pytest.mark.parametrize(
    "values", [{"weight": 1.1}, {"weight": float("nan")}, {"lm_scale": -1}, {"length_bonus": float("inf")}]
)
def test_scales_that_make_no_sense_are_refused(values):
    with pytest.raises(UsageError):
        Combination(**values)


def test_tuning_finds_the_weight_nearest_to_the_start_that_makes_the_fewest_errors():
    file, raw, references = scored_file()
    found = tune_combination(raw, file, references, Combination(weight=0.0))
    assert (found.errors_before, found.errors) == (3, 0)
    # by weight alone, v is right from 2/8 on and u from 1/6; no step in length does as well as few steps in weight
    best = recombined(raw, found.combination)
    assert error_report(best, file, references, found.combination).new.total == 0
    assert tune_combination(raw, file, references, Combination(weight=0.5)).combination == Combination(weight=0.5)


def test_a_grid_that_is_tuned_on_agrees_with_every_total_computed_alone():
    file, raw, references = scored_file()
    for start in (Combination(0.05), Combination(0.3, 0.1, 7.0, -3.0)):
        found = tune_combination(raw, file, references, start)
        for combination, errors in ((start, found.errors_before), (found.combination, found.errors)):
            assert error_report(recombined(raw, combination), file, references, combination).new.total == errors


def test_without_old_costs_only_the_length_bonus_is_tuned():
    file = NBestFile(group([hypothesis("u", 1, "a"), hypothesis("u", 2, "a b")]), "mikolov", "list")
    raw = [
        RescoredList(
            "u",
            (
                RescoredHypothesis(file.lists[0].hypotheses[0], -2.0, 0, 0),
                RescoredHypothesis(file.lists[0].hypotheses[1], -2.9, 0, 0),
            ),
        )
    ]
    found = tune_combination(raw, file, {"u": ("a", "b")}, Combination(weight=1))
    # the second is longer by a word and worse by 0.9: of 0.25, 0.5, 1 and 2 the nearest above is 1
    assert found.combination == Combination(1.0, length_bonus=1.0)
