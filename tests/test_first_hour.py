"""Runs the cells of docs/first-hour.ipynb in order, and shows what a notebook would show."""

import ast
import json
import re
from pathlib import Path
from typing import Any

import pytest

NOTEBOOK = Path(__file__).parent.parent / "docs" / "first-hour.ipynb"
CELLS = json.loads(NOTEBOOK.read_text("utf-8"))["cells"]


def run_cell(source: str, namespace: dict[str, Any]) -> Any:
    """Runs a cell and returns the value of its last line if that is an expression, as Jupyter does."""
    tree = ast.parse(source)
    last = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
    exec(compile(tree, "cell", "exec"), namespace)
    return None if last is None else eval(compile(ast.Expression(last.value), "cell", "eval"), namespace)


def shown(value: Any) -> str:
    """What a notebook shows of a value: HTML or SVG if it has one of them."""
    for name in ("_repr_html_", "_repr_svg_"):
        if hasattr(value, name):
            return getattr(value, name)()
    return "" if value is None else repr(value)


def test_every_cell_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RECURLM_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("RECURLM_OFFLINE", "1")
    namespace: dict[str, Any] = {"__name__": "__main__"}
    sources = ["".join(cell["source"]) for cell in CELLS if cell["cell_type"] == "code"]
    outputs = "\n".join([shown(run_cell(source, namespace)) for source in sources])
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
