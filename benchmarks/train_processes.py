"""Training in several processes: tokens a second of two processes against one, with as many threads and with one.

Run it on an idle machine with two cores or more. Each round trains every contestant once on the same made text, one
after the other; the figure of a round is the median of the steps after the first.
"""

import itertools
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from benchmarks._measure import Spread
from benchmarks._record import ROOT
from benchmarks._report import Check, Options, Result, Row, agreement, run
from benchmarks.time_limit import zipf_lines

WARM_UP_STEPS = 5
JOBS = {
    "seed's job": ("mxnet-bucketing", ("batches.padding=masked", "validation.full_batches=1"), 50 * 17),
    "stream 2 x 650": (
        "zaremba-medium",
        ("batches.batch_size=20", "batches.bptt=35", "optimizer.learning_rate=0.1"),
        20 * 35,
    ),
}
"""For each job its recipe, the changes, and roughly the words of a step.

At the learning rate of its recipe the stream's loss jumps to 18 in the third step; after that rounding decides.
"""
TINY = ("model.embedding_size=16", "model.hidden_sizes=[16,16]")
ONE, THREADS, PROCESSES = "1 process, 1 thread", "1 process, 2 threads", "2 processes, 1 thread each"
CONTESTANTS = {ONE: (1, 1), THREADS: (1, 2), PROCESSES: (2, 1)}
TARGETS = {THREADS: 0.95, ONE: 1.7}
"""What two processes have to reach against each of the others."""


def tokens_a_second(metrics: str) -> float:
    """The median speed of the steps of a journal, the first ones left out."""
    steps = [(entry["tokens"], entry["seconds"]) for entry in _steps(metrics)][WARM_UP_STEPS:]
    return statistics.median((b[0] - a[0]) / (b[1] - a[1]) for a, b in itertools.pairwise(steps) if b[1] > a[1])


def measure(options: Options) -> Result:
    """Both jobs; a check compares the losses of the last step, which processes and threads do not change."""
    rounds, steps = options.pick((7, 40), (1, 12), (1, 8))
    rows: list[Row] = []
    checks: list[Check] = []
    with tempfile.TemporaryDirectory() as name:
        for number, job in enumerate(JOBS):
            folder = Path(name, str(number))
            journals = _measure_job(job, folder, rounds, steps, options)
            rows += _rows(job, {who: list(map(tokens_a_second, each)) for who, each in journals.items()})
            last = {who: float(_steps(each[0])[-1]["loss"]) for who, each in journals.items()}
            checks.append(agreement(f"loss of the last step, {job}", last, ONE, 1e-4))
    return Result("processes", f"{rounds} rounds in turn, {steps} steps, fp32", rows, checks)


def _measure_job(job: str, folder: Path, rounds: int, steps: int, options: Options) -> dict[str, list[str]]:
    """The journals of each contestant, one a round."""
    recipe, changes, words = JOBS[job]
    changes = (*changes, *(TINY if options.size == "tiny" else ()))
    text = folder / "text"
    text.mkdir(parents=True)
    for part, size in (("train", steps * words), ("valid", 500), ("test", 500)):
        (text / f"{part}.txt").write_text("".join(f"{line}\n" for line in zipf_lines(1, size, 10_000)))
    journals: dict[str, list[str]] = {who: [] for who in CONTESTANTS}
    for number, who in itertools.product(range(rounds), CONTESTANTS):
        out = folder / f"run-{number}-{'-'.join(map(str, CONTESTANTS[who]))}"
        _train(text, out, recipe, changes, *CONTESTANTS[who])
        journals[who].append((out / "metrics.jsonl").read_text("utf-8"))
    return journals


def _train(text: Path, out: Path, recipe: str, changes: Sequence[str], processes: int, threads: int) -> None:
    command = [sys.executable, "-m", "recurlm", "train", str(text), "--recipe", recipe, "--epochs", "1"]
    command += ["--processes", str(processes), "--out", str(out), "--precision", "fp32", "--quiet"]
    command += [f"--set={change}" for change in (*changes, "training.log_every=1")]
    path = os.pathsep.join([str(ROOT / "src"), os.environ.get("PYTHONPATH", "")])
    own = {"OMP_NUM_THREADS": str(threads), "RECURLM_CACHE_DIR": str(out.parent / "cache"), "PYTHONPATH": path}
    subprocess.run(command, check=True, capture_output=True, env=os.environ | own)


def _rows(job: str, speeds: dict[str, list[float]]) -> list[Row]:
    rows = [Row(job, who, Spread.of(found), "tokens/s") for who, found in speeds.items() if who != PROCESSES]
    own = speeds[PROCESSES]
    for other, least in TARGETS.items():
        ratio = Spread.of_ratios(own, speeds[other])
        rows.append(Row(job, PROCESSES, Spread.of(own), "tokens/s", other, ratio, at_least=least))
    return rows


def _steps(metrics: str) -> list[dict[str, float]]:
    return [entry for entry in map(json.loads, metrics.splitlines()) if entry["event"] == "step"]


def main() -> None:
    """Print and record the measurement."""
    run("train-processes", __doc__, measure)


if __name__ == "__main__":
    main()
