"""`recurlm score --out`: many files, several processes, shares, and what is left when a process dies."""

import gzip
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Self

import pytest

import recurlm as package
from recurlm.bulk.worker import ScoringWorker
from recurlm.errors import RecurlmError
from recurlm.workers import Told, Values, Workers, _told_error, raised

Command = Callable[..., subprocess.CompletedProcess[str]]
SECONDS = 120
LINES = ("the red fruit is a cherry", "it is sweet", "", "the zebra is a lime", "the yellow fruit is a lemon")
on_linux = pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="finds processes by Linux's /proc")


class WorkersHere:
    """Answers the requests of the command in this process, which need not load torch again."""

    def __init__(self, module: str, count: int) -> None:
        self._worker = ScoringWorker()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *raised: object) -> None:
        pass

    def all(self, request: Values) -> Values:
        (told,) = self.answers([request])
        if told.error:
            raise raised(told)
        return told.values

    def answers(self, requests: Sequence[Values]) -> Iterator[Told]:
        for number, request in enumerate(requests):
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                try:
                    last: Values = {"values": self._worker.answer(json.loads(json.dumps(request)), lambda _: None)}
                except RecurlmError as error:
                    last = _told_error(error)
            yield from (Told(number, {"warning": str(each.message)}, is_last=False) for each in caught)
            yield Told(number, **last)


@pytest.fixture
def workers_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets no command start a process."""
    monkeypatch.setattr("recurlm.bulk.scoring.Workers", WorkersHere)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with five texts, two of them packed."""
    texts = tmp_path / "texts"
    texts.mkdir()
    for number in range(5):
        content = "".join(f"{line}\n" for line in LINES[number % 3 :] * (number + 1)).encode()
        if number % 2:
            (texts / f"t{number}.txt.gz").write_bytes(gzip.compress(content, mtime=0))
        else:
            (texts / f"t{number}.txt").write_bytes(content)
    return tmp_path


def alone(recurlm: Command, run: Path, folder: Path, *options: str) -> dict[str, str]:
    """The scores of each text, each by a command of its own, by the text's name without .gz."""
    found = {}
    for path in sorted((folder / "texts").iterdir()):
        done = recurlm("score", run, path.relative_to(folder), *options, cwd=folder)
        assert done.returncode == 0, done.stderr
        found[path.name.removesuffix(".gz")] = done.stdout
    return found


def outputs(folder: Path, ending: str) -> dict[str, str]:
    """The files of scores by the names of their texts; the folder holds nothing else that is not hidden."""
    found = {path.name: path.read_bytes().decode() for path in folder.iterdir() if not path.name.startswith(".")}
    return {name.removesuffix(ending): content for name, content in found.items()}


@pytest.mark.usefixtures("workers_here")
@pytest.mark.parametrize(
    ("options", "ending"),
    [
        (["--format", "text"], ".scores.txt"),
        (["--format", "jsonl", "--oov", "skip"], ".jsonl"),
        (["--format", "tsv", "--log-base", "2"], ".tsv"),
        (["--format", "lines", "--context", "carry"], ".lines.tsv"),
        (["--format", "srilm"], ".srilm"),
        (["--format", "sentence", "--prompt", "the red"], ".sentence"),
        (["--format", "html"], ".html"),
    ],
)
def test_each_file_has_what_score_writes_for_it_alone(recurlm, trained, folder, options, ending):
    done = recurlm("score", trained, "texts/*", "--out", "scores", *options, cwd=folder)
    assert done.returncode == 0, done.stderr
    assert outputs(folder / "scores", ending) == alone(recurlm, trained, folder, *options)


def test_the_total_is_the_sum_of_the_files_whatever_the_number_of_processes(recurlm, trained, folder):
    totals = []
    for count in (1, 2):
        done = recurlm("score", trained, "texts/*", "--out", f"of-{count}", "--processes", count, "--json", cwd=folder)
        assert done.returncode == 0, done.stderr
        totals.append(json.loads(done.stdout))
        assert totals[-1].pop("out") == f"of-{count}"
    assert totals[0] == totals[1]
    each_alone = alone(recurlm, trained, folder, "--json")
    assert outputs(folder / "of-1", ".jsonl") == outputs(folder / "of-2", ".jsonl") == each_alone
    rows = [json.loads(line) for text in each_alone.values() for line in text.splitlines()]
    assert totals[0]["tokens"] == sum(len(row["tokens"]) for row in rows)
    assert totals[0]["nats"] == pytest.approx(-sum(row["logprob"] for row in rows), rel=1e-12)
    assert totals[0]["lines"] == len(rows)
    assert totals[0]["oov"] == sum(token["oov"] for row in rows for token in row["tokens"])
    digest = package.load(trained).digest[:8]
    assert f"model=sha256:{digest}" in totals[0]["signature"]
    assert f"|tokens={totals[0]['tokens']}|" in totals[0]["signature"]
    assert "|files=5|text=sha256:" in totals[0]["signature"]


