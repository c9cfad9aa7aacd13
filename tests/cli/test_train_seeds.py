"""`recurlm train --seeds`: each seed is the run that `train --seed` makes, and the figures over all of them."""

import itertools
import json
import os
import re
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

import recurlm as package
from recurlm.errors import UsageError
from recurlm.training.seeds import parse_seeds

Command = Callable[..., subprocess.CompletedProcess[str]]
SECONDS = 180


@pytest.mark.parametrize(
    ("text", "seeds"), [("1-5", (1, 2, 3, 4, 5)), ("1,3,7", (1, 3, 7)), ("7,1-2", (7, 1, 2)), ("0", (0,))]
)
def test_seeds_are_listed_by_numbers_and_ranges(text, seeds):
    assert parse_seeds(text, 10) == seeds


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("3-1", "--seeds 3-1: 3-1 counts down; write the smaller seed first, such as 1-3"),
        ("1-11", "--seeds 1-11: the largest seed is 10"),
        ("a", "--seeds a: write seeds as 1-5 or 1,3,7"),
    ],
)
def test_the_error_of_a_list_of_seeds_says_what_to_write(text, message):
    with pytest.raises(UsageError, match=message):
        parse_seeds(text, 10)


def test_more_seeds_than_a_command_trains_are_refused():
    with pytest.raises(UsageError, match="--seeds 1-5000: 1-5000 are 5,000 seeds; 1,000 at most"):
        parse_seeds("1-5000", 9999)


@pytest.mark.parametrize("text", ["", "1-", "a", "5-1", "1,1", "1-3,2", "-1", "1..3", "11", "1,,2"])
def test_other_lists_of_seeds_are_refused(text):
    with pytest.raises(UsageError, match="--seeds"):
        parse_seeds(text, 10)


@pytest.fixture(scope="module")
def trained_seeds(recurlm: Command, text_folder: Path, small_options: list[str], tmp_path_factory) -> Path:
    """A folder of three seeds, two at a time, with what the command printed."""
    folder = tmp_path_factory.mktemp("seeds")
    command = ("train", text_folder, *small_options, "--epochs", "2", "--out", "out", "--json")
    done = recurlm(*command, "--seeds", "1,2,4", "--processes", "2", cwd=folder, OMP_NUM_THREADS="1")
    assert done.returncode == 0, done.stderr
    (folder / "printed.json").write_text(done.stdout)
    (folder / "told.txt").write_text(done.stderr)
    return folder


def logprobs(run: Path, text: Path) -> list[float]:
    """The log-probability of each token of a text that is read as one stream, step by step."""
    model = package.load(run)
    ids = model.codec.vocabulary.ids
    unknown = ids.get("<unk>", 0)
    words = ["<eos>"] + [word for line in text.read_text().splitlines() for word in [*line.split(), "<eos>"]]
    state, found = model.network.initial_state(1), []
    with torch.no_grad():
        for word, target in itertools.pairwise(words):
            logits, state = model.network.step(torch.tensor([ids.get(word, unknown)]), state)
            found.append(logits.double().log_softmax(-1)[0, ids.get(target, unknown)].item())
    return found


def test_mean_deviation_and_ensemble_are_those_computed_by_hand(trained_seeds, text_folder):
    printed = json.loads((trained_seeds / "printed.json").read_text())
    runs = [trained_seeds / "out" / f"seed-{seed}" for seed in (1, 2, 4)]
    assert [row["seed"] for row in printed["seeds"]] == [1, 2, 4]
    for split in ("valid", "test"):
        tokens = np.array([logprobs(run, text_folder / f"{split}.txt") for run in runs])
        values = np.exp(-tokens.mean(1)).tolist()
        assert [row[f"{split}_perplexity"] for row in printed["seeds"]] == pytest.approx(values, rel=1e-5)
        assert printed[split]["mean"] == pytest.approx(sum(values) / 3, rel=1e-5)
        squares = sum((value - sum(values) / 3) ** 2 for value in values)
        assert printed[split]["deviation"] == pytest.approx((squares / 2) ** 0.5, rel=1e-4)
        ensemble = np.exp(-np.log(np.exp(tokens).mean(0)).mean())
        assert printed[split]["ensemble"] == pytest.approx(ensemble, rel=1e-5)
        assert f"|tokens={tokens.shape[1]}|" in printed[split]["ensemble_signature"]
    assert printed["failed"] == []


