"""Kill a training run at random moments, resume it each time, and compare its weights with an undisturbed run."""

import argparse
import hashlib
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks._record import write_record


def main() -> None:
    """Print and record whether the weights are the same."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--seed", type=int, default=1, help="of the moments")
    parser.add_argument(
        "train", nargs="*", default=["--recipe", "demo", "--epochs", "50"], help="arguments of recurlm train"
    )
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        whole, parts = Path(folder, "whole"), Path(folder, "parts")
        start = time.monotonic()
        _train(whole, arguments.train).communicate()
        seconds = time.monotonic() - start
        moments = _kill(parts, arguments.train, arguments.kills, seconds, random.Random(arguments.seed))
        finished = _train(parts, [*arguments.train, "--resume"])
        finished.communicate()
        digests = {run.name: _digest(run / "model.safetensors") for run in (whole, parts)}
    same = digests["whole"] == digests["parts"]
    for moment in moments:
        print(moment)
    print(f"undisturbed {digests['whole'][:16]}, killed {len(moments)} times {digests['parts'][:16]}: ", end="")
    print("the same weights" if same else "NOT the same")
    path = write_record("kill-and-resume", {"kills": moments, "sha256": digests, "same": same})
    print(path)
    sys.exit(0 if same else 1)


def _train(out: Path, options: list[str]) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "recurlm.cli.main", "train", *options, "--out", str(out)]
    command += ["--set", "training.checkpoint_seconds=0.5"]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)


def _kill(out: Path, options: list[str], kills: int, seconds: float, chosen: random.Random) -> list[str]:
    """Each life lasts at random up to its share of the whole run and half as much again; says where each ended."""
    moments = []
    while len(moments) < kills:
        process = _train(out, [*options, "--resume"])
        life = chosen.uniform(2.0, max(4.0, 1.5 * seconds / kills))
        try:
            process.communicate(timeout=life)
            raise SystemExit(f"the run ended after {len(moments)} kills; give it more epochs")
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.communicate()
        checkpoints = sorted(path.name for path in out.glob("checkpoints/step-*"))
        moments.append(f"killed after {life:.2f} s, newest checkpoint {checkpoints[-1] if checkpoints else 'none'}")
    return moments


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


if __name__ == "__main__":
    main()
