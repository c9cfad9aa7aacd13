import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from recurlm.kernels import native

Command = Callable[..., subprocess.CompletedProcess[str]]

LONGER = ["--set", "training.epochs=12", "--set", "training.checkpoint_seconds=0.05", "--set", "training.log_every=10"]


def start(environment: dict[str, str], *arguments: object) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "recurlm.cli.main", *map(str, arguments)],
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )


def wait_for_checkpoint(run: Path) -> None:
    deadline = time.monotonic() + 120
    while not list(run.glob("checkpoints/step-*")):
        assert time.monotonic() < deadline, "no checkpoint was written"
        time.sleep(0.02)


def test_a_run_folder_holds_what_the_contract_says(trained: Path) -> None:
    names = {path.name for path in trained.iterdir()}
    assert names == {
        "config.json",
        "model.safetensors",
        "vocabulary.json",
        "metrics.jsonl",
        "training.svg",
        "training.png",
        "checkpoints",
        "manifest.json",
    }
    manifest = json.loads((trained / "manifest.json").read_text())["sha256"]
    assert set(manifest) == names - {"checkpoints", "manifest.json"}
    config = json.loads((trained / "config.json").read_text())
    assert config["corpus"]["splits"]["train"]["sentences"] == 240
    for line in (trained / "metrics.jsonl").read_text().splitlines():
        entry = json.loads(line)
        if entry["event"] == "step":
            wanted = {"step", "epoch", "tokens", "seconds", "loss", "perplexity", "lr", "tokens_per_second"}
            assert wanted <= set(entry)


def test_json_ends_with_the_result(
    recurlm: Command, small_options: list[str], text_folder: Path, tmp_path: Path
) -> None:
    done = recurlm("train", text_folder, "--out", tmp_path / "run", "--json", *small_options)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout.splitlines()[-1])
    assert set(result) == {
        "run",
        "epochs",
        "steps",
        "seconds",
        "valid_perplexity",
        "test_perplexity",
        "signature",
        "valid_signature",
    }
    assert result["epochs"] == 12
    # 240 sentences of 6, 6, 6 and 3 words and <eos>: 25 tokens four times 60, in 4 columns of 375, 10 steps at once
    assert result["steps"] == 12 * 38
    assert result["signature"].startswith("stream|tokens=125|eos=counted|state=carried|oov=0|text=sha256:")


def test_a_folder_with_a_run_is_refused_without_resume(recurlm: Command, trained: Path, text_folder: Path) -> None:
    done = recurlm("train", text_folder, "--out", trained)
    assert done.returncode == 3
    assert "--resume" in done.stderr
    assert "Traceback" not in done.stderr


def test_resume_in_an_empty_folder_starts_from_the_beginning(
    recurlm: Command, small_options: list[str], text_folder: Path, tmp_path: Path
) -> None:
    done = recurlm("train", text_folder, "--out", tmp_path / "run", "--resume", "--epochs", 1, *small_options)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_writes_a_checkpoint_and_exits_75(
    environment: dict[str, str],
    recurlm: Command,
    small_options: list[str],
    text_folder: Path,
    tmp_path: Path,
    number: int,
) -> None:
    run = tmp_path / "run"
    arguments = ["train", text_folder, "--out", run, *small_options, "--set", "training.epochs=100000"]
    process = start(environment, *arguments, "--set", "training.checkpoint_seconds=0.05")
    wait_for_checkpoint(run)
    process.send_signal(number)
    _, stderr = process.communicate(timeout=120)
    assert process.returncode == 75, stderr.decode()
    assert b"--resume" in stderr
    assert recurlm("train", "--out", run, "--resume", "--seed", 5).returncode == 3


