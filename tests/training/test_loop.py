import itertools
import json
import math
from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.nn.functional as F

import recurlm.training.clock as clock_module
from recurlm.config import ModelOptions, Training
from recurlm.errors import InputError, StoppedError, UsageError
from recurlm.models.language_model import LanguageModel
from recurlm.runs.folder import MODEL_FILE
from recurlm.text.batching import Batch
from recurlm.training.loop import Trainer
from recurlm.training.request import TrainingRequest, new_config
from recurlm.training.step import DivergedError, Learner, train_step
from recurlm.training.stopping import StopRequest
from recurlm.training.validation import Validator
from small_runs import StopAfter

OpenTrainer = Callable[..., Trainer]

SENTENCES = {"kind": "sentences", "batch_size": 8, "buckets": "auto"}
STREAM = {"kind": "stream"}
DROPOUT = {"embedding": 0.1, "input": 0.2, "between": 0.2, "output": 0.2}


def tiny_model() -> LanguageModel:
    torch.manual_seed(3)
    model = LanguageModel(ModelOptions(embedding_size=3, hidden_sizes=(4,)), 7)
    for parameter in model.parameters():
        torch.nn.init.uniform_(parameter, -0.5, 0.5)
    return model


def tiny_batch() -> Batch:
    input_ = torch.tensor([[0, 0], [1, 2], [3, 0]])
    target = torch.tensor([[1, 2], [3, 0], [0, -100]])
    return Batch(input_, target, target >= 0, sentences=2, carried=False)


