"""The file or folder that a mistyped name most likely means."""

import difflib
import itertools
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

LEAST_SIMILARITY = 0.75
"""Names that share an ending such as .txt are about 0.6 alike without being alike."""
MOST_ENTRIES = 10_000
"""Entries of a folder that are compared."""


def did_you_mean(path: str | Path, fits: Callable[[Path], bool] = Path.exists) -> str:
    """`; did you mean NAME?` where a file or folder with nearly this name exists and `fits`; else empty.

    One part of the path may be mistyped, the name or a folder above it. Letters compare without case.
    """
    with suppress(OSError, ValueError):
        for candidate in _candidates(Path(path)):
            if fits(candidate):
                return f"; did you mean {candidate}?"
    return ""


def _candidates(path: Path) -> list[Path]:
    """The paths with another name in place of the first part that does not exist, nearest first."""
    missing = next((each for each in (*reversed(path.parents), path) if not each.exists()), None)
    if missing is None:
        return []
    entries = itertools.islice(missing.parent.iterdir(), MOST_ENTRIES)
    names: dict[str, str] = {}
    for name in sorted(each.name for each in entries if not each.name.startswith(".")):
        names.setdefault(name.lower(), name)
    near = difflib.get_close_matches(missing.name.lower(), names, cutoff=LEAST_SIMILARITY)
    return [missing.parent / names[name] / path.relative_to(missing) for name in near]
