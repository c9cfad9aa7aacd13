"""`recurlm train --processes` as real commands: its result, and the ways in which its processes die."""

import json
import os
import random
import resource
import shutil
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

from small_runs import write_corpus_folder, write_small_recipe

pytestmark = pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="finds processes by Linux's /proc")
SECTIONS = {
    "optimizer": {"kind": "sgd", "learning_rate": 0.5},
    "training": {"epochs": 6, "log_every": 1, "checkpoint_seconds": 0.1},
}
SECONDS = 120
TORCHRUN = "torch.distributed.run"


class Commands:
    """Commands that train in a folder with two processes, or with those that another launcher starts."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.temporary = folder, folder / "temporary"
        self.temporary.mkdir()
        self.corpus, self._recipe = write_corpus_folder(folder), write_small_recipe(folder, **SECTIONS)
        self._started: list[subprocess.Popen[str]] = []

    def __call__(self, out: str, *options: str, launcher: tuple[str, ...] = ("-m",)) -> subprocess.Popen[str]:
        """Starts a command."""
        command = [sys.executable, *launcher, "recurlm", "train", str(self.corpus), "--recipe", str(self._recipe)]
        command += ["--out", str(self.folder / out), "--cache-dir", str(self.folder / "cache"), "--precision", "fp32"]
        command += ["--processes", "2"] if launcher == ("-m",) else []
        environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)}
        environment |= {"TMPDIR": str(self.temporary)}
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        self._started.append(subprocess.Popen([*command, *options], env=environment, text=True, **pipes))
        return self._started[-1]

    def end(self) -> None:
        """Kills what still runs."""
        for process in self._started:
            for child in children(process.pid):
                os.kill(child, signal.SIGKILL)
            process.kill()
            process.communicate()


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Commands]:
    """Starts commands in a folder of their own."""
    commands = Commands(tmp_path)
    yield commands
    commands.end()


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run that two processes train without an interruption, started by torchrun."""
    commands = Commands(tmp_path_factory.mktemp("whole"))
    command = commands("whole", launcher=("-m", TORCHRUN, "--standalone", "--nproc-per-node=2", "-m"))
    output, told = command.communicate(timeout=SECONDS)
    assert command.returncode == 0, told
    assert output.strip() == str(commands.folder / "whole")
    return commands.folder / "whole"


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
    metrics = run / "metrics.jsonl"
    content = metrics.read_text("utf-8") if metrics.exists() else ""
    return content.count('"event": "begin"') + content.count('"event": "resume"')


def steps(run: Path) -> list[dict[str, Any]]:
    """The logged steps of a run, without their times."""
    entries = map(json.loads, (run / "metrics.jsonl").read_text("utf-8").splitlines())
    return [{key: entry[key] for key in ("step", "tokens", "loss")} for entry in entries if entry["event"] == "step"]


def rank(command: subprocess.Popen[str], number: int) -> int:
    """The process with this number in its team, as soon as it runs."""
    found: list[int] = []

    def is_there() -> bool:
        found[:] = [child for child in children(command.pid) if rank_of(child) == str(number)]
        return len(found) == 1

    wait_for(is_there)
    return found[0]


def test_a_run_that_was_stopped_and_killed_resumes_bit_for_bit(start, whole, tmp_path):
    run = tmp_path / "run"
    command = start("run")
    wait_for_checkpoint(run)
    command.send_signal(signal.SIGINT)
    _, told = command.communicate(timeout=SECONDS)
    assert command.returncode == 75
    assert told.count("recurlm: stopped at step") == 1
    assert "Traceback" not in told
    command = start("run", "--resume")
    wait_for(lambda: count_of_lives(run) == 2)
    killed = time.monotonic()
    os.kill(rank(command, 1), signal.SIGKILL)
    _, told = command.communicate(timeout=SECONDS)
    assert time.monotonic() - killed < 30
    assert command.returncode == 1
    assert "process 2 of 2 was killed (SIGKILL)" in told
    assert "--resume" in told
    assert "Traceback" not in told
    resumed = start("run", "--resume")
    output, told = resumed.communicate(timeout=SECONDS)
    assert resumed.returncode == 0, told
    assert output.strip() == str(run)
    assert count_of_lives(run) == 3
    assert len(steps(run)) == len(steps(whole)) > 100
    assert steps(run) == steps(whole)
    assert (run / "model.safetensors").read_bytes() == (whole / "model.safetensors").read_bytes()


def test_the_processes_stop_with_a_checkpoint_when_their_launcher_is_killed(start, tmp_path):
    run = tmp_path / "run"
    command = start("run", "--epochs", "100000")
    wait_for_checkpoint(run)
    workers = children(command.pid)
    command.kill()
    _, told = command.communicate(timeout=30)  # the workers hold the stream until they end
    assert "recurlm: stopped at step" in told
    assert len(workers) == 2
    wait_for(lambda: not list(start.temporary.glob("recurlm-*")))
    assert not any(Path(f"/proc/{worker}/fd").exists() and os.listdir(f"/proc/{worker}/fd") for worker in workers)


