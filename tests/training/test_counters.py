import math

import pytest

from recurlm.errors import CorruptFileError
from recurlm.training.counters import Counters


def test_steps_count_for_the_run_the_epoch_and_the_window() -> None:
    counters = Counters()
    counters.count(8.0, 4)
    counters.count(4.0, 2)
    assert (counters.tokens, counters.epoch_loss, counters.window_loss) == (6, 2.0, 2.0)
    counters.open_window()
    counters.count(9.0, 3)
    assert (counters.tokens, counters.epoch_loss, counters.window_loss) == (9, pytest.approx(21 / 9), 3.0)
    assert counters.epoch_perplexity == pytest.approx(math.exp(21 / 9))


def test_an_epoch_ends_its_window_too() -> None:
    counters = Counters(epoch=2, index=7, step=20, tokens=6, epoch_nats=1.0, epoch_tokens=6)
    counters.window_nats, counters.window_tokens, counters.window_sentences, counters.window_seconds = 1.0, 2, 3, 4.0
    counters.close_epoch()
    assert counters == Counters(epoch=3, step=20, tokens=6)


def test_a_run_begins_at_zero() -> None:
    values = vars(Counters())
    assert values.pop("exact") is True
    assert not any(values.values())


def test_before_the_first_step_there_is_no_loss_and_no_speed() -> None:
    counters = Counters()
    assert (counters.epoch_loss, counters.window_loss, counters.epoch_perplexity) == (0.0, 0.0, 1.0)
    assert (counters.tokens_per_second, counters.sentences_per_second) == (None, None)


@pytest.mark.parametrize(
    ("tokens", "seconds", "speed"), [(10, 4.0, 2.5), (0, 4.0, None), (10, 0.0, None), (1, 1.0, 1.0), (10, -1.0, None)]
)
def test_the_speed_is_that_of_the_window(tokens: int, seconds: float, speed: float | None) -> None:
    counters = Counters(window_tokens=tokens, window_sentences=2 * tokens, window_seconds=seconds)
    assert counters.tokens_per_second == speed
    assert counters.sentences_per_second == (None if speed is None else 2 * speed)


def test_a_perplexity_that_no_float_holds_stays_at_the_largest() -> None:
    assert Counters(epoch_nats=1400.0, epoch_tokens=2).epoch_perplexity == math.exp(700)
    assert Counters(epoch_nats=2000.0, epoch_tokens=2).epoch_perplexity == math.exp(700)


def test_validations_without_gain_are_counted_by_hand() -> None:
    counters = Counters()
    assert [counters.count_validation(nats) for nats in (5.0, 4.0, 4.0, 4.5)] == [True, True, False, False]
    assert (counters.best_nats, counters.validations_without_gain, counters.waited) == (4.0, 2, 2)
    counters.waited = 0  # as a reduction of the learning rate does
    counters.count_validation(6.0)
    assert (counters.validations_without_gain, counters.waited) == (3, 1)
    assert counters.count_validation(3.0)
    assert (counters.validations_without_gain, counters.waited) == (0, 0)
    assert counters.validations == [5.0, 4.0, 4.0, 4.5, 6.0, 3.0]


def test_counters_come_back_from_their_file() -> None:
    counters = Counters(epoch=1, step=3, best_nats=2.0, validations=[2.0], part=7, exact=False)
    assert Counters.from_json(counters.to_json()) == counters
    assert Counters.from_json(b"{}") == Counters()
    other = Counters(step=9)
    other.replace(counters)
    assert other == counters


@pytest.mark.parametrize("name", ["epoch", "index", "step", "tokens", "seconds"])
def test_a_count_below_zero_is_refused(name: str) -> None:
    Counters.from_json(f'{{"{name}": 0}}'.encode())
    with pytest.raises(CorruptFileError, match="a count is below zero"):
        Counters.from_json(f'{{"{name}": -1}}'.encode())


def test_a_file_that_does_not_parse_asks_for_the_version_that_wrote_it() -> None:
    with pytest.raises(CorruptFileError, match=r"counters\.json.*go on with the version that wrote it"):
        Counters.from_json(b'{"step": "three"}')
