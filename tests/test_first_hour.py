"""Runs the cells of docs/first-hour.ipynb in order, and looks at what a notebook would show."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from site_modules import site_module

NOTEBOOK = Path(__file__).parent.parent / "docs" / "first-hour.ipynb"
notebook = site_module("notebook")
CELLS = json.loads(NOTEBOOK.read_text("utf-8"))["cells"]


def test_every_cell_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RECURLM_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("RECURLM_OFFLINE", "1")
    namespace: dict[str, Any] = {"__name__": "__main__"}
    sources = notebook.code_cells(NOTEBOOK)
    outputs = "\n".join([notebook.html_of(notebook.run_cell(source, namespace)) for source in sources])
    for expected in ("finished: 4 epochs", "<svg", "surprisal in bits", "entropy", "<b>the blue</b> plum is ripe"):
        assert expected in outputs
    assert "<b></b>lime is ripe" in outputs
    assert "state  finished: 4 epochs" in capsys.readouterr().out


def test_the_notebook_has_no_outputs_and_no_paths_of_a_machine() -> None:
    code = [cell for cell in CELLS if cell["cell_type"] == "code"]
    assert code
    assert all(cell["outputs"] == [] and cell["execution_count"] is None for cell in code)
    assert not re.search(r"/(home|Users|tmp|root|work|mnt)/|[A-Z]:\\\\", NOTEBOOK.read_text("utf-8"))
    assert len({cell["id"] for cell in CELLS}) == len(CELLS)


def test_links_of_the_notebook_lead_somewhere() -> None:
    links = re.findall(r"\]\(([^)#]+)\)", NOTEBOOK.read_text("utf-8"))
    assert links
    assert all((NOTEBOOK.parent / link).is_file() for link in links)
