"""Training in two processes from the kill of one to the next step, and from the kill of the launcher to the end of all.

The text is made and the model small, so the seconds are those of noticing, starting processes again and resuming.
"""

import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks._measure import Spread
from benchmarks._record import ROOT
from benchmarks._report import Options, Result, Row, run
from benchmarks.time_limit import zipf_lines

JOB = "kills"
LONGEST = 30.0
SIZES = ("model.embedding_size=32", "model.hidden_sizes=[32,32]", "batches.batch_size=4")
OFTEN = ("training.checkpoint_seconds=1", "training.log_every=1")


def measure(options: Options) -> Result:
    """Kills one process again and again; at the end, the launcher."""
    kills = options.pick(7, 2, 1)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "text.txt").write_text("".join(f"{line}\n" for line in zipf_lines(1, 60_000, 1_000)))
        launcher = _train(folder, kills)
        try:
            going_on = [_seconds_to_go_on(launcher.pid, folder / "run", number) for number in range(kills)]
            ended = _seconds_to_end(launcher, folder / "run")
        finally:
            launcher.kill()
            launcher.communicate()
    rows = [
        Row(JOB, "from a killed process to the next step", Spread.of(going_on), "s", at_most=LONGEST),
        Row(JOB, "from the killed launcher to the end of all", Spread.of([ended]), "s", at_most=LONGEST),
    ]
    return Result(JOB, f"2 processes, {kills} kills of one of them, then of the launcher", rows)


def _train(folder: Path, restarts: int) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "recurlm", "train", str(folder / "text.txt"), "--recipe", "demo"]
    command += ["--epochs", "100000", "--processes", "2", "--max-restarts", str(restarts), "--out", str(folder / "run")]
    command += [f"--set={change}" for change in (*SIZES, *OFTEN)]
    path = os.pathsep.join([str(ROOT / "src"), os.environ.get("PYTHONPATH", "")])
    own = {"OMP_NUM_THREADS": "1", "RECURLM_CACHE_DIR": str(folder / "cache"), "PYTHONPATH": path}
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=os.environ | own)


def _seconds_to_go_on(launcher: int, run: Path, seed: int) -> float:
    """Kills a process once the run has a checkpoint and takes steps; waits for the first step after that."""
    chosen = random.Random(seed)
    _wait_for(lambda: bool(list(run.glob("checkpoints/step-*"))) and _steps_since(run, _lives(run) - 1) > 5)
    before = _lives(run)
    began = time.monotonic()
    os.kill(chosen.choice(_children(launcher)), signal.SIGKILL)
    _wait_for(lambda: _lives(run) > before and _steps_since(run, before) > 0)
    return time.monotonic() - began


def _seconds_to_end(launcher: subprocess.Popen[bytes], run: Path) -> float:
    workers = _children(launcher.pid)
    launcher.kill()
    launcher.wait()
    began = time.monotonic()
    _wait_for(lambda: not any(_computes(worker) for worker in workers))
    return time.monotonic() - began


def _computes(process: int) -> bool:
    """Whether a process still runs; one that has ended may wait for somebody to ask how."""
    status = Path(f"/proc/{process}/stat")
    return status.exists() and status.read_text().rpartition(")")[2].split()[0] != "Z"


def _children(parent: int) -> list[int]:
    return list(map(int, Path(f"/proc/{parent}/task/{parent}/children").read_text().split()))


def _events(run: Path) -> list[str]:
    """The kinds of the entries of a run's journal; its last line may be unfinished."""
    path = run / "metrics.jsonl"
    lines = path.read_text("utf-8").split("\n")[:-1] if path.exists() else []
    return [json.loads(line)["event"] for line in lines]


def _lives(run: Path) -> int:
    """How often processes have begun to train the run."""
    return sum(event in ("begin", "resume") for event in _events(run))


def _steps_since(run: Path, life: int) -> int:
    """The steps since processes began for the time with this number, from 0."""
    count, steps = -1, 0
    for event in _events(run):
        count += event in ("begin", "resume")
        steps += event == "step" and count >= life
    return steps


def _wait_for(condition: Callable[[], bool], seconds: float = 300.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise RuntimeError("the run does not go on")
        time.sleep(0.02)


def main() -> None:
    """Print and record the measurement."""
    run("train-killed", __doc__, measure)


if __name__ == "__main__":
    main()
