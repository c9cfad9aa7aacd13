import pytest

from recurlm.errors import UsageError
from recurlm.text.unknown import UnknownRule


@pytest.mark.parametrize(
    ("text", "rule", "label"),
    [
        ("unk", UnknownRule("unk"), "3"),
        ("skip", UnknownRule("skip"), "skip:3"),
        ("floor:-11.51", UnknownRule("floor", -11.51), "floor(-11.51):3"),
    ],
)
def test_the_three_rules_by_name(text, rule, label):
    assert UnknownRule.parse(text) == rule
    assert rule.label(3) == label


@pytest.mark.parametrize("text", ["", "ignore", "skip:1", "floor", "floor:", "floor:low", "floor:0", "unk:-3"])
def test_other_rules_are_refused_with_the_way_to_write_one(text):
    with pytest.raises(UsageError, match="write unk, skip or floor:LOGPROB"):
        UnknownRule.parse(text)


@pytest.mark.parametrize("text", ["floor:2.5", "floor:-inf", "floor:nan"])
def test_a_floor_is_a_logarithm_of_a_probability(text):
    with pytest.raises(UsageError, match="a natural log-probability is below 0"):
        UnknownRule.parse(text)