def test_killed_at_random_moments_a_run_ends_with_the_weights_of_an_undisturbed_one(
    environment: dict[str, str], recurlm: Command, small_options: list[str], text_folder: Path, tmp_path: Path
) -> None:
    options = [*small_options, *LONGER, "--set", "model.dropout.output=0.2"]
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    assert recurlm("train", text_folder, "--out", whole, *options).returncode == 0
    chosen = random.Random(1)
    kills = 0
    for _ in range(3):
        process = start(environment, "train", text_folder, "--out", parts, "--resume", *options)
        wait_for_checkpoint(parts)
        time.sleep(chosen.uniform(0.0, 1.0))
        process.send_signal(signal.SIGKILL)
        process.communicate()
        kills += process.returncode == -signal.SIGKILL
    assert kills > 0
    done = recurlm("train", text_folder, "--out", parts, "--resume", *options)
    assert done.returncode == 0, done.stderr
    assert (parts / "model.safetensors").read_bytes() == (whole / "model.safetensors").read_bytes()


def test_standard_input_trains_and_resumes(
    recurlm: Command, small_options: list[str], text_folder: Path, tmp_path: Path
) -> None:
    text = (text_folder / "train.txt").read_text()
    done = recurlm("train", "-", "--out", tmp_path / "run", *small_options, "--epochs", 1, stdin=text)
    assert done.returncode == 0, done.stderr
    # nothing is read again: the text was kept
    assert recurlm("train", "-", "--out", tmp_path / "run", "--resume").returncode == 0


@pytest.mark.skipif(not Path("/dev/stdin").exists(), reason="needs pipes with names")
def test_a_pipe_is_a_text(
    recurlm: Command, recurlm_process: Command, small_options: list[str], text_folder: Path, tmp_path: Path
) -> None:
    text = (text_folder / "train.txt").read_text()
    done = recurlm_process("train", "/dev/stdin", *small_options, "--epochs", 1, stdin=text, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    run = tmp_path / done.stdout.strip()
    assert run.parent.name == "runs"
    assert run.name.startswith("standard-input-")
    assert recurlm("eval", run, "--json").returncode == 0


def test_recipes_decide_and_their_mistakes_are_named(recurlm: Command, text_folder: Path, tmp_path: Path) -> None:
    done = recurlm("train", text_folder, "--out", tmp_path / "run", "--set", "model.hiden_sizes=[3]")
    assert done.returncode == 3
    assert "model.hiden_sizes" in done.stderr
    assert "did you mean hidden_sizes?" in done.stderr
    done = recurlm("train", text_folder, "--out", tmp_path / "run", "--recipe", "defualt")
    assert done.returncode == 3
    assert "did you mean default?" in done.stderr
    done = recurlm("train", text_folder, "--out", tmp_path / "run", "--set", "model.dropout.input=1.5")
    assert done.returncode == 3
    assert "model.dropout.input" in done.stderr
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "empty"),
        (b"caf\xe9 au lait\n" * 40, "offset 3"),
        (b"word\n", "number of lines: 1"),
    ],
    ids=["empty", "not UTF-8", "one line"],
)
def test_texts_that_cannot_be_learned_from(recurlm: Command, tmp_path: Path, content: bytes, words: str) -> None:
    path = tmp_path / "text.txt"
    path.write_bytes(content)
    done = recurlm("train", path, "--out", tmp_path / "run", "--set", "text.minimum_count=1")
    assert done.returncode == 3, done.stderr
    assert words in done.stderr
    assert "Traceback" not in done.stderr


def test_a_text_with_one_token(recurlm: Command, tmp_path: Path) -> None:
    for name in ("train", "valid"):
        (tmp_path / f"{name}.txt").write_text("\nword\n")
    done = recurlm("train", tmp_path, "--out", tmp_path / "run")
    assert done.returncode == 3
    assert "fewer than two tokens" in done.stderr


