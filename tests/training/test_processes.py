"""Training in several real processes against training in one."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

import team_worker
from recurlm.distributed import Team
from recurlm.tensor_files import tensors
from small_runs import write_corpus_folder
from team_worker import train

SGD = {"kind": "sgd", "learning_rate": 0.5}
DROPPED = {
    "locked": True,
    "embedding": 0.1,
    "input": 0.2,
    "between": 0.2,
    "output": 0.2,
    "recurrent_weights": 0.3,
}
SMALL = {"embedding_size": 12, "hidden_sizes": [12, 12]}
ONE_EPOCH = {"epochs": 1, "log_every": 1, "clip_norm": 0.5}
RECIPES: dict[str, dict[str, Any]] = {
    "plain": {"optimizer": SGD, "training": ONE_EPOCH},
    "every dropout": {
        "batches": {
            "kind": "stream",
            "batch_size": 5,
            "bptt": 8,
            "random_lengths": True,
            "partial_shuffle": True,
            "reset_probability": 0.1,
        },
        "model": SMALL | {"tied": True, "dropout": DROPPED | {"state": 0.2}},
        "training": ONE_EPOCH | {"epochs": 2, "activation_penalty": 2.0, "slowness_penalty": 1.0},
        "average": {"kind": "tail", "start": 0.3},
    },
    "single units, rows": {
        "text": {"unit": "character"},
        "batches": {"kind": "stream", "batch_size": 6, "bptt": 12},
        "model": SMALL | {"cell": "gru", "dropout": {"input": 0.3, "between": 0.3, "output": 0.3, "locked": False}},
        "optimizer": {"kind": "rmsprop", "learning_rate": 0.01},
        "training": ONE_EPOCH,
        "average": {"kind": "exponential", "decay": 0.9},
    },
    "sentences": {
        "batches": {"kind": "sentences", "batch_size": 7, "buckets": [7, 8, 9, 10]},
        "model": SMALL | {"dropout": {"output": 0.3}},
        "optimizer": {"kind": "adamw", "learning_rate": 0.01},
        "training": ONE_EPOCH | {"loss": "sequence", "slowness_penalty": 1.0},
    },
    "a sample, Muon, documents": {
        "text": {"document": "line"},
        "model": SMALL | {"output": {"kind": "sampled", "tokens": 8}},
        "optimizer": {"kind": "muon", "learning_rate": 0.01},
        "training": ONE_EPOCH | {"slowness_penalty": 1.0},
    },
    "a mixture": {
        "model": SMALL | {"output": {"kind": "mixture", "experts": 3, "dropout": 0.2}, "dropout": {"locked": True}},
        "optimizer": SGD,
        "training": ONE_EPOCH,
    },
    "clusters, Adam": {
        "batches": {"kind": "sentences", "batch_size": 3},
        "model": SMALL | {"output": {"kind": "adaptive", "cutoffs": [12, 14]}},
        "optimizer": {"kind": "adam", "learning_rate": 0.01},
        "training": ONE_EPOCH,
    },
}
"""A few recipes that together use every source of random numbers and every way of batching."""


@pytest.fixture
def work(small_recipe: Callable[..., Path], tmp_path: Path) -> Callable[..., dict[str, Any]]:
    """One run of a plan, in a folder of this name."""
    text = write_corpus_folder(tmp_path, 80)

    def make(name: str, out: str, kind: str = "float64", **more: Any) -> dict[str, Any]:
        paths = {"text": text, "recipe": small_recipe(**RECIPES[name]), "out": tmp_path / out}
        paths["cache"] = tmp_path / "cache"
        return {key: str(path) for key, path in paths.items()} | {"type": kind} | more

    return make


@pytest.fixture
def own_type() -> Iterator[None]:
    """Restores torch's default type, which a run in this process changes."""
    yield
    torch.set_default_dtype(torch.float32)


def train_together(processes: int, plan: list[dict[str, Any]], folder: Path) -> None:
    """Carries out a plan in several processes."""
    path = folder / f"plan-{processes}.json"
    path.write_text(json.dumps(plan))
    team = start_team(processes, path)
    told = [process.communicate(timeout=300)[1] for process in team]
    assert [process.returncode for process in team] == [0] * processes, told


