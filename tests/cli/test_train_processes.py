"""`recurlm train --processes` as real commands: its result, and the ways in which its processes die."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="finds processes by Linux's /proc")
SGD = {"kind": "sgd", "learning_rate": 0.5}
SECONDS = 120


@pytest.fixture
def start(
    corpus_folder: Path, small_recipe: Callable[..., Path], tmp_path: Path
) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Starts a command that trains with two processes."""
    recipe = small_recipe(optimizer=SGD, training={"epochs": 4, "log_every": 1, "checkpoint_seconds": 0.1})
    started = []

    def start_(out: str, *options: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "recurlm", "train", str(corpus_folder), "--recipe", str(recipe)]
        command += ["--out", str(tmp_path / out), "--cache-dir", str(tmp_path / "cache"), "--precision", "fp32"]
        environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)}
        started.append(
            subprocess.Popen(
                [*command, "--processes", "2", *options],
                env=environment,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
        )
        return started[-1]

    yield start_
    for process in started:
        for child in children(process.pid):
            os.kill(child, signal.SIGKILL)
        process.kill()
        process.communicate()


def children(parent: int) -> list[int]:
    """The processes that a process has started."""
    path = Path(f"/proc/{parent}/task/{parent}/children")
    return list(map(int, path.read_text().split())) if path.exists() else []


def rank_of(process: int) -> str | None:
    """The number of a process in its team."""
    environment = Path(f"/proc/{process}/environ").read_bytes().split(b"\0")
    return dict(entry.decode().partition("=")[::2] for entry in environment).get("RANK")


def wait_for_checkpoint(run: Path) -> None:
    """Waits until a run inside its first epochs has a checkpoint."""
    deadline = time.monotonic() + SECONDS
    while not list(run.glob("checkpoints/step-*")):
        assert time.monotonic() < deadline, "no checkpoint"
        time.sleep(0.02)


def steps(run: Path) -> list[dict[str, Any]]:
    """The logged steps of a run, without their times."""
    entries = map(json.loads, (run / "metrics.jsonl").read_text("utf-8").splitlines())
    return [{key: entry[key] for key in ("step", "tokens", "loss")} for entry in entries if entry["event"] == "step"]


def test_a_killed_process_ends_the_command_and_the_run_resumes_bit_for_bit(start, tmp_path):
    run, whole = tmp_path / "run", tmp_path / "whole"
    command = start("run")
    wait_for_checkpoint(run)
    killed = time.monotonic()
    (second,) = [child for child in children(command.pid) if rank_of(child) == "1"]
    os.kill(second, signal.SIGKILL)
    _, told = command.communicate(timeout=SECONDS)
    assert time.monotonic() - killed < 30
    assert command.returncode == 1
    assert "process 2 of 2 was killed (SIGKILL)" in told
    assert "--resume" in told
    assert "Traceback" not in told
    resumed, other = start("run", "--resume"), start("whole")
    for each in (resumed, other):
        assert each.communicate(timeout=SECONDS)[0].strip() in (str(run), str(whole))
        assert each.returncode == 0
    assert len(steps(run)) == len(steps(whole)) > 100
    assert steps(run) == steps(whole)
    assert (run / "model.safetensors").read_bytes() == (whole / "model.safetensors").read_bytes()


def test_killed_workers_of_a_run_start_again(start, tmp_path):
    run, whole = tmp_path / "run", tmp_path / "whole"
    command = start("run", "--max-restarts", "1")
    wait_for_checkpoint(run)
    os.kill(children(command.pid)[0], signal.SIGKILL)
    _, told = command.communicate(timeout=SECONDS)
    assert command.returncode == 0
    assert "starting again: 1 of 1" in told
    assert start("whole").communicate(timeout=SECONDS)
    assert steps(run) == steps(whole)


def test_the_processes_stop_with_a_checkpoint_when_their_launcher_is_killed(start, tmp_path):
    run = tmp_path / "run"
    command = start("run", "--epochs", "100000")
    wait_for_checkpoint(run)
    workers = children(command.pid)
    command.kill()
    _, told = command.communicate(timeout=30)  # the workers hold the stream until they end
    assert "recurlm: stopped at step" in told
    assert len(workers) == 2
    assert not any(Path(f"/proc/{worker}/fd").exists() and os.listdir(f"/proc/{worker}/fd") for worker in workers)


@pytest.mark.thorough
def test_twenty_kills_lose_nothing(start, tmp_path):
    run, whole, chosen = tmp_path / "run", tmp_path / "whole", random.Random(3)
    command = start("run", "--max-restarts", "20", "--epochs", "400")
    before: set[int] = set()
    for _ in range(20):
        wait_for_checkpoint(run)
        deadline = time.monotonic() + SECONDS
        while len(workers := [child for child in children(command.pid) if child not in before]) < 2:
            assert time.monotonic() < deadline, "not started again"
            time.sleep(0.05)
        before |= set(workers)
        time.sleep(chosen.uniform(2, 8))
        os.kill(chosen.choice(workers), signal.SIGKILL)
    command.communicate(timeout=600)
    assert command.returncode == 0
    start("whole", "--epochs", "400").communicate(timeout=600)
    assert steps(run) == steps(whole)


def test_a_signal_to_the_command_stops_all_processes_with_a_checkpoint(start, tmp_path):
    command = start("run")
    wait_for_checkpoint(tmp_path / "run")
    command.send_signal(signal.SIGINT)
    _, told = command.communicate(timeout=SECONDS)
    assert command.returncode == 75
    assert told.count("recurlm: stopped at step") == 1
    assert "Traceback" not in told


def test_an_error_before_training_is_told_once(start):
    command = start("run", "--set", "batches.batch_size=1")
    _, told = command.communicate(timeout=SECONDS)
    assert command.returncode == 2
    assert told.count("2 processes cannot share the 1 column of a batch") == 1
    assert "Traceback" not in told
