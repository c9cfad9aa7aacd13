"""Where corpora are looked for and kept."""

import os
from dataclasses import dataclass
from pathlib import Path

from platformdirs import user_cache_path

from recurlm.errors import UsageError

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


def _folder(variable: str) -> Path | None:
    value = os.environ.get(variable)
    return Path(value) if value else None


def _switch(variable: str) -> bool:
    value = os.environ.get(variable, "")
    try:
        return _SWITCHES[value.strip().lower()]
    except KeyError:
        raise UsageError(f"{variable}={value}: write 1 or 0") from None