def start_team(processes: int, plan: Path) -> list[subprocess.Popen[str]]:
    """Starts a team of processes as torch's launcher does."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    shared = {"TORCHELASTIC_RUN_ID": "test", "WORLD_SIZE": processes, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    shared |= {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, team_worker.__file__, str(plan)]
    return [
        subprocess.Popen(
            command,
            env=os.environ
            | {name: str(value) for name, value in (shared | {"RANK": rank, "LOCAL_RANK": rank}).items()},
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(processes)
    ]


def journal(run: str, event: str = "step") -> list[dict[str, Any]]:
    """The entries of a run's journal of one kind."""
    entries = map(json.loads, (Path(run) / "metrics.jsonl").read_text("utf-8").splitlines())
    return [entry for entry in entries if entry.get("event", "step") == event]


def losses(run: str) -> list[float]:
    return [entry["loss"] for entry in journal(run)]


@pytest.mark.usefixtures("own_type")
@pytest.mark.parametrize(
    ("processes", "shares_memory"),
    [(2, True), *(pytest.param(*each, marks=pytest.mark.thorough) for each in ((2, False), (3, True), (3, False)))],
)
def test_several_processes_compute_what_one_computes(work, tmp_path, processes, shares_memory):
    alone = [work(name, f"alone-{number}") for number, name in enumerate(RECIPES)]
    together = [work(name, f"together-{number}") for number, name in enumerate(RECIPES)]
    together[0]["shares_memory"] = shares_memory
    train_together(processes, together, tmp_path)
    for one, several in zip(alone, together, strict=True):
        train(one, Team())
        assert losses(several["out"]) == pytest.approx(losses(one["out"]), rel=1e-10)
        for kind in ("epoch", "final"):
            [*_, first], [*_, second] = journal(one["out"], kind), journal(several["out"], kind)
            figures = [key for key in first if "perplexity" in key or key in ("tokens", "step")]
            assert [second[key] for key in figures] == pytest.approx([first[key] for key in figures], rel=1e-9)
        model = [tensors((Path(each["out"]) / "model.safetensors").read_bytes(), tmp_path) for each in (one, several)]
        for name, weight in model[0].items():
            torch.testing.assert_close(model[1][name], weight, rtol=1e-8, atol=1e-10)


@pytest.mark.usefixtures("own_type")
def test_the_number_of_processes_may_change_when_a_run_resumes(work, tmp_path):
    whole, parts = work("every dropout", "whole"), work("every dropout", "parts")
    train(whole, Team())
    train_together(2, [parts | {"looks": 10, "shares_memory": False}], tmp_path)
    assert len(losses(parts["out"])) == 11
    train(parts | {"looks": 10, "resume": True}, Team())
    assert len(losses(parts["out"])) < len(losses(whole["out"]))
    train_together(4, [parts | {"resume": True}], tmp_path)
    assert losses(parts["out"]) == pytest.approx(losses(whole["out"]), rel=1e-10)
    assert [entry["tokens"] for entry in journal(parts["out"])] == [entry["tokens"] for entry in journal(whole["out"])]
    assert [each.get("processes") for each in journal(parts["out"], "begin") + journal(parts["out"], "resume")] == [
        2,
        None,
        4,
    ]
    # two processes of one thread began; one process has the threads of both, four share them
    assert [each["threads"] for each in journal(parts["out"], "begin") + journal(parts["out"], "resume")] == [1, 2, 1]


@pytest.mark.thorough
@pytest.mark.usefixtures("own_type")
def test_a_run_of_two_processes_resumes_bit_for_bit(work, tmp_path):
    whole, parts = work("sentences", "whole", "float32"), work("sentences", "parts", "float32")
    train_together(2, [whole, parts | {"looks": 17}], tmp_path)
    train_together(2, [parts | {"resume": True}], tmp_path)
    assert losses(parts["out"]) == losses(whole["out"])
    models = [(Path(each["out"]) / "model.safetensors").read_bytes() for each in (whole, parts)]
    assert models[0] == models[1]


def test_a_process_that_stalls_is_noticed(work, tmp_path):
    path = tmp_path / "plan.json"
    endless = work("plain", "stalled", "float32", stalled=2, epochs=100_000)
    path.write_text(json.dumps([endless]))
    team = start_team(2, path)
    try:
        wait_for(lambda: (Path(endless["out"]) / "metrics.jsonl").exists())
        team[1].send_signal(signal.SIGSTOP)
        _, told = team[0].communicate(timeout=60)
    finally:
        for process in team:
            process.kill()
            process.communicate()
    assert "LostProcessError: another process of this command ended or does not answer" in told


def wait_for(condition: Callable[[], bool], seconds: float = 120.0) -> None:
    """Waits until a condition holds."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "nothing happened"
        time.sleep(0.05)