@pytest.mark.parametrize(("reduction", "divisor"), [("token", 5), ("sequence", 2)])
def test_a_step_is_plain_gradient_descent_on_the_loss_the_recipe_names(reduction: str, divisor: int) -> None:
    model, twin = tiny_model(), tiny_model()
    batch = tiny_batch()
    logits, _ = twin(batch.input, twin.initial_state(2))
    loss = F.cross_entropy(logits.flatten(0, 1), batch.target.flatten(), reduction="sum", ignore_index=-100) / divisor
    loss.backward()

    optimizer = torch.optim.SGD(model.parameters(), 0.5)
    result, _ = train_step(Learner(model, optimizer, Training(loss=reduction), "fp32"), batch, model.initial_state(2))

    assert result.tokens == 5
    assert result.loss == pytest.approx(loss.item(), rel=1e-6)
    assert result.nats == pytest.approx(loss.item() * divisor, rel=1e-6)
    for stepped, plain in zip(model.parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(stepped, plain - 0.5 * plain.grad, atol=1e-6, rtol=1e-5)


def test_the_gradient_is_clipped_to_the_norm_of_the_recipe() -> None:
    model, before = tiny_model(), tiny_model()
    optimizer = torch.optim.SGD(model.parameters(), 1.0)
    train_step(Learner(model, optimizer, Training(clip_norm=0.01), "fp32"), tiny_batch(), model.initial_state(2))
    pairs = zip(model.weights().values(), before.weights().values(), strict=True)
    assert math.sqrt(sum(float(((a - b) ** 2).sum()) for a, b in pairs)) == pytest.approx(0.01, rel=1e-3)


def test_training_learns_an_easy_language(open_trainer: OpenTrainer) -> None:
    """Words but for the colour and the number of 'indeed' follow from what came before: ln 4 + ln 3 nats a sentence,

    about 8 tokens, so perplexity comes near exp((ln 4 + ln 3) / 8) = 1.36; unigrams alone would give about 8.
    """
    result = open_trainer("run", training={"epochs": 12}).fit(StopRequest())
    assert 1.2 < result.valid.value < 1.8
    assert result.test is not None
    assert result.test.value < 1.8


def test_restarted_columns_begin_from_zeros_and_the_others_go_on(open_trainer: OpenTrainer) -> None:
    zeroed = torch.tensor([True, False, False, True])
    before = tuple(tuple(torch.randn(4, 16) for _ in range(2)) for _ in range(1))
    by_hand = tuple(tuple(part * ~zeroed[:, None] for part in layer) for layer in before)
    after = []
    for name, carried in (("one", before), ("other", by_hand)):
        trainer = open_trainer(name)
        trainer.state.carried = carried
        batch = next(iter(trainer.run.batches.batches(0)))
        restarts = np.zeros(batch.input.shape, np.bool_)
        restarts[0] = zeroed
        trainer._step(replace(batch, carried=True, restarts=restarts if name == "one" else None))
        after.append(trainer.state.carried)
    for one, other in zip(after[0][0], after[1][0], strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("looks", [1, 7, 23])
@pytest.mark.parametrize(
    "sections",
    [
        {"model": {"embedding_size": 16, "hidden_sizes": [16, 12], "dropout": DROPOUT}},
        {"batches": {"kind": "stream", "batch_size": 4, "bptt": 10, "random_lengths": True}},
        {
            "model": {"embedding_size": 16, "hidden_sizes": [16], "dropout": {"recurrent_weights": 0.5, "state": 0.2}},
            "batches": {"batch_size": 4, "bptt": 10, "partial_shuffle": True, "reset_probability": 0.1} | STREAM,
            "training": {"epochs": 2, "activation_penalty": 2.0, "slowness_penalty": 1.0},
        },
        {"batches": SENTENCES, "optimizer": {"kind": "sgd", "learning_rate": 0.5, "momentum": 0.9}},
        {"batches": SENTENCES, "optimizer": {"kind": "rmsprop"}, "schedule": {"kind": "plateau"}},
        {"average": {"kind": "exponential", "decay": 0.9, "every": 3}},
        {"average": {"kind": "tail", "start": 0.3}},
        {"optimizer": {"kind": "muon", "learning_rate": 0.01}},
        {
            "model": {"cell": ["gru", "lstm"], "embedding_size": 16, "hidden_sizes": [16, 8]},
            "schedule": {"kind": "one-cycle"},
        },
        {"model": {"cell": ["qrnn", "mogrifier"], "embedding_size": 16, "hidden_sizes": [12, 12], "skip": True}},
        {"validation": {"every": 2}},
        {
            "text": {"document": "line"},
            "model": {"embedding_size": 16, "hidden_sizes": [16], "dropout": {"between": 0.3, "state": 0.2}},
            "batches": {"batch_size": 4, "bptt": 10, "partial_shuffle": True, "random_lengths": True} | STREAM,
        },
    ],
    ids=[
        "dropout",
        "random lengths",
        "weight drop and shuffle",
        "momentum",
        "rmsprop and plateau",
        "exponential average",
        "tail average",
        "muon",
        "gru and one cycle",
        "qrnn and mogrifier",
        "one validation for two epochs",
        "a document in each line",
    ],
)
def test_a_stopped_run_goes_on_to_the_same_bits(open_trainer: OpenTrainer, sections: dict, looks: int) -> None:
    whole = open_trainer("whole", **sections)
    expected = whole.fit(StopRequest())

    with pytest.raises(StoppedError):
        open_trainer("parts", **sections).fit(StopAfter(looks))
    torch.manual_seed(99)
    resumed = open_trainer("parts", resume=True, **sections)
    result = resumed.fit(StopRequest())

    assert (resumed.run.folder.path / MODEL_FILE).read_bytes() == (whole.run.folder.path / MODEL_FILE).read_bytes()
    for name, tensor in whole.run.model.weights().items():
        assert torch.equal(tensor, resumed.run.model.weights()[name])
    assert result.valid.value == expected.valid.value
    assert result.steps == expected.steps


def test_the_journal_of_a_stopped_run_has_every_step_once(open_trainer: OpenTrainer) -> None:
    with pytest.raises(StoppedError):
        open_trainer("run").fit(StopAfter(33))
    trainer = open_trainer("run", resume=True)
    trainer.fit(StopRequest())
    entries = [json.loads(line) for line in (trainer.run.folder.path / "metrics.jsonl").read_text().splitlines()]
    steps = [entry["step"] for entry in entries if entry["event"] == "step"]
    assert steps == list(range(5, trainer.course.total_steps + 1, 5))
    assert [entry["epoch"] for entry in entries if entry["event"] == "epoch"] == [1, 2]
    assert entries[-1]["event"] == "final"


def test_an_epoch_that_was_logged_but_not_checkpointed_is_logged_once(open_trainer: OpenTrainer) -> None:
    """A kill between the line of the journal and the next checkpoint: the epoch is validated and logged again."""
    trainer = open_trainer("run")
    trainer._close_epoch = lambda: (_ for _ in ()).throw(KeyboardInterrupt)  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt):
        trainer.fit(StopRequest())
    resumed = open_trainer("run", resume=True)
    resumed.fit(StopRequest())
    entries = [json.loads(line) for line in (trainer.run.folder.path / "metrics.jsonl").read_text().splitlines()]
    assert [entry["epoch"] for entry in entries if entry["event"] == "epoch"] == [1, 2]


def test_a_loss_that_is_no_number_stops_and_keeps_the_last_good_checkpoint(open_trainer: OpenTrainer) -> None:
    trainer = open_trainer("run", training={"epochs": 3, "checkpoint_seconds": 1e-6})
    step = trainer._step

    def poisoned(batch: Batch) -> None:
        if trainer.counters.step == 40:
            with torch.no_grad():
                trainer.run.model.embedding.weight[:] = math.nan
        step(batch)

    trainer._step = poisoned  # type: ignore[method-assign]
    with pytest.raises(DivergedError, match=r"loss is nan at step 41.*\n.*learning_rate"):
        trainer.fit(StopRequest())
    files = trainer.run.folder.checkpoints.latest()
    assert files is not None
    assert json.loads(files["counters.json"])["step"] == 40
    resumed = open_trainer("run", resume=True, training={"epochs": 3, "checkpoint_seconds": 1e-6})
    assert math.isfinite(resumed.fit(StopRequest()).valid.value)


def test_weights_that_are_not_finite_are_never_saved(open_trainer: OpenTrainer) -> None:
    trainer = open_trainer("run")
    trainer.save()
    with torch.no_grad():
        trainer.run.model.decoder.bias[0] = math.inf
    with pytest.raises(DivergedError, match="no longer finite"):
        trainer.save()


def test_epochs_are_validated_now_and_then_and_at_the_end(open_trainer: OpenTrainer) -> None:
    trainer = open_trainer("run", training={"epochs": 5}, validation={"every": 2})
    result = trainer.fit(StopRequest())
    assert result.epochs == 5
    assert [entry["epoch"] for entry in entries_of(trainer, "epoch")] == [2, 4, 5]


def test_early_stopping_ends_after_validations_without_gain(open_trainer: OpenTrainer) -> None:
    trainer = open_trainer("run", training={"epochs": 50, "patience": 2}, validation={"keep": "last"})
    trainer.counters.best_nats = 0.0
    assert trainer.fit(StopRequest()).epochs == 2


def test_a_time_limit_ends_with_a_whole_run_and_the_rate_at_its_end(open_trainer: OpenTrainer) -> None:
    training = {"epochs": 10_000, "log_every": 1}
    trainer = open_trainer("run", time_limit="2s", training=training, schedule={"kind": "cosine", "final": 0.0})
    result = trainer.fit(StopRequest())
    assert result.seconds < 20
    assert result.epochs < 10_000
    entries = [json.loads(line) for line in (trainer.run.folder.path / "metrics.jsonl").read_text().splitlines()]
    rates = [entry["lr"] for entry in entries if entry["event"] == "step"]
    assert max(rates) > 0.005
    assert rates[-1] < 0.001


class Clock:
    """Seconds that pass only when something takes them."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 0.0
        monkeypatch.setattr(clock_module, "time", SimpleNamespace(monotonic=lambda: self.now))

    def charge(self, trainer: Trainer, *, step: float, validation: float, evaluation: float) -> None:
        """Makes each step, validation and final evaluation of a trainer take these seconds."""
        for name, seconds in (("_step", step), ("_judge", validation), ("_finish", evaluation)):
            work = getattr(trainer, name)
            setattr(trainer, name, self._taking(work, seconds))

    def _taking(self, work: Callable, seconds: float) -> Callable:
        def timed(*arguments: object) -> object:
            self.now += seconds
            return work(*arguments)

        return timed


def foresee(monkeypatch: pytest.MonkeyPatch, *, validation: float, evaluation: float) -> None:
    """Makes the estimates of a validation and of the final evaluation these seconds."""
    monkeypatch.setattr(Validator, "estimate_validation", lambda _: validation)
    monkeypatch.setattr(Validator, "estimate", lambda _, exact: evaluation if exact else validation)


def entries_of(trainer: Trainer, event: str) -> list[dict]:
    lines = (trainer.run.folder.path / "metrics.jsonl").read_text().splitlines()
    return [entry for entry in map(json.loads, lines) if entry["event"] == event]


UNTIL_TIME = {"training": {"epochs": 1, "until": "time", "log_every": 1}, "schedule": {"kind": "one-cycle"}}


@pytest.mark.parametrize("known", [True, False], ids=["work is foreseen", "work is measured"])
def test_a_schedule_by_the_clock_ends_with_all_its_work_within_the_limit(
    open_trainer: OpenTrainer, monkeypatch: pytest.MonkeyPatch, known: bool
) -> None:
    """Steps take 1 s, validation 7, the exact evaluation 11: with 500 s there is room for some epochs of 43 steps."""
    clock = Clock(monkeypatch)
    trainer = open_trainer("run", time_limit="500s", **UNTIL_TIME)
    if known:
        foresee(monkeypatch, validation=7, evaluation=11)
    clock.charge(trainer, step=1, validation=7, evaluation=11)
    result = trainer.fit(StopRequest())
    assert 500 - 8 < clock.now <= (501 if known else 501 + 11)  # a step late, a validation early
    assert result.epochs > 5  # more than training.epochs
    steps = entries_of(trainer, "step")
    assert max(entry["lr"] for entry in steps) == pytest.approx(0.01, rel=0.01)
    assert steps[-1]["lr"] < 0.001 * 0.01 + 1e-6
    shares = [entry["share"] for entry in steps]
    assert shares == sorted(shares)
    # one second more is one step further, along the whole run
    assert all(b - a < 0.05 for a, b in itertools.pairwise(shares))


def test_a_run_that_the_clock_ends_is_validated_at_its_end(
    open_trainer: OpenTrainer, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock(monkeypatch)
    trainer = open_trainer("run", time_limit="100s", validation={"every": 1000}, **UNTIL_TIME)
    clock.charge(trainer, step=1, validation=7, evaluation=11)
    result = trainer.fit(StopRequest())
    assert [entry["epoch"] for entry in entries_of(trainer, "epoch")] == [result.epochs]
    assert result.epochs > 1


def test_a_schedule_by_the_clock_goes_on_where_the_clock_was(
    open_trainer: OpenTrainer, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock(monkeypatch)
    first = open_trainer("run", time_limit="200s", **UNTIL_TIME)
    clock.charge(first, step=1, validation=7, evaluation=11)
    with pytest.raises(StoppedError):
        first.fit(StopAfter(30))
    clock.now += 10_000  # no process trains in this time
    resumed = open_trainer("run", resume=True, **UNTIL_TIME)
    before = clock.now
    clock.charge(resumed, step=1, validation=7, evaluation=11)
    resumed.fit(StopRequest())
    first_step = entries_of(resumed, "step")[first.counters.step]
    assert first_step["seconds"] == pytest.approx(first.counters.seconds + 1)
    assert 200 - 30 - 8 < clock.now - before < 200


def test_a_schedule_in_steps_is_pulled_together_by_the_clock(
    open_trainer: OpenTrainer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Twenty epochs whose rate halves after each fourth, in the time of three."""
    clock = Clock(monkeypatch)
    schedule = {"kind": "step", "after": 4, "every": 4, "divisor": 2.0}
    training = {"epochs": 20, "log_every": 1}
    trainer = open_trainer("run", time_limit="100s", training=training, schedule=schedule)
    clock.charge(trainer, step=1, validation=0, evaluation=0)
    result = trainer.fit(StopRequest())
    assert result.epochs < 4
    rates = [entry["lr"] for entry in entries_of(trainer, "step")]
    assert sorted(set(rates), reverse=True) == [pytest.approx(0.01 / 2**halved) for halved in range(5)]
    assert rates == sorted(rates, reverse=True)


def test_a_run_has_one_process(open_trainer: OpenTrainer) -> None:
    first = open_trainer("run")
    with pytest.raises(InputError, match="already holds a run"):
        open_trainer("run")
    with pytest.raises(InputError, match="another process is writing a run in it"):
        open_trainer("run", resume=True)
    first.fit(StopRequest())
    open_trainer("run", resume=True)


@pytest.mark.parametrize("resume", [False, True])
def test_a_new_run_never_starts_from_checkpoints_in_its_folder(open_trainer: OpenTrainer, resume: bool) -> None:
    first = open_trainer("run")
    first.fit(StopRequest())
    for file in first.run.folder.path.glob("*.*"):
        file.unlink()
    with pytest.raises(InputError, match=r"checkpoints holds the checkpoints of a run whose config\.json is gone"):
        open_trainer("run", resume=resume)
    assert [path.name for path in first.run.folder.path.iterdir()] == ["checkpoints"]


def test_the_configuration_says_whether_the_run_can_be_repeated(open_trainer: OpenTrainer) -> None:
    assert open_trainer("steps").run.folder.config()["repeatable"] is True
    assert open_trainer("clock", time_limit="500s", **UNTIL_TIME).run.folder.config()["repeatable"] is False


def test_a_recipe_that_trains_until_a_time_needs_one(open_trainer: OpenTrainer) -> None:
    with pytest.raises(UsageError, match="--time-limit"):
        open_trainer("run", **UNTIL_TIME)


def test_epochs_are_not_asked_of_a_recipe_that_trains_until_a_time() -> None:
    request = TrainingRequest(recipe="ten-minutes", changes=("training.epochs=5",), time_limit="10m")
    with pytest.raises(UsageError, match=r"add --set training\.until=epochs"):
        new_config(request)


def test_the_sample_shown_while_training_holds_no_unk_and_changes_nothing(open_trainer: OpenTrainer) -> None:
    trainer = open_trainer("specimen")
    unknown = trainer.run.corpus.codec.vocabulary.unknown_id
    with torch.no_grad():
        trainer.run.model.decoder.bias[unknown] = 20.0
    weights, random = trainer.run.model.weights(), torch.get_rng_state()
    before = {name: tensor.clone() for name, tensor in weights.items()}
    shown = trainer.validator.specimen()
    assert shown
    assert "<unk>" not in shown
    assert torch.equal(torch.get_rng_state(), random)
    assert all(torch.equal(tensor, before[name]) for name, tensor in weights.items())
