import hashlib
import json
import os
import shutil
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch

from recurlm.cli.main import main
from recurlm.errors import InputError
from recurlm.runs.folder import RunFolder
from recurlm.runs.verification import verify

FIXTURES = Path(__file__).parents[1] / "fixtures" / "0.1.0"


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    """A finished run with two checkpoints and its texts."""
    path = tmp_path / "run"
    shutil.copytree(FIXTURES / "run", path)
    (path / "checkpoints").mkdir(exist_ok=True)
    checkpoint = FIXTURES / "stopped" / "checkpoints" / "step-00000014"
    for step in (7, 14):
        shutil.copytree(checkpoint, path / "checkpoints" / f"step-{step:08d}")
    shutil.copytree(FIXTURES / "texts", tmp_path / "texts")
    config = json.loads((path / "config.json").read_text())
    config["corpus"]["source"] = str(tmp_path / "texts")
    folder = RunFolder(path)
    folder.write({"config.json": json.dumps(config).encode(), "training.svg": b"<svg/>"})
    return folder


def states(run: RunFolder, state: str) -> dict[str, str]:
    """Name to advice of what has a state."""
    return {each.name: each.advice for each in verify(run).findings if each.state == state}


def test_a_whole_run_is_read_back(run, tmp_path):
    result = verify(run)
    assert result.damaged == []
    names = [finding.name for finding in result.findings if finding.state == "whole"]
    texts = [f"{split} text of {tmp_path / 'texts'}" for split in ("train", "valid", "test")]
    files = ["config.json", "metrics.jsonl", "model.safetensors", "training.svg", "vocabulary.json"]
    assert names == ["manifest.json", *files, "checkpoints/step-00000007", "checkpoints/step-00000014", *texts]


@pytest.mark.parametrize(
    ("name", "advice"),
    [
        ("config.json", "nothing of the run can be used"),
        ("vocabulary.json", "the model cannot be used"),
        ("model.safetensors", "the model that validation chose is lost"),
        ("metrics.jsonl", "the model is not affected"),
        ("training.svg", "draw it again: recurlm plot"),
        ("manifest.json", "no file of the run can be held to its digest"),
    ],
)
@pytest.mark.parametrize("damage", ["a flipped bit", "cut short", "missing", "a pipe"])
def test_a_damaged_file_is_named_with_what_is_lost(run, name, advice, damage):
    path = run.path / name
    content = path.read_bytes()
    if damage in ("missing", "a pipe"):
        path.unlink()
    if damage == "a pipe":
        os.mkfifo(path)
    elif damage == "cut short":
        path.write_bytes(content[:-2])
    elif damage == "a flipped bit":
        middle = len(content) // 2
        path.write_bytes(content[:middle] + bytes([content[middle] ^ 0x80]) + content[middle + 1 :])
    if (name, damage) == ("config.json", "missing"):
        with pytest.raises(InputError, match="not a run folder"):
            verify(run)
        return
    damaged = states(run, "damaged")
    assert advice in damaged[name]
    assert list(damaged) == [name]


def test_weights_that_are_not_finite_are_damage_even_under_a_fitting_digest(run):
    weights = safetensors.torch.load_file(run.path / "model.safetensors")
    weights["embedding.weight"][0, 0] = torch.inf
    run.save_model(safetensors.torch.save(weights))
    assert list(states(run, "damaged")) == ["model.safetensors"]


def test_another_vocabulary_is_damage_even_under_a_fitting_digest(run):
    content = (run.path / "vocabulary.json").read_bytes()
    run.write({"vocabulary.json": content.replace(b"lemon", b"melon")})
    assert list(states(run, "damaged")) == ["vocabulary.json"]


def damage_checkpoint(run: RunFolder, step: int) -> None:
    path = run.path / "checkpoints" / f"step-{step:08d}" / "weights.safetensors"
    path.write_bytes(np.zeros(path.stat().st_size, np.uint8).tobytes())


def test_of_damaged_checkpoints_it_says_where_resume_goes_on(run):
    damage_checkpoint(run, 14)
    older, newer = "checkpoints/step-00000007", "checkpoints/step-00000014"
    assert states(run, "damaged") == {newer: f"--resume goes on from {older}"}
    damage_checkpoint(run, 7)
    begin_again = "no checkpoint is whole; to begin again, remove checkpoints and use --resume"
    assert states(run, "damaged") == {older: begin_again, newer: begin_again}
    shutil.rmtree(run.path / newer)
    shutil.copytree(FIXTURES / "stopped" / newer, run.path / newer)
    assert states(run, "damaged") == {older: f"--resume does not need it: it goes on from {newer}"}


def test_altered_and_absent_texts_are_named(run, tmp_path):
    texts = tmp_path / "texts"
    (texts / "test.txt").write_text("another\ntext\n")
    assert list(states(run, "damaged")) == [f"test text of {texts}"]
    shutil.rmtree(texts)
    assert states(run, "damaged") == {}
    assert list(states(run, "absent")) == [f"{split} text of {texts}" for split in ("train", "valid", "test")]


def test_what_killed_processes_left_is_named_and_is_no_damage(run):
    (run.path / ".1-0.partial").write_text("half")
    (run.path / "checkpoints" / "damaged-step-00000001").mkdir()
    assert list(states(run, "left over")) == [".1-0.partial", "checkpoints/damaged-step-00000001"]
    assert states(run, "damaged") == {}


def test_nothing_is_changed(run):
    def photograph() -> dict[Path, tuple[int, str]]:
        files = (path for path in run.path.rglob("*") if path.is_file())
        return {path: (path.stat().st_mtime_ns, hashlib.sha256(path.read_bytes()).hexdigest()) for path in files}

    damage_checkpoint(run, 14)
    before = photograph()
    verify(run)
    assert photograph() == before


def command(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> int:
    monkeypatch.setattr(sys, "argv", ["recurlm", *map(str, arguments)])
    with warnings.catch_warnings(), pytest.raises(SystemExit) as end:
        main()
    return int(end.value.code or 0)


def test_the_command_prints_what_it_found_and_ends_with_4_where_something_is_damaged(run, monkeypatch, capsys):
    assert command(monkeypatch, "verify", run.path) == 0
    assert "whole      model.safetensors" in capsys.readouterr().out
    damage_checkpoint(run, 14)
    assert command(monkeypatch, "verify", run.path) == 4
    output = capsys.readouterr()
    assert "damaged    checkpoints/step-00000014\n" in output.out
    assert output.err == f"recurlm: {run.path}: 1 of 11 findings are damage\n"
    assert command(monkeypatch, "verify", run.path, "--json") == 4
    report = json.loads(capsys.readouterr().out)
    assert report["whole"] is False
    assert [each["name"] for each in report["findings"] if each["state"] == "damaged"] == ["checkpoints/step-00000014"]
    assert command(monkeypatch, "verify", run.path.parent) == 3
