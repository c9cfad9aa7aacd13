import json
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from cli.conftest import Command
from recurlm.runs.folder import RunFolder

OLD = Path(__file__).parents[1] / "fixtures" / "0.1.0" / "run"
TABLE = """\
run     valid      test  state     began
old      6.64      6.62  finished  2026-11-26 01:01
  texts, recipe default, lstm 8 + 8, 1,278 parameters, 114 steps
"""


@pytest.fixture(autouse=True)
def universal_time(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with monkeypatch.context() as patched:
        patched.setenv("TZ", "UTC")
        time.tzset()
        yield
    time.tzset()


@pytest.fixture
def copied(tmp_path: Path) -> Callable[[str], Path]:
    """Copies the run of version 0.1.0 under a name; its config.json and metrics.jsonl say what a list must say."""

    def copy(name: str) -> Path:
        return Path(shutil.copytree(OLD, tmp_path / "runs" / name))

    return copy


def rewrite(run: Path, **changes: object) -> None:
    folder = RunFolder(run)
    folder.write({"config.json": json.dumps(folder.config() | changes).encode()})


def test_a_run_is_a_row_of_figures_and_a_line_of_facts(recurlm: Command, copied, tmp_path: Path) -> None:
    copied("old")
    for arguments, folder in (([], tmp_path), (["runs"], tmp_path), (["."], tmp_path / "runs")):
        done = recurlm("runs", *arguments, cwd=folder)
        assert (done.returncode, done.stdout, done.stderr) == (0, TABLE, "")


def test_json_is_one_object_a_run_newest_first(recurlm: Command, copied, tmp_path: Path) -> None:
    for name, created in (("a", "2026-01-02"), ("b", "2026-01-03"), ("c", "2026-01-01")):
        rewrite(copied(name), created=f"{created}T00:00:00+00:00")
    done = recurlm("runs", "--json", cwd=tmp_path)
    listed = [json.loads(line) for line in done.stdout.splitlines()]
    assert [each["name"] for each in listed] == ["b", "a", "c"]
    assert listed[0] == {
        "name": "b",
        "run": "runs/b",
        "corpus": "texts",
        "recipe": "default",
        "unit": "word",
        "model": "lstm 8 + 8",
        "parameters": 1278,
        "epochs": 3,
        "steps": 114,
        "valid_perplexity": 6.6352013605173905,
        "test_perplexity": 6.624758141292079,
        "created": "2026-01-03T00:00:00+00:00",
        "state": "finished",
    }


def test_the_table_fits_into_eighty_columns(recurlm: Command, copied, tmp_path: Path) -> None:
    run = copied("a-name-that-is-longer-than-the-column-of-names")
    long = {"corpus": json.loads((run / "config.json").read_text())["corpus"] | {"name": "a long name of a text " * 3}}
    rewrite(run, **long, recipe_name="a-long-name-of-a-recipe")
    done = recurlm("runs", cwd=tmp_path)
    assert max(map(len, done.stdout.splitlines())) <= 80
    assert "a-name-that-is-longer-than-the-column-of-names\n" in done.stdout


def test_a_run_without_a_result_is_stopped_and_has_the_figures_of_its_last_validation(
    recurlm: Command, copied, tmp_path: Path
) -> None:
    metrics = copied("old") / "metrics.jsonl"
    metrics.write_bytes(b"".join(metrics.read_bytes().splitlines(keepends=True)[:-1]) + b'{"event": "fin')
    row = json.loads(recurlm("runs", "--json", cwd=tmp_path).stdout)
    assert (row["state"], row["epochs"], row["steps"]) == ("stopped", 3, 114)
    assert (row["valid_perplexity"], row["test_perplexity"]) == (6.687665003175399, None)


def test_a_run_that_a_process_holds_is_running(recurlm: Command, copied, tmp_path: Path) -> None:
    run = copied("old")
    with RunFolder(run).claimed():
        assert json.loads(recurlm("runs", "--json", cwd=tmp_path).stdout)["state"] == "running"
    assert json.loads(recurlm("runs", "--json", cwd=tmp_path).stdout)["state"] == "finished"


def test_runs_that_were_not_trained_say_where_they_come_from(recurlm: Command, copied, tmp_path: Path) -> None:
    rewrite(copied("grown"), extended={"file": "more.txt", "init": "mean", "added": ["plum"]})
    run = copied("moved")
    rewrite(run, corpus={"source": "", "name": "model"})
    rows = map(json.loads, recurlm("runs", "--json", cwd=tmp_path).stdout.splitlines())
    assert {row["name"]: row["state"] for row in rows} == {"grown": "extended", "moved": "imported"}


def test_damaged_and_foreign_folders_are_named_and_the_rest_is_listed(recurlm: Command, copied, tmp_path: Path) -> None:
    copied("old")
    (copied("damaged") / "config.json").write_text("{")
    copied("search/000")
    (tmp_path / "runs" / "notes").mkdir()
    (tmp_path / "runs" / ".hidden").mkdir()
    (tmp_path / "runs" / "a file").touch()
    done = recurlm("runs", cwd=tmp_path)
    assert done.returncode == 0
    assert done.stdout == TABLE
    damaged, notes, search = done.stderr.splitlines()
    assert damaged.startswith("recurlm: runs/damaged/config.json: altered or truncated")
    assert damaged.endswith("; see: recurlm verify runs/damaged")
    assert notes == "recurlm: runs/notes: not a run folder (no config.json)"
    assert search == "recurlm: runs/search: not a run folder (no config.json); its runs: recurlm runs runs/search"


def test_a_list_without_runs_says_how_to_begin_one(recurlm: Command, tmp_path: Path) -> None:
    done = recurlm("runs", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (0, "")
    assert done.stderr == "no runs yet: there is no folder runs; begin a run with: recurlm train\n"
    (tmp_path / "empty").mkdir()
    done = recurlm("runs", "empty", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (0, "")
    assert done.stderr == "empty: holds no run; begin one with: recurlm train TEXT --out empty/NAME\n"
    done = recurlm("runs", "absent", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (3, "")
    assert "absent: no such folder" in done.stderr


def test_a_run_folder_is_a_list_of_one(recurlm: Command, copied) -> None:
    assert json.loads(recurlm("runs", copied("old"), "--json").stdout)["name"] == "old"
