"""Averages of weights against plain means and torch's ASGD, and their place in a run."""

import json
from collections.abc import Callable

import pytest
import torch

from recurlm.config import ExponentialAverage, ModelOptions, NoAverage, NonMonotoneAverage, TailAverage
from recurlm.errors import CorruptFileError
from recurlm.models.language_model import LanguageModel
from recurlm.runs.folder import MODEL_FILE
from recurlm.tensor_files import tensors
from recurlm.text.batching import Batch
from recurlm.training.averaging import WeightAverage, average_begins, is_non_monotone, open_average
from recurlm.training.loop import Trainer
from recurlm.training.stopping import StopRequest

OpenTrainer = Callable[..., Trainer]


def tiny_model(tied: bool = False) -> LanguageModel:
    torch.manual_seed(3)
    model = LanguageModel(ModelOptions(embedding_size=4, hidden_sizes=(4,), tied=tied), 7)
    for parameter in model.parameters():
        torch.nn.init.uniform_(parameter, -0.5, 0.5)
    return model.double()


def walk(model: LanguageModel, average: WeightAverage, steps: int) -> list[dict[str, torch.Tensor]]:
    """Random weights after each step, each added to the average."""
    visited = []
    for _ in range(steps):
        for parameter in model.parameters():
            torch.nn.init.normal_(parameter)
        average.add()
        visited.append({name: weight.clone() for name, weight in model.weights().items()})
    return visited


@pytest.mark.parametrize("tied", [False, True])
def test_with_decay_one_it_is_the_mean(tied):
    model = tiny_model(tied)
    average = WeightAverage(model)
    visited = walk(model, average, 7)
    with average.in_model():
        for name, weight in model.weights().items():
            torch.testing.assert_close(weight, torch.stack([each[name] for each in visited]).mean(0))
    for name, weight in model.weights().items():
        assert torch.equal(weight, visited[-1][name])


def test_with_a_smaller_decay_it_is_the_mean_first_and_then_forgets():
    model = tiny_model()
    average = WeightAverage(model, decay=0.75)
    visited = walk(model, average, 6)
    bias = [each["decoder.bias"] for each in visited]
    expected = sum(bias[:4]) / 4  # 1/1, 1/2, 1/3, 1/4
    for later in bias[4:]:
        expected = 0.75 * expected + 0.25 * later
    with average.in_model():
        torch.testing.assert_close(model.decoder.bias.detach(), expected)


def test_the_mean_over_steps_of_sgd_is_torchs_averaged_sgd():
    model = tiny_model()
    twin = tiny_model()
    torch.testing.assert_close(model.weights(), twin.weights())
    average = WeightAverage(model)
    sgd = torch.optim.SGD(model.parameters(), 2**-7)
    asgd = torch.optim.ASGD(twin.parameters(), 2**-7, lambd=0.0, t0=0, alpha=0.0)
    tokens = torch.randint(7, (5, 3))
    for step in range(6):
        for each, optimizer in ((model, sgd), (twin, asgd)):
            optimizer.zero_grad()
            each(tokens, each.initial_state(3))[0].square().sum().backward()
            optimizer.step()
        if step:  # torch forgets the weights after its first step
            average.add()
    with average.in_model():
        for weight, other in zip(model.parameters(), twin.parameters(), strict=True):
            torch.testing.assert_close(weight.detach(), asgd.state[other]["ax"])


def test_an_empty_average_changes_nothing():
    model, untouched = tiny_model(), tiny_model()
    with WeightAverage(model).in_model():
        torch.testing.assert_close(model.weights(), untouched.weights(), rtol=0, atol=0)
    torch.testing.assert_close(model.weights(), untouched.weights(), rtol=0, atol=0)


def test_the_models_own_weights_come_back_after_an_error():
    model = tiny_model()
    average = WeightAverage(model)
    visited = walk(model, average, 2)
    with pytest.raises(KeyboardInterrupt), average.in_model():
        raise KeyboardInterrupt
    assert torch.equal(model.decoder.bias, visited[-1]["decoder.bias"])


