import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

import recurlm
from recurlm.errors import InputError, StoppedError, UsageError
from recurlm.interface import training
from recurlm.progress import Silent
from recurlm.recipe_files import load_recipe
from recurlm.text.places import DataPlaces

SMALL = {
    "batches": {"batch_size": 4, "bptt": 10},
    "model": {"embedding_size": 16, "hidden_sizes": [16], "dropout": {"output": 0.0}},
    "optimizer__learning_rate": 0.01,
    "text__minimum_count": 1,
    "precision": "fp32",
}
Train = Callable[..., recurlm.Run]


@pytest.fixture
def train(corpus_folder: Path, tmp_path: Path) -> Train:
    """Trains a small model on the easy language, in a folder of this name."""

    def call(out: str, **keywords: object) -> recurlm.Run:
        places = DataPlaces(cache_directory=tmp_path / "cache")
        given = {"epochs": 2, "quiet": True, "places": places} | SMALL | keywords
        return recurlm.train(corpus_folder, out=tmp_path / out, **given)

    return call


def test_keywords_are_keys_of_the_recipe(train: Train) -> None:
    run = train("mine", seed=3, schedule={"kind": "constant"}, training__log_every=7)
    written = load_recipe(
        "default",
        [
            "schedule.kind=constant",
            "training.log_every=7",
            "training.epochs=2",
            "batches.batch_size=4",
            "batches.bptt=10",
            "model.embedding_size=16",
            "model.hidden_sizes=[16]",
            "model.dropout.output=0.0",
            "optimizer.learning_rate=0.01",
            "text.minimum_count=1",
            "text.cut=spaces",
        ],
    )
    assert run.recipe == written
    assert run.config["seed"] == 3
    assert run.finished


def test_the_model_is_that_of_the_command(train: Train, corpus_folder: Path, tmp_path: Path) -> None:
    """Both begin the same run, so their weights are the same bits."""
    mine = train("mine")
    options = [f"--set={change}" for change in ("batches.batch_size=4", "batches.bptt=10", "text.minimum_count=1")]
    options += ["--set=model.embedding_size=16", "--set=model.hidden_sizes=[16]", "--set=model.dropout.output=0.0"]
    options += ["--set=optimizer.learning_rate=0.01", "--epochs=2", "--precision=fp32", "--quiet"]
    command = [sys.executable, "-m", "recurlm.cli.main", "train", corpus_folder, "--out", tmp_path / "theirs", *options]
    variables = os.environ | {"OMP_NUM_THREADS": "1", "RECURLM_CACHE_DIR": str(tmp_path / "cache")}
    subprocess.run(command, env=variables, check=True, capture_output=True, timeout=120)
    files = [tmp_path / name / "model.safetensors" for name in ("mine", "theirs")]
    assert files[0].read_bytes() == files[1].read_bytes()
    assert mine.perplexities == recurlm.Run(tmp_path / "theirs").perplexities


class Interrupting(Silent):
    """Sends Ctrl-C at a tick."""

    def __init__(self, tick: int) -> None:
        self.left = tick

    def tick(self, done: float | None, text: str) -> None:
        self.left -= 1
        if not self.left:
            os.kill(os.getpid(), signal.SIGINT)


