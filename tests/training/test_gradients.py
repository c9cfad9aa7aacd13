"""The messages of a step that several processes take, seen from one process whose sums are its values."""

import pytest
import torch

from recurlm.config import ModelOptions, Training
from recurlm.distributed import Team
from recurlm.models.language_model import LanguageModel
from recurlm.text.batching import Batch
from recurlm.training import gradients
from recurlm.training.gradients import plan_messages, summing_gradients
from recurlm.training.step import Learner, train_step

TYPES, STEPS, COLUMNS = 40, 5, 4


class Recorder(Team):
    """Remembers the numbers of each message, and whether the first layer had its gradient when the message left."""

    def __init__(self, model: LanguageModel) -> None:
        self.first_layer = next(model.stack.parameters())
        self.sizes: list[int] = []
        self.waited: list[int] = []
        self.during: list[bool] = []

    def start_adding(self, tensors):
        number = len(self.sizes)
        self.sizes.append(sum(tensor.numel() for tensor in tensors))
        self.during.append(self.first_layer.grad is None)
        return lambda: self.waited.append(number)


def two_layers(*, tied: bool = False) -> LanguageModel:
    torch.manual_seed(3)
    return LanguageModel(ModelOptions(embedding_size=6, hidden_sizes=(6, 6), tied=tied), TYPES)


def half_batch() -> Batch:
    ids = torch.randint(TYPES, (STEPS, COLUMNS), generator=torch.Generator().manual_seed(5))
    whole = Batch(ids, ids.roll(-1, 0), torch.ones_like(ids, dtype=torch.bool), 0, False)
    return whole.cut(slice(0, 2))


def backward(model: LanguageModel, batch: Batch, team: Team) -> None:
    """The backward pass of the half of a batch."""
    embedded = model.embedding(batch.input).detach().requires_grad_()
    hidden, _ = model.recur(embedded, batch.input, model.initial_state(batch.columns))
    total, _ = model.decoder.training_losses(hidden, batch.target)
    with summing_gradients(team, model, batch, embedded):
        total.backward()


def autograd(model: LanguageModel, batch: Batch) -> list[torch.Tensor]:
    """The gradients of the same loss as autograd computes them, embeddings included."""
    hidden, _ = model.hidden(batch.input, model.initial_state(batch.columns))
    total = torch.nn.functional.cross_entropy(
        model.decoder(hidden).flatten(0, 1), batch.target.flatten(), reduction="sum"
    )
    return list(torch.autograd.grad(total, list(model.parameters())))


@pytest.fixture
def small_messages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gradients, "MESSAGE_BYTES", 500)


@pytest.mark.usefixtures("small_messages")
@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("types", [TYPES, 8])
def test_the_sums_of_one_process_are_autograds_gradients(tied, types):
    model, batch = two_layers(tied=tied), half_batch()
    if types < TYPES:  # fewer word types than positions: the matrix of the embeddings travels
        model = LanguageModel(ModelOptions(embedding_size=6, hidden_sizes=(6, 6), tied=tied), types)
        batch.input.remainder_(types)
        batch.target.remainder_(types)
    backward(model, batch, Recorder(model))
    for weight, expected in zip(model.parameters(), autograd(model, batch), strict=True):
        torch.testing.assert_close(weight.grad, expected)


@pytest.mark.usefixtures("small_messages")
def test_the_output_layer_s_gradient_travels_during_the_backward_pass():
    model = two_layers()
    team = Recorder(model)
    backward(model, half_batch(), team)
    early, late = plan_messages(model, rows_travel=True)
    sizes = [sum(weight.numel() for weight in weights) for weights in early]
    assert sizes[0] == TYPES * 6
    assert team.during[0]
    assert team.sizes[:-1] == sizes
    weights = sum(map(len, (*early, late)))
    rows = STEPS * COLUMNS * 6
    assert team.sizes[-1] == sum(weight.numel() for weight in late) + weights + rows
    assert team.waited == list(range(len(team.sizes)))


@pytest.mark.usefixtures("small_messages")
def test_messages_leave_in_the_order_of_the_plan(monkeypatch):
    model = two_layers()
    early, late = plan_messages(model, rows_travel=True)
    monkeypatch.setattr(gradients, "plan_messages", lambda model, rows_travel: (early[::-1], late))
    team = Recorder(model)
    backward(model, half_batch(), team)
    assert team.sizes[:-1] == [sum(weight.numel() for weight in weights) for weights in early[::-1]]


@pytest.mark.parametrize(("columns", "carried"), [(slice(0, 0), 0), (slice(1, 3), 2)])
def test_a_process_carries_the_state_of_its_own_columns(columns, carried):
    model = two_layers()
    batch = half_batch().whole.cut(columns)
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    learner = Learner(model, optimizer, Training(), "fp32", Recorder(model))
    _, state = train_step(learner, batch, model.initial_state(batch.columns))
    assert {len(tensor) for layer in state for tensor in layer} == {carried}


@pytest.mark.usefixtures("small_messages")
def test_processes_that_share_memory_sum_once_after_the_pass():
    model = two_layers()
    team = Recorder(model)
    team.shares_memory = True
    backward(model, half_batch(), team)
    numbers = sum(weight.numel() for weight in model.parameters() if weight is not model.embedding.weight)
    assert team.sizes == [numbers + len(list(model.parameters())) - 1 + STEPS * COLUMNS * 6]
    for weight, expected in zip(model.parameters(), autograd(model, half_batch()), strict=True):
        torch.testing.assert_close(weight.grad, expected)


def test_a_small_model_sends_one_message():
    model = two_layers()
    team = Recorder(model)
    backward(model, half_batch(), team)
    assert len(team.sizes) == 1


def test_a_weight_without_a_gradient_keeps_none():
    model, batch = two_layers(), half_batch()
    embedded = model.embedding(batch.input).detach().requires_grad_()
    with summing_gradients(Recorder(model), model, batch, embedded):
        embedded.sum().backward()
    assert [name for name, weight in model.named_parameters() if weight.grad is not None] == ["embedding.weight"]
