"""Modules of docs/site, which are no package."""

import importlib.util
from pathlib import Path
from types import ModuleType

FOLDER = Path(__file__).parent.parent / "docs" / "site"


def site_module(name: str) -> ModuleType:
    """The module docs/site/NAME.py."""
    specification = importlib.util.spec_from_file_location(f"site_{name}", FOLDER / f"{name}.py")
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module
