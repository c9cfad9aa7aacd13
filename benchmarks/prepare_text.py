"""Speed of turning a large text into ids, in one process and on all processors, and the memory of training on it.

Run on an idle machine. `--sizes 1,2,4,20` are the gigabytes of the texts that are trained on, one after another; each
is removed before the next is made. The files are in the folder for temporary files, TMPDIR. `--before FOLDER` is a work
tree of another version, which takes turns in preparing the same text.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from benchmarks._measure import Spread
from benchmarks._record import ROOT
from benchmarks._report import Check, Options, Result, Row, parse_options, print_circumstances, record, show
from recurlm.capacity import processors

JOB = "preparing text"
WORDS = 300_000
LINES = 20_000
DISTINCT_BYTES = 50_000_000
"""A longer text repeats itself after this: to prepare it is the same work."""
BETWEEN_SAMPLES = 0.05
SLOWEST_PREPARATION = 15
"""MB/s; the time limit of a training counts its preparation too."""
SMALL_MODEL = ("model.embedding_size=64", "model.hidden_sizes=[64]", "batches.kind=stream", "text.maximum_size=10000")
DISK_PER_TEXT = 2.2
"""Bytes on disk for each byte of a text: the text, 4 bytes a token for the shards, 2 for the ids, tokens of 7 bytes."""
MOST_MEMORY, SAME_MEMORY = 1000.0, 1.2
"""Megabytes of a training's own memory, and how many times that of the smallest text the largest may take."""


def measure(options: Options, sizes: Sequence[float] | None = None, before: Path | None = None) -> Result:
    """A text with Zipf's word frequencies: MB/s of one process and of all in turn, then memory for several sizes."""
    megabytes, rounds = options.pick(1000, 100, 1), options.pick(3, 1, 1)
    trained = [size * 1000 for size in sizes] if sizes else options.pick([1000, 2000, 4000], [50, 100, 200], [1, 2])
    with tempfile.TemporaryDirectory() as folder:
        _check_room(Path(folder), max(megabytes, *trained))
        speeds, counts = _speeds(Path(folder), megabytes, rounds, before)
        memory = {size: _training_memory(Path(folder), size, options.pick(30, 15, 3)) for size in trained}
    rows = _speed_rows(speeds)
    for size, peak in memory.items():
        job = f"training on {size:,.0f} MB: own memory"
        rows.append(Row(job, "recurlm", Spread.of([peak]), "MB", at_most=MOST_MEMORY))
    smallest, largest = memory[min(trained)], memory[max(trained)]
    named = {f"{size:,.0f} MB": peak for size, peak in memory.items()}
    check = Check(f"memory within {SAME_MEMORY} times that of the smallest", largest <= SAME_MEMORY * smallest, named)
    return Result(JOB, f"{megabytes:,} MB of a made text, rounds: {rounds}; {counts}", rows, [check])


def _check_room(folder: Path, megabytes: float) -> None:
    """Prints the room on disk that the largest text needs; ends the program where there is less."""
    needed, free = DISK_PER_TEXT * megabytes / 1000, shutil.disk_usage(folder).free / 1e9
    print(f"disk: {needed:,.1f} GB needed at most, {free:,.1f} GB free in {folder.parent}", flush=True)
    if needed > free:
        sys.exit("too little room; name a folder on a larger disk with TMPDIR, or smaller --sizes")


def _speed_rows(speeds: Mapping[str, list[float]]) -> list[Row]:
    """A row for each contestant; the last is all processors, held to the first."""
    reference = next(iter(speeds))
    return [
        Row(JOB, name, Spread.of(found), "MB/s")
        if name == reference
        else Row(JOB, name, Spread.of(found), "MB/s", reference, Spread.of_ratios(found, speeds[reference]), target)
        for (name, found), target in zip(speeds.items(), [*[None] * (len(speeds) - 1), 1.7], strict=True)
    ]


