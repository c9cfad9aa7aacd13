import itertools

import pytest

from recurlm.errors import InputError
from recurlm.rescoring.combination import Combination
from recurlm.rescoring.nbest import Hypothesis, NBestFile, group
from recurlm.rescoring.rescorer import RescoredHypothesis, RescoredList
from recurlm.rescoring.tuning import (
    BONUSES,
    SCALE_FACTORS,
    WEIGHTS,
    Edge,
    TunedCombination,
    _edges,
    _grid,
    tune_combination,
)
from recurlm.rescoring.word_errors import WordErrors


def file(*costs: float | None) -> NBestFile:
    return NBestFile(group([Hypothesis("u", 1, "a", *costs)]), "kaldi", "list")


def test_the_grid_has_steps_on_both_sides_of_the_start():
    assert pytest.approx([0.05 * step for step in range(21)]) == WEIGHTS
    assert sorted(SCALE_FACTORS) == [0.25, 0.35, 0.5, 0.71, 1.0, 1.41, 2.0, 2.8, 4.0, 5.7, 8.0, 11.0, 16.0]
    assert sorted(BONUSES) == [-2.0, -1.0, -0.5, -0.25, 0.0, 0.25, 0.5, 1.0, 2.0]
    assert SCALE_FACTORS[0] == 1.0
    assert BONUSES[0] == 0.0
    for steps, middle in ((SCALE_FACTORS, 1.0), (BONUSES, 0.0)):
        for side in (lambda step, middle=middle: step <= middle, lambda step, middle=middle: step >= middle):
            distances = [abs(step - middle) for step in steps if side(step)]
            assert distances == sorted(distances)


@pytest.mark.parametrize(
    ("costs", "size"), [((3.0, 4.0), 21 * 13 * 9), ((3.0,), 13 * 9), ((None, 4.0), 21 * 9), ((), 9)]
)
def test_only_what_the_costs_allow_is_tried(costs, size):
    grid = _grid(file(*costs), Combination(0.5, 0.1, 7.0, -1.0))
    assert len(grid) == len(set(grid)) == size
    assert grid[0] == Combination(0.5, 0.1, 7.0, -1.0)
    assert {each.acoustic_scale for each in grid} == {0.1}


def test_a_start_between_two_steps_is_tried_too_and_the_nearest_weights_come_first():
    grid = _grid(file(3.0, 4.0), Combination(0.52))
    assert len(grid) == 22 * 13 * 9
    alone = [each.weight for each in grid if (each.lm_scale, each.length_bonus) == (1.0, 0.0)]
    assert alone[:4] == pytest.approx([0.52, 0.5, 0.55, 0.45])


def test_a_length_bonus_is_a_multiple_of_the_lm_scale_and_printed_in_six_digits():
    grid = _grid(file(3.0), Combination(1.0, 1.0, 3.0000001, 0.5))
    expected = {
        (float(f"{scale:.6g}"), float(f"{0.5 + bonus * scale:.6g}"))
        for scale, bonus in itertools.product((3.0000001 * factor for factor in SCALE_FACTORS), BONUSES)
    }
    assert {(each.lm_scale, each.length_bonus) for each in grid} == expected


def test_what_was_found_is_told_as_no_test():
    found = TunedCombination(
        Combination(0.25, length_bonus=1.0), 3, 8, 117, WordErrors(5, 1, 1, 20), (Edge("length_bonus", 1.0, "highest"),)
    )
    assert "tuned on these references, 117 combinations: 8 errors before, 3 now" in str(found)
    assert found.to_json() == {
        **found.combination.to_json(),
        "options": "--weight 0.25 --acoustic-scale 1 --lm-scale 1 --length-bonus 1",
        "errors": 3,
        "errors_before": 8,
        "errors_of_first_pass": 7,
        "tried": 117,
        "edges": [{"name": "length_bonus", "value": 1.0, "side": "highest"}],
    }


def test_lists_of_different_lengths_are_tuned_together():
    """The padding of the shorter list never wins, and every cost has its sign."""
    hypotheses = [
        *(Hypothesis("u", 1, "x", 0.0, 0.0, 5.0), Hypothesis("u", 2, "a", 0.0, 0.0, 4.0)),
        *(Hypothesis("v", 1, "y", 4.0, 0.0, 0.0), Hypothesis("v", 2, "b", 3.0, 0.0, 0.0)),
        *(Hypothesis("w", 1, "z", 0.0, 4.0, 0.0), Hypothesis("w", 2, "c", 0.0, 3.0, 0.0)),
        Hypothesis("t", 1, "d", 900.0, 900.0, 900.0),
    ]
    lists = group(hypotheses)
    rescored = [
        RescoredList(each.utterance, tuple(RescoredHypothesis(one, -9.0, 0.0, 0) for one in each.hypotheses))
        for each in lists
    ]
    references = {"u": ("a",), "v": ("b",), "w": ("c",), "t": ("d",)}
    found = tune_combination(rescored, NBestFile(lists, "kaldi", "list"), references, Combination())
    assert (found.errors_before, found.errors, found.combination) == (0, 0, Combination())
    assert found.tried == 21 * 13 * 9


def test_nothing_cannot_be_tuned_on():
    with pytest.raises(InputError, match="list: no list to tune on"):
        tune_combination([], NBestFile((), "kaldi", "list"), {}, Combination())


def test_edges_are_the_ends_of_the_values_tried_beside_the_best_lm_scale():
    grid = _grid(file(3.0, 4.0), Combination(0.5, 1.0, 2.0, 1.0))
    # the bonus ranges from 1 - 2 * lm scale to 1 + 2 * lm scale
    best = Combination(1.0, 1.0, 4.0, -7.0)
    assert list(_edges(best, grid)) == [Edge("weight", 1.0, "highest"), Edge("length_bonus", -7.0, "lowest")]
    assert list(_edges(Combination(0.05, 1.0, 0.5, 2.0), grid)) == [
        Edge("lm_scale", 0.5, "lowest"),
        Edge("length_bonus", 2.0, "highest"),
    ]
    assert list(_edges(Combination(0.5, 1.0, 2.0, 1.0), grid)) == []
    assert Edge("lm_scale", 0.5, "lowest").option == "--lm-scale 0.5"


def test_what_is_not_tuned_has_no_edge():
    assert list(_edges(Combination(1.0), _grid(file(), Combination(1.0)))) == []
