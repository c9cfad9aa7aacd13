import pytest

from recurlm.errors import UsageError
from recurlm.rescoring.combination import Combination, combination_for, old_combination
from recurlm.rescoring.nbest import Hypothesis, NBestFile, group

NAN, INFINITE = float("nan"), float("inf")


def file(*costs: float | None) -> NBestFile:
    return NBestFile(group([Hypothesis("u", 1, "a", *costs)]), "kaldi", "list", 0.5, 2.0, -1.0)


@pytest.mark.parametrize(
    ("name", "allowed", "beyond"),
    [
        ("weight", [0.0, 1.0], [-5e-324, 1.0000001, NAN]),
        ("acoustic_scale", [0.0, 1e300], [-5e-324, INFINITE, NAN]),
        ("lm_scale", [0.0, 1e300], [-5e-324, INFINITE, NAN]),
        ("length_bonus", [-1e300, 1e300], [-INFINITE, INFINITE, NAN]),
    ],
)
def test_a_scale_may_be_its_first_and_its_last_value_and_nothing_beyond(name, allowed, beyond):
    for value in allowed:
        Combination(**{name: value})
    for value in beyond:
        with pytest.raises(UsageError, match="must be"):
            Combination(**{name: value})


def test_a_combination_is_written_as_options_and_as_json():
    values = {"weight": 0.25, "acoustic_scale": 0.1, "lm_scale": 12.0, "length_bonus": -0.5}
    combination = Combination(**values)
    assert combination.options() == "--weight 0.25 --acoustic-scale 0.1 --lm-scale 12 --length-bonus -0.5"
    assert combination.to_json() == values
    assert Combination() == Combination(0.5, 1.0, 1.0, 0.0)


def test_given_values_go_before_those_of_the_file():
    assert combination_for(file(3.0, 4.0)) == Combination(0.5, 0.5, 2.0, -1.0)
    given = {"weight": 0.0, "acoustic_scale": 0.0, "lm_scale": 0.0, "length_bonus": 0.0}
    assert combination_for(file(3.0, 4.0), **given) == Combination(**given)


def test_without_old_costs_the_weight_can_only_be_one():
    assert combination_for(file(3.0)).weight == combination_for(file(3.0), weight=1.0).weight == 1.0
    with pytest.raises(UsageError, match=r"weight 0.9: list has no costs of an old language model"):
        combination_for(file(3.0), weight=0.9)


@pytest.mark.parametrize(("costs", "has"), [((), False), ((3.0,), True), ((None, 4.0), True), ((3.0, 4.0), True)])
def test_the_recognizer_alone_combines_what_costs_there_are(costs, has):
    old = old_combination(file(*costs), Combination(0.7, 0.1, 9.0, 0.5))
    assert old == (Combination(0.0, 0.1, 9.0, 0.5) if has else None)
