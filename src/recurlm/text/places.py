"""Where corpora are looked for and kept."""

import os
import warnings
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypedDict

from platformdirs import user_cache_path

from recurlm.errors import RecurlmWarning, UsageError

DATA_VARIABLE = "RECURLM_DATA_DIR"
CACHE_VARIABLE = "RECURLM_CACHE_DIR"
OFFLINE_VARIABLE = "RECURLM_OFFLINE"
_SWITCHES = dict.fromkeys(("1", "true", "t", "yes", "y", "on"), True) | dict.fromkeys(
    ("", "0", "false", "f", "no", "n", "off"), False
)


@dataclass(frozen=True)
class DataPlaces:
    """Where corpora are looked for and kept, and whether the network may be used.

    data_directory: folder that is searched for corpora before the network, if any · cache_directory: folder for
    downloads and prepared texts; None means the cache folder of the system · offline: never use the network.
    """

    data_directory: Path | None = None
    cache_directory: Path | None = None
    offline: bool = False

    @classmethod
    def from_environment(cls) -> "DataPlaces":
        """The places that the command line uses without options. Raises UsageError for a switch that is no yes or no.

        The variables are `RECURLM_DATA_DIR`, `RECURLM_CACHE_DIR` and `RECURLM_OFFLINE`; an empty one counts as unset.
        """
        return cls(_folder(DATA_VARIABLE), _folder(CACHE_VARIABLE), _switch(OFFLINE_VARIABLE))

    @property
    def cache(self) -> Path:
        """The folder for downloads and prepared texts."""
        return self.cache_directory or user_cache_path("recurlm", appauthor=False)


class FormerPlaces(TypedDict, total=False):
    """The keywords that named the places before `DataPlaces` did."""

    data_directory: Path | None
    cache_directory: Path | None
    offline: bool


def given_places(places: DataPlaces | None, former: FormerPlaces) -> DataPlaces:
    """The places that a call names, by value or by the former keywords; else those of the environment.

    The keywords give a RecurlmWarning to the caller of the caller. Raises UsageError where a call has both.
    """
    if not former:
        return places or DataPlaces.from_environment()
    names = ", ".join(former)
    if places is not None:
        raise UsageError(f"places holds everything; drop {names}")
    values = ", ".join(f"{name}=…" for name in former)
    warnings.warn(f"{names}: write places=recurlm.DataPlaces({values})", RecurlmWarning, stacklevel=3)
    return replace(DataPlaces.from_environment(), **former)


def _folder(variable: str) -> Path | None:
    value = os.environ.get(variable)
    return Path(value) if value else None


def _switch(variable: str) -> bool:
    value = os.environ.get(variable, "")
    try:
        return _SWITCHES[value.strip().lower()]
    except KeyError:
        raise UsageError(f"{variable}={value}: write 1 or 0") from None
