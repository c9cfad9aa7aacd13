import subprocess
import sys
from pathlib import Path

import pytest

import recurlm

DOCS = Path(__file__).parent.parent.parent / "docs"
NAMES = [
    "DataPlaces",
    "Generation",
    "LineScore",
    "Model",
    "RecurlmError",
    "RecurlmWarning",
    "Run",
    "Scores",
    "ScoringOptions",
    "State",
    "StoppedError",
    "__version__",
    "load",
    "open_run",
    "train",
]


def test_the_public_names() -> None:
    assert recurlm.__all__ == NAMES
    for name in NAMES:
        assert getattr(recurlm, name) is not None
    assert set(NAMES) <= set(dir(recurlm))
    with pytest.raises(AttributeError, match="no attribute 'lode'"):
        recurlm.lode  # noqa: B018


@pytest.mark.parametrize("page", ["python.md", "python.zh.md"])
@pytest.mark.parametrize("name", NAMES)
def test_every_public_name_is_on_the_page(name: str, page: str) -> None:
    assert f"`recurlm.{name}" in (DOCS / page).read_text("utf-8")


def members(kind: type) -> list[str]:
    return [name for name in vars(kind) if not name.startswith("_")]


@pytest.mark.parametrize("page", ["python.md", "python.zh.md"])
@pytest.mark.parametrize("kind", [recurlm.Model, recurlm.Run], ids=["Model", "Run"])
def test_what_a_model_and_a_run_can_do_is_on_the_page(kind: type, page: str) -> None:
    text = (DOCS / page).read_text("utf-8")
    missing = [name for name in members(kind) if f"`{name}" not in text]
    assert missing == []


def test_importing_the_package_loads_no_heavy_library() -> None:
    heavy = {"torch", "numpy", "pydantic", "matplotlib", "pandas"}
    code = f"import sys, recurlm; print(sorted({heavy!r} & sys.modules.keys()))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "[]"
