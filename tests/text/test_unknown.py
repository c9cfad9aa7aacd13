import pytest

from recurlm.errors import InputError, UsageError
from recurlm.text.unknown import UnknownRule


@pytest.mark.parametrize(
    ("text", "rule", "label"),
    [
        ("unk", UnknownRule("unk"), "3"),
        ("skip", UnknownRule("skip"), "skip:3"),
        ("floor:-11.51", UnknownRule("floor", -11.51), "floor(-11.51):3"),
        ("share:64000", UnknownRule("share", words=64_000), "share(64000):3"),
        ("share:1", UnknownRule("share"), "share(1):3"),
    ],
)
def test_the_four_rules_by_name(text, rule, label):
    assert UnknownRule.parse(text) == rule
    assert rule.label(3) == label


REFUSED = ["", "ignore", "skip:1", "floor", "floor:", "floor:low", "floor:0", "unk:-3", "share", "share:", "share:many"]


@pytest.mark.parametrize("text", [*REFUSED, "share:1.5", "share:-3", "share:1e3", "share:²", "share:" + "9" * 5000])
def test_other_rules_are_refused_with_the_way_to_write_one(text):
    with pytest.raises(UsageError, match="write unk, skip, floor:LOGPROB"):
        UnknownRule.parse(text)


@pytest.mark.parametrize("text", ["floor:2.5", "floor:-inf", "floor:nan"])
def test_a_floor_is_a_logarithm_of_a_probability(text):
    with pytest.raises(UsageError, match="a natural log-probability is below 0"):
        UnknownRule.parse(text)


@pytest.mark.parametrize("text", ["share:0", "share:1000000000001"])
def test_a_probability_is_shared_among_at_least_one_word_and_not_endlessly_many(text):
    with pytest.raises(UsageError, match="from 1 to 1,000,000,000,000"):
        UnknownRule.parse(text)


def test_a_probability_may_be_shared_among_a_million_million_words():
    assert UnknownRule.parse("share:1000000000000").words == 10**12
    assert UnknownRule.parse("floor:-5e-324").logprob == -5e-324


@pytest.mark.parametrize(("unknown", "tokens"), [(5, 5), (5, 100), (50, 1000)])
def test_from_five_unknown_tokens_and_a_twentieth_on_they_are_many(unknown, tokens):
    assert UnknownRule().warning(unknown, tokens) is not None


def test_only_a_shared_probability_needs_unk_at_once():
    for rule in ("unk", "skip", "floor:-3", "share:5"):
        UnknownRule.parse(rule).check(unknown_id=1)
    for rule in ("unk", "skip", "floor:-3"):
        UnknownRule.parse(rule).check(unknown_id=None)
    with pytest.raises(InputError, match="no <unk> whose probability could be shared"):
        UnknownRule.parse("share:5").check(unknown_id=None)


@pytest.mark.parametrize(("unknown", "tokens"), [(4, 4), (5, 101), (0, 0), (0, 100), (49, 1000)])
def test_few_unknown_tokens_are_no_matter(unknown, tokens):
    assert UnknownRule().warning(unknown, tokens) is None


@pytest.mark.parametrize(("rule", "said"), [("unk", "count as <unk>"), ("skip", "are not counted")])
def test_many_unknown_tokens_are_said_with_their_share_and_what_to_do(rule, said):
    warning = UnknownRule.parse(rule).warning(250, 1000)
    assert warning is not None
    assert "250 of 1,000 tokens (25.0%)" in warning
    assert said in warning
    assert "--oov share:N" in warning
    assert "recurlm vocabulary RUN --extend FILE --out NEW" in warning


@pytest.mark.parametrize("rule", ["floor:-9", "share:1000"])
def test_a_rule_that_charges_unknown_tokens_needs_no_warning(rule):
    assert UnknownRule.parse(rule).warning(250, 1000) is None
