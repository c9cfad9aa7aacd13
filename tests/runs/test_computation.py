"""Which kernels, threads and torch computed a run: written down, and said where a resumed run meets others."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from recurlm.errors import StoppedError
from recurlm.kernels.native import native_digest
from recurlm.progress import Silent
from recurlm.runs import computation as module
from recurlm.runs.computation import changed_computation, computation
from recurlm.text.places import DataPlaces
from recurlm.training.loop import Trainer
from recurlm.training.request import TrainingRequest
from recurlm.training.setup import prepare_training
from recurlm.training.stopping import StopRequest

OpenTrainer = Callable[..., Trainer]


class Heard(Silent):
    def __init__(self) -> None:
        self.lines: list[str] = []

    def say(self, text: str) -> None:
        self.lines.append(text)


def begun(run: Path) -> list[dict]:
    entries = map(json.loads, (run / "metrics.jsonl").read_text().splitlines())
    return [entry for entry in entries if entry["event"] in ("begin", "resume")]


def stopped(open_trainer: OpenTrainer) -> Path:
    """A run that was stopped after its first step."""
    stop = StopRequest()
    stop.requested = True
    trainer = open_trainer("run")
    with pytest.raises(StoppedError):
        trainer.fit(stop)
    return trainer.run.folder.path


def resumed(run: Path, tmp_path: Path) -> list[str]:
    """What is said when it goes on to its end."""
    heard = Heard()
    request = TrainingRequest(out=run, resume=True, places=DataPlaces(cache_directory=tmp_path / "cache", offline=True))
    prepare_training(request, heard).fit(StopRequest())
    return heard.lines


def bit_for_bit(lines: list[str]) -> str:
    return "\n".join(line for line in lines if "bit for bit" in line)


def test_a_run_keeps_what_computes_it(open_trainer):
    trainer = open_trainer("run")
    trainer.fit(StopRequest())
    kernels = trainer.run.folder.config()["kernels"]
    assert kernels["vector_code"] == torch.backends.cpu.get_cpu_capability()
    assert kernels["digest"] == (native_digest() and f"sha256:{native_digest()[:16]}")
    expected = {"event": "begin", "step": 0, "kernels": kernels, "threads": 1, "torch": str(torch.__version__)}
    assert begun(trainer.run.folder.path) == [expected]


def test_the_same_computation_goes_on_without_a_word_and_leaves_its_line(open_trainer, tmp_path):
    run = stopped(open_trainer)
    assert bit_for_bit(resumed(run, tmp_path)) == ""
    assert [(entry["event"], entry["step"]) for entry in begun(run)] == [("begin", 0), ("resume", 1)]


def without_library(monkeypatch):
    monkeypatch.setattr(module, "native_instructions", lambda: None)
    monkeypatch.setattr(module, "native_digest", lambda: None)


def another_build(monkeypatch):
    monkeypatch.setattr(module, "native_instructions", lambda: "avx512-bf16")
    monkeypatch.setattr(module, "native_digest", lambda: 64 * "1")


def another_torch(monkeypatch):
    monkeypatch.setattr(torch, "__version__", "9.9.9")


def another_processor(monkeypatch):
    monkeypatch.setattr(module, "processor_name", lambda: "Another 9000")


def lesser_vectors(monkeypatch):
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "DEFAULT")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (without_library, "compiled library none (was avx2-for-a-test)"),
        (another_build, "compiled library avx512-bf16 (was avx2-for-a-test)"),
        (another_torch, f"torch version 9.9.9 (was {torch.__version__})"),
        (another_processor, "processor Another 9000 (was "),
        (lesser_vectors, "torch's vector code DEFAULT (was "),
    ],
)
def test_another_computation_goes_on_and_is_named(open_trainer, tmp_path, change, said):
    with pytest.MonkeyPatch.context() as began:
        began.setattr(module, "native_instructions", lambda: "avx2-for-a-test")
        began.setattr(module, "native_digest", lambda: 64 * "0")
        run = stopped(open_trainer)
    with pytest.MonkeyPatch.context() as later:
        if change not in (without_library, another_build):
            later.setattr(module, "native_instructions", lambda: "avx2-for-a-test")
            later.setattr(module, "native_digest", lambda: 64 * "0")
        change(later)
        lines = resumed(run, tmp_path)
    assert bit_for_bit(lines).strip().startswith("continues, but not bit for bit like an uninterrupted run: ")
    assert said in bit_for_bit(lines)
    assert "build of" not in bit_for_bit(lines)
    assert (run / "model.safetensors").is_file()


def test_the_same_instructions_built_otherwise_are_another_build(open_trainer, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "native_instructions", lambda: "avx2")
    monkeypatch.setattr(module, "native_digest", lambda: 64 * "0")
    run = stopped(open_trainer)
    monkeypatch.setattr(module, "native_digest", lambda: 64 * "1")
    told = bit_for_bit(resumed(run, tmp_path))
    assert f"build of the compiled library sha256:{16 * '1'} (was sha256:{16 * '0'})" in told


def test_another_number_of_threads_is_named(open_trainer):
    folder = open_trainer("run").run.folder
    before = computation("cpu")["threads"]
    try:
        torch.set_num_threads(before + 1)
        told = changed_computation(folder, "cpu")
    finally:
        torch.set_num_threads(before)
    assert told is not None
    assert told.endswith(f": threads {before + 1} (was {before})")


def test_a_run_that_was_once_computed_otherwise_stays_so(open_trainer, tmp_path):
    run = stopped(open_trainer)
    with (run / "metrics.jsonl").open("a") as journal:
        other = computation("cpu") | {"torch": "9.9.9"}
        journal.write(json.dumps({"event": "resume", "step": 1} | other) + "\n")
    assert f"torch version {torch.__version__} (was 9.9.9)" in bit_for_bit(resumed(run, tmp_path))


def test_bf16_on_a_processor_without_it_is_said_to_be_slower(open_trainer, tmp_path, monkeypatch):
    monkeypatch.setattr("recurlm.devices.bf16_is_fast", lambda: False)
    heard = Heard()
    run = stopped(open_trainer)
    source = json.loads((run / "config.json").read_text())["corpus"]["source"]
    request = TrainingRequest(
        source, out=tmp_path / "bf16", precision="bf16", places=DataPlaces(cache_directory=tmp_path / "cache")
    )
    prepare_training(request, heard)
    assert any("bf16 is slower than fp32 on this processor" in line for line in heard.lines)


def test_a_resumed_run_computes_with_its_own_threads_and_leaves_the_caller_s(open_trainer):
    before, seen = torch.get_num_threads(), []
    stopped(open_trainer)
    torch.set_num_threads(before + 1)
    try:
        resumed = open_trainer("run", resume=True)
        step = resumed.stepper.step
        resumed.stepper.step = lambda *given: (seen.append(torch.get_num_threads()), step(*given))[1]
        resumed.fit(StopRequest())
        after = torch.get_num_threads()
    finally:
        torch.set_num_threads(before)
    assert set(seen) == {before}
    assert after == before + 1


@pytest.mark.parametrize(
    ("began", "processes", "threads", "said"),
    [
        ({"processes": 2, "threads": 1}, 1, 2, "processes 1 (was 2)"),
        ({"threads": 2}, 2, 1, "processes 2 (was 1)"),
        ({"processes": 2, "threads": 1}, 3, 1, "threads 3 (was 2), processes 3 (was 2)"),
        ({"processes": 2, "threads": 1}, 2, 2, "threads 4 (was 2)"),
    ],
)
def test_threads_are_those_of_all_processes(open_trainer, monkeypatch, began, processes, threads, said):
    folder = open_trainer("run").run.folder
    entry = {"event": "begin", "step": 0} | computation("cpu") | began
    (folder.path / "metrics.jsonl").write_text(json.dumps(entry) + "\n")
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    told = changed_computation(folder, "cpu", processes)
    assert told == f"continues, but not bit for bit like an uninterrupted run: {said}"