@pytest.mark.usefixtures("workers_here")
def test_what_is_done_is_skipped_and_the_total_stays(recurlm, trained, folder):
    command = ("score", trained, "texts/*", "--out", "scores", "--json")
    first = json.loads(recurlm(*command, cwd=folder).stdout)
    (folder / "scores" / "t2.txt.jsonl").unlink()
    stamps = {path: path.stat().st_mtime_ns for path in (folder / "scores").glob("*.jsonl")}
    second = json.loads(recurlm(*command, cwd=folder).stdout)
    assert (first["scored"], first["skipped"]) == (5, 0)
    assert (second["scored"], second["skipped"]) == (1, 4)
    assert {key: value for key, value in second.items() if key not in ("scored", "skipped")} == {
        key: value for key, value in first.items() if key not in ("scored", "skipped")
    }
    assert {path: path.stat().st_mtime_ns for path in stamps} == stamps


@pytest.mark.usefixtures("workers_here")
def test_shares_together_are_the_whole(recurlm, trained, folder):
    command = ("score", trained, "texts/*", "--json", "--out")
    shares = [json.loads(recurlm(*command, "shared", "--shard", f"{i}/2", cwd=folder).stdout) for i in (1, 2)]
    whole = json.loads(recurlm(*command, "whole", cwd=folder).stdout)
    assert [share["scored"] for share in shares] == [3, 2]
    assert sum(share["tokens"] for share in shares) == whole["tokens"]
    assert outputs(folder / "shared", ".jsonl") == outputs(folder / "whole", ".jsonl")
    again = json.loads(recurlm(*command, "shared", cwd=folder).stdout)
    assert (again["skipped"], again["nats"]) == (5, whole["nats"])
    empty = recurlm("score", trained, "texts/*", "--out", "none", "--shard", "7/7", cwd=folder)
    assert (empty.returncode, empty.stdout) == (0, "this share has no file: there are fewer files than shares\n")
    assert not (folder / "none").exists()


