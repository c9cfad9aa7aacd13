import math
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from recurlm.progress import duration
from recurlm.training.advice import unigram_perplexity, validation_warnings
from recurlm.training.clock import Clock
from recurlm.training.counters import Counters
from recurlm.training.loop import Trainer
from recurlm.training.planning import plan_measuring
from recurlm.training.stopping import StopRequest
from recurlm.training.validation import Pace, Validator
from small_runs import Listener

OpenTrainer = Callable[..., Trainer]


def paced(validator: Validator, monkeypatch: pytest.MonkeyPatch, *, exact: float, columns: float) -> None:
    """Makes a token take these seconds."""
    seconds = {True: exact, False: columns}
    monkeypatch.setattr(validator, "time", lambda *, exact, repeats=1: validator.paces[exact].add(seconds[exact], 1))


@pytest.fixture
def long_valid(corpus_folder: Path) -> Path:
    """The corpus with a validation text of 14,000 tokens, six times as many as the training text has."""
    text = (corpus_folder / "valid.txt").read_text()
    (corpus_folder / "valid.txt").write_text(text * 100)
    return corpus_folder


def test_an_estimate_goes_by_the_median_of_the_last_measurements() -> None:
    pace = Pace()
    assert pace.estimate(1000) == 0.0
    for seconds in (9.0, 0.1, 0.1, 5.0, 0.1, 0.1):
        pace.add(seconds, 10)
    assert pace.estimate(1000) == pytest.approx(1.2 * 10.0)


