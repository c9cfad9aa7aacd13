import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from recurlm.errors import CorruptFileError, UsageError
from recurlm.training.loop import Trainer
from recurlm.training.stopping import StopRequest
from recurlm.training.tensorboard import TensorBoard


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")
def test_tensorboard_holds_the_journal_s_numbers(open_trainer: Callable[..., Trainer]) -> None:
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    trainer = open_trainer("run", tensorboard=True)
    trainer.fit(StopRequest())
    events = accumulator.EventAccumulator(str(trainer.run.folder.path / "tensorboard"))
    events.Reload()
    journal = [json.loads(line) for line in (trainer.run.folder.path / "metrics.jsonl").read_text().splitlines()]
    expected = [(entry["step"], entry["loss"]) for entry in journal if entry["event"] == "step"]
    found = [(scalar.step, scalar.value) for scalar in events.Scalars("step/loss")]
    assert [step for step, _ in found] == [step for step, _ in expected]
    assert [value for _, value in found] == pytest.approx([value for _, value in expected], rel=1e-6)
    assert [scalar.step for scalar in events.Scalars("epoch/valid_perplexity")] == [
        entry["step"] for entry in journal if entry["event"] == "epoch"
    ]


def test_a_link_in_the_place_of_the_folder_is_refused(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "tensorboard").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(CorruptFileError, match="tensorboard is a link"):
        TensorBoard(tmp_path / "tensorboard")
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_without_the_extra_the_install_command_is_named(
    open_trainer: Callable[..., Trainer], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(UsageError, match=r"pip install 'recurlm\[tensorboard\]'"):
        open_trainer("run", tensorboard=True)
