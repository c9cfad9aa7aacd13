"""Start-up: seconds of a whole process, `recurlm --help` and `recurlm score` on one line."""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks._measure import Spread
from benchmarks._record import ROOT
from benchmarks._report import Options, Result, Row, run

JOB = "start-up"
RECURLM = (sys.executable, "-m", "recurlm.cli.main")
HELP_SECONDS = 0.3
TEXT = "the cat sat on the mat\nthe dog sat on the log\na cat and a dog met\n"


def measure(options: Options) -> Result:
    """Python alone and `import torch` stand beside them: no program on this machine can start sooner."""
    repeats = options.pick(9, 3, 1)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        model = _train(folder)
        commands = {
            "python alone": (sys.executable, "-c", "pass"),
            "recurlm --help": (*RECURLM, "--help"),
            "python, import torch": (sys.executable, "-c", "import torch"),
            "recurlm score, one line": (*RECURLM, "score", str(model), str(folder / "line.txt")),
        }
        (folder / "line.txt").write_text("the cat sat on the log\n", encoding="utf-8")
        seconds: dict[str, list[float]] = {name: [] for name in commands}
        # the first round brings the files into memory
        for round in range(1 + repeats):
            for name, command in commands.items():
                start = time.perf_counter()
                _run(command)
                if round:
                    seconds[name].append(time.perf_counter() - start)
    limits = {"recurlm --help": HELP_SECONDS}
    rows = [Row(JOB, name, Spread.of(values), "s", at_most=limits.get(name)) for name, values in seconds.items()]
    return Result(JOB, f"whole processes, {repeats} rounds in turn", rows)


def _train(folder: Path) -> Path:
    text = folder / "text.txt"
    text.write_text(TEXT * 20, encoding="utf-8")
    sizes = ("model.embedding_size=8", "model.hidden_sizes=[8]", "text.minimum_count=1", "training.epochs=1")
    changes = [part for change in sizes for part in ("--set", change)]
    _run((*RECURLM, "train", str(text), "--recipe", "demo", "--out", str(folder / "run"), *changes))
    return folder / "run"


def _run(command: tuple[str, ...]) -> None:
    path = os.pathsep.join([str(ROOT / "src"), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | {"PYTHONPATH": path}, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command[1:4])} ended with {done.returncode}: {done.stderr}")


def main() -> None:
    """Print and record it."""
    run("start-up", __doc__, measure)


if __name__ == "__main__":
    main()