@pytest.mark.usefixtures("workers_here")
def test_tables_are_scored_row_by_row(recurlm, trained, tmp_path):
    for name, sentence in (("a", "it is sweet"), ("b", "the red fruit")):
        (tmp_path / f"{name}.csv").write_text(f"item,sentence\n1,{sentence}\n")
    options = ("--column", "sentence")
    done = recurlm("score", trained, "*.csv", "--out", "scores", *options, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    for name in ("a", "b"):
        expected = recurlm("score", trained, f"{name}.csv", *options, cwd=tmp_path).stdout
        assert (tmp_path / "scores" / f"{name}.csv.tsv").read_text() == expected


@pytest.mark.usefixtures("workers_here")
def test_a_failing_file_is_named_and_the_others_are_scored(recurlm, trained, folder):
    (folder / "texts" / "bad.txt").write_bytes(b"it is\na \xff red\n")
    (folder / "texts" / "cut.txt.gz").write_bytes((folder / "texts" / "t3.txt.gz").read_bytes()[:-9])
    done = recurlm("score", trained, "texts/*", "--out", "scores", "--processes", "2", cwd=folder)
    assert done.returncode == 3
    assert "texts/bad.txt is not UTF-8" in done.stderr
    assert "texts/cut.txt.gz is not a whole gzip file" in done.stderr
    assert "2 of 7 files failed" in done.stderr
    assert "5 scored, 0 scored before, 2 failed" in done.stdout
    assert set(outputs(folder / "scores", ".scores.txt")) == {f"t{number}.txt" for number in range(5)}
    (folder / "texts" / "bad.txt").unlink()
    only_cut = recurlm("score", trained, "texts/*", "--out", "scores", cwd=folder)
    assert only_cut.returncode == 4


@pytest.mark.usefixtures("workers_here")
def test_scores_of_something_else_are_refused_by_name(recurlm, trained, folder, small_options, text_folder):
    texts, output = folder / "texts", folder / "scores" / "t0.txt.scores.txt"
    other = recurlm("train", text_folder, "--out", "other", *small_options, "--seed", "2", "--epochs", "1", cwd=folder)
    assert other.returncode == 0
    assert recurlm("score", trained, "texts/*", "--out", "scores", cwd=folder).returncode == 0

    def refused(run: Path | str, *options: str) -> str:
        done = recurlm("score", run, "texts/*", "--out", "scores", *options, cwd=folder)
        assert (done.returncode, "Traceback" in done.stderr) == (3, False)
        return done.stderr

    told = refused(trained, "--oov", "skip")
    assert "t0.txt.scores.txt was scored with another --oov (unk, not skip); name another --out" in told
    assert "t0.txt.scores.txt was scored with another model" in refused("other")
    output.write_text(output.read_text().replace("sweet", "sour"))
    (texts / "t2.txt").write_text("it is\n")
    told = refused(trained)
    assert "t0.txt.scores.txt was altered since it was written; remove it to score texts/t0.txt again" in told
    assert "t2.txt.scores.txt has the scores of texts/t2.txt as it was before" in told
    (texts / "new.txt").write_text("it is\n")
    (folder / "scores" / "new.txt.scores.txt").write_text("mine")
    assert "new.txt.scores.txt was not written by this command" in refused(trained)


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["a.txt", "a.txt.gz", "--out", "x"], 2, "a.txt and a.txt.gz would both be scored into x/a.txt.scores.txt"),
        (["a.txt", "b/a.txt", "--out", "x"], 2, "a.txt and b/a.txt would both be scored into x/a.txt.scores.txt"),
        (["a.txt", "a.txt.jsonl", "--out", ".", "--json"], 2, "a.txt.jsonl is one of the texts"),
        (["--out", "x"], 2, "name the files"),
        (["-", "--out", "x"], 2, "- is standard input, a text of its own; score it without --out"),
        (["a.txt", "--out", "b/a.txt"], 3, "b/a.txt: is a file, not a folder; name another --out"),
        (["a.txt", "--out", "b/a.txt/x"], 3, "b/a.txt: is a file, not a folder; name another --out"),
        (["b", "--out", "x"], 3, "b is a folder; name its files, such as 'b/*.txt'"),
        (["none*", "--out", "x"], 3, "no file matches none*"),
        (["a.txt", "b/a.txt"], 2, "add --out DIR"),
        (["*.txt"], 2, "add --out DIR"),
        (["a.txt", "--processes", "2"], 2, "--processes belongs to --out DIR"),
        (["a.txt", "--shard", "1/2"], 2, "--shard belongs to --out DIR"),
        (["a.txt", "--out", "x", "--shard", "0/2"], 2, "--shard 0/2: write I/N for the I-th of N shares"),
        (["a.txt", "--out", "x", "--shard", "1-0"], 2, "--shard 1-0: write I/N for the I-th of N shares"),
        (["a.txt", "--out", "x", "--state-out", "s"], 2, "--state-out belongs to one text"),
        (["a.txt", "--out", "x", "--column", "s"], 2, "a.txt: the name does not say what kind of table"),
        (["a.txt", "--out", "x", "--format", "srilm", "--log-base", "e"], 2, "SRILM's layout uses base 10"),
    ],
)
def test_what_cannot_be_scored_into_a_folder_is_refused(recurlm, trained, tmp_path, arguments, code, message):
    (tmp_path / "b").mkdir()
    for name in ("a.txt", "b/a.txt", "a.txt.jsonl"):
        (tmp_path / name).write_text("it is\n")
    (tmp_path / "a.txt.gz").write_bytes(gzip.compress(b"it is\n"))
    done = recurlm("score", trained, *arguments, cwd=tmp_path)
    assert done.returncode == code, done.stderr
    assert message in done.stderr
    assert not (tmp_path / "x").exists()


def test_a_run_that_is_none_is_told_once(recurlm, folder):
    done = recurlm("score", "nowhere", "texts/*", "--out", "scores", "--processes", "2", cwd=folder)
    assert done.returncode == 3
    assert done.stderr.count("nowhere") == 1
    assert not (folder / "scores").exists()


@pytest.mark.usefixtures("workers_here")
def test_quiet_shows_warnings_alone_and_a_warning_names_the_file(recurlm, trained, text_folder, folder):
    shutil.copy(text_folder / "train.txt", folder / "texts" / "t9.txt")
    done = recurlm("score", trained, "texts/t[29].txt", "--out", "scores", "--quiet", cwd=folder)
    assert done.returncode == 0
    assert done.stderr == (
        "recurlm: warning: the model learned from texts/t9.txt or a part of it: figures on it say nothing about new "
        "text\n"
    )