@pytest.mark.thorough
def test_a_full_disk_ends_all_processes_and_the_run_resumes(start, whole, tmp_path):
    run = tmp_path / "run"
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
    assert steps(run) == steps(whole)


@pytest.mark.thorough
def test_a_stalled_process_is_ended_and_all_start_again(start, whole, tmp_path):
    run = tmp_path / "run"
    command = start("run", "--max-restarts", "1")
    wait_for_checkpoint(run)
    os.kill(rank(command, 1), signal.SIGSTOP)
    _, told = command.communicate(timeout=2 * SECONDS)
    assert command.returncode == 0, told
    assert "a process did not answer, so all 2 ended" in told
    assert "starting again: 1 of 1" in told
    assert steps(run) == steps(whole)


def test_a_run_that_torchrun_starts_has_its_processes(whole):
    begun = json.loads((whole / "metrics.jsonl").read_text("utf-8").splitlines()[0])
    assert (begun["event"], begun["processes"]) == ("begin", 2)


@pytest.mark.thorough
@pytest.mark.parametrize(
    "options",
    [
        ["--master-addr=127.0.0.1", "--master-port={port}"],
        ["--rdzv-backend=c10d", "--rdzv-endpoint=127.0.0.1:{port}"],
    ],
    ids=["static", "c10d"],
)
def test_torchrun_starts_the_processes_of_two_machines(start, tmp_path, options):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        filled = [option.format(port=free.getsockname()[1]) for option in options]
    common = ("-m", TORCHRUN, "--nnodes=2", "--nproc-per-node=1", *filled)
    launchers = [(*common, f"--node-rank={number}", "-m") for number in range(2)]
    commands = [start("run", "--epochs", "1", launcher=launcher) for launcher in launchers]
    told = [command.communicate(timeout=SECONDS) for command in commands]
    assert [command.returncode for command in commands] == [0, 0], told
    assert sum(output.strip() == str(tmp_path / "run") for output, _ in told) == 1
    begun = json.loads((tmp_path / "run" / "metrics.jsonl").read_text("utf-8").splitlines()[0])
    assert (begun["event"], begun["processes"]) == ("begin", 2)


@pytest.mark.thorough
def test_twenty_kills_lose_nothing(start, whole, tmp_path):
    """Ten processes are killed while they start, and ten while they train."""
    run, chosen = tmp_path / "run", random.Random(3)
    command, before = start("run", "--max-restarts", "20"), 0
    for kill in range(20):
        process = rank(command, chosen.randrange(2))
        if kill % 2:
            time.sleep(chosen.uniform(0, 1))
        else:
            wait_for(lambda lives=before: count_of_lives(run) > lives)
            time.sleep(chosen.uniform(0, 0.05))
        before = count_of_lives(run)
        team = set(children(command.pid))
        os.kill(process, signal.SIGKILL)
        wait_for(lambda ended=team: not ended & set(children(command.pid)))
    _, told = command.communicate(timeout=SECONDS)
    assert command.returncode == 0, told
    assert "starting again: 20 of 20" in told
    assert count_of_lives(run) > 10
    assert steps(run) == steps(whole)
    assert (run / "model.safetensors").read_bytes() == (whole / "model.safetensors").read_bytes()


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        (["--device", "cuda"], 2, "--device cuda: no CUDA device found; use --device cpu or auto"),
        (["--data-dir", "nowhere", "ptb"], 3, "the data directory nowhere is missing"),
        (["--recipe", "none"], 3, "no recipe and no file named 'none'"),
        (["--set", "training.epoch=1"], 3, "recipe default --set training.epoch=1: training.epoch: unknown key"),
        (["--time-limit", "soon"], 2, "--time-limit soon: write it as 90s"),
        (["--out", "file"], 3, "file: is a file, not a folder; name another --out"),
        (["--out", "file/run"], 3, "file: is a file, not a folder; name another --out"),
        (["--set", "batches.batch_size=1"], 2, "2 processes cannot share the 1 column of a batch"),
    ],
)
def test_an_error_in_the_command_is_told_before_a_process_starts(
    recurlm, text_folder, tmp_path, monkeypatch, options, code, message
):
    if "cuda" in options and torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    (tmp_path / "file").touch()
    monkeypatch.setattr("recurlm.launching.launch", lambda *given: pytest.fail("started"))
    texts = [] if "ptb" in options else [text_folder]
    done = recurlm("train", *texts, "--out", "run", *options, "--processes", "2", cwd=tmp_path)
    assert done.returncode == code, done.stderr
    assert done.stderr.startswith("recurlm: ")
    assert done.stderr.count(message) == 1
    assert not (tmp_path / "run").exists()


@pytest.mark.thorough
def test_an_error_that_both_processes_meet_is_told_once(start, whole, tmp_path):
    shutil.copytree(whole, tmp_path / "run")
    start.corpus = whole.parent / "fruit"
    for file in (tmp_path / "run").glob("checkpoints/step-*/*"):
        file.write_bytes(b"damaged")
    command = start("run", "--resume")
    _, told = command.communicate(timeout=SECONDS)
    assert command.returncode == 4, told
    assert told.count("recurlm: ") == 1, told
    assert "Traceback" not in told
