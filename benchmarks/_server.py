"""`recurlm serve` as a process, with a model made for measurements."""

import json
import random
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks._record import ROOT
from benchmarks._report import Options

READY_SECONDS = 120
LINES = 600


@dataclass(frozen=True)
class ServerProcess:
    """A server that runs: its address, its process and the run that it serves."""

    address: str
    process: "subprocess.Popen[str]"
    run: Path

    def megabytes(self) -> float:
        """Resident memory of the process now."""
        lines = Path(f"/proc/{self.process.pid}/status").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS")) * 1024 / 1e6


@contextmanager
def serving(options: Options, *settings: str) -> Iterator[ServerProcess]:
    """`recurlm serve` with a made run; ends with its context. Raises RuntimeError where it does not come up."""
    with tempfile.TemporaryDirectory() as folder, served(made_run(Path(folder), options), *settings) as server:
        yield server


@contextmanager
def served(run: Path, *settings: str) -> Iterator[ServerProcess]:
    """Starts `recurlm serve RUN` at a free port, waits until it listens, and ends it. Raises RuntimeError."""
    command = [sys.executable, "-m", "recurlm.cli.main", "serve", str(run), "--port", "0", *settings]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, cwd=ROOT)
    try:
        yield ServerProcess(_address(process), process, run)
    finally:
        process.terminate()
        process.wait(READY_SECONDS)
        if process.stderr is not None:
            process.stderr.close()


def _address(process: "subprocess.Popen[str]") -> str:
    assert process.stderr is not None
    for line in process.stderr:
        if line.startswith("{") and "address" in (told := json.loads(line)):
            threading.Thread(target=lambda: [None for _ in process.stderr or ()], daemon=True).start()
            return str(told["address"])
    raise RuntimeError("recurlm serve ended before it listened")


def described(options: Options) -> str:
    """The served model, for a table's head."""
    size, words = _size(options)
    return f"2 × {size} model, {words:,} words"


def _size(options: Options) -> tuple[int, int]:
    return options.pick((256, 10_000), (256, 10_000), (16, 100))


def made_run(folder: Path, options: Options) -> Path:
    """A run of the described model, trained for a moment on made sentences. Raises RuntimeError."""
    size, words = _size(options)
    draw = random.Random(1)
    shuffled = [f"w{number}" for number in range(words - 2)]
    draw.shuffle(shuffled)
    lines = [" ".join(shuffled[start : start + 20]) for start in range(0, words, 20)]
    lines *= 1 + LINES // len(lines)
    (text := folder / "text.txt").write_text("\n".join(lines) + "\n")
    changes = [f"model.embedding_size={size}", f"model.hidden_sizes=[{size},{size}]", "text.minimum_count=1"]
    settings = [word for change in changes for word in ("--set", change)]
    command = [sys.executable, "-m", "recurlm.cli.main", "train", str(text), "--epochs", "1", "--quiet", "--offline"]
    done = subprocess.run([*command, *settings, "--out", str(folder / "run")], capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(done.stderr)
    return folder / "run"
