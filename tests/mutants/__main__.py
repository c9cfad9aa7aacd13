"""`./dev mutants`: put one small fault at a time into the program's core and see whether a test notices.

Each mutant is a copy of `src` with one change, drawn at random. The tests of the changed file's room run against it and
stop at the first failure: first those of the file itself, then the rest. A mutant that no test notices is printed.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from random import Random, SystemRandom

from mutants.mutate import Mutant, mutants

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = Path("src/recurlm")
ROOMS = (
    "text",
    "kernels",
    "models",
    "ngrams",
    "runs",
    "evaluation",
    "scoring",
    "generation",
    "rescoring",
    "comparison",
    "training",
    "search",
    "mxnet",
)
"""The core: rooms whose tests compare numbers."""
TIMEOUT_SECONDS = 300
"""A mutant that hangs is noticed."""


@dataclass(frozen=True)
class Tried:
    """A mutant of a file, and the first test that failed on it."""

    path: Path
    mutant: Mutant
    noticed_by: str | None

    def __str__(self) -> str:
        result = "survives" if self.noticed_by is None else "noticed "
        what = f"{_one_line(self.mutant.before)}  ->  {_one_line(self.mutant.after)}"
        return f"{result}  {self.path}:{self.mutant.line}  {what}" + f"  [{self.noticed_by}]" * bool(self.noticed_by)


def main() -> int:
    """Exit status: 1 where fewer mutants were noticed than asked for."""
    arguments = _arguments()
    seed = SystemRandom().randrange(1 << 31) if arguments.seed is None else arguments.seed
    print(f"seed {seed}", flush=True)
    until = time.monotonic() + 60 * arguments.minutes
    waiting = list(_all_mutants(arguments.rooms.split(",")))
    Random(seed).shuffle(waiting)
    waiting = waiting[: arguments.count]
    tried: list[Tried] = []

    def work() -> None:
        while waiting and time.monotonic() < until:
            tried.append(_tried(*waiting.pop()))
            print(tried[-1], flush=True)

    with ThreadPoolExecutor(arguments.processes) as pool:
        for done in [pool.submit(work) for _ in range(arguments.processes)]:
            done.result()
    noticed = sum(each.noticed_by is not None for each in tried)
    print(f"{noticed} of {len(tried)} mutants noticed")
    return int(noticed < arguments.least * len(tried))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="./dev mutants", description=__doc__)
    parser.add_argument("--minutes", type=float, default=60, help="begin no mutant after so long (default: 60)")
    parser.add_argument("--count", type=int, default=1_000_000, help="at most so many mutants")
    parser.add_argument("--seed", type=int, help="repeats the mutants of an earlier run; else drawn")
    parser.add_argument("--rooms", default=",".join(ROOMS), help="names with commas between them")
    parser.add_argument("--processes", type=int, default=2, help="mutants at a time (default: 2)")
    parser.add_argument("--least", type=float, default=0.9, help="share that must be noticed (default: 0.9)")
    return parser.parse_args()


def _all_mutants(rooms: list[str]) -> Iterator[tuple[Path, Mutant]]:
    for room in rooms:
        for path in sorted((ROOT / PACKAGE / room).rglob("*.py")):
            for mutant in mutants(path.read_text("utf-8")):
                yield path.relative_to(ROOT / PACKAGE), mutant


def _tried(path: Path, mutant: Mutant) -> Tried:
    """Run the room's tests against a copy of the sources with this fault in it."""
    with tempfile.TemporaryDirectory(prefix="recurlm-mutant-") as folder:
        sources = Path(folder) / "src"
        shutil.copytree(ROOT / "src", sources, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
        target = sources / "recurlm" / path
        target.write_text(mutant.source(target.read_text("utf-8")), "utf-8")
        for tests in _tests_of(path):
            noticed_by = _first_failure(tests, sources, Path(folder))
            if noticed_by is not None:
                return Tried(path, mutant, noticed_by)
    return Tried(path, mutant, None)


def _tests_of(path: Path) -> list[list[Path]]:
    """The tests of the file itself, if it has some, and then those of its room: first those that import the file."""
    module = ".".join([PACKAGE.name, *path.with_suffix("").parts])
    tests = sorted((ROOT / "tests" / path.parts[0]).rglob("test_*.py"))
    own = [each for each in tests if each.stem == f"test_{path.stem}"]
    others = [each for each in tests if each not in own]
    others.sort(key=lambda each: module not in each.read_text("utf-8"))
    return [each for each in (own, others) if each]


def _first_failure(tests: list[Path], sources: Path, folder: Path) -> str | None:
    """The name of the first test that fails, or that time ran out; None where all pass."""
    environment = os.environ | {"PYTHONPATH": f"{sources}{os.pathsep}{ROOT / 'tests'}", "PYTHONDONTWRITEBYTECODE": "1"}
    options = ["-q", "-x", "-p", "no:cacheprovider", "-p", "no:xdist", f"--basetemp={folder / 'tests'}", "--tb=no"]
    try:
        done = subprocess.run(
            [sys.executable, "-m", "pytest", *options, *map(str, tests)],
            cwd=ROOT,
            env=environment,
            capture_output=True,
            text=True,
            timeout=TIMEOUT_SECONDS,
        )
    except subprocess.TimeoutExpired:
        return "no end in time"
    if done.returncode == 0:
        return None
    failed = [line for line in done.stdout.splitlines() if line.startswith(("FAILED", "ERROR"))]
    return failed[0].removeprefix("FAILED ").partition(" - ")[0] if failed else f"exit status {done.returncode}"


def _one_line(code: str) -> str:
    flat = " ".join(code.split())
    return flat if len(flat) <= 60 else f"{flat[:57]}..."


if __name__ == "__main__":
    sys.exit(main())