def test_missing_texts_corpora_and_devices(recurlm: Command, text_folder: Path, tmp_path: Path) -> None:
    done = recurlm("train", tmp_path / "nothing.txt", "--out", tmp_path / "run")
    assert done.returncode == 3
    assert "nothing.txt" in done.stderr
    done = recurlm("train", "ptb", "--out", tmp_path / "run")
    assert done.returncode == 5
    assert "RECURLM_DATA_DIR" in done.stderr
    done = recurlm("train", text_folder, "--out", tmp_path / "run", "--device", "cuda")
    if "CUDA_VISIBLE_DEVICES" not in os.environ and done.returncode != 0:
        assert done.returncode == 2
        assert "cuda" in done.stderr
    done = recurlm("train", text_folder, "--out", tmp_path / "run", "--time-limit", "soon")
    assert done.returncode == 2
    assert "10m" in done.stderr


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="the superuser may write anywhere")
def test_a_folder_that_may_not_be_written(recurlm: Command, text_folder: Path, tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    done = recurlm("train", text_folder, "--out", tmp_path / "run")
    tmp_path.chmod(0o700)
    assert done.returncode == 1
    assert "no permission" in done.stderr


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
def test_a_full_disk_is_said_plainly(recurlm: Command, trained: Path) -> None:
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(
            [sys.executable, "-m", "recurlm.cli.main", "eval", str(trained), "--json"],
            stdout=full,
            stderr=subprocess.PIPE,
            timeout=120,
        )
    assert done.returncode == 1
    assert b"the disk is full" in done.stderr
    assert b"Traceback" not in done.stderr


def test_log_lines_say_where_the_run_is(
    recurlm: Command, small_options: list[str], text_folder: Path, tmp_path: Path
) -> None:
    options = [*small_options, "--set", "training.log_every=10", "--epochs", 1]
    done = recurlm("train", text_folder, "--out", tmp_path / "run", *options)
    line = next(line for line in done.stderr.splitlines() if "step 10 " in line)
    assert re.search(r"epoch 1 .*loss \d.*perplexity \d.*lr \d.*tokens/s.*sentences/s.*left \d+:\d\d", line)
    assert done.stdout.strip() == str(tmp_path / "run")


@pytest.fixture
def forgotten_library() -> Iterator[None]:
    """This process asks for the compiled library as if for the first time, and once more after the test."""
    answers = (native._outcome, native.has_tiles, native.has_bfloat16_tiles)
    for answer in answers:
        answer.cache_clear()
    yield
    for answer in answers:
        answer.cache_clear()


@pytest.mark.usefixtures("forgotten_library")
@pytest.mark.parametrize(
    "why", ["a compiler that fails", "no compiler", "a cache that cannot be written", "switched off"]
)
def test_a_run_that_goes_on_without_its_library_says_that_it_is_not_bit_for_bit(
    recurlm: Command, trained: Path, tmp_path: Path, why: str
) -> None:
    if json.loads((trained / "config.json").read_text())["kernels"]["library"] == "none":
        pytest.skip("there is no library here")
    run = tmp_path / "run"
    shutil.copytree(trained, run)
    (tmp_path / "file").write_text("")
    variables = {
        "a compiler that fails": {"CXX": "/bin/false", "XDG_CACHE_HOME": str(tmp_path)},
        "no compiler": {"CXX": "", "PATH": str(tmp_path)},
        "a cache that cannot be written": {"XDG_CACHE_HOME": str(tmp_path / "file")},
        "switched off": {"RECURLM_NATIVE": "0"},
    }[why]
    done = recurlm("train", "--out", run, "--resume", "--quiet", **variables)
    assert done.returncode == 0, done.stderr
    assert "continues, but not bit for bit like an uninterrupted run: compiled library none (was " in done.stderr
    events = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert [event["kernels"]["library"] for event in events if event["event"] == "resume"] == ["none"]


def test_train_says_where_validation_carries_a_state_that_training_does_not(
    recurlm: Command, text_folder: Path, tmp_path: Path
) -> None:
    changes = ("batches.kind=sentences", "model.embedding_size=16", "model.hidden_sizes=[16]", "training.epochs=1")
    options = [part for change in changes for part in ("--set", change)]
    carried = recurlm("train", text_folder, "--out", tmp_path / "carried", *options)
    assert carried.returncode == 0, carried.stderr
    assert "--set validation.protocol=sentence validates as it trains" in carried.stderr
    alike = recurlm(
        "train", text_folder, "--out", tmp_path / "alike", *options, "--set", "validation.protocol=sentence"
    )
    assert alike.returncode == 0, alike.stderr
    assert "validates" not in alike.stderr