def test_a_seed_is_the_run_that_its_own_command_trains(trained_seeds, recurlm, text_folder, small_options, tmp_path):
    command = ("train", text_folder, *small_options, "--epochs", "2", "--seed", "4", "--out", tmp_path / "alone")
    assert recurlm(*command).returncode == 0
    ours = (trained_seeds / "out" / "seed-4" / "model.safetensors").read_bytes()
    assert ours == (tmp_path / "alone" / "model.safetensors").read_bytes()
    assert (trained_seeds / "out" / "seed-4" / "training.svg").is_file()


def test_each_line_of_progress_names_its_seed(trained_seeds):
    told = (trained_seeds / "told.txt").read_text()
    assert all(re.match(r"seed [124]  ", line) for line in told.splitlines())
    for seed, epoch in itertools.product((1, 2, 4), (1, 2)):
        line = rf"^seed {seed}  epoch {epoch}: training perplexity [\d.]+, valid [\d.]+  \[stream.*\]  0:\d\d$"
        assert len(re.findall(line, told, re.MULTILINE)) == 1
    assert not re.search("it writes|  step ", told)


def test_finished_seeds_are_kept_and_new_ones_are_trained(trained_seeds, recurlm, text_folder, small_options):
    command = ("train", text_folder, *small_options, "--epochs", "2", "--out", "out")
    before = (trained_seeds / "out" / "seed-1" / "metrics.jsonl").read_bytes()
    refused = recurlm(*command, "--seeds", "1-2", cwd=trained_seeds)
    assert refused.returncode == 3
    assert "out/seed-1 already holds a run; add --resume" in refused.stderr
    done = recurlm(*command, "--seeds", "1-3", "--resume", "--processes", "2", cwd=trained_seeds)
    assert done.returncode == 0, done.stderr
    assert "seed 1  finished before" in done.stderr
    assert "seed 3  done" in done.stderr
    assert (trained_seeds / "out" / "seed-1" / "metrics.jsonl").read_bytes() == before
    rows = {row.split()[0]: row.split()[1:] for row in done.stdout.splitlines()}
    values = [float(rows[seed][0]) for seed in ("1", "2", "3")]
    assert float(rows["mean"][0]) == pytest.approx(statistics.fmean(values), abs=0.011)
    bare = recurlm("train", "--out", "out", "--seeds", "1-9", "--resume", cwd=trained_seeds)
    assert bare.returncode == 2
    assert "out/seed-5 holds no run yet; give the whole command" in bare.stderr


