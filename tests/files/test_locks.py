import errno
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import filelock
import pytest

from recurlm.files import locks
from recurlm.files.locks import is_locked, locked

HOLDS_UNTIL_IT_IS_TOLD = """
import sys
from pathlib import Path
from recurlm.files.locks import locked
with locked(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.readline()
"""


@pytest.fixture
def holder(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that holds the folder until it is sent a line."""
    command = [sys.executable, "-c", HOLDS_UNTIL_IT_IS_TOLD, str(tmp_path)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.communicate()


def test_another_process_is_kept_out(holder: subprocess.Popen[str], tmp_path: Path) -> None:
    with pytest.raises(BlockingIOError), locked(tmp_path, wait=False):
        pass
    assert list(tmp_path.iterdir()) == []


def test_a_process_waits_until_the_other_is_ready(holder: subprocess.Popen[str], tmp_path: Path) -> None:
    entered = threading.Event()

    def wait_and_enter() -> None:
        with locked(tmp_path):
            entered.set()

    waiting = threading.Thread(target=wait_and_enter)
    waiting.start()
    assert not entered.wait(0.2)
    holder.communicate("go\n")
    waiting.join(10)
    assert entered.is_set()


def test_the_lock_of_a_killed_process_is_free(holder: subprocess.Popen[str], tmp_path: Path) -> None:
    holder.kill()
    holder.wait()
    with locked(tmp_path, wait=False):
        pass


def test_a_second_caller_of_the_same_process_is_kept_out(tmp_path: Path) -> None:
    with locked(tmp_path):
        with pytest.raises(BlockingIOError), locked(tmp_path, wait=False):
            pass
        with pytest.raises(BlockingIOError), locked(tmp_path, wait=False):
            pass
    with locked(tmp_path, wait=False):
        pass


def test_a_folder_that_cannot_be_written_is_locked_too(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with locked(tmp_path), pytest.raises(BlockingIOError), locked(tmp_path, wait=False):
        pass


def test_a_file_system_without_locks_keeps_nobody_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(descriptor: int, *, blocking: bool) -> bool:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(filelock, "lock_descriptor", refuse)
    with locked(tmp_path), locked(tmp_path, wait=False):
        pass


def test_where_folders_cannot_be_opened_a_file_inside_is_locked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(locks, "FOLDERS_HAVE_DESCRIPTORS", False)
    for _ in range(2):
        with locked(tmp_path), pytest.raises(BlockingIOError), locked(tmp_path, wait=False):
            pass
    assert [path.name for path in tmp_path.iterdir()] == [locks.LOCK_FILE]


def test_a_held_folder_is_locked_and_asking_creates_nothing(tmp_path: Path) -> None:
    assert not is_locked(tmp_path / "absent")
    with locked(tmp_path):
        assert is_locked(tmp_path)
    assert not is_locked(tmp_path)
    assert list(tmp_path.iterdir()) == []
