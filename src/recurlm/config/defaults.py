"""The keys of a recipe that differ from the defaults of the schema."""

from dataclasses import dataclass
from typing import Any

from recurlm.config.recipe import Recipe
from recurlm.config.section import Section, kind_names


@dataclass(frozen=True)
class ChangedKey:
    """A key of a recipe with a value of its own, and the default of the schema; both as JSON holds them."""

    key: str
    value: Any
    default: Any


def changed_keys(recipe: Recipe) -> tuple[ChangedKey, ...]:
    """The keys of the recipe's sections that differ from their defaults, in the order of the schema.

    The defaults of a section that has kinds are those of its own kind.
    """
    values = recipe.model_dump(mode="json")
    found = []
    for name in type(recipe).model_fields:
        section = getattr(recipe, name)
        if isinstance(section, Section):
            found += _changed(section, getattr(Recipe(), name), values[name], name)
    return tuple(found)


def _changed(section: Section, usual: Section, values: dict[str, Any], path: str) -> list[ChangedKey]:
    """The differing keys of a section; `usual` is the section of a recipe that does not mention it."""
    same_kind = kind_names(type(section)) == kind_names(type(usual))
    own = usual if same_kind else type(section)()
    defaults = own.model_dump(mode="json")
    if "kind" in values:
        defaults["kind"] = usual.model_dump(mode="json")["kind"]
    found = []
    for name, value in values.items():
        below, key = getattr(section, name), f"{path}.{name}"
        if isinstance(below, Section) and isinstance(getattr(own, name), Section):
            found += _changed(below, getattr(own, name), value, key)
        elif value != defaults[name]:
            found.append(ChangedKey(key, value, defaults[name]))
    return found
