"""Runs the cells of a notebook in order and shows what a notebook would show.

python docs/site/notebook.py NOTEBOOK   prints a JSON list: for each cell of code its text and its HTML
"""

import ast
import contextlib
import io
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any


def markdown_with_outputs(notebook: Path) -> str:
    """The notebook as Markdown, its cells of code followed by what they print and show."""
    outputs = iter(_outputs(notebook))
    parts = []
    for cell in json.loads(notebook.read_text("utf-8"))["cells"]:
        text = "".join(cell["source"])
        parts += [text] if cell["cell_type"] == "markdown" else [_block("python", text), *_shown(*next(outputs))]
    return "\n\n".join(parts) + "\n"


def _outputs(notebook: Path) -> list[tuple[str, str]]:
    """What each cell prints and shows, from a process in a folder of its own."""
    command = [sys.executable, str(Path(__file__).resolve()), str(notebook.resolve())]
    with tempfile.TemporaryDirectory() as place:
        folder = str(Path(place).resolve())
        variables = os.environ | {"RECURLM_CACHE_DIR": folder, "RECURLM_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
        done = subprocess.run(command, cwd=folder, env=variables, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{notebook} cannot be run:\n{done.stderr}")
    return [(text, html) for text, html in json.loads(done.stdout.replace(f"{folder}{os.sep}", ""))]


def _shown(text: str, html: str) -> list[str]:
    block = _block("text", text.rstrip("\n"))
    return [*([block] if text else []), *([_block("{raw} html", f'<div class="output">{html}</div>')] if html else [])]


def _block(kind: str, text: str) -> str:
    return f"```{kind}\n{text}\n```"


def code_cells(notebook: Path) -> list[str]:
    """The cells of code."""
    cells = json.loads(notebook.read_text("utf-8"))["cells"]
    return ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]


def run_cell(source: str, namespace: dict[str, Any]) -> Any:
    """Runs a cell and returns the value of its last line if that is an expression, as Jupyter does."""
    tree = ast.parse(source)
    last = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
    exec(compile(tree, "cell", "exec"), namespace)
    return None if last is None else eval(compile(ast.Expression(last.value), "cell", "eval"), namespace)


def html_of(value: Any) -> str:
    """What a notebook shows of a value: HTML, or SVG."""
    for name in ("_repr_html_", "_repr_svg_"):
        if hasattr(value, name):
            return getattr(value, name)()
    return ""


def main() -> None:
    """Runs the cells of the notebook that the command line names."""
    namespace: dict[str, Any] = {"__name__": "__main__"}
    outputs = []
    for source in code_cells(Path(sys.argv[1])):
        with contextlib.redirect_stdout(io.StringIO()) as printed:
            html = html_of(run_cell(source, namespace))
        outputs.append((printed.getvalue(), html))
    print(json.dumps(outputs))


if __name__ == "__main__":
    main()
