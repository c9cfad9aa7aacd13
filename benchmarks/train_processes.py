"""Tokens a second of `recurlm train --processes N` on made text, by processes and threads of each.

Run on an idle machine: `python -m benchmarks.train_processes`. Each round trains every pair once, one after the other;
the figure of a pair is the median of its rounds, and of a round the median of its steps.
"""

import argparse
import itertools
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks._record import circumstances
from benchmarks.time_limit import zipf_lines

PAIRS = ("1x1", "1x2", "2x1")
WARM_UP_STEPS = 5
STREAM = ("batches.kind=stream", "batches.batch_size=20", "batches.bptt=35", "training.log_every=1")


def tokens_a_second(metrics: str) -> float:
    """The median speed of the steps of a journal, the first ones left out."""
    entries = [json.loads(line) for line in metrics.splitlines()]
    steps = [(entry["tokens"], entry["seconds"]) for entry in entries if entry["event"] == "step"][WARM_UP_STEPS:]
    return statistics.median((b[0] - a[0]) / (b[1] - a[1]) for a, b in itertools.pairwise(steps) if b[1] > a[1])


def measure(pair: str, text: Path, folder: Path, changes: list[str]) -> float:
    """Tokens a second of one run: processes x threads of each."""
    processes, threads = pair.split("x")
    out = folder / f"run-{pair}-{len(list(folder.glob('run-*')))}"
    command = [sys.executable, "-m", "recurlm", "train", str(text), "--recipe", "zaremba-small", "--epochs", "1"]
    command += ["--processes", processes, "--out", str(out), "--precision", "fp32", "--quiet"]
    subprocess.run(
        [*command, *(f"--set={change}" for change in (*STREAM, *changes))],
        check=True,
        capture_output=True,
        env=os.environ | {"OMP_NUM_THREADS": threads, "RECURLM_CACHE_DIR": str(folder / "cache")},
    )
    return tokens_a_second((out / "metrics.jsonl").read_text("utf-8"))


def main() -> None:
    """Print the circumstances, and one JSON object for each pair of processes and threads."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=650, help="units of each of the two layers (default 650)")
    parser.add_argument("--steps", type=int, default=30, help="steps of a run (default 30)")
    parser.add_argument("--rounds", type=int, default=5, help="runs of each pair (default 5)")
    parser.add_argument("--pairs", nargs="+", default=PAIRS, help=f"processes x threads (default {' '.join(PAIRS)})")
    options = parser.parse_args()
    changes = [f"model.embedding_size={options.size}", f"model.hidden_sizes=[{options.size},{options.size}]"]
    print(json.dumps(circumstances()))
    found: dict[str, list[float]] = {pair: [] for pair in options.pairs}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for part, words in (("train", options.steps * 20 * 33), ("valid", 500), ("test", 500)):
            (folder / "text").mkdir(exist_ok=True)
            (folder / "text" / f"{part}.txt").write_text("".join(f"{line}\n" for line in zipf_lines(1, words, 10_000)))
        for _, pair in itertools.product(range(options.rounds), options.pairs):
            found[pair].append(measure(pair, folder / "text", folder, changes))
    for pair, speeds in found.items():
        median = statistics.median(speeds)
        print(
            json.dumps(
                {"processes x threads": pair, "tokens_per_second": round(median), "rounds": list(map(round, speeds))}
            )
        )


if __name__ == "__main__":
    main()
