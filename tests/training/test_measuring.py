"""What a validator reads and how it times itself, by hand: texts of numbers, and a clock that the reading moves."""

from types import SimpleNamespace

import numpy as np
import pytest

from recurlm.config import Recipe
from recurlm.evaluation.perplexity import Perplexity
from recurlm.text.codec import EncodedText
from recurlm.text.vocabulary import Vocabulary
from recurlm.training.counters import Counters
from recurlm.training.validation import Pace, Validator, _rounded

SECONDS_A_TOKEN = 1e-4


class Corpus(dict[str, EncodedText]):
    """Texts of sentences of nine words each."""

    def __init__(self, **tokens: int) -> None:
        super().__init__({split: self._text(number) for split, number in tokens.items()})
        self.splits = self
        self.codec = SimpleNamespace(vocabulary=Vocabulary(("<eos>", "<unk>", "a")))

    def _text(self, tokens: int) -> EncodedText:
        ids = np.full(tokens, 2, np.uint16)
        ids[9::10] = 0
        return EncodedText(ids, "made", "0" * 16, tokens)


class Timed(Validator):
    """A validator that reads nothing, and takes a tenth of a millisecond for each token."""

    def __init__(self, corpus: Corpus, **validation: object) -> None:
        recipe = Recipe.model_validate({"validation": validation}, strict=False)
        self.seconds = 0.0
        self.read: list[tuple[int, bool]] = []
        super().__init__(None, corpus, recipe, lambda: self.seconds)  # type: ignore[arg-type]

    def _perplexity(self, text: EncodedText, exact: bool, tick: object) -> Perplexity:
        self.read.append((len(text.ids), exact))
        self.seconds += SECONDS_A_TOKEN * len(text.ids)
        if callable(tick):
            for _ in range(3):
                tick(len(text.ids) // 2)
        return Perplexity(1.0, len(text.ids), 0, None, "stream", "")


@pytest.mark.parametrize(
    ("tokens", "rounded"), [(0, 0), (9, 9), (99, 99), (101, 100), (1999, 1900), (123_456, 120_000)]
)
def test_a_part_is_rounded_down_to_two_digits(tokens: int, rounded: int) -> None:
    assert _rounded(tokens) == rounded


def test_a_pace_of_no_tokens_is_that_of_one() -> None:
    pace = Pace()
    pace.add(3.0, 0)
    assert pace.estimate(10) == pytest.approx(1.2 * 30)


def test_the_part_is_read_where_the_text_is_longer_and_nothing_exact_is_asked_for() -> None:
    validator = Timed(Corpus(valid=100))
    assert len(validator.text("valid").ids) == 100
    for part, read in ((99, 99), (100, 100), (101, 100)):
        validator.part = part
        assert len(validator.text("valid").ids) == read
        assert len(validator.text("valid", exact=True).ids) == 100


def test_sentences_are_read_whole() -> None:
    validator = Timed(Corpus(valid=100), protocol="sentence")
    validator.part = 39
    assert len(validator.text("valid").ids) == 30


@pytest.mark.parametrize(
    ("limit", "protocol", "part"),
    [
        # 10,000 tokens take 1.2 s with the margin, and a fortieth of the limit is there for them
        (48.0, "stream", None),
        (47.0, "stream", 9700),
        (24.0, "stream", 5000),
        (1.0, "stream", 1000),
        (24.0, "mxnet", None),
    ],
)
def test_a_validation_may_take_a_fortieth_of_the_limit(limit: float, protocol: str, part: int | None) -> None:
    validator = Timed(Corpus(train=99, valid=10_000), protocol=protocol)
    validator.paces[False].add(1.0, 10_000)
    assert validator.choose_part(limit) == validator.part == part


def test_a_short_text_is_read_whole_however_short_the_limit() -> None:
    validator = Timed(Corpus(valid=1000))
    validator.paces[False].add(1.0, 1)
    assert validator.choose_part(1.0) is None


def test_time_is_measured_on_pieces_that_grow_until_a_tenth_of_a_second_has_passed() -> None:
    validator = Timed(Corpus(valid=100_000, test=50))
    validator.time(exact=True, repeats=2)
    # once to warm up, then 256, 512 and 1024 tokens, which take 0.1024 s, and once more for each repeat
    assert validator.read == [(256, True), (256, True), (512, True), (1024, True), (1024, True), (1024, True)]
    assert list(validator.paces[True].recent) == pytest.approx([SECONDS_A_TOKEN] * 2)
    assert not validator.paces[False].recent


def test_a_stream_is_timed_in_its_columns_and_no_further_than_the_text() -> None:
    validator = Timed(Corpus(valid=700), columns=2)
    validator.time(exact=False)
    assert validator.read == [(512, False), (512, False), (700, False), (700, False)]
    assert list(validator.paces[False].recent) == pytest.approx([SECONDS_A_TOKEN])


def test_estimates_are_of_all_held_out_texts_or_of_the_text_that_is_validated() -> None:
    validator = Timed(Corpus(train=5000, valid=100, test=900))
    validator.paces[True].add(1.0, 1)
    validator.paces[False].add(0.5, 1)
    validator.part = 200
    assert validator.held_out == ["valid", "test"]
    assert validator.estimate(exact=True) == pytest.approx(1.2 * 1000)
    assert validator.estimate(exact=False) == pytest.approx(1.2 * 0.5 * (100 + 200))
    assert validator.estimate_validation() == pytest.approx(1.2 * 0.5 * 100)


def test_a_measurement_tells_what_share_is_done_and_sets_its_pace() -> None:
    validator, done = Timed(Corpus(valid=100)), list[float]()
    validator.measure("valid", done=done.append)
    assert done == [0.5, 1.0, 1.0]
    assert list(validator.paces[False].recent) == pytest.approx([SECONDS_A_TOKEN])
    validator.measure("valid", exact=True)
    assert list(validator.paces[True].recent) == pytest.approx([SECONDS_A_TOKEN])


@pytest.mark.parametrize("keep", ["best", "last"])
def test_the_best_model_is_kept_or_every_one(keep: str) -> None:
    validator, counters = Timed(Corpus(valid=100), keep=keep), Counters()
    kept = [validator.judge(Perplexity(nats, 1, 0, None, "stream", ""), counters) for nats in (2.0, 3.0, 1.0)]
    assert kept == [True, keep == "last", True]
    assert counters.best_nats == 1.0