def test_a_validation_that_would_take_too_long_reads_a_part_and_says_so(
    open_trainer: OpenTrainer, long_valid: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer = open_trainer("run", time_limit="100s")
    whole = len(trainer.run.corpus["valid"].ids)
    paced(trainer.validator, monkeypatch, exact=0.0001, columns=0.0005)
    clock = Clock(100.0)
    lines = plan_measuring(clock, trainer.validator, begins=True, saved=0)
    # a fortieth of 100 s, with a margin of a fifth, is 4,166 tokens
    assert clock.counters.part == 4100
    assert clock.counters.exact is True
    assert clock.validation == pytest.approx(1.2 * 0.0005 * 4100)
    assert f"the first 4,100 of {whole:,} valid tokens" in "\n".join(lines)
    measured = trainer.validator.measure("valid")
    assert measured.tokens == 4100
    assert "|columns=16|warm-up=256|part=first:4100|" in measured.signature
    assert trainer.validator.measure("valid", exact=True).tokens == whole


def test_an_evaluation_that_cannot_fit_is_said_at_the_start(
    open_trainer: OpenTrainer, long_valid: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer = open_trainer("run", time_limit="100s")
    paced(trainer.validator, monkeypatch, exact=0.01, columns=0.0001)
    clock = Clock(100.0)
    lines = plan_measuring(clock, trainer.validator, begins=True, saved=0)
    assert (clock.counters.part, clock.counters.exact) == (None, False)
    tokens = sum(len(trainer.run.corpus[split].ids) for split in ("valid", "test"))
    assert f"the exact evaluation would take about {duration(1.2 * 0.01 * tokens)}:" in "\n".join(lines)
    assert "recurlm eval RUN" in "\n".join(lines)
    assert clock.evaluation < 3


def test_an_estimate_follows_the_measurements_of_the_run(
    open_trainer: OpenTrainer, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer = open_trainer("run", time_limit="100s")
    paced(trainer.validator, monkeypatch, exact=1e-9, columns=1e-9)
    seconds = iter(range(0, 10_000, 50))
    monkeypatch.setattr(trainer.validator, "now", lambda: next(seconds))
    measured = trainer.validator.measure("valid")
    assert trainer.validator.estimate_validation() == pytest.approx(1.2 * 50)
    assert trainer.validator.estimate(exact=False) == pytest.approx(
        1.2 * 50 * (1 + len(trainer.run.corpus["test"].ids) / measured.tokens)
    )
    assert trainer.validator.estimate(exact=True) == 0.0


def test_what_was_decided_holds_when_the_run_goes_on(
    open_trainer: OpenTrainer, long_valid: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer = open_trainer("run", time_limit="100s")
    paced(trainer.validator, monkeypatch, exact=1e-9, columns=1e-9)
    counters = Counters(part=2000, exact=False)
    plan_measuring(Clock(100.0, counters), trainer.validator, begins=False, saved=0)
    assert (counters.part, counters.exact, trainer.validator.part) == (2000, False, 2000)


def test_a_limit_that_cannot_be_kept_is_said_at_the_start(
    open_trainer: OpenTrainer, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer = open_trainer("run", time_limit="1s")
    paced(trainer.validator, monkeypatch, exact=0.1, columns=0.1)
    [line, *_] = plan_measuring(Clock(1.0), trainer.validator, begins=True, saved=0)
    assert "cannot be kept" in line
    assert "give --time-limit" in line


@pytest.mark.parametrize("limit", [None, "1000s"])
def test_whole_sentences_are_validated_by_sentences(
    open_trainer: OpenTrainer, monkeypatch: pytest.MonkeyPatch, limit: str | None
) -> None:
    trainer = open_trainer("run", time_limit=limit, validation={"protocol": "sentence"})
    trainer.validator.part = 20
    measured = trainer.validator.measure("valid")
    ends = trainer.run.corpus["valid"].ends
    assert measured.tokens == max(end for end in ends if end <= 20)
    assert measured.signature.startswith(f"sentence|tokens={measured.tokens}|")


def test_an_epoch_longer_than_the_limit_is_validated_and_its_model_kept(
    open_trainer: OpenTrainer, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer = open_trainer("run", time_limit="1s", training={"epochs": 3})
    trainer.watcher = lines = Listener()
    monkeypatch.setattr(Clock, "share", property(lambda clock: float(clock.counters.step >= 2)))
    monkeypatch.setattr(Clock, "is_up", property(lambda clock: clock.counters.step >= 2))
    result = trainer.fit(StopRequest())
    assert (result.epochs, result.steps) == (1, 2)
    assert (trainer.run.folder.path / "model.safetensors").is_file()
    assert "the model has learned next to nothing in 2 steps" in result.summary()
    assert "give a longer --time-limit" in result.advice
    validating = [text for _, text in lines.shown if text.startswith("validating")]
    assert validating[-1] == "validating 100%"
    assert [text for _, text in lines.shown if "evaluating test" in text]


def test_a_run_that_has_learned_gets_no_advice(open_trainer: OpenTrainer) -> None:
    result = open_trainer("run", training={"epochs": 12}).fit(StopRequest())
    assert result.advice == ""
    assert "note" not in result.summary()


def test_a_run_that_learned_nothing_in_whole_epochs_is_told_so(open_trainer: OpenTrainer) -> None:
    result = open_trainer("run", optimizer={"kind": "sgd", "learning_rate": 1e-9}).fit(StopRequest())
    assert "no better than word frequencies alone" in result.advice
    assert "another optimizer.learning_rate" in result.advice


def test_the_perplexity_of_frequencies_is_that_of_counts(open_trainer: OpenTrainer) -> None:
    corpus = open_trainer("run").run.corpus
    train, valid = corpus["train"].ids.tolist(), corpus["valid"].ids.tolist()
    counts, types = Counter(train), max(train) + 1
    nats = [-math.log((counts[token] + 1) / (len(train) + types)) for token in valid]
    assert unigram_perplexity(corpus["train"], corpus["valid"]) == pytest.approx(math.exp(np.mean(nats)))
    words = [nat for nat, token in zip(nats, valid, strict=True) if token]
    assert unigram_perplexity(corpus["train"], corpus["valid"], eos=False) == pytest.approx(math.exp(np.mean(words)))


def test_a_validation_text_larger_than_the_training_text_is_mentioned(
    open_trainer: OpenTrainer, long_valid: Path
) -> None:
    trainer = open_trainer("run")
    [line] = validation_warnings(trainer.run.corpus, trainer.run.recipe)
    assert "more than an epoch of training" in line
    assert "--time-limit" in line


def test_a_smaller_validation_text_is_not(open_trainer: OpenTrainer) -> None:
    trainer = open_trainer("run")
    assert validation_warnings(trainer.run.corpus, trainer.run.recipe) == []
