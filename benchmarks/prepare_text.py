"""Speed and memory of turning a large text into ids."""

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from benchmarks._record import write_record

WORDS = 300_000
LINES = 20_000


def main() -> None:
    """Make a text with Zipf's word frequencies, prepare it in a process of its own, print MB/s and peak memory."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--megabytes", type=int, default=1000)
    parser.add_argument("--prepare", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.prepare is not None:
        _prepare(arguments.prepare)
        return
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "text.txt")
        _write_text(path, arguments.megabytes * 1_000_000)
        command = [sys.executable, "-m", "benchmarks.prepare_text", "--prepare", str(path)]
        seconds, kilobytes, tokens, words = map(float, subprocess.check_output(command, text=True).split())
    megabytes = arguments.megabytes
    result = {
        "megabytes": megabytes,
        "seconds": seconds,
        "megabytes_per_second": megabytes / seconds,
        "peak_resident_megabytes": kilobytes / 1000,
        "training_tokens": int(tokens),
        "vocabulary": int(words),
    }
    for name, value in result.items():
        print(f"{name:<26} {value:,.1f}")
    print(write_record("prepare-text", result))


def _write_text(path: Path, size: int) -> None:
    generator = np.random.default_rng(1)
    letters = np.array(list("abcdefghijklmnopqrstuvwxyz"))
    words = ["".join(generator.choice(letters, length)) for length in generator.integers(2, 12, WORDS)]
    with path.open("w") as file:
        while file.tell() < size:
            ranks = np.minimum(generator.zipf(1.2, LINES * 20), WORDS) - 1
            rows = ranks.reshape(LINES, 20)
            file.write("".join(" ".join(words[rank] for rank in row) + "\n" for row in rows))


def _prepare(path: Path) -> None:
    from recurlm.config import TextOptions
    from recurlm.text.corpora import open_source
    from recurlm.text.store import prepare

    start = time.monotonic()
    corpus = open_source(str(path))
    options = TextOptions(minimum_count=2, maximum_size=50_000)
    prepared = prepare(corpus, options, path.parent / "cache")
    seconds = time.monotonic() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(seconds, peak, len(prepared["train"].ids), len(prepared.codec.vocabulary))


if __name__ == "__main__":
    main()
