from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from recurlm.config import ModelOptions
from recurlm.distributed import Team
from recurlm.errors import CorruptFileError, InputError
from recurlm.models.language_model import LanguageModel
from recurlm.training.checkpointing import (
    Checkpointer,
    random_state,
    restore_random_state,
    state_from_tensors,
    state_tensors,
)

PLACE = Path("run")


@pytest.fixture(scope="module")
def model() -> LanguageModel:
    return LanguageModel(ModelOptions(cell="lstm", embedding_size=4, hidden_sizes=(5, 3)), 7)


def test_a_checkpoint_is_due_when_more_than_the_seconds_have_passed() -> None:
    now = 100.0
    checkpointer = Checkpointer(SimpleNamespace(), SimpleNamespace(), 60.0, lambda: now)  # type: ignore[arg-type]
    now = 160.0
    assert not checkpointer.is_due
    now = 160.5
    assert checkpointer.is_due
    checkpointer.restart_interval()
    assert not checkpointer.is_due
    now = 221.0
    assert checkpointer.is_due


def test_a_process_that_reads_another_checkpoint_than_the_first_one_is_refused() -> None:
    class Second(Team):
        rank, count = 1, 2

        def first(self, value: float) -> float:
            return 7.0

    state = SimpleNamespace(team=Second(), counters=SimpleNamespace(step=0))
    folder = SimpleNamespace(path=PLACE, checkpoints=SimpleNamespace(latest=lambda tell: None))
    checkpointer = Checkpointer(folder, state, 60.0, lambda: 0.0)  # type: ignore[arg-type]
    with pytest.raises(InputError, match=r"step 0, the first process one of step 7; put the run into a folder that"):
        checkpointer.resume(print)


def test_a_carried_state_comes_back(model: LanguageModel) -> None:
    state = tuple(tuple(torch.randn_like(part) for part in layer) for layer in model.initial_state(6))
    saved = state_tensors(state)
    assert sorted(saved) == ["layer.0.0", "layer.0.1", "layer.1.0", "layer.1.1"]
    assert saved["layer.1.0"] is state[1][0]
    found = state_from_tensors(saved | {"random.cpu": torch.zeros(3)}, model, PLACE)
    assert found is not None
    assert [len(layer) for layer in found] == [2, 2]
    for layer, expected in zip(found, state, strict=True):
        assert all(torch.equal(*pair) for pair in zip(layer, expected, strict=True))
    assert state_tensors(None) == {}
    assert state_from_tensors({"random.cpu": torch.zeros(3)}, model, PLACE) is None


@pytest.mark.parametrize(
    "changed",
    [
        {"layer.0.0": torch.zeros(6, 4)},
        {"layer.0.0": torch.zeros(5, 5)},
        {"layer.0.0": torch.zeros(())},
        {"layer.0.0": torch.zeros(6, 5, dtype=torch.int64)},
        {"layer.2.0": torch.zeros(6, 3)},
        {"layer.x": torch.zeros(6, 3)},
    ],
)
def test_the_state_of_another_model_is_refused(model: LanguageModel, changed: dict[str, torch.Tensor]) -> None:
    saved = state_tensors(model.initial_state(6))
    with pytest.raises(CorruptFileError, match="another model's"):
        state_from_tensors(saved | changed, model, PLACE)
    with pytest.raises(CorruptFileError, match="another model's"):
        state_from_tensors({"layer.0.0": saved["layer.0.0"]}, model, PLACE)


def test_the_random_state_comes_back() -> None:
    torch.manual_seed(5)
    saved = random_state(torch.device("cpu"))
    assert list(saved) == ["random.cpu"]
    expected = torch.rand(3)
    torch.manual_seed(6)
    restore_random_state(saved, PLACE)
    assert torch.equal(torch.rand(3), expected)


@pytest.mark.parametrize("saved", [{}, {"random.cpu": torch.zeros(3, dtype=torch.uint8)}])
def test_a_random_state_that_torch_does_not_take_is_refused(saved: dict[str, torch.Tensor]) -> None:
    with pytest.raises(CorruptFileError, match="its random state cannot be used"):
        restore_random_state(saved, PLACE)
