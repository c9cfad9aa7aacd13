"""Finished runs that go on with more epochs: bit for bit like a run that had them from the start, or refused."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from recurlm.errors import InputError, StoppedError
from recurlm.progress import Silent
from recurlm.runs.folder import RunFolder
from recurlm.runs.verification import verify
from recurlm.text.places import DataPlaces
from recurlm.training.loop import Trainer
from recurlm.training.request import TrainingRequest
from recurlm.training.setup import prepare_training
from recurlm.training.stopping import StopRequest

OpenTrainer = Callable[..., Trainer]
DROPOUT = {"embedding_size": 16, "hidden_sizes": [16], "dropout": {"output": 0.3}}
TIMES = ("seconds", "tokens_per_second", "sentences_per_second", "seconds_left", "share")


def longer(run: Path, epochs: int) -> Trainer:
    request = TrainingRequest(
        out=run,
        resume=True,
        changes=(f"training.epochs={epochs}",),
        places=DataPlaces(cache_directory=run.parent / "cache"),
    )
    return prepare_training(request, Silent())


def epochs_of(run: Path) -> list[dict[str, object]]:
    """The validated epochs of a run, without times and without the share of a run that was planned."""
    entries = map(json.loads, (run / "metrics.jsonl").read_text().splitlines())
    return [{key: entry[key] for key in entry if key not in TIMES} for entry in entries if entry["event"] == "epoch"]


class StopAtOnce(StopRequest):
    def __init__(self) -> None:
        self.requested = True


@pytest.mark.parametrize(
    "schedule",
    [
        {"kind": "constant"},
        {"kind": "step", "after": 1, "divisor": 2.0},
        {"kind": "plateau", "divisor": 4.0},
    ],
    ids=lambda schedule: schedule["kind"],
)
def test_more_epochs_give_the_bits_of_a_run_that_had_them_from_the_start(
    open_trainer: OpenTrainer, tmp_path: Path, schedule: dict[str, object]
) -> None:
    sections = {"schedule": schedule, "model": DROPOUT}
    open_trainer("short", training={"epochs": 2}, **sections).fit(StopRequest())
    result = longer(tmp_path / "short", 4).fit(StopRequest())
    whole = open_trainer("whole", training={"epochs": 4}, **sections).fit(StopRequest())
    assert (result.epochs, result.steps) == (4, whole.steps)
    assert (tmp_path / "short/model.safetensors").read_bytes() == (tmp_path / "whole/model.safetensors").read_bytes()
    assert epochs_of(tmp_path / "short") == epochs_of(tmp_path / "whole")
    folder = RunFolder(tmp_path / "short")
    assert folder.recipe() == RunFolder(tmp_path / "whole").recipe()
    assert not verify(folder).damaged


def test_a_longer_run_that_is_stopped_is_whole_and_goes_on(open_trainer: OpenTrainer, tmp_path: Path) -> None:
    open_trainer("run", training={"epochs": 1}).fit(StopRequest())
    with pytest.raises(StoppedError):
        longer(tmp_path / "run", 3).fit(StopAtOnce())
    assert not verify(RunFolder(tmp_path / "run")).damaged
    request = TrainingRequest(out=tmp_path / "run", resume=True, places=DataPlaces(cache_directory=tmp_path / "cache"))
    assert prepare_training(request, Silent()).fit(StopRequest()).epochs == 3


def test_the_epochs_that_a_run_has_already_leave_it_as_it_is(open_trainer: OpenTrainer, tmp_path: Path) -> None:
    open_trainer("run", training={"epochs": 2}).fit(StopRequest())
    before = (tmp_path / "run/model.safetensors").read_bytes()
    assert longer(tmp_path / "run", 2).fit(StopRequest()).epochs == 2
    assert (tmp_path / "run/model.safetensors").read_bytes() == before


@pytest.mark.parametrize(
    ("sections", "reason"),
    [
        (
            {"schedule": {"kind": "one-cycle"}},
            "its schedule one-cycle was planned for 1 epoch and has no learning rate",
        ),
        ({"schedule": {"kind": "cosine"}}, "its schedule cosine was planned for 1 epoch and has no learning rate"),
        ({"average": {"kind": "tail"}}, "its average begins at a share of 1 epoch"),
        ({"time_limit": "10m"}, "a time limit decides its length"),
    ],
)
def test_a_run_whose_length_was_planned_says_what_to_do(
    open_trainer: OpenTrainer, tmp_path: Path, sections: dict[str, object], reason: str
) -> None:
    options = {"time_limit": sections["time_limit"]} if "time_limit" in sections else sections
    open_trainer("run", training={"epochs": 1}, **options).fit(StopRequest())
    before = (tmp_path / "run/config.json").read_bytes()
    with pytest.raises(InputError) as refused:
        longer(tmp_path / "run", 3)
    first, second = str(refused.value).split("\n")
    assert first.startswith(f"{tmp_path / 'run'}: cannot go on to 3 epochs: {reason}")
    assert second == f"train its model further: recurlm train TEXT --from {tmp_path / 'run'} --out NEW"
    assert (tmp_path / "run/config.json").read_bytes() == before


def test_a_run_that_its_patience_ended_does_not_go_on(open_trainer: OpenTrainer, tmp_path: Path) -> None:
    trainer = open_trainer("run", training={"epochs": 9, "patience": 1})
    # no later validation is better than a loss of zero
    trainer.after_validation = lambda epoch, measured: setattr(trainer.counters, "best_nats", 0.0)
    assert trainer.fit(StopRequest()).epochs == 2
    with pytest.raises(InputError, match=r"training\.patience ended it after 2 epochs"):
        longer(tmp_path / "run", 20)


def test_a_run_without_checkpoints_does_not_go_on(open_trainer: OpenTrainer, tmp_path: Path) -> None:
    open_trainer("run", training={"epochs": 1}).fit(StopRequest())
    RunFolder(tmp_path / "run").checkpoints.discard()
    with pytest.raises(InputError, match="its checkpoints are gone"):
        longer(tmp_path / "run", 2)
