"""The types of the values in config.json, checked whenever the file is read."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, InstanceOf, TypeAdapter, ValidationError

from recurlm.errors import CorruptFileError

_Text = InstanceOf[str]
"""Instead of `str`: pydantic's `str` refuses file names that are not UTF-8."""


class _Recorded(BaseModel):
    model_config = ConfigDict(strict=True, allow_inf_nan=False)


class RecordedStart(_Recorded):
    """The run whose model a run began with."""

    model_config = ConfigDict(extra="forbid")
    run: _Text
    model: _Text


class RecordedSource(_Recorded):
    """Where the text of a run came from; `RecordedCorpus` reads the other keys."""

    source: _Text
    name: _Text = ""


class RecordedGrowth(_Recorded):
    """The words added to the vocabulary of a run after training."""

    file: _Text
    init: _Text
    added: list[_Text]
    fine_tuned: bool = False


CONFIG_TYPES: dict[str, Any] = {
    "corpus": RecordedSource,
    "parameters": int,
    "seed": Annotated[int, Field(ge=-(1 << 63), lt=1 << 64)],
    "device": _Text,
    "precision": Literal["fp32", "bf16"],
    "threads": Annotated[int, Field(ge=1, le=1 << 16)],
    "versions": dict[str, _Text],
    "kernels": dict[str, Any],
    "time_limit": float | None,
    "start": RecordedStart | None,
    "recipe_name": _Text,
    "recipe": dict[str, Any],
    "extended": RecordedGrowth,
}
"""The keys that this program reads; docs/run-folder.md lists all keys of the file."""
_ADAPTERS = {key: TypeAdapter[Any](kind) for key, kind in CONFIG_TYPES.items()}


def check_types(values: Mapping[str, Any], place: str) -> None:
    """Raises CorruptFileError, naming `place` and the key, if a value has another type."""
    for key in values.keys() & _ADAPTERS.keys():
        try:
            _ADAPTERS[key].validate_python(values[key], strict=True)
        except ValidationError as error:
            first = error.errors()[0]
            raise CorruptFileError(f"{place}: {'.'.join(map(str, (key, *first['loc'])))}: {first['msg']}") from error
