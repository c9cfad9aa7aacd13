import pytest
import torch
from torch import Tensor

from recurlm.evaluation.protocols import stream_perplexity
from recurlm.evaluation.token_losses import token_losses
from token_loops import VOCABULARY


def test_losses_are_those_of_torch(model, sentences, encoded):
    inputs, targets = torch.randint(VOCABULARY, (2, 9, 4))
    targets[5:, 2] = -100
    losses, _ = token_losses(model, inputs, targets, model.initial_state(4))
    with torch.no_grad():
        logits: Tensor = model(inputs, model.initial_state(4))[0]
    expected = torch.nn.functional.cross_entropy(logits.flatten(0, 1), targets.flatten(), reduction="none")
    assert losses.dtype == torch.float64
    torch.testing.assert_close(losses.flatten().float(), expected)


def test_measuring_leaves_no_graph_and_no_gradient(model, sentences, encoded):
    stream_perplexity(model, encoded(sentences))
    assert all(parameter.grad is None for parameter in model.parameters())


def test_the_size_of_the_vocabularys_chunks_changes_nothing(monkeypatch, model, sentences, encoded):
    reference = stream_perplexity(model, encoded(sentences)).nats
    monkeypatch.setattr("recurlm.kernels.linear_cross_entropy.CHUNK_BYTES", 1)
    assert stream_perplexity(model, encoded(sentences)).nats == pytest.approx(reference, rel=1e-6)
