"""Speed of turning a large text into ids, in one process and on all processors, and the memory of training on it.

Run on an idle machine; `--sizes 1,2,4` are the gigabytes of the texts that are trained on.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from benchmarks._measure import Spread, peak_megabytes
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
MOST_MEMORY, SAME_MEMORY = 1000.0, 1.2
"""Megabytes of a training's own memory, and how many times that of the smallest text the largest may take."""


def measure(options: Options, sizes: Sequence[float] | None = None) -> Result:
    """A text with Zipf's word frequencies: MB/s of one process and of all in turn, then memory for several sizes."""
    megabytes, rounds = options.pick(1000, 100, 1), options.pick(3, 1, 1)
    trained = [size * 1000 for size in sizes] if sizes else options.pick([1000, 2000, 4000], [50, 100, 200], [1, 2])
    with tempfile.TemporaryDirectory() as folder:
        speeds, counts = _speeds(Path(folder), megabytes, rounds)
        memory = {size: _training_memory(Path(folder), size, options.pick(30, 15, 3)) for size in trained}
    ratio = Spread.of_ratios(speeds[processors()], speeds[1])
    rows = [
        Row(JOB, "1 process", Spread.of(speeds[1]), "MB/s"),
        Row(JOB, f"{processors()} processes", Spread.of(speeds[processors()]), "MB/s", "1 process", ratio, 1.7),
    ]
    for size, peak in memory.items():
        job = f"training on {size:,.0f} MB: own memory"
        rows.append(Row(job, "recurlm", Spread.of([peak]), "MB", at_most=MOST_MEMORY))
    smallest, largest = memory[min(trained)], memory[max(trained)]
    named = {f"{size:,.0f} MB": peak for size, peak in memory.items()}
    check = Check(f"memory within {SAME_MEMORY} times that of the smallest", largest <= SAME_MEMORY * smallest, named)
    return Result(JOB, f"{megabytes:,} MB of a made text, rounds: {rounds}; {counts}", rows, [check])


def _speeds(folder: Path, megabytes: int, rounds: int) -> tuple[Mapping[int, list[float]], str]:
    """MB/s by the number of processes, which take turns; and what was prepared."""
    path = folder / "text.txt"
    write_text(path, megabytes * 1_000_000)
    speeds: dict[int, list[float]] = {1: [], processors(): []}
    counts = ""
    for _ in range(rounds):
        for processes, found in speeds.items():
            command = [sys.executable, "-m", "benchmarks.prepare_text", "--prepare", str(path), str(processes)]
            seconds, peak, tokens, words = map(float, subprocess.check_output(command, text=True, cwd=ROOT).split())
            found.append(megabytes / seconds)
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
    subprocess.run(["rm", "-rf", str(texts)], check=True)
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


def _prepare(path: Path, processes: int) -> None:
    from recurlm.config import TextOptions
    from recurlm.text.corpora import open_source
    from recurlm.text.store import prepare

    options = TextOptions(minimum_count=2, maximum_size=50_000)
    with tempfile.TemporaryDirectory(dir=path.parent) as cache:
        start = time.monotonic()
        prepared = prepare(open_source(str(path)), options, Path(cache), processes=processes)
        seconds = time.monotonic() - start
        print(seconds, peak_megabytes(), len(prepared["train"].ids), len(prepared.codec.vocabulary))


def main() -> None:
    """Print and record it; with --prepare, be the process that is measured."""
    if sys.argv[1:2] == ["--prepare"]:
        _prepare(Path(sys.argv[2]), int(sys.argv[3]))
        return
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--sizes", type=lambda text: [*map(float, text.split(","))], help="gigabytes of texts to train on"
    )
    options, out, arguments = parse_options(parser)
    print_circumstances(options)
    result = measure(options, arguments.sizes)
    show(result)
    path = record("prepare-text", [result], options, out)
    if path is not None:
        print(path)
    sys.exit(0 if all(check.passed for check in result.checks) else 1)


if __name__ == "__main__":
    main()
