import json
import math
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F

from recurlm.checkpoints import MODEL_FILE
from recurlm.config import ModelOptions, Training
from recurlm.errors import StoppedError
from recurlm.models.language_model import LanguageModel
from recurlm.text.batching import Batch
from recurlm.training.loop import DivergedError, Trainer, train_step
from recurlm.training.stopping import StopRequest

OpenTrainer = Callable[..., Trainer]

SENTENCES = {"kind": "sentences", "batch_size": 8, "buckets": "auto"}
DROPOUT = {"embedding": 0.1, "input": 0.2, "between": 0.2, "output": 0.2}


class StopAfter(StopRequest):
    """Asks to stop once it has been looked at this often: after so many steps and pieces of validation."""

    def __init__(self, looks: int) -> None:
        self.looks = looks

    @property
    def requested(self) -> bool:
        self.looks -= 1
        return self.looks < 0


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
    result, _ = train_step(model, optimizer, batch, model.initial_state(2), Training(loss=reduction), "fp32")

    assert result.tokens == 5
    assert result.loss == pytest.approx(loss.item(), rel=1e-6)
    assert result.nats == pytest.approx(loss.item() * divisor, rel=1e-6)
    for stepped, plain in zip(model.parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(stepped, plain - 0.5 * plain.grad, atol=1e-6, rtol=1e-5)


def test_the_gradient_is_clipped_to_the_norm_of_the_recipe() -> None:
    model, before = tiny_model(), tiny_model()
    optimizer = torch.optim.SGD(model.parameters(), 1.0)
    train_step(model, optimizer, tiny_batch(), model.initial_state(2), Training(clip_norm=0.01), "fp32")
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


@pytest.mark.parametrize("looks", [1, 7, 23])
@pytest.mark.parametrize(
    "sections",
    [
        {"model": {"embedding_size": 16, "hidden_sizes": [16, 12], "dropout": DROPOUT}},
        {"batches": {"kind": "stream", "batch_size": 4, "bptt": 10, "random_lengths": True}},
        {"batches": SENTENCES, "optimizer": {"kind": "sgd", "learning_rate": 0.5, "momentum": 0.9}},
        {"batches": SENTENCES, "optimizer": {"kind": "rmsprop"}, "schedule": {"kind": "plateau"}},
        {
            "model": {"cell": ["gru", "lstm"], "embedding_size": 16, "hidden_sizes": [16, 8]},
            "schedule": {"kind": "one-cycle"},
        },
        {"model": {"cell": ["qrnn", "mogrifier"], "embedding_size": 16, "hidden_sizes": [12, 12], "skip": True}},
    ],
    ids=["dropout", "random lengths", "momentum", "rmsprop and plateau", "gru and one cycle", "qrnn and mogrifier"],
)
def test_a_stopped_run_goes_on_to_the_same_bits(open_trainer: OpenTrainer, sections: dict, looks: int) -> None:
    whole = open_trainer("whole", **sections)
    expected = whole.fit(StopRequest())

    with pytest.raises(StoppedError):
        open_trainer("parts", **sections).fit(StopAfter(looks))
    torch.manual_seed(99)
    resumed = open_trainer("parts", resume=True, **sections)
    result = resumed.fit(StopRequest())

    assert (resumed.folder.path / MODEL_FILE).read_bytes() == (whole.folder.path / MODEL_FILE).read_bytes()
    for name, tensor in whole.model.weights().items():
        assert torch.equal(tensor, resumed.model.weights()[name])
    assert result.valid.value == expected.valid.value
    assert result.steps == expected.steps


def test_the_journal_of_a_stopped_run_has_every_step_once(open_trainer: OpenTrainer) -> None:
    with pytest.raises(StoppedError):
        open_trainer("run").fit(StopAfter(33))
    trainer = open_trainer("run", resume=True)
    trainer.fit(StopRequest())
    entries = [json.loads(line) for line in (trainer.folder.path / "metrics.jsonl").read_text().splitlines()]
    steps = [entry["step"] for entry in entries if entry["event"] == "step"]
    assert steps == list(range(5, trainer.total_steps + 1, 5))
    assert [entry["epoch"] for entry in entries if entry["event"] == "epoch"] == [1, 2]
    assert entries[-1]["event"] == "final"


def test_an_epoch_that_was_logged_but_not_checkpointed_is_logged_once(open_trainer: OpenTrainer) -> None:
    """A kill between the journal's line and the checkpoint after it: the epoch is validated and logged anew."""
    trainer = open_trainer("run")
    trainer._close_epoch = lambda: (_ for _ in ()).throw(KeyboardInterrupt)  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt):
        trainer.fit(StopRequest())
    resumed = open_trainer("run", resume=True)
    resumed.fit(StopRequest())
    entries = [json.loads(line) for line in (trainer.folder.path / "metrics.jsonl").read_text().splitlines()]
    assert [entry["epoch"] for entry in entries if entry["event"] == "epoch"] == [1, 2]


def test_a_loss_that_is_no_number_stops_and_keeps_the_last_good_checkpoint(open_trainer: OpenTrainer) -> None:
    trainer = open_trainer("run", training={"epochs": 3, "checkpoint_seconds": 1e-6})
    step = trainer._step

    def poisoned(batch: Batch) -> None:
        if trainer.counters.step == 40:
            with torch.no_grad():
                trainer.model.embedding.weight[:] = math.nan
        step(batch)

    trainer._step = poisoned  # type: ignore[method-assign]
    with pytest.raises(DivergedError, match=r"loss is nan at step 41.*\n.*learning_rate"):
        trainer.fit(StopRequest())
    files = trainer.folder.latest_checkpoint()
    assert files is not None
    assert json.loads(files["counters.json"])["step"] == 40
    resumed = open_trainer("run", resume=True, training={"epochs": 3, "checkpoint_seconds": 1e-6})
    assert math.isfinite(resumed.fit(StopRequest()).valid.value)


def test_weights_that_are_not_finite_are_never_saved(open_trainer: OpenTrainer) -> None:
    trainer = open_trainer("run")
    trainer.save()
    with torch.no_grad():
        trainer.model.decoder.bias[0] = math.inf
    with pytest.raises(DivergedError, match="no longer finite"):
        trainer.save()


def test_early_stopping_ends_after_epochs_without_gain(open_trainer: OpenTrainer) -> None:
    trainer = open_trainer("run", training={"epochs": 50, "patience": 2}, validation={"keep": "last"})
    trainer.counters.best_nats = 0.0
    assert trainer.fit(StopRequest()).epochs == 2


def test_a_time_limit_ends_with_a_whole_run_and_the_rate_at_its_end(open_trainer: OpenTrainer) -> None:
    training = {"epochs": 10_000, "log_every": 1}
    trainer = open_trainer("run", time_limit="2s", training=training, schedule={"kind": "cosine", "final": 0.0})
    result = trainer.fit(StopRequest())
    assert result.seconds < 20
    assert result.epochs < 10_000
    entries = [json.loads(line) for line in (trainer.folder.path / "metrics.jsonl").read_text().splitlines()]
    rates = [entry["lr"] for entry in entries if entry["event"] == "step"]
    assert max(rates) > 0.005
    assert rates[-1] < 0.001
