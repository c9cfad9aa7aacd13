"""Texts in shards: several processes, a kill and damage give what one process makes of the whole text."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recurlm.capacity import processors, shared_processors
from recurlm.config import TextOptions
from recurlm.errors import InputError, RecurlmWarning
from recurlm.files.partial import ABANDONED_SECONDS, remove_abandoned
from recurlm.text import preparing, shards
from recurlm.text import store as store_module
from recurlm.text.preparing import LostWorkerError
from recurlm.text.sources import Corpus, Text, ranges
from recurlm.text.store import prepare

LINES = "the cat\r\n\nthe \u4e2d\u6587 dog\na\tb c'est \u00e9\nsat the\n"
"""Ties in frequency, two line ends, a blank line, letters of several bytes."""


@pytest.fixture
def small_shards(monkeypatch: pytest.MonkeyPatch):
    """Sets how many bytes a shard has."""

    def use(size: int) -> None:
        for module in (shards, store_module, preparing):
            monkeypatch.setattr(module, "SHARD_BYTES", size)

    return use


def files(cache: Path) -> dict[str, bytes]:
    """Names and contents of all that a preparation left."""
    return {str(path.relative_to(cache)): path.read_bytes() for path in cache.rglob("*") if path.is_file()}


def made_corpus(folder: Path, train: bytes, valid: bytes = b"the cat\n") -> Corpus:
    for name, content in (("train", train), ("valid", valid)):
        (folder / name).write_bytes(content)
    return Corpus("made", Text("train", folder / "train"), Text("valid", folder / "valid"), None)


@settings(max_examples=60)
@given(
    lines=st.lists(st.text("ab\u00e9 \t'\r", max_size=12), min_size=1, max_size=12),
    beginning=st.sampled_from([b"", b"\xef\xbb\xbf"]),
    end=st.sampled_from(["\n", "\r\n"]),
    last=st.sampled_from(["", "\n"]),
    size=st.integers(1, 30),
    options=st.sampled_from(
        [
            TextOptions(),
            TextOptions(order="appearance", minimum_count=2),
            TextOptions(unit="character", maximum_size=4),
            TextOptions(cut="prose", lowercase=True),
        ]
    ),
)
def test_shards_of_any_size_make_the_files_of_one(tmp_path_factory, lines, beginning, end, last, size, options):
    folder = tmp_path_factory.mktemp("shards")
    train = beginning + (end.join(["a b", *lines]) + last).encode()
    corpus = made_corpus(folder, train)
    prepare(corpus, options, folder / "whole", processes=1)
    with pytest.MonkeyPatch.context() as patch:
        for module in (shards, store_module, preparing):
            patch.setattr(module, "SHARD_BYTES", size)
        prepare(corpus, options, folder / "parts", processes=1)
    assert files(folder / "parts") == files(folder / "whole")


@pytest.mark.parametrize(
    "options",
    [TextOptions(), TextOptions(unit="character"), TextOptions(unit="bpe", merges=270), TextOptions(cut="prose")],
    ids=["words", "characters", "byte pairs", "prose"],
)
def test_two_processes_make_the_files_of_one(tmp_path, small_shards, options):
    corpus = made_corpus(tmp_path, LINES.encode() * 20)
    prepare(corpus, options, tmp_path / "one", processes=1)
    small_shards(200)
    reports: list[int] = []
    prepare(corpus, options, tmp_path / "two", reports.append, processes=2)
    assert files(tmp_path / "two") == files(tmp_path / "one")
    assert len(reports) > 5
    assert sum(reports) == 20 * len(LINES.replace("\r", "")) + len("the cat\n")


def test_a_text_is_cut_at_line_ends_and_no_byte_is_lost(tmp_path):
    (tmp_path / "text").write_bytes(b"ab\ncdefgh\n\ni\nj")
    whole = Text("t", tmp_path / "text", 3)
    assert [(each.start, each.stop) for each in ranges(whole, 2)] == [(3, 10), (10, 13), (13, 14)]
    assert [(each.start, each.stop) for each in ranges(whole, 100)] == [(3, 14)]
    assert [(each.start, each.stop) for each in ranges(Text("t", tmp_path / "text", 3, 3), 100)] == [(3, 3)]


def test_wrong_bytes_are_named_as_one_process_names_them(tmp_path, small_shards):
    corpus = made_corpus(tmp_path, b"plain text\n" * 20 + b"caf\xe9 \xe9t\xe9\n" + b"plain \xe9\n" * 20)
    messages = []
    for size, processes in ((1000, 1), (50, 1), (50, 2)):
        small_shards(size)
        with pytest.raises(InputError, match="is not UTF-8: byte 0xe9 at offset 223") as caught:
            prepare(corpus, TextOptions(), tmp_path / "cache", processes=processes)
        messages.append(str(caught.value))
    assert len(set(messages)) == 1
    assert files(tmp_path / "cache") == {}


def test_a_refused_word_is_named_with_its_line_in_the_whole_text(tmp_path, small_shards):
    small_shards(30)
    corpus = made_corpus(tmp_path, b"a b\n" * 50, b"a\n" * 40 + b"b zebra\n")
    with pytest.raises(InputError, match="valid, line 41: the token 'zebra'"):
        prepare(corpus, TextOptions(unknown=False), tmp_path / "cache", processes=2)


def test_a_lost_process_is_told_and_its_work_goes_on(tmp_path, small_shards, monkeypatch):
    small_shards(200)
    corpus = made_corpus(tmp_path, LINES.encode() * 20)
    worker_alone = {**preparing.ONE_THREAD, "PYTHONHASHSEED": "no number"}
    with monkeypatch.context() as patch:
        patch.setattr(preparing, "ONE_THREAD", worker_alone)
        with pytest.raises(LostWorkerError, match=r"train: its process ended with exit code 1\n.*same command again"):
            prepare(corpus, TextOptions(), tmp_path / "cache", processes=2)
    prepare(corpus, TextOptions(), tmp_path / "cache", processes=2)
    small_shards(1 << 20)
    prepare(corpus, TextOptions(), tmp_path / "one", processes=1)
    assert files(tmp_path / "cache") == files(tmp_path / "one")


KILLED = """
import sys
from pathlib import Path
from recurlm.config import TextOptions
from recurlm.text import preparing, shards, store
from recurlm.text.sources import Corpus, Text
for module in (shards, store, preparing):
    module.SHARD_BYTES = 20_000
