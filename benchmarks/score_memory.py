"""Memory of `recurlm score` on texts of growing size: it must not grow with them."""

import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks._measure import Spread
from benchmarks._record import ROOT
from benchmarks._report import Check, Options, Result, Row, run
from benchmarks.prepare_text import write_text

JOB = "scoring a large text"
TOLERATED_GROWTH = 1.1
TRAINING = ["--recipe", "demo", "--epochs", "1", "--set", "text.maximum_size=10000", "--time-limit", "20s"]


def measure(options: Options) -> Result:
    """`recurlm score --format jsonl --precision auto`, in a process of its own: MB/s and peak memory."""
    sizes = options.pick((10, 100), (1, 4), (1, 2))
    seconds: list[float] = []
    peaks: list[float] = []
    with tempfile.TemporaryDirectory() as folder:
        path, model = Path(folder, "text.txt"), Path(folder, "run")
        write_text(path, 1_000_000)
        _recurlm("train", str(path), "--out", str(model), *TRAINING).wait()
        for size in sizes:
            write_text(path, size * 1_000_000)
            start = time.monotonic()
            scoring = _recurlm("score", str(model), str(path), "--format", "jsonl", "--precision", "auto")
            peaks.append(_peak_of(scoring))
            seconds.append(time.monotonic() - start)
    rows = [
        Row(JOB, f"{size} MB", Spread.of([size / taken]), "MB/s") for size, taken in zip(sizes, seconds, strict=True)
    ]
    rows += [
        Row(f"{JOB}: peak memory", f"{size} MB", Spread.of([peak]), "MB")
        for size, peak in zip(sizes, peaks, strict=True)
    ]
    values = {f"{size} MB": round(peak) for size, peak in zip(sizes, peaks, strict=True)}
    flat = Check("memory stays flat", peaks[-1] <= TOLERATED_GROWTH * peaks[0], values)
    return Result(JOB, f"up to {sizes[-1]} MB of a made text, every token of it, once", rows, [flat])


def _recurlm(*arguments: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "recurlm.cli.main", *arguments]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=ROOT)


def _peak_of(process: subprocess.Popen[bytes]) -> float:
    """Waits for a process; returns its peak resident memory in MB, read once a second."""
    peaks: list[float] = []
    while process.poll() is None:
        status = Path(f"/proc/{process.pid}/status").read_text()
        peak = [line for line in status.splitlines() if line.startswith("VmHWM")]
        peaks += [int(line.split()[1]) / 1000 for line in peak]
        time.sleep(1)
    if process.returncode:
        raise SystemExit(f"recurlm score ended with {process.returncode}")
    return max(peaks)


def main() -> None:
    """Print and record it."""
    run("score-memory", __doc__, measure)


if __name__ == "__main__":
    main()