def _speeds(folder: Path, megabytes: int, rounds: int, before: Path | None) -> tuple[Mapping[str, list[float]], str]:
    """MB/s of each contestant, which take turns; and what was prepared."""
    path = folder / "text.txt"
    write_text(path, megabytes * 1_000_000)
    contestants = {} if before is None else {f"before, {before.name}": (before, "")}
    contestants |= {"1 process": (ROOT, "1"), f"{processors()} processes": (ROOT, str(processors()))}
    speeds: dict[str, list[float]] = {name: [] for name in contestants}
    counts = ""
    for _ in range(rounds):
        for name, (tree, processes) in contestants.items():
            command = [sys.executable, "-m", "benchmarks._preparation", str(path), processes]
            environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(tree / "src"), str(ROOT)])}
            told = subprocess.check_output(command, text=True, cwd=ROOT, env=environment)
            seconds, peak, tokens, words = map(float, told.split())
            speeds[name].append(megabytes / seconds)
            counts = (
                f"{int(tokens):,} training tokens, {int(words):,} words, {peak:,.0f} MB resident in the first process"
            )
    path.unlink()
    return speeds, counts


def _training_memory(folder: Path, megabytes: float, seconds: int) -> float:
    """The largest own memory, in MB, of `recurlm train` with its processes: it prepares a text and trains a while."""
    texts, limit = Path(tempfile.mkdtemp(dir=folder)), seconds + round(megabytes / SLOWEST_PREPARATION)
    write_text(texts / "train.txt", int(megabytes * 1_000_000))
    write_text(texts / "valid.txt", 100_000)
    command = [sys.executable, "-m", "recurlm", "train", str(texts), "--recipe", "demo", "--out", str(texts / "run")]
    command += ["--quiet", "--time-limit", f"{limit}s", *(f"--set={each}" for each in SMALL_MODEL)]
    peak, environment = 0.0, os.environ | {"RECURLM_CACHE_DIR": str(texts / "cache")}
    with subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env=environment, cwd=ROOT
    ) as process:
        while process.poll() is None:
            peak = max(peak, sum(map(_own_megabytes, _with_children(process.pid))))
            time.sleep(BETWEEN_SAMPLES)
        assert process.stderr is not None
        if process.returncode:
            raise RuntimeError(f"training on {megabytes} MB failed: {process.stderr.read()}")
    shutil.rmtree(texts)
    return peak


def _with_children(process: int) -> Iterator[int]:
    """A process and all that it started, as far as they still live."""
    yield process
    for path in Path(f"/proc/{process}/task").glob("*/children"):
        for child in _read(path).split():
            yield from _with_children(int(child))


def _own_megabytes(process: int) -> float:
    """Memory that belongs to no file: pages of texts and ids are the system's to keep or to drop."""
    lines = _read(Path(f"/proc/{process}/status")).splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith("RssAnon")) * 1024 / 1e6


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""  # the process has ended


def write_text(path: Path, size: int) -> None:
    """About `size` bytes of lines of 20 words with Zipf's frequencies."""
    generator = np.random.default_rng(1)
    letters = np.array(list("abcdefghijklmnopqrstuvwxyz"))
    words = ["".join(generator.choice(letters, length)) for length in generator.integers(2, 12, WORDS)]
    lines = []
    while sum(map(len, lines)) < min(size, DISTINCT_BYTES):
        ranks = np.minimum(generator.zipf(1.2, LINES * 20), WORDS) - 1
        lines.append("".join(" ".join(words[rank] for rank in row) + "\n" for row in ranks.reshape(LINES, 20)))
    text = "".join(lines)
    with path.open("w") as file:
        while file.tell() < size:
            file.write(text)


def main() -> None:
    """Print and record it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--sizes", type=lambda text: [*map(float, text.split(","))], help="gigabytes of texts to train on"
    )
    parser.add_argument("--before", type=Path, metavar="FOLDER", help="a work tree of the version to compare with")
    options, out, arguments = parse_options(parser)
    print_circumstances(options)
    result = measure(options, arguments.sizes, arguments.before and arguments.before.resolve())
    show(result)
    path = record("prepare-text", [result], options, out)
    if path is not None:
        print(path)
    sys.exit(0 if all(check.passed for check in result.checks) else 1)


if __name__ == "__main__":
    main()
