"""Activation and temporal activation penalties, by hand and through both kinds of step."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from recurlm.config import Dropout, ModelOptions, Training
from recurlm.models.dropout import mask
from recurlm.models.language_model import LanguageModel
from recurlm.text.batching import Batch
from recurlm.training.captured import Tally, device_step
from recurlm.training.penalties import output_penalty
from recurlm.training.step import Learner, train_step

BOTH = Training(activation_penalty=2.0, slowness_penalty=0.5)


def test_the_penalties_by_hand():
    raw = torch.tensor([[[1.0, 2.0]], [[3.0, 2.0]], [[3.0, -1.0]]])
    dropped = torch.tensor([[[2.0, 0.0]], [[6.0, 0.0]], [[6.0, 0.0]]])
    # squares of outputs: 4 + 36 + 36 over 6; changes: 2, 0, 0, -3, so 4 + 9 over 4
    assert float(output_penalty(raw, dropped, BOTH)) == pytest.approx(2.0 * 76 / 6 + 0.5 * 13 / 4)
    assert float(output_penalty(raw, dropped, Training(activation_penalty=1.0))) == pytest.approx(76 / 6)
    assert float(output_penalty(raw, dropped, Training(slowness_penalty=1.0))) == pytest.approx(13 / 4)
    assert output_penalty(raw, dropped, Training()) == 0.0


def test_one_time_step_does_not_change():
    one = torch.ones(1, 2, 3)
    assert float(output_penalty(one, one, BOTH)) == pytest.approx(2.0)


def test_outputs_may_change_freely_where_a_document_begins():
    raw = torch.tensor([[[1.0], [5.0]], [[3.0], [2.0]], [[3.0], [-1.0]]])
    slowness = Training(slowness_penalty=1.0)
    restarts = np.array([[True, False], [True, False], [False, True]])
    # the first column changes by 2 (left out) and 0, the second by -3 and -3 (left out)
    assert float(output_penalty(raw, raw, slowness, restarts)) == pytest.approx((0 + 9) / 2)
    assert float(output_penalty(raw, raw, slowness, np.ones((3, 2), np.bool_))) == 0.0
    only_first = np.array([[True, True], [False, False], [False, False]])
    assert torch.equal(output_penalty(raw, raw, slowness, only_first), output_penalty(raw, raw, slowness))


def tiny_model(dropout: float = 0.5) -> LanguageModel:
    torch.manual_seed(3)
    model = LanguageModel(ModelOptions(embedding_size=3, hidden_sizes=(4,), dropout=Dropout(output=dropout)), 7)
    for parameter in model.parameters():
        torch.nn.init.uniform_(parameter, -0.5, 0.5)
    return model.double().train()


def tiny_batch() -> Batch:
    input_ = torch.tensor([[0, 0], [1, 2], [3, 0]])
    target = torch.tensor([[1, 2], [3, 0], [0, -100]])
    return Batch(input_, target, target >= 0, sentences=2, carried=False)


@pytest.mark.parametrize("on_device", [False, True])
@pytest.mark.parametrize(("reduction", "divisor"), [("token", 5), ("sequence", 2)])
def test_a_step_descends_on_cross_entropy_and_penalties_and_counts_the_cross_entropy(reduction, divisor, on_device):
    model, twin, batch = tiny_model(), tiny_model(), tiny_batch()
    options = BOTH.model_copy(update={"loss": reduction})
    module = torch.nn.LSTM(3, 4).double()
    for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"):
        setattr(module, f"{name}_l0", getattr(twin.stack.cells[0], name))
    raw, _ = module(twin.embedding(batch.input))
    torch.manual_seed(9)
    dropped = raw * mask((1, 2, 4), 0.5, raw)
    logits = twin.decoder(dropped).flatten(0, 1)
    nats = F.cross_entropy(logits, batch.target.flatten(), reduction="sum", ignore_index=-100)
    penalty = 2.0 * (dropped**2).mean() + 0.5 * ((raw[1:] - raw[:-1]) ** 2).mean()
    loss = (nats + 5 * penalty) / divisor  # five targets
    loss.backward()

    optimizer = torch.optim.SGD(model.parameters(), torch.tensor(0.5) if on_device else 0.5)
    learner = Learner(model, optimizer, options, "fp32")
    torch.manual_seed(9)
    if on_device:
        tally = Tally(model.device)
        device_step(learner, batch, model.initial_state(2), tally)
        counted, tokens, _, minimized = tally.take().tolist()
    else:
        result, _ = train_step(learner, batch, model.initial_state(2))
        counted, tokens, minimized = result.nats, result.tokens, result.loss

    assert (counted, tokens) == (pytest.approx(nats.item(), rel=1e-6), 5)
    assert minimized == pytest.approx(loss.item(), rel=1e-5)
    for stepped, plain in zip(model.parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(stepped, plain - 0.5 * plain.grad, atol=1e-6, rtol=1e-5)