def test_ctrl_c_leaves_a_checkpoint_from_which_the_same_call_goes_on(
    train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, before = train("whole"), signal.getsignal(signal.SIGINT)
    with monkeypatch.context() as patch:
        patch.setattr(training, "open_python_watcher", lambda quiet: Interrupting(5))
        with pytest.raises(StoppedError, match=r"stopped at step 5; go on with the same call and resume=True \("):
            train("stopped")
    assert signal.getsignal(signal.SIGINT) is before
    stopped = recurlm.open_run(tmp_path / "stopped")
    assert not stopped.finished
    assert "no epoch logged" in str(stopped)
    resumed = train("stopped", resume=True)
    assert resumed.finished
    assert (resumed.path / "model.safetensors").read_bytes() == (whole.path / "model.safetensors").read_bytes()


def test_a_thread_that_gets_no_signals_can_train(train: Train) -> None:
    runs: list[recurlm.Run] = []
    thread = threading.Thread(target=lambda: runs.append(train("mine", epochs=1)))
    thread.start()
    thread.join()
    assert runs[0].finished


@pytest.mark.parametrize("limit", ["0.05h", 180])
def test_a_time_limit_is_written_or_in_seconds(train: Train, limit: str | float) -> None:
    assert train("mine", time_limit=limit).config["time_limit"] == 180


@pytest.mark.parametrize(
    ("keywords", "message"),
    [
        ({"training__epoch": 3}, r"training\.epoch: unknown key; did you mean epochs\?"),
        ({"training": {"epoch": 3}}, r"training\.epoch: unknown key; did you mean epochs\?"),
        ({"training__log_every": "often"}, r"training\.log_every: Input should be a valid integer \(got 'often'\)"),
        ({"start": "nowhere"}, "nowhere: not a run folder"),
    ],
)
def test_what_the_schema_refuses_is_said_as_on_the_command_line(train: Train, keywords: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        train("mine", **keywords)


@pytest.mark.parametrize(
    ("keywords", "message"),
    [
        ({"time_limt": "3m"}, r"no keyword time_limt; did you mean time_limit\?"),
        ({"learning_rate": 0.1}, r"no keyword learning_rate; did you mean optimizer__learning_rate\?"),
        ({"traning__epochs": 1}, r"no keyword traning__epochs; did you mean training__epochs\?"),
        ({"xyzzy": 1}, r"no keyword xyzzy; docs/python\.md lists the keywords"),
        ({"text": "my.txt"}, r"write text__key=value .*\(the text to train on is the first argument"),
        ({"model": 3}, r"model: is a section of the recipe; write model__key=value or model=\{…\}$"),
        ({"training__patience": None}, r"training\.patience: .*not NoneType; leave the key out"),
    ],
)
def test_a_keyword_that_is_no_key_is_refused_with_the_nearest_one(train: Train, keywords: dict, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        train("mine", **keywords)


@pytest.mark.parametrize("value", ["a \"quoted\" 'name'", "Zeile\nzwei", "\x7f 😀", "true", "3"])
def test_a_string_stays_the_string_that_it_is(value: str) -> None:
    (change,) = training._changes({"description": value})
    assert load_recipe("default", [change]).description == value


def test_one_line_of_python_trains_and_prints(corpus_folder: Path, tmp_path: Path) -> None:
    code = (
        "import recurlm; run = recurlm.train('fruit', out='mine', epochs=1, model={'hidden_sizes': [16]}, "
        "model__embedding_size=16); print(run)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=corpus_folder.parent,
        env=os.environ | {"RECURLM_CACHE_DIR": str(tmp_path / "cache"), "RECURLM_OFFLINE": "1"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert [line.split()[0] for line in lines] == ["run", "model", "state", "valid", "test"]
    assert "finished: 1 epoch, " in lines[2]
    assert "epoch 1: training perplexity" in done.stderr


def test_every_keyword_is_on_the_page() -> None:
    for page in ("python.md", "python.zh.md"):
        text = (Path(__file__).parent.parent.parent / "docs" / page).read_text("utf-8")
        assert [name for name in recurlm.train.__kwdefaults__ if f"| `{name}` |" not in text] == []


def test_the_unit_is_a_keyword(train: Train) -> None:
    run = train("characters", unit="character", epochs=1)
    assert run.recipe.text.unit == "character"


def test_memory_is_kept_while_training_and_returned_at_the_end(train: Train, monkeypatch: pytest.MonkeyPatch) -> None:
    """As the command keeps it, but a notebook goes on: so it is returned, also by a training that was stopped."""
    happened: list[str] = []
    monkeypatch.setattr("recurlm.devices.keep_freed_memory", lambda: happened.append("kept"))
    monkeypatch.setattr("recurlm.devices.return_freed_memory", lambda: happened.append("returned"))
    train("mine", epochs=1)
    assert happened == ["kept", "returned"]
    with monkeypatch.context() as patch:
        patch.setattr(training, "open_python_watcher", lambda quiet: Interrupting(1))
        with pytest.raises(StoppedError):
            train("stopped")
    assert happened == ["kept", "returned"] * 2


@pytest.mark.skipif(sys.platform != "linux", reason="only glibc keeps freed memory")
def test_kept_memory_goes_back_to_the_system() -> None:
    code = """
import ctypes, resource
from pathlib import Path
from recurlm.devices import keep_freed_memory, return_freed_memory
if not hasattr(ctypes.CDLL(None), "malloc_trim"):
    raise SystemExit
def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()
keep_freed_memory()
blocks = [bytes([1]) * (1 << 20) for _ in range(200)]
blocks = None
kept = resident()
return_freed_memory()
print(kept - resident())
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    if done.stdout:
        assert int(done.stdout) > 100 << 20
