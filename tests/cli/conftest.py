import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from cli.in_process import run_command
from recurlm.kernels.native import native_library

SENTENCES = ["the red fruit is a cherry", "the yellow fruit is a lemon", "the green fruit is a lime", "it is sweet"]
SMALL = [
    "text.minimum_count=1",
    "model.embedding_size=32",
    "model.hidden_sizes=[32]",
    "batches.batch_size=4",
    "batches.bptt=10",
    "optimizer.learning_rate=0.02",
    "training.epochs=12",
]

Command = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="session")
def variables(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """A cache of its own and no network; the library is compiled before a command needs it."""
    native_library()
    return {"RECURLM_CACHE_DIR": str(tmp_path_factory.mktemp("cache")), "RECURLM_OFFLINE": "1"}


@pytest.fixture(scope="session")
def environment(variables: dict[str, str]) -> dict[str, str]:
    """The environment of a process: this one's, without its RECURLM_ variables."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith("RECURLM_") or "NATIVE" in key}
    return kept | variables | {"OMP_NUM_THREADS": "1"}


@pytest.fixture(scope="session")
def recurlm(variables: dict[str, str]) -> Command:
    """Runs the command line in this process, which takes no two seconds to load torch."""

    def run(
        *arguments: object, stdin: str | bytes = b"", cwd: Path | None = None, **changes: str
    ) -> subprocess.CompletedProcess[str]:
        words = list(map(str, arguments))
        done = run_command(words, stdin=stdin, folder=cwd or Path.cwd(), variables=variables | changes)
        return subprocess.CompletedProcess(words, done.code, done.stdout.decode(), done.stderr.decode())

    return run


@pytest.fixture(scope="session")
def recurlm_process(environment: dict[str, str]) -> Command:
    """Runs the command line in a process of its own: for what belongs to a process, such as its environment."""

    def run(
        *arguments: object, stdin: str | bytes = b"", cwd: Path | None = None, **changes: str
    ) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [sys.executable, "-m", "recurlm.cli.main", *map(str, arguments)],
            input=stdin.encode() if isinstance(stdin, str) else stdin,
            capture_output=True,
            cwd=cwd,
            env=environment | changes,
            timeout=300,
        )
        return subprocess.CompletedProcess(done.args, done.returncode, done.stdout.decode(), done.stderr.decode())

    return run


@pytest.fixture(scope="session")
def small_options() -> list[str]:
    """Options that make training a matter of seconds."""
    return [part for change in SMALL for part in ("--set", change)]


@pytest.fixture(scope="session")
def text_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A corpus folder of a few easy sentences."""
    folder = tmp_path_factory.mktemp("texts") / "fruit"
    folder.mkdir()
    for name, repeats in (("train", 60), ("valid", 4), ("test", 5)):
        (folder / f"{name}.txt").write_text("".join(f"{line}\n" for line in SENTENCES) * repeats)
    return folder


@pytest.fixture(scope="session")
def trained(
    recurlm: Command, small_options: list[str], text_folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A run folder that the command line made."""
    run = tmp_path_factory.mktemp("runs") / "fruit"
    done = recurlm("train", text_folder, "--out", run, *small_options)
    assert done.returncode == 0, done.stderr
    return run