@pytest.fixture
def start(trained: Path, environment: dict[str, str], folder: Path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Starts the command on texts that take seconds, in a process of its own."""
    for number in range(4):
        (folder / "texts" / f"long{number}.txt").write_text("".join(f"{line} is\n" for line in LINES[:2]) * 3_000)
    started = []

    def start_(*options: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "recurlm", "score", str(trained), "texts/*", "--out", "scores", *options]
        variables = environment | {"PYTHONPATH": os.pathsep.join(sys.path)}
        started.append(
            subprocess.Popen(
                command, cwd=folder, env=variables, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
            )
        )
        return started[-1]

    yield start_
    for process in started:
        process.kill()
        process.communicate()


def children(parent: int) -> list[int]:
    """The processes that a process has started."""
    return [
        int(child)
        for thread in Path(f"/proc/{parent}/task").iterdir()
        for child in (thread / "children").read_text().split()
    ]


def wait_until(happened: Callable[[], object]) -> None:
    """Waits for something that a process does."""
    deadline = time.monotonic() + SECONDS
    while not happened():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def lives(process: int) -> bool:
    """Whether a process has not ended."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def partial(folder: Path) -> list[Path]:
    """The files of scores that are being written."""
    return list((folder / "scores").glob(".*.partial"))


@on_linux
@pytest.mark.usefixtures("workers_here")
def test_a_killed_worker_is_told_with_its_file_and_the_rest_is_scored(start, recurlm, trained, folder):
    command = start("--processes", "2")
    wait_until(lambda: len(partial(folder)) == 2)
    os.kill(children(command.pid)[0], signal.SIGKILL)
    out, told = command.communicate(timeout=SECONDS)
    assert command.returncode == 1
    assert "texts/long" in told
    assert "its process was killed (SIGKILL)" in told
    assert "8 scored, 0 scored before, 1 failed" in out
    again = recurlm("score", trained, "texts/*", "--out", "scores", cwd=folder)
    assert again.returncode == 0, again.stderr
    assert "1 scored, 8 scored before" in again.stdout
    assert not partial(folder)


@on_linux
def test_the_rest_is_named_when_every_worker_is_killed(start, folder):
    command = start()
    wait_until(lambda: partial(folder))
    os.kill(children(command.pid)[0], signal.SIGKILL)
    out, told = command.communicate(timeout=SECONDS)
    assert command.returncode == 1
    assert "texts/t4.txt: not begun, because every process was killed" in told
    assert "0 scored, 0 scored before, 9 failed" in out


@on_linux
@pytest.mark.parametrize(
    ("number", "code"),
    [
        (signal.SIGINT, 130),
        pytest.param(signal.SIGTERM, -15, marks=pytest.mark.thorough),
        (signal.SIGKILL, -9),
    ],
)
@pytest.mark.usefixtures("workers_here")
def test_no_process_outlives_the_command_and_what_is_finished_stays(start, recurlm, trained, folder, number, code):
    command = start("--processes", "2")
    finished = folder / "scores" / "long0.txt.scores.txt"
    wait_until(finished.exists)
    workers = children(command.pid)
    assert len(workers) == 2
    command.send_signal(number)
    command.communicate(timeout=SECONDS)
    assert command.returncode == code
    wait_until(lambda: not any(map(lives, workers)))
    assert not (folder / "scores" / "t4.txt.scores.txt").exists()
    stamp = finished.stat().st_mtime_ns
    again = recurlm("score", trained, "texts/*", "--out", "scores", cwd=folder)
    assert again.returncode == 0, again.stderr
    assert "files        " in again.stdout
    assert len(outputs(folder / "scores", "")) == 9
    assert finished.stat().st_mtime_ns == stamp
    assert not partial(folder)


@on_linux
@pytest.mark.usefixtures("workers_here")
@pytest.mark.thorough
def test_two_shares_at_the_same_time(start, folder, recurlm, trained):
    shares = [start("--shard", f"{number}/2") for number in (1, 2)]
    for share in shares:
        _, told = share.communicate(timeout=SECONDS)
        assert share.returncode == 0, told
    whole = recurlm("score", trained, "texts/*", "--out", "scores", "--json", "--format", "text", cwd=folder)
    assert json.loads(whole.stdout)["skipped"] == 9


def test_a_worker_tells_its_errors_and_goes_on():
    with Workers("workers_for_tests", 2) as workers:
        told = [each for each in workers.answers([{"divide": number} for number in (4, 0, 2, -1)]) if each.is_last]
        found = {each.request: (each.values.get("result"), each.error, each.code) for each in told}
        assert workers.all({"divide": 1}) == {"result": 8.0}
    assert found == {
        0: (2.0, "", 0),
        1: (None, "nothing divides by zero", 3),
        2: (4.0, "", 0),
        3: (None, "its process ended with exit code 7", 1),
    }
