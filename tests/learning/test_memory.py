"""What the seed's theory says: the simple cell forgets the first input of a long sequence, the LSTM keeps it."""

import pytest
import torch
import torch.nn.functional as F

from recurlm.config import ModelOptions, XavierInitialisation
from recurlm.models.initialisation import initialise
from recurlm.models.language_model import LanguageModel

SYMBOLS = 4
DISTANCE = 30
ASK = SYMBOLS


def recall_batch(generator: torch.Generator, size: int) -> tuple[torch.Tensor, torch.Tensor]:
    """A symbol, then DISTANCE random symbols, then a question; the answer is the first symbol."""
    tokens = torch.randint(SYMBOLS, (DISTANCE + 1, size), generator=generator)
    question = torch.full((1, size), ASK)
    return torch.cat([tokens, question]), tokens[0]


def recalled(cell: str, seed: int, steps: int = 1000) -> float:
    """Share of first symbols that the trained cell remembers; chance is a quarter."""
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed + 100)
    model = LanguageModel(ModelOptions(cell=cell, embedding_size=8, hidden_sizes=(24,)), SYMBOLS + 1)
    initialise(model, XavierInitialisation(magnitude=1.0, forget_bias=5.0))
    optimizer = torch.optim.Adam(model.parameters(), lr=0.005)
    for _ in range(steps):
        tokens, answer = recall_batch(generator, 32)
        logits, _ = model(tokens, model.initial_state(32))
        optimizer.zero_grad()
        F.cross_entropy(logits[-1], answer).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
    tokens, answer = recall_batch(generator, 500)
    with torch.no_grad():
        logits, _ = model(tokens, model.initial_state(500))
    return (logits[-1].argmax(-1) == answer).double().mean().item()


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_lstm_remembers_over_thirty_steps(seed):
    assert recalled("lstm", seed) > 0.9


@pytest.mark.parametrize("cell", ["sigmoid", "tanh"])
@pytest.mark.parametrize("seed", [0, 1])
def test_the_simple_cell_does_not(cell, seed):
    assert recalled(cell, seed) < 0.5
