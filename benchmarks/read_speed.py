"""Readers: time per byte on files of 1, 2, 4 and 8 times a size; it must not grow with the size."""

import gzip
import json
import random
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from benchmarks._measure import Spread
from benchmarks._report import Check, Options, Result, Row, run
from recurlm.documents import parse_json, parse_toml
from recurlm.files import read_bounded
from recurlm.mxnet.params import read_params, write_params
from recurlm.mxnet.vocabulary import read_vocabulary
from recurlm.ngrams.arpa import read_arpa
from recurlm.rescoring.formats.htk import read_lattice
from recurlm.rescoring.formats.reading import read_nbest
from recurlm.rescoring.formats.text_lists import read_references
from recurlm.rescoring.word_errors import word_errors
from recurlm.text.corpora import open_text
from recurlm.text.lines import words_of
from recurlm.text.places import DataPlaces
from recurlm.text.vocabulary import EOS, Vocabulary

JOB = "readers"
TIMES = (1, 2, 4, 8)
TOLERATED = 1.5
LINE_WORDS = 12
WORDS = [f"word{number}" for number in range(5000)]

Maker = Callable[[int], Iterator[str]]
Reader = Callable[[Path], object]


def measure(options: Options) -> Result:
    """Processor time, sizes in turn, which other programs do not change much; the best of several readings counts."""
    base, repeats = options.pick((1 << 20, 5), (1 << 18, 3), (1 << 13, 1))
    rows, checks = [], []
    with tempfile.TemporaryDirectory() as name:
        for reader, (suffix, make, read) in READERS.items():
            paths = [Path(name, f"{reader}-{times}{suffix}") for times in TIMES]
            for times, path in zip(TIMES, paths, strict=True):
                make(path, base * times)
            read(paths[0])  # what is loaded and built at first use
            rounds = [[_seconds(read, path) for path in paths] for _ in range(repeats)]
            seconds = list(zip(*rounds, strict=True))
            sizes = [path.stat().st_size for path in paths]
            speeds = [best / size * 1e9 for best, size in zip(map(min, seconds), sizes, strict=True)]
            rows += [
                Row(f"reading {reader}", f"{times} x", Spread.of([speed]), "ns/byte")
                for times, speed in zip(TIMES, speeds, strict=True)
            ]
            largest = max(speeds) / min(speeds)
            checks.append(Check(f"{reader}: linear", largest <= TOLERATED, {"slowest by fastest": round(largest, 2)}))
    return Result(JOB, f"{base:,} bytes and 2, 4, 8 times as many, best of {repeats}", rows, tuple(checks))


def _seconds(read: Reader, path: Path) -> float:
    start = time.process_time()
    read(path)
    return time.process_time() - start


def _written(make: Maker) -> Callable[[Path, int], None]:
    """Writes lines, numbered from 0, until there are so many bytes."""

    def write(path: Path, size: int) -> None:
        opener = gzip.open if path.suffix == ".gz" else open
        with opener(path, "wb") as file:
            written = 0
            for line in make(size):
                written += file.write(f"{line}\n".encode())
                if written >= size:
                    break

    return write


def _sentence(number: int, count: int = LINE_WORDS) -> str:
    return " ".join(random.Random(number).choices(WORDS, k=count))


def _numbered(form: str) -> Maker:
    return lambda _: (form.format(number=number, text=_sentence(number)) for number in range(1 << 40))


def _json_list(_: int) -> Iterator[str]:
    for number in range(1 << 40):
        yield json.dumps({"utterance": f"u{number}", "text": _sentence(number), "acoustic": -1.5})


def _lattice(size: int) -> Iterator[str]:
    """A sausage: nodes in a row, four words between neighbours."""
    nodes = max(size // 200, 3)
    yield f"N={nodes} L={4 * (nodes - 1)}"
    yield from (f"I={node} t={node}.0" for node in range(nodes))
    for arc in range(4 * (nodes - 1)):
        yield f"J={arc} S={arc // 4} E={arc // 4 + 1} W={WORDS[arc % 5000]} a=-{arc % 97}.25 l=-{arc % 7}.5"


def _write_lattice(path: Path, size: int) -> None:
    path.write_text("\n".join(_lattice(size)) + "\n")


def _write_arpa(path: Path, size: int) -> None:
    count = size // 24
    words = ["<s>", "</s>", *(f"w{number}" for number in range(count // 2))]
    pairs = [f"-1.25 {words[2 + number]} {words[2 + number // 2]}" for number in range(count // 2)]
    lines = ["\\data\\", f"ngram 1={len(words)}", f"ngram 2={len(pairs)}", "", "\\1-grams:"]
    lines += [f"-2.5 {word} -0.25" for word in words] + ["", "\\2-grams:", *pairs, "", "\\end\\"]
    path.write_text("\n".join(lines) + "\n")


def _write_vocabulary(path: Path, size: int) -> None:
    path.write_text(Vocabulary((EOS, *(f"word{number}" for number in range(size // 18)))).to_json("word"))


def _write_toml(path: Path, size: int) -> None:
    path.write_text("".join(f"[section{number}]\nvalue = {number}.5\nname = 'abc'\n" for number in range(size // 48)))


def _write_params(path: Path, size: int) -> None:
    write_params(path, {f"arg:weight{number}": np.zeros((16, 64), np.float32) for number in range(max(size >> 12, 1))})


def _read_lines(path: Path) -> None:
    with tempfile.TemporaryDirectory() as cache:
        for line in open_text(path, DataPlaces(cache_directory=Path(cache))).lines():
            words_of(line)


def _word_errors(path: Path) -> None:
    """Every line against the one before."""
    before: list[str] = []
    for line in path.read_text().splitlines():
        words = words_of(line)
        word_errors(before, words)
        before = words


TEXT = _written(_numbered("{text}"))
READERS: dict[str, tuple[str, Callable[[Path, int], None], Reader]] = {
    "texts": (".txt", TEXT, _read_lines),
    "packed texts": (".txt.gz", TEXT, _read_lines),
    "Kaldi lists": ("", _written(_numbered("u{number}-1 {text}")), lambda path: read_nbest([str(path)], "kaldi")),
    "Mikolov lists": ("", _written(_numbered("u{number} {text}")), lambda path: read_nbest([str(path)], "mikolov")),
    "JSON lists": ("", _written(_json_list), lambda path: read_nbest([str(path)], "jsonl")),
    "references": ("", _written(_numbered("u{number} {text}")), read_references),
    "lattices": (".lat", _write_lattice, read_lattice),
    "ARPA files": (".arpa", _write_arpa, read_arpa),
    "vocabularies": (".json", _write_vocabulary, lambda path: Vocabulary.from_json(read_bounded(path), str(path))),
    "JSON": (".json", _write_vocabulary, lambda path: parse_json(read_bounded(path), str(path))),
    "TOML": (".toml", _write_toml, lambda path: parse_toml(read_bounded(path), str(path))),
    "MXNet parameters": (".params", _write_params, read_params),
    "MXNet word lists": (".txt", TEXT, read_vocabulary),
    "word errors": (".txt", TEXT, _word_errors),
}


def main() -> None:
    """Print and record it."""
    run("read-speed", __doc__, measure)


if __name__ == "__main__":
    main()