folder = Path(sys.argv[1])
corpus = Corpus("made", Text("train", folder / "train"), Text("valid", folder / "valid"), None)
store.prepare(corpus, TextOptions(), folder / "cache", lambda _: print("part", flush=True), processes=2)
"""


def killed_in_the_middle(folder: Path) -> None:
    """A preparation that is killed once three shards are done."""
    process = subprocess.Popen([sys.executable, "-c", KILLED, str(folder)], stdout=subprocess.PIPE, text=True)
    with process:
        assert process.stdout is not None
        assert [process.stdout.readline() for _ in range(3)] == ["part\n"] * 3
        process.kill()
    assert process.returncode == -signal.SIGKILL


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="finds processes by Linux's /proc")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_no_worker_outlives_the_process_that_prepares(tmp_path, number):
    made_corpus(tmp_path, LINES.encode() * 20_000)
    with subprocess.Popen(
        [sys.executable, "-c", KILLED, str(tmp_path)], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"part\n"
        workers = [
            each for path in Path(f"/proc/{process.pid}/task").glob("*/children") for each in path.read_text().split()
        ]
        process.send_signal(number)
        process.communicate()
    assert len(workers) == 2
    deadline = time.monotonic() + 30
    while any(Path(f"/proc/{worker}").exists() for worker in workers):
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="finds processes by Linux's /proc")
def test_a_killed_worker_is_told_with_the_way_out(tmp_path):
    made_corpus(tmp_path, LINES.encode() * 20_000)
    with subprocess.Popen(
        [sys.executable, "-c", KILLED, str(tmp_path)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "part\n"
        path = next(path for path in Path(f"/proc/{process.pid}/task").glob("*/children") if path.read_text())
        os.kill(int(path.read_text().split()[0]), signal.SIGKILL)
        _, told = process.communicate()
    assert process.returncode == 1
    assert "LostWorkerError: train: its process was killed (SIGKILL)\ngive the same command again" in told


def kept_shards(folder: Path, settled: float = 0.5) -> dict[Path, int]:
    """The shards that are done, with their times, once workers without a parent have ended."""
    time.sleep(settled)
    return {path.parent: path.stat().st_mtime_ns for path in folder.glob("cache/prepared/.*.unfinished/*/shard.json")}


@pytest.mark.skipif(os.name != "posix", reason="kill -9")
@pytest.mark.parametrize("damage", [None, b"x", b""], ids=["whole", "altered", "shortened"])
def test_a_killed_preparation_goes_on_with_the_shards_that_are_whole(tmp_path, small_shards, monkeypatch, damage):
    corpus = made_corpus(tmp_path, LINES.encode() * 20_000)
    killed_in_the_middle(tmp_path)
    kept = kept_shards(tmp_path)
    assert 3 <= len(kept) < 50
    damaged = sorted(kept)[1]
    if damage is not None:
        content = (damaged / "tokens.txt").read_bytes()
        (damaged / "tokens.txt").write_bytes(content[:-1] + damage)
    written = []
    write = shards.Shard.write
    monkeypatch.setattr(shards.Shard, "write", lambda shard, *rest: written.append(shard.folder) or write(shard, *rest))
    small_shards(20_000)
    if damage is None:
        prepare(corpus, TextOptions(), tmp_path / "cache", processes=1)
    else:
        with pytest.warns(RecurlmWarning, match=r"train-00001/tokens.txt: altered .*; preparing this part again"):
            prepare(corpus, TextOptions(), tmp_path / "cache", processes=1)
    assert set(written) & set(kept) == ({damaged} if damage is not None else set())
    small_shards(1 << 30)
    monkeypatch.setattr(shards.Shard, "write", write)
    prepare(corpus, TextOptions(), tmp_path / "whole", processes=1)
    assert files(tmp_path / "cache") == files(tmp_path / "whole")


def test_what_is_left_unfinished_is_removed_after_a_day(tmp_path):
    folder = tmp_path / "prepared" / ".key.unfinished"
    (folder / "train-00000").mkdir(parents=True)
    remove_abandoned(tmp_path)
    assert folder.exists()
    old = time.time() - ABANDONED_SECONDS - 60
    for path in (folder / "train-00000", folder):
        os.utime(path, (old, old))
    remove_abandoned(tmp_path)
    assert not folder.exists()


@pytest.mark.parametrize(
    ("threads", "launched", "expected"),
    [(None, None, 8), ("2", None, 2), ("2", "3", 6), ("4", "4", 8), ("0", None, 1), ("2,1", None, 8)],
)
def test_the_threads_of_all_launched_processes_bound_the_processors(monkeypatch, threads, launched, expected):
    monkeypatch.setattr("recurlm.capacity.processors", lambda: 8)
    for name, value in (("OMP_NUM_THREADS", threads), ("LOCAL_WORLD_SIZE", launched)):
        monkeypatch.delenv(name, raising=False)
        if value is not None:
            monkeypatch.setenv(name, value)
    assert shared_processors() == expected


def test_a_process_uses_only_the_processors_that_it_may(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 5}, raising=False)
    assert processors() == 2
