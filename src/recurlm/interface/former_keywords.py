"""Keywords of version 0.1.0, which still work and give a warning."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import replace
from functools import wraps
from typing import Any, ParamSpec, TypeVar

from recurlm.errors import RecurlmWarning, UsageError
from recurlm.text.places import DataPlaces

P = ParamSpec("P")
R = TypeVar("R")

FORMER_PLACES = ("data_directory", "cache_directory", "offline")
"""Keywords that `places` has replaced."""


def takes_former_keywords(method: Callable[P, R]) -> Callable[P, R]:
    """Lets scripts call a method with its former keywords, each with a RecurlmWarning that names the present one."""

    @wraps(method)
    def call(*given: P.args, **keywords: P.kwargs) -> R:
        _replace_former(keywords)
        return method(*given, **keywords)

    return call


def _replace_former(keywords: dict[str, Any]) -> None:
    """Replace `text` by `source` and the three keywords of places by `places`."""
    places = {name: keywords.pop(name) for name in FORMER_PLACES if name in keywords}
    if places:
        if keywords.get("places") is not None:
            raise UsageError(f"places holds everything; drop {', '.join(places)}")
        values = ", ".join(f"{name}=…" for name in places)
        warn(f"{', '.join(places)}: write places=recurlm.DataPlaces({values})", stacklevel=4)
        keywords["places"] = replace(DataPlaces.from_environment(), **places)
    if "text" in keywords:
        if keywords.get("source") is not None:
            raise UsageError("source and text name the same thing; drop text")
        warn("text: the keyword is now source", stacklevel=4)
        keywords["source"] = keywords.pop("text")


def warn(message: str, *, stacklevel: int) -> None:
    warnings.warn(message, RecurlmWarning, stacklevel=stacklevel)
