"""The process that `prepare_text` measures: prepares a text and prints seconds, megabytes, tokens and words."""

import sys
import tempfile
import time
from pathlib import Path

from benchmarks._measure import peak_megabytes
from recurlm.config import TextOptions
from recurlm.text.corpora import open_source
from recurlm.text.store import prepare


def main() -> None:
    """The first argument is the text, the second the number of processes; empty where a version knows none."""
    path, processes = Path(sys.argv[1]), sys.argv[2]
    options = TextOptions(minimum_count=2, maximum_size=50_000)
    number = {"processes": int(processes)} if processes else {}
    with tempfile.TemporaryDirectory(dir=path.parent) as cache:
        start = time.monotonic()
        prepared = prepare(open_source(str(path)), options, Path(cache), **number)
        seconds = time.monotonic() - start
        print(seconds, peak_megabytes(), len(prepared["train"].ids), len(prepared.codec.vocabulary))


if __name__ == "__main__":
    main()