def test_a_restored_average_goes_on_to_the_same_bits():
    models = [tiny_model(), tiny_model()]
    averages = [WeightAverage(model, 0.9) for model in models]
    torch.manual_seed(0)
    walk(models[0], averages[0], 3)
    averages[1].restore({name: tensor.clone() for name, tensor in averages[0].tensors().items()})
    for model, average in zip(models, averages, strict=True):
        torch.manual_seed(1)
        walk(model, average, 3)
    for one, other in zip(averages[0].values, averages[1].values, strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("saved", [{}, {"count": torch.tensor(2)}, {"count": torch.tensor(1), "x": torch.ones(1)}])
def test_another_models_average_is_refused(saved):
    with pytest.raises(CorruptFileError, match="average"):
        WeightAverage(tiny_model()).restore(saved)


@pytest.mark.parametrize(
    ("validations", "interval", "expected"),
    [
        ([], 2, False),
        ([5.0], 2, False),
        ([5.0, 4.0, 6.0], 2, False),  # nothing lies before the last two predecessors
        ([5.0, 4.0, 3.0, 6.0], 2, True),  # 6 > 5
        ([5.0, 4.0, 3.0, 4.5], 2, False),  # better than 5: 4 and 3 are within the interval
        ([5.0, 4.0, 3.0, 3.5, 4.5], 2, True),  # 4.5 > 4
        ([3.0, 3.0], 0, False),
        ([3.0, 3.1], 0, True),
    ],
)
def test_the_trigger_by_hand(validations, interval, expected):
    assert is_non_monotone(validations, interval) is expected


def test_when_an_average_begins():
    def begins(options, share=0.0, validations=()):
        return average_begins(options, share=share, validations=validations)

    assert begins(ExponentialAverage())
    assert [begins(TailAverage(start=0.5), share) for share in (0.0, 0.49, 0.5, 1.0)] == [False, False, True, True]
    assert not begins(NonMonotoneAverage(interval=1), 1.0, [3.0, 2.0, 2.5])
    assert begins(NonMonotoneAverage(interval=1), 0.0, [3.0, 2.0, 3.5])
    assert open_average(NoAverage(), tiny_model()) is None


def record_weights(trainer: Trainer) -> list[dict[str, torch.Tensor]]:
    """What the weights are after each step."""
    visited: list[dict[str, torch.Tensor]] = []
    step = trainer._step

    def recorded(batch: Batch) -> None:
        step(batch)
        visited.append({name: weight.clone() for name, weight in trainer.run.model.weights().items()})

    trainer._step = recorded  # type: ignore[method-assign]
    return visited


def test_a_run_validates_and_keeps_the_mean_of_its_tail(open_trainer: OpenTrainer):
    average = {"kind": "tail", "start": 0.6, "every": 2}
    trainer = open_trainer("run", average=average, validation={"keep": "last", "columns": 1})
    visited = record_weights(trainer)
    result = trainer.fit(StopRequest())
    begin = next(step for step in range(1, 999) if step / trainer.course.total_steps >= 0.6)
    steps = [begin, *range(begin + 1 + (begin + 1) % 2, trainer.course.total_steps + 1, 2)]
    kept = tensors((trainer.run.folder.path / MODEL_FILE).read_bytes(), trainer.run.folder.path)
    for name, weight in kept.items():
        expected = torch.stack([visited[step - 1][name].double() for step in steps]).mean(0)
        torch.testing.assert_close(weight, expected.float(), rtol=1e-4, atol=1e-6)
    lines = (trainer.run.folder.path / "metrics.jsonl").read_text().splitlines()
    epochs = [entry for entry in map(json.loads, lines) if entry["event"] == "epoch"]
    assert [entry["averaged"] for entry in epochs] == [0, len(steps)]
    assert epochs[-1]["valid_perplexity"] == pytest.approx(result.valid.value)


def test_averaging_leaves_the_steps_alone(open_trainer: OpenTrainer):
    averaged = open_trainer("averaged", average={"kind": "exponential", "decay": 0.9})
    plain = open_trainer("plain")
    theirs = record_weights(averaged), record_weights(plain)
    averaged.fit(StopRequest())
    plain.fit(StopRequest())
    assert len(theirs[0]) == len(theirs[1]) > 0
    for one, other in zip(*theirs, strict=True):
        for name, weight in one.items():
            assert torch.equal(weight, other[name])


def test_sgd_with_the_non_monotone_average_begins_after_a_worse_validation(open_trainer: OpenTrainer):
    sections = {"optimizer": {"kind": "sgd", "learning_rate": 1.0}, "average": {"kind": "non-monotone", "interval": 0}}
    trainer = open_trainer("run", training={"epochs": 3}, **sections)
    trainer.counters.validations = [0.0]  # nothing is as good as this was
    trainer.fit(StopRequest())
    lines = (trainer.run.folder.path / "metrics.jsonl").read_text().splitlines()
    averaged = [entry["averaged"] for entry in map(json.loads, lines) if entry["event"] == "epoch"]
    steps = trainer.run.batches.length(0)
    assert averaged == [0, steps, 2 * steps]
