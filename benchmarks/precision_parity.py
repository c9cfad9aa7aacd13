"""Perplexity after an epoch of the seed document's job with fast products, against float32, over several seeds."""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks._record import write_record

PRECISIONS = ("fp32", "auto")
TOLERANCE = 0.005


def main() -> None:
    """Print and record both perplexities of each seed. Exits with 1 where they differ by more than half a percent."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("text", nargs="?", default="ptb")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--set", action="append", default=[], dest="changes", metavar="KEY=VALUE")
    parser.add_argument("--out", type=Path, help="folder for the record (otherwise records/)")
    arguments = parser.parse_args()
    rows = [_measure(arguments.text, seed, arguments.changes) for seed in range(1, 1 + arguments.seeds)]
    path = write_record("precision-parity", {"tolerance": TOLERANCE, "seeds": rows}, arguments.out)
    print(path)
    sys.exit(0 if all(abs(row["difference"]) <= TOLERANCE for row in rows) else 1)


def _measure(text: str, seed: int, changes: list[str]) -> dict[str, Any]:
    results = {precision: _train(text, seed, precision, changes) for precision in PRECISIONS}
    exact, fast = (results[precision]["test_perplexity"] for precision in PRECISIONS)
    difference = fast / exact - 1
    print(f"seed {seed}: fp32 {exact:.2f}, auto {fast:.2f}, {difference:+.3%}  [{results['auto']['signature']}]")
    return {"seed": seed, "difference": difference, "results": results}


def _train(text: str, seed: int, precision: str, changes: list[str]) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "recurlm.cli.main", "train", text, "--recipe", "mxnet-bucketing"]
        command += ["--out", str(Path(folder, "run")), "--seed", str(seed), "--precision", precision, "--epochs", "1"]
        for change in ("batches.padding=masked", *changes):
            command += ["--set", change]
        done = subprocess.run([*command, "--json"], capture_output=True, text=True, check=False)
        if done.returncode:
            raise SystemExit(done.stderr)
    result: dict[str, Any] = json.loads(done.stdout)
    del result["run"]  # a folder that is gone
    return result


if __name__ == "__main__":
    main()
