"""Several processes that carry out one search."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Self

import pytest

from recurlm.errors import RecurlmError
from recurlm.progress import Silent
from recurlm.search.search import SearchRequest
from recurlm.search.search_space import Choice, Range
from recurlm.search.shared import SharedStudy
from recurlm.search.study import Study
from recurlm.search.together import search_together
from recurlm.training.request import TrainingRequest
from recurlm.workers import Told, Values

optuna = pytest.importorskip("optuna")

RATE = Range("optimizer.learning_rate", 1e-4, 1.0, True)
SIZES = Choice("model.hidden_sizes", tuple([size] for size in range(8, 16)))
SECONDS = 180


def finish(study: Study, perplexity: float) -> None:
    """Ends the newest trial."""
    trial = study.trials[-1]
    trial.state, trial.perplexity, trial.signature = "complete", perplexity, "signature"
    study.save(trial)


def test_studies_of_one_folder_share_trials_and_never_values(tmp_path: Path) -> None:
    first, second = (SharedStudy(tmp_path / "trials.jsonl", (SIZES,), 1) for _ in range(2))
    seen = []
    for study in (first, second, second, first, second, first, first, second):
        trial = study.next()
        assert trial is not None
        seen.append(trial.values[SIZES.key][0])
        trial.state = "failed"
        study.save(trial)
    assert sorted(seen) == list(range(8, 16))
    assert first.next() is None
    assert [trial.number for trial in second.trials] == list(range(1, 9))
    assert len((tmp_path / "trials.jsonl").read_text().splitlines()) == 8


def test_the_trials_of_all_processes_count(tmp_path: Path) -> None:
    first, second = (SharedStudy(tmp_path / "trials.jsonl", (RATE,), 1) for _ in range(2))
    assert first.next(2) is not None
    assert second.next(2) is not None
    third = SharedStudy(tmp_path / "trials.jsonl", (RATE,), 1)
    assert third.next(2) is None


def test_a_trial_that_nobody_holds_goes_on(tmp_path: Path) -> None:
    first, second = (SharedStudy(tmp_path / "trials.jsonl", (RATE,), 1) for _ in range(2))
    begun = first.next()
    assert begun is not None
    begun.curve = [12.5]
    first.save(begun)
    assert (other := second.next()) is not None
    assert other.number == 2
    first._held.close()  # as the system does for a process that dies
    second._held.close()
    third = SharedStudy(tmp_path / "trials.jsonl", (RATE,), 1).next()
    assert third is not None
    assert (third.number, third.curve) == (1, [12.5])


def test_a_search_that_one_process_began_is_taken_over(tmp_path: Path) -> None:
    alone = Study(tmp_path / "trials.jsonl", (RATE,), 1)
    alone.next()
    finish(alone, 50.0)
    alone.next()
    shared = SharedStudy(tmp_path / "trials.jsonl", (RATE,), 1)
    assert [vars(trial) for trial in shared.trials] == [vars(trial) for trial in alone.trials]
    goes_on = shared.next()
    assert goes_on is not None
    assert goes_on.number == 2


def test_optuna_s_own_tools_read_the_journal(tmp_path: Path) -> None:
    study = SharedStudy(tmp_path / "trials.jsonl", (RATE,), 1)
    for perplexity in (40.0, 30.0):
        study.next()
        finish(study, perplexity)
    backend = optuna.storages.journal.JournalFileBackend(str(tmp_path / "study.journal"))
    read = optuna.load_study(study_name="search", storage=optuna.storages.JournalStorage(backend))
    assert read.best_value == 30.0
    assert read.best_params == {RATE.key: study.trials[1].values[RATE.key]}


@pytest.fixture
def start(
    corpus_folder: Path, small_recipe: Callable[..., Path], tmp_path: Path
) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Starts a search as a command."""
    recipe = small_recipe(training={"epochs": 3, "precision": "fp32", "checkpoint_seconds": 0.1})
    started = []

    def start_(*options: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "recurlm", "search", str(corpus_folder), "--recipe", str(recipe)]
        command += ["--out", str(tmp_path / "search"), "--cache-dir", str(tmp_path / "cache")]
        command += ["--vary", "optimizer.learning_rate=log:1e-4..1.0", "--device", "cpu", *options]
        environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)}
        started.append(
            subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
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


def wait_for_trial(search: Path) -> None:
    """Waits until a trial has a checkpoint."""
    deadline = time.monotonic() + SECONDS
    while not list(search.glob("trials/*/checkpoints/step-*")):
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="finds processes by Linux's /proc")
def test_two_commands_and_a_killed_process_end_with_every_trial_once(start, tmp_path):
    commands = [start("--trials", "7", "--processes", "2") for _ in range(2)]
    wait_for_trial(tmp_path / "search")
    os.kill(children(commands[0].pid)[0], signal.SIGKILL)
    told = [command.communicate(timeout=SECONDS) for command in commands]
    assert [command.returncode for command in commands] == [0, 0], told
    assert "of the search: its process was killed (SIGKILL)" in told[0][1]
    done = start("--trials", "7", "--json", "--resume")
    found = json.loads(done.communicate(timeout=SECONDS)[0])
    assert [trial["number"] for trial in found["trials"]] == [1, 2, 3, 4, 5, 6, 7]
    assert {trial["state"] for trial in found["trials"]} <= {"complete", "pruned", "diverged"}
    rates = [trial["values"]["optimizer.learning_rate"] for trial in found["trials"]]
    assert len(set(rates)) == 7
    best = min(trial["perplexity"] for trial in found["trials"] if trial["perplexity"] is not None)
    assert found["valid_perplexity"] == best
    assert f"{best:.6g}" in (tmp_path / "search" / "best.toml").read_text()


class LostWorkers:
    """Processes that are killed at once."""

    def __init__(self, module: str, count: int) -> None:
        pass

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *raised: object) -> None:
        pass

    def answers(self, requests: Sequence[Values], look: Callable[[], None]) -> Iterator[Told]:
        yield from (Told(number, {}, "its process was killed (SIGKILL)", 1) for number in range(len(requests)))


def test_a_search_that_lost_all_its_processes_fails(corpus_folder, small_recipe, tmp_path, monkeypatch):
    study = SharedStudy(tmp_path / "out" / "trials.jsonl", (RATE,), 1)
    study.next()
    finish(study, 50.0)
    monkeypatch.setattr("recurlm.search.together.Workers", LostWorkers)
    training = TrainingRequest(
        text=str(corpus_folder), recipe=str(small_recipe()), out=tmp_path / "out", device="cpu", resume=True
    )
    request = SearchRequest(training, ("optimizer.learning_rate=log:1e-4..1.0",), trials=2, processes=2)
    with pytest.raises(RecurlmError, match="no process is left, and 1 of 2 trials are done"):
        search_together(request, Silent())
    assert search_together(replace(request, trials=1), Silent()).best.perplexity == 50.0


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="finds processes by Linux's /proc")
@pytest.mark.thorough
def test_a_stopped_search_goes_on(start, tmp_path):
    command = start("--trials", "4", "--epochs", "30", "--processes", "2")
    wait_for_trial(tmp_path / "search")
    command.send_signal(signal.SIGINT)
    _, told = command.communicate(timeout=SECONDS)
    assert command.returncode == 75, told
    assert "go on with the same command and --resume" in told
    assert "Traceback" not in told
