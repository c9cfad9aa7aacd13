import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

Command = Callable[..., subprocess.CompletedProcess[str]]

pytest.importorskip("optuna")

VARY = ["--vary", "optimizer.learning_rate=log:1e-3..5e-2", "--vary", "batches.bptt=5|10"]


@pytest.fixture(scope="module")
def options(small_options: list[str]) -> list[str]:
    """Small trials whose varied keys are left to the search."""
    pairs = zip(small_options[::2], small_options[1::2], strict=True)
    kept = [pair for pair in pairs if not pair[1].startswith(("optimizer.learning_rate", "batches.bptt"))]
    return [part for pair in kept for part in pair] + ["--epochs", "2", *VARY]


def test_a_search_prints_a_table_and_writes_a_recipe_that_trains(
    recurlm: Command, options: list[str], text_folder: Path, tmp_path: Path
) -> None:
    out = tmp_path / "search"
    done = recurlm("search", text_folder, "--out", out, "--trials", 2, *options)
    assert done.returncode == 0, done.stderr
    assert "Warning" not in done.stderr
    rows = [line.split() for line in done.stdout.splitlines()]
    assert rows[0] == ["trial", "state", "valid", "epochs", "time", "learning_rate", "bptt"]
    assert {row[0] for row in rows[1:]} == {"001", "002"}
    assert f"next   recurlm train --recipe {out / 'best.toml'}" in done.stderr
    trained = recurlm("train", "--recipe", out / "best.toml", "--out", tmp_path / "run", "--json")
    assert trained.returncode == 0, trained.stderr
    assert f"{json.loads(trained.stdout)['valid_perplexity']:.6g}" == rows[1][2]
    more = recurlm("search", text_folder, "--out", out, "--trials", 3, "--resume", "--json", *options)
    assert more.returncode == 0, more.stderr
    found = json.loads(more.stdout)
    assert [trial["state"] for trial in found["trials"]] == ["complete"] * 3
    assert found["valid_perplexity"] == min(trial["perplexity"] for trial in found["trials"])
    assert [json.loads(line) for line in (out / "trials.jsonl").read_text().splitlines()] == found["trials"]


def test_a_wrong_variation_is_told_in_one_line(recurlm: Command, text_folder: Path, tmp_path: Path) -> None:
    done = recurlm("search", text_folder, "--out", tmp_path / "search", "--vary", "optimizer.learning_rate=fast")
    assert done.returncode == 2
    assert done.stderr.startswith("recurlm: --vary optimizer.learning_rate=fast: needs two different values")
    assert not (tmp_path / "search").exists()


def test_a_file_in_the_place_of_the_folder_is_told(recurlm: Command, text_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for processes in ([], ["--processes", "2"]):
        done = recurlm("search", text_folder, "--out", "file", *VARY, *processes, cwd=tmp_path)
        assert (done.returncode, done.stderr) == (3, "recurlm: file: is a file, not a folder; name another --out\n")


def test_a_time_that_is_none_is_told_with_its_option(recurlm: Command, text_folder: Path, tmp_path: Path) -> None:
    done = recurlm("search", text_folder, "--out", tmp_path / "search", "--time", "soon", *VARY)
    assert done.returncode == 2
    assert done.stderr.startswith("recurlm: --time soon: write it as 90s, 10m, 1.5h or 1h30m")
