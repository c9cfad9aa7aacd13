"""`recurlm train --processes` as real commands: its result, and the ways in which its processes die."""

import json
import os
import random
import resource
import signal
import socket
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
    """Starts a command that trains with two processes, or with those that another launcher starts."""
    recipe = small_recipe(optimizer=SGD, training={"epochs": 4, "log_every": 1, "checkpoint_seconds": 0.1})
    started = []

    def start_(out: str, *options: str, launcher: tuple[str, ...] = ("-m",)) -> subprocess.Popen[str]:
        command = [sys.executable, *launcher, "recurlm", "train", str(corpus_folder), "--recipe", str(recipe)]
        command += ["--out", str(tmp_path / out), "--cache-dir", str(tmp_path / "cache"), "--precision", "fp32"]
        command += ["--processes", "2"] if launcher == ("-m",) else []
        environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)}
        started.append(
            subprocess.Popen(
                [*command, *options], env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
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
    wait_for(lambda: bool(list(run.glob("checkpoints/step-*"))))


def wait_for(condition: Callable[[], bool]) -> None:
    """Waits until a condition holds."""
    deadline = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < deadline, "nothing happened"
        time.sleep(0.02)


def count_of_lives(run: Path) -> int:
    """How often processes have begun to train a run."""
    content = (run / "metrics.jsonl").read_text("utf-8")
    return content.count('"event": "begin"') + content.count('"event": "resume"')


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


def rank(command: subprocess.Popen[str], number: int) -> int:
    """The process with this number in its team."""
    (found,) = [child for child in children(command.pid) if rank_of(child) == str(number)]
    return found


def test_a_full_disk_ends_all_processes_and_the_run_resumes(start, tmp_path):
    run, whole = tmp_path / "run", tmp_path / "whole"
    command = start("run", "--max-restarts", "1")
    wait_for_checkpoint(run)
    # from now on the process that writes the run has room for a few bytes
    resource.prlimit(rank(command, 0), resource.RLIMIT_FSIZE, (1000, resource.RLIM_INFINITY))
    _, told = command.communicate(timeout=SECONDS)
    assert command.returncode == 1
    assert told.count("the file would be larger than the system allows") == 1
    assert "Traceback" not in told
    assert "starting again" not in told
    assert start("run", "--resume").communicate(timeout=SECONDS)
    assert start("whole").communicate(timeout=SECONDS)
    assert steps(run) == steps(whole)


@pytest.mark.thorough
def test_a_stalled_process_is_ended_and_all_start_again(start, tmp_path):
    run, whole = tmp_path / "run", tmp_path / "whole"
    command = start("run", "--max-restarts", "1", "--epochs", "40")
    wait_for_checkpoint(run)
    os.kill(rank(command, 1), signal.SIGSTOP)
    _, told = command.communicate(timeout=2 * SECONDS)
    assert command.returncode == 0, told
    assert "a process did not answer, so all 2 ended" in told
    assert "starting again: 1 of 1" in told
    assert start("whole", "--epochs", "40").communicate(timeout=SECONDS)
    assert steps(run) == steps(whole)


@pytest.mark.parametrize(
    ("machines", "options"),
    [
        (1, ["--standalone", "--nproc-per-node=2"]),
        (2, ["--nnodes=2", "--nproc-per-node=1", "--master-addr=127.0.0.1", "--master-port={port}"]),
        (2, ["--nnodes=2", "--nproc-per-node=1", "--rdzv-backend=c10d", "--rdzv-endpoint=127.0.0.1:{port}"]),
    ],
    ids=["one machine", "static", "c10d"],
)
def test_torchrun_starts_the_processes_of_one_machine_or_two(start, tmp_path, machines, options):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        filled = [option.format(port=free.getsockname()[1]) for option in options]
    numbered = [[f"--node-rank={number}"] if "--nnodes=2" in filled else [] for number in range(machines)]
    launchers = [("-m", "torch.distributed.run", *filled, *number, "-m") for number in numbered]
    commands = [start("run", "--epochs", "1", launcher=launcher) for launcher in launchers]
    told = [command.communicate(timeout=SECONDS) for command in commands]
    assert [command.returncode for command in commands] == [0] * machines, told
    assert sum(output.strip() == str(tmp_path / "run") for output, _ in told) == 1
    begun = json.loads((tmp_path / "run" / "metrics.jsonl").read_text("utf-8").splitlines()[0])
    assert (begun["event"], begun["processes"]) == ("begin", 2)


@pytest.mark.thorough
def test_twenty_kills_lose_nothing(start, tmp_path):
    run, whole, chosen = tmp_path / "run", tmp_path / "whole", random.Random(3)
    command = start("run", "--max-restarts", "20", "--epochs", "80")
    wait_for_checkpoint(run)
    for kills in range(20):
        wait_for(lambda lives=kills + 1: count_of_lives(run) == lives)
        time.sleep(chosen.uniform(0, 0.3))
        os.kill(rank(command, chosen.randrange(2)), signal.SIGKILL)
    command.communicate(timeout=600)
    assert command.returncode == 0
    assert count_of_lives(run) == 21
    start("whole", "--epochs", "80").communicate(timeout=600)
    assert steps(run) == steps(whole)
    assert (run / "model.safetensors").read_bytes() == (whole / "model.safetensors").read_bytes()


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
