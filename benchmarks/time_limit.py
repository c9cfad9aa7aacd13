"""Seconds that `recurlm train FILE --time-limit TIME` takes beside another busy process, for three texts.

Run: `python -m benchmarks.time_limit --limit 2m`; one of the texts has a validation part larger than its training part.
"""

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from recurlm.training.request import parse_duration

BUSY = "while True: sum(range(10**6))"


def zipf_lines(seed: int, words: int, types: int) -> Iterator[str]:
    """Sentences of 5 to 30 words whose frequency falls with their rank."""
    drawn = random.Random(seed)
    names, weights = [f"w{rank}" for rank in range(types)], [1 / (rank + 1) for rank in range(types)]
    while words > 0:
        length = drawn.randint(5, 30)
        yield " ".join(drawn.choices(names, weights, k=length))
        words -= length


def make_texts(folder: Path) -> dict[str, Path]:
    """A short text, a longer one, and one of few and uneven lines, whose validation part is most of it."""
    texts = {name: folder / f"{name}.txt" for name in ("short", "long", "uneven")}
    texts["short"].write_text("".join(f"{line}\n" for line in zipf_lines(1, 20_000, 2_000)))
    texts["long"].write_text("".join(f"{line}\n" for line in zipf_lines(2, 1_000_000, 10_000)))
    lines = list(zipf_lines(3, 60_000, 5_000))
    texts["uneven"] = folder / "uneven"
    texts["uneven"].mkdir()
    for name, part in (("train", lines[:300]), ("valid", lines[300:-200]), ("test", lines[-200:])):
        (texts["uneven"] / f"{name}.txt").write_text("".join(f"{line}\n" for line in part))
    return texts


@contextmanager
def beside_busy_process() -> Iterator[None]:
    """Keep one processor busy."""
    process = subprocess.Popen([sys.executable, "-c", BUSY])
    try:
        yield
    finally:
        process.kill()
        process.wait()


def measure(text: Path, limit: str, folder: Path, arguments: list[str]) -> dict[str, object]:
    """One run from the start of its process to its exit."""
    command = [sys.executable, "-m", "recurlm.cli.main", "train", str(text), "--time-limit", limit, "--json", "--out"]
    began = time.monotonic()
    done = subprocess.run(
        [*command, str(folder / f"run-{text.stem}"), *arguments],
        check=True,
        capture_output=True,
        text=True,
        env=os.environ | {"RECURLM_CACHE_DIR": str(folder / "cache")},
    )
    seconds = time.monotonic() - began
    result = json.loads(done.stdout.splitlines()[-1])
    said = [line.strip() for line in done.stderr.splitlines() if not line.startswith("epoch ")]
    kept = {key: result[key] for key in ("epochs", "steps", "valid_perplexity", "valid_signature")}
    return {"text": text.stem, "limit": parse_duration(limit), "seconds": round(seconds, 1)} | kept | {"said": said}


def main() -> None:
    """Measure each text and print one JSON object a line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--limit", default="2m", help="time limit of each run (default 2m)")
    parser.add_argument("--alone", action="store_true", help="without another busy process")
    options, arguments = parser.parse_known_args()
    with tempfile.TemporaryDirectory() as name:
        for text in make_texts(Path(name)).values():
            if options.alone:
                print(json.dumps(measure(text, options.limit, Path(name), arguments)), flush=True)
            else:
                with beside_busy_process():
                    print(json.dumps(measure(text, options.limit, Path(name), arguments)), flush=True)


if __name__ == "__main__":
    main()
