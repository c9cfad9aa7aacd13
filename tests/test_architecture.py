import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import recurlm

PACKAGE = Path(recurlm.__file__).parent
GROUND_FLOOR = (
    "version",
    "wording",
    "errors",
    "terminal",
    "capacity",
    "launched",
    "documents",
    "files",
    "tensor_files",
    "progress",
    "markup",
    "notebook",
)
"""Each imports only those before it."""
ROOMS = (
    {"config", "shared_sums"},
    {"recipe_files", "devices", "distributed", "workers"},
    {"launching", "kernels", "text"},
    {"models", "ngrams"},
    {"runs", "evaluation", "inspection"},
    {"scoring", "generation", "rescoring", "comparison", "plots"},
    {"training"},
    {"interface"},
    {"search", "mxnet", "diagnosis", "serving", "bulk"},
    {"studio"},
    {"cli"},
    {"__main__"},
)
"""From the ground up; a room imports only rooms of lower floors."""
LEVELS = {name: level for level, name in enumerate(GROUND_FLOOR)} | {
    name: len(GROUND_FLOOR) + level for level, rooms in enumerate(ROOMS) for name in rooms
}
HEAVY = {
    "fastapi",
    "matplotlib",
    "numpy",
    "optuna",
    "prometheus_client",
    "safetensors",
    "starlette",
    "tensorboard",
    "tokenizers",
    "torch",
    "uvicorn",
}
FILES = sorted(PACKAGE.rglob("*.py"))


def module_name(path: Path) -> str:
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imported(nodes: list[ast.stmt]) -> Iterator[str]:
    """Every dotted name that an import could bind: `from a.b import c` gives a.b.c."""
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def all_imports(path: Path) -> list[str]:
    nodes = [node for node in ast.walk(ast.parse(path.read_text("utf-8"))) if isinstance(node, ast.stmt)]
    return list(imported(nodes))


def imports_at_load(path: Path) -> list[str]:
    """Imports that run when the module is loaded: not those in functions or under TYPE_CHECKING."""
    pending = list(ast.parse(path.read_text("utf-8")).body)
    found: list[str] = []
    while pending:
        node = pending.pop()
        found += imported([node])
        typing_only = isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
        if not typing_only and not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            pending += [child for child in ast.iter_child_nodes(node) if isinstance(child, ast.stmt)]
    return found


def room(name: str) -> str | None:
    parts = name.split(".")
    return parts[1] if parts[0] == "recurlm" and len(parts) > 1 else None


def source_of(name: str) -> Path | None:
    """The file of the module that a dotted name is, or lives in."""
    parts = name.split(".")
    for length in range(len(parts), 1, -1):
        path = PACKAGE.joinpath(*parts[1:length])
        for candidate in (path.with_suffix(".py"), path / "__init__.py"):
            if candidate.is_file():
                return candidate
    return None


def test_every_room_has_a_level():
    rooms = {room(module_name(path)) for path in FILES} - {None}
    assert rooms <= set(LEVELS)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_point_downward(path):
    here = room(module_name(path))
    if here is None:
        pytest.skip("the package itself hands out what the interface has")
    for name in all_imports(path):
        there = room(name)
        if there is None or there == here:
            continue
        assert there in LEVELS, f"{name} is in no known room"
        assert LEVELS[there] < LEVELS[here], f"{module_name(path)} imports {name}"


LONGEST_FILE, LONGEST_FUNCTION, MOST_PARAMETERS = 400, 20, 6
MXNET_GRAPH_READER = PACKAGE / "mxnet" / "recognition.py"
REASONS = ("keyword", "autograd passes")
"""What the docstring of a function with more parameters says: a user names them, or autograd does."""


def functions(path: Path) -> list[ast.FunctionDef]:
    return [node for node in ast.walk(ast.parse(path.read_text("utf-8"))) if isinstance(node, ast.FunctionDef)]


def parameters(function: ast.FunctionDef) -> int:
    given = function.args
    named = [argument.arg for argument in (*given.posonlyargs, *given.args, *given.kwonlyargs)]
    return len([name for name in named if name not in ("self", "cls", "ctx")])


def test_a_file_is_short_enough_to_read():
    lengths = {path: len(path.read_text("utf-8").splitlines()) for path in FILES if path != MXNET_GRAPH_READER}
    assert {path: length for path, length in lengths.items() if length > LONGEST_FILE} == {}


