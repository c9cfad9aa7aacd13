"""Speed and memory of turning a large text into ids."""

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from benchmarks._measure import Spread, peak_megabytes
from benchmarks._record import ROOT
from benchmarks._report import Options, Result, Row, run

JOB = "preparing text"
WORDS = 300_000
LINES = 20_000
DISTINCT_BYTES = 50_000_000
"""A longer text repeats itself after this: to prepare it is the same work."""


def measure(options: Options) -> Result:
    """A text with Zipf's word frequencies, prepared in a process of its own: MB/s and peak memory."""
    megabytes = options.pick(1000, 20, 1)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "text.txt")
        write_text(path, megabytes * 1_000_000)
        command = [sys.executable, "-m", "benchmarks.prepare_text", "--prepare", str(path)]
        output = subprocess.check_output(command, text=True, cwd=ROOT)
        seconds, peak, tokens, words = map(float, output.split())
    rows = [
        Row(JOB, "recurlm", Spread.of([megabytes / seconds]), "MB/s"),
        Row(f"{JOB}: peak memory", "recurlm", Spread.of([peak]), "MB"),
    ]
    counts = f"{int(tokens):,} training tokens, {int(words):,} words"
    return Result(JOB, f"{megabytes:,} MB of a made text, once; {counts}", rows)


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


def _prepare(path: Path) -> None:
    from recurlm.config import TextOptions
    from recurlm.text.corpora import open_source
    from recurlm.text.store import prepare

    start = time.monotonic()
    corpus = open_source(str(path))
    options = TextOptions(minimum_count=2, maximum_size=50_000)
    prepared = prepare(corpus, options, path.parent / "cache")
    seconds = time.monotonic() - start
    print(seconds, peak_megabytes(), len(prepared["train"].ids), len(prepared.codec.vocabulary))


def main() -> None:
    """Print and record it; with --prepare, be the process that is measured."""
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("--prepare", type=Path)
    arguments, _ = parser.parse_known_args()
    if arguments.prepare is not None:
        _prepare(arguments.prepare)
    else:
        run("prepare-text", __doc__, measure)


if __name__ == "__main__":
    main()