def test_a_failing_seed_is_named_and_the_others_go_on(recurlm, text_folder, small_options, tmp_path):
    (tmp_path / "out" / "seed-2" / "checkpoints" / "step-00000001").mkdir(parents=True)
    command = ("train", text_folder, *small_options, "--epochs", "1", "--out", "out", "--seeds", "1-2")
    done = recurlm(*command, cwd=tmp_path)
    assert done.returncode == 3
    assert "seed 2: out/seed-2/checkpoints holds the checkpoints of a run" in done.stderr
    assert "not trained to their end: seeds 2, of 2 seeds" in done.stderr
    assert "ensemble" in done.stdout


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--seed", "3"], "--seeds names all seeds; leave --seed out"),
        (["--max-restarts", "1"], "--max-restarts belongs to one run"),
        (["-"], "write what comes through the pipe into a file"),
    ],
)
def test_what_does_not_go_with_seeds_is_refused(recurlm, tmp_path, options, message):
    done = recurlm("train", "--seeds", "1-2", "--out", "out", *options, stdin="a b\n", cwd=tmp_path)
    assert done.returncode == 2, done.stderr
    assert message in done.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["text.txt", "--out", "text.txt"], "text.txt: is a file, not a folder; name another --out"),
        (["nowhere.txt"], "no corpus and no file is named 'nowhere.txt'"),
        (["empty.txt"], "empty.txt is empty"),
        (["text.txt", "--recipe", "none"], "no recipe and no file named 'none'"),
    ],
)
def test_an_error_of_all_seeds_is_told_once_before_a_worker_starts(recurlm, tmp_path, monkeypatch, options, message):
    (tmp_path / "text.txt").write_text("it is\n" * 50)
    (tmp_path / "empty.txt").touch()
    monkeypatch.setattr("recurlm.training.seeds.Workers", lambda *given: pytest.fail("started"))
    done = recurlm("train", "--out", "out", *options, "--seeds", "1-3", cwd=tmp_path)
    assert done.returncode == 3, done.stderr
    assert done.stderr.startswith(f"recurlm: {message}")
    assert "--resume" not in done.stderr
    assert not (tmp_path / "out").exists()


def test_an_error_that_seeds_meet_later_is_told_once(recurlm, tmp_path):
    (tmp_path / "text.txt").write_bytes(b"it is \xff\n" * 50)
    done = recurlm("train", "text.txt", "--out", "out", "--seeds", "1-3", cwd=tmp_path)
    assert done.returncode == 3
    assert done.stderr.count("text.txt is not UTF-8") == 1
    assert "seeds 1, 2, 3, of 3 seeds; an error of several seeds is told once" in done.stderr
    assert "--resume" not in done.stderr


@pytest.fixture
def start(
    text_folder: Path, small_options: list[str], environment: dict[str, str], tmp_path: Path
) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Starts two seeds in a process of its own."""
    started = []

    def start_(*options: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "recurlm", "train", text_folder, *small_options, "--seeds", "1-2"]
        command += ["--processes", "2", "--set", "training.checkpoint_seconds=0.1", "--out", "out", *options]
        variables = environment | {"PYTHONPATH": os.pathsep.join(sys.path)}
        started.append(
            subprocess.Popen(
                list(map(str, command)),
                cwd=tmp_path,
                env=variables,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
        )
        return started[-1]

    yield start_
    for process in started:
        process.kill()
        process.communicate()


def children(parent: int) -> list[int]:
    """The processes that a process has started."""
    threads = Path(f"/proc/{parent}/task").iterdir()
    return [int(child) for thread in threads for child in (thread / "children").read_text().split()]


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


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="finds processes by Linux's /proc")
@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 75), pytest.param(signal.SIGKILL, -9, marks=pytest.mark.thorough)]
)
def test_stopped_seeds_resume(start, tmp_path, number, code):
    command = start("--epochs", "100000")
    for seed in (1, 2):
        wait_until(lambda seed=seed: list((tmp_path / "out" / f"seed-{seed}").glob("checkpoints/step-*")))
    workers = children(command.pid)
    command.send_signal(number)
    _, told = command.communicate(timeout=SECONDS)
    assert command.returncode == code, told
    assert "Traceback" not in told
    wait_until(lambda: not any(map(lives, workers)))
    if number == signal.SIGKILL:
        return
    assert "stopped at seeds 1, 2; go on with the same command and --resume" in told
    resumed = start("--epochs", "100000", "--resume")
    wait_until(lambda: (tmp_path / "out" / "seed-2" / "metrics.jsonl").read_text().count('"event": "resume"'))
    os.kill(children(resumed.pid)[1], signal.SIGKILL)
    wait_until(lambda: len(children(resumed.pid)) == 1 or resumed.poll() is not None)
    resumed.send_signal(signal.SIGTERM)
    _, told = resumed.communicate(timeout=SECONDS)
    assert "going on after step" in told
    assert "its process was killed (SIGKILL)" in told
    assert resumed.returncode in (1, 75)
