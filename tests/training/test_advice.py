"""Advice, at the values from which it is given."""

from types import SimpleNamespace

import numpy as np
import pytest

from recurlm.evaluation.perplexity import Perplexity
from recurlm.training.advice import advice, unigram_perplexity, validation_warnings
from recurlm.training.counters import Counters

TRAIN = SimpleNamespace(ids=np.array([1, 1, 2, 0] * 10))
"""Counts raised by one: 11, 21 and 11, of 43."""
TEXT = SimpleNamespace(ids=np.array([1, 0]))


def given(
    tokens: int = 40,
    nats: float = 0.0,
    *,
    validation: float = 0.0,
    epochs: int = 3,
    limit: float | None = None,
    protocol: str = "stream",
) -> str:
    """Advice about a run of 3 steps and 30 seconds that read so many tokens."""
    validator = SimpleNamespace(
        corpus={"train": TRAIN},
        held_out=["valid"],
        options=SimpleNamespace(protocol=protocol),
        text=lambda *_, exact: TEXT,
    )
    counters = Counters(step=3, tokens=tokens, seconds=30.0, validation_seconds=validation)
    return advice(Perplexity(nats, 2, 0, None, protocol, ""), counters, validator, epochs, limit)  # type: ignore[arg-type]


def nats_of_counts(*counts: int) -> float:
    return float(-np.log(np.array(counts) / 43).sum())


def test_a_tenth_of_an_epoch_is_enough() -> None:
    assert given(tokens=4) == ""
    assert given(tokens=3).startswith("the model has learned next to nothing in 3 steps, 0.075 of an epoch\n")


def test_a_perplexity_must_be_below_that_of_frequencies() -> None:
    equal = nats_of_counts(21, 11)
    assert given(nats=equal - 1e-9) == ""
    assert "epoch; its perplexity of 2.8292 is no better than word frequencies alone: 2.8292\n" in given(nats=equal)
    assert given(nats=float("nan")) != ""


def test_the_protocol_of_mxnet_counts_no_ends_of_sentences() -> None:
    assert unigram_perplexity(TRAIN, TEXT, eos=False) == pytest.approx(43 / 21)  # type: ignore[arg-type]
    bound = 2 * nats_of_counts(21)
    assert given(nats=bound - 1e-9, protocol="mxnet") == ""
    assert given(nats=bound, protocol="mxnet") != ""


@pytest.mark.parametrize(
    ("tokens", "read"),
    [(39, "0.97 of an epoch"), (40, "1 epoch"), (60, "2 epochs"), (99, "2 epochs"), (101, "3 epochs")],
)
def test_what_was_read_is_told_in_epochs(tokens: int, read: str) -> None:
    assert given(tokens, nats=9.0).startswith(f"the model has learned next to nothing in 3 steps, {read};")


def test_the_time_that_epochs_need_is_that_of_training_alone() -> None:
    # 30 s for half an epoch, a third of them for validation
    said = given(20, 9.0, validation=10.0)
    assert "one epoch takes 40s at this speed, the recipe's 3 take 2m: train for more epochs, or with another" in said
    assert "one epoch takes 1m at this speed" in given(20, 9.0)


@pytest.mark.parametrize(
    ("epochs", "limit", "remedy"),
    [(2, None, "train for more epochs"), (2, 100.0, "train for more"), (3, 100.0, "give a longer --time-limit")],
)
def test_a_longer_limit_is_advised_where_the_limit_ended_the_run(epochs: int, limit: float | None, remedy: str) -> None:
    assert f": {remedy}" in given(80, 9.0, epochs=epochs, limit=limit)


@pytest.mark.parametrize(("validated", "warnings"), [(80, 0), (81, 1)])
def test_a_validation_may_read_as_much_as_the_epochs_since_the_last(validated: int, warnings: int) -> None:
    corpus = {"train": TRAIN, "valid": SimpleNamespace(ids=np.zeros(validated))}
    recipe = SimpleNamespace(validation=SimpleNamespace(split="valid", every=2))
    assert len(validation_warnings(corpus, recipe)) == warnings  # type: ignore[arg-type]


def test_frequencies_are_counted_in_blocks_of_the_first_tokens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("recurlm.training.advice.COUNTED_TOKENS", 7)
    monkeypatch.setattr("recurlm.text.codec.IDS_AT_ONCE", 3)
    # 1 1 2 0 1 1 2: counts raised by one are 2, 5 and 3
    assert unigram_perplexity(TRAIN, TEXT) == pytest.approx(10 / 10**0.5)  # type: ignore[arg-type]
