"""What every section of a recipe shares: its base class and the types of its numbers."""

from typing import Annotated, TypeVar, get_args

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag

LARGEST_NUMBER = 1e9
LARGEST_COUNT = 1_000_000_000
LARGEST_BATCH = 1_000_000
LARGEST_SIZE = 65_536
MOST_LAYERS = 100
"""No model that trains today comes near these limits. `models/memory_estimate.py` refuses what memory cannot hold."""

Probability = Annotated[float, Field(ge=0, lt=1)]
Positive = Annotated[float, Field(gt=0, le=LARGEST_NUMBER)]
NotNegative = Annotated[float, Field(ge=0, le=LARGEST_NUMBER)]
Bias = Annotated[float, Field(ge=-LARGEST_NUMBER, le=LARGEST_NUMBER)]
Divisor = Annotated[float, Field(gt=1, le=LARGEST_NUMBER)]
Count = Annotated[int, Field(ge=1, le=LARGEST_COUNT)]
CountOrZero = Annotated[int, Field(ge=0, le=LARGEST_COUNT)]
BatchSize = Annotated[int, Field(ge=1, le=LARGEST_BATCH)]
Size = Annotated[int, Field(ge=1, le=LARGEST_SIZE)]

_Value = TypeVar("_Value")
_ONE, _SEVERAL = "[one]", "[several]"
OneOrSeveral = Annotated[
    Annotated[_Value, Tag(_ONE)] | Annotated[tuple[_Value, ...], Tag(_SEVERAL)],
    # the form of the value chooses, so that an error is about the form that was written
    Discriminator(lambda value: _SEVERAL if isinstance(value, list | tuple) else _ONE),
]


class Section(BaseModel):
    """A part of a recipe: immutable, without unknown keys and silent conversions."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


def sections(within: type[Section]) -> dict[str, tuple[type[Section], ...]]:
    """The sections directly inside a section: each key with the section's kinds, in the order of the schema."""
    kinds = {name: _alternatives(field.annotation) for name, field in within.model_fields.items()}
    return {name: found for name, found in kinds.items() if found}


def _alternatives(annotation: object) -> tuple[type[Section], ...]:
    """The section that an annotation names, or each section of its union; none for plain values."""
    choices = (annotation, *get_args(annotation))
    return tuple(choice for choice in choices if isinstance(choice, type) and issubclass(choice, Section))


def kind_names(section: type[Section]) -> tuple[str, ...]:
    """The values of `kind` that choose this section; none where a section has one kind only."""
    field = section.model_fields.get("kind")
    return get_args(field.annotation) if field else ()