def test_nine_functions_of_ten_fit_on_a_small_screen():
    lengths = [each.end_lineno - each.lineno + 1 for path in FILES for each in functions(path)]
    assert sum(length <= LONGEST_FUNCTION for length in lengths) >= 0.9 * len(lengths)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_many_parameters_have_a_reason(path):
    if room(module_name(path)) == "cli":
        pytest.skip("options of a command are parameters")
    for function in functions(path):
        if parameters(function) > MOST_PARAMETERS:
            said = (ast.get_docstring(function) or "").lower()
            assert any(reason in said for reason in REASONS), f"{function.name} has {parameters(function)} parameters"


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_nothing_is_pickled(path):
    tree = ast.parse(path.read_text("utf-8"))
    modules = {"pickle", "cPickle", "cloudpickle", "dill", "joblib", "shelve", "marshal"}
    functions = {"torch.load", "torch.save", "torch.jit.load", "torch.hub.load"}
    names = set(all_imports(path))
    assert not {name.split(".")[0] for name in names} & modules
    calls = {ast.unparse(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}
    assert not (calls | names) & functions
    assert "allow_pickle=True" not in ast.unparse(tree)


def test_the_command_line_reaches_no_heavy_library_when_it_is_loaded():
    start = PACKAGE / "cli" / "main.py"
    pending, seen = [start, PACKAGE / "__init__.py", PACKAGE / "cli" / "__init__.py"], set()
    while pending:
        path = pending.pop()
        if path in seen:
            continue
        seen.add(path)
        for name in imports_at_load(path):
            assert name.split(".")[0] not in HEAVY, f"{module_name(path)} imports {name}"
            below = source_of(name) if name.startswith("recurlm.") else None
            if below is not None:
                pending += [below, below.parent / "__init__.py"]
    assert PACKAGE / "errors.py" in seen


def test_help_loads_neither_torch_nor_numpy():
    commands = [name for name in imports_at_load(PACKAGE / "cli" / "main.py") if name.startswith("recurlm.cli.")]
    missing = sorted({name for name in commands if source_of(name) == PACKAGE / "cli" / "__init__.py"})
    if missing:
        pytest.skip(f"commands not written yet: {', '.join(missing)}")
    code = f"""
import sys
from recurlm.cli.main import app
try:
    app(["--help"])
except SystemExit as end:
    assert not end.code
print(sorted({HEAVY!r} & sys.modules.keys()), file=sys.stderr)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert "train" in done.stdout
    assert done.stderr.strip() == "[]"


def test_a_trained_model_scores_without_torch_s_compiler():
    code = """
import sys
from pathlib import Path
import recurlm
list(recurlm.load(Path(sys.argv[1])).score(["the red fruit"]))
assert "torch._dynamo" not in sys.modules, "loading it takes longer than all else"
"""
    run = Path(__file__).parent / "fixtures" / "0.1.0" / "run"
    done = subprocess.run([sys.executable, "-c", code, str(run)], capture_output=True, text=True, timeout=120)
    assert not done.returncode, done.stderr


OTHER_JOBS = (
    "recurlm.training",
    "recurlm.evaluation.adaptation",
    "recurlm.generation",
    "recurlm.rescoring",
    "recurlm.comparison",
    "recurlm.ngrams",
    "recurlm.search",
    "recurlm.mxnet",
    "recurlm.plots",
)
MOST_MODULES_OF_SCORE = 94
"""Modules outside `recurlm.cli` that `score` may load."""


def test_score_loads_the_room_of_its_job_alone():
    code = """
import sys
from recurlm.cli.main import app
app(["score", *sys.argv[1:]], standalone_mode=False)
print(*(name for name in sys.modules if name.partition(".")[0] == "recurlm"), sep="\\n")
"""
    run = Path(__file__).parent / "fixtures" / "0.1.0" / "run"
    command = [sys.executable, "-c", code, str(run)]
    done = subprocess.run(command, input="the red fruit\n", capture_output=True, text=True, timeout=120, check=True)
    scores, *loaded = done.stdout.splitlines()
    assert "fruit" in scores
    assert "recurlm.scoring.scorer" in loaded
    assert not [name for name in loaded if f"{name}.".startswith(tuple(f"{other}." for other in OTHER_JOBS))]
    assert len([name for name in loaded if not name.startswith("recurlm.cli")]) <= MOST_MODULES_OF_SCORE
