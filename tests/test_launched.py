import os
import subprocess
import sys

import pytest

from recurlm.launched import is_abandoned, remove_abandoned_notes, tells_first


@pytest.fixture
def notes(tmp_path, monkeypatch):
    """The folder of a launcher that started this process."""
    folder = tmp_path / "notes"
    folder.mkdir()
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "recurlm")
    monkeypatch.setenv("RECURLM_LAUNCH_NOTES", str(folder))
    monkeypatch.setenv("RECURLM_LAUNCHER", str(os.getppid()))
    return folder


def test_of_several_processes_the_first_tells_a_text(notes):
    program = "from recurlm.launched import tells_first; print(tells_first('an error'), tells_first('another one'))"
    command = [sys.executable, "-c", program]
    told = [subprocess.run(command, capture_output=True, text=True, check=True).stdout.split() for _ in range(3)]
    assert told == [["True", "True"], ["False", "False"], ["False", "False"]]


def test_a_process_alone_tells_every_text(tmp_path, monkeypatch):
    monkeypatch.delenv("TORCHELASTIC_RUN_ID", raising=False)
    monkeypatch.setenv("RECURLM_LAUNCH_NOTES", str(tmp_path))
    assert [tells_first("an error"), tells_first("an error")] == [True, True]
    assert not is_abandoned()


def test_notes_stay_until_their_launcher_has_ended(notes, monkeypatch):
    remove_abandoned_notes()
    assert notes.is_dir()
    assert not is_abandoned()
    monkeypatch.setenv("RECURLM_LAUNCHER", str(os.getpid()))
    assert is_abandoned()
    remove_abandoned_notes()
    assert not notes.exists()
    assert tells_first("an error")
