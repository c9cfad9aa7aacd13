import pytest
import torch

from recurlm.config import ModelOptions, UniformInitialisation
from recurlm.models.initialisation import initialise
from recurlm.models.language_model import LanguageModel
from token_loops import VOCABULARY


@pytest.fixture(scope="module")
def model() -> LanguageModel:
    torch.manual_seed(0)
    made = LanguageModel(ModelOptions(embedding_size=8, hidden_sizes=(9, 8)), VOCABULARY)
    initialise(made, UniformInitialisation(scale=0.8))
    return made.eval()


@pytest.fixture(scope="module")
def sentences() -> list[list[int]]:
    generator = torch.Generator().manual_seed(1)
    lengths = torch.randint(0, 30, (60,), generator=generator).tolist()
    return [torch.randint(1, VOCABULARY, (length,), generator=generator).tolist() for length in lengths]
