"""Recipes from files, from the package and from the command line, and recipes that runs recorded."""

import difflib
import json
from collections.abc import Iterable, Mapping
from importlib import resources
from pathlib import Path
from typing import Any

import tomli_w
from pydantic import ValidationError

from recurlm.config import Recipe, Section, kind_names, sections
from recurlm.documents import DEEPEST, parse_toml, toml_value, utf8_text
from recurlm.errors import InputError
from recurlm.files import read_bounded
from recurlm.files.suggestions import did_you_mean

LARGEST_RECIPE = 1 << 20
"""Bytes of a recipe."""
LONGEST_SHOWN_VALUE = 100
KEYS_OF_A_UNIT = ("merges", "cut", "lowercase", "digits")
"""Keys of `text` that belong to one unit."""
VALUES_BEFORE: dict[str, Any] = {"validation": {"warm_up": 0}, "text": {"cut": "spaces"}}
"""Keys that version 0.1.0 did not have, with the values that repeat what it did."""
REMOVED_KEYS = {
    "model.bidirectional": "a bidirectional layer reads the words it should predict, so its perplexity means nothing; "
    "remove the key"
}
"""Keys that older recipes may have, with what to do about them."""


def recipe_names() -> list[str]:
    """The names of the shipped recipes in alphabetical order."""
    folder = resources.files("recurlm") / "recipes"
    return sorted(entry.name.removesuffix(".toml") for entry in folder.iterdir() if entry.name.endswith(".toml"))


def recipe_text(name_or_path: str) -> tuple[str, str]:
    """The TOML of a shipped recipe or of a file, and a name for it in messages.

    Raises InputError if there is neither; the message proposes the nearest shipped name.
    """
    if name_or_path in recipe_names():
        entry = resources.files("recurlm") / "recipes" / f"{name_or_path}.toml"
        return entry.read_text(encoding="utf-8"), f"recipe {name_or_path}"
    path = Path(name_or_path)
    if path.exists() and not path.is_dir():
        return utf8_text(read_bounded(path, LARGEST_RECIPE, pipes=True), str(path)), str(path)
    hint = _nearest(name_or_path, recipe_names()) or did_you_mean(path, Path.is_file).removeprefix("; ")
    hint = hint or "`recurlm recipes` lists the shipped ones"
    raise InputError(f"no recipe and no file named {name_or_path!r}; {hint}")


def load_recipe(name_or_path: str, changes: Iterable[str] = ()) -> Recipe:
    """A recipe by shipped name or file, with `key=value` changes applied to it.

    Raises InputError with file and key for everything that does not fit the schema.
    """
    text, place = recipe_text(name_or_path)
    values = parse_toml(text, place)
    changes = list(changes)
    apply_changes(values, changes)
    return parse_recipe(values, place + "".join(f" --set {_shortened(change)}" for change in changes))


def parse_recipe(values: Mapping[str, Any], place: str) -> Recipe:
    """The recipe of plain values. Raises InputError, naming `place`, where they do not fit the schema."""
    try:
        # JSON mode accepts arrays for tuples and is strict about everything else
        return Recipe.model_validate_json(json.dumps(values, default=str))
    except ValidationError as error:
        lines = [_explained(detail) for detail in error.errors()[:5]]
        raise InputError(f"{place}: " + "; ".join(lines)) from error


def parse_recorded_recipe(values: Mapping[str, Any], place: str) -> Recipe:
    """The recipe that a run or a search recorded; older versions are read too. Raises InputError as `parse_recipe`."""
    return parse_recipe(_merged(VALUES_BEFORE, _without_removed(values)), place)


def _without_removed(values: Mapping[str, Any]) -> Mapping[str, Any]:
    """The values without `model.bidirectional = false`, which version 0.1.0 recorded in every run."""
    model = values.get("model")
    if not isinstance(model, Mapping) or model.get("bidirectional") is not False:
        return values
    return {**values, "model": {key: value for key, value in model.items() if key != "bidirectional"}}


def differing_keys(asked: Recipe, recorded: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """The keys in which a recipe differs from recorded values: each with the asked and the recorded value.

    A key that the recording version did not have differs only if the asked value is not the default.
    """
    wanted = _flat(asked.model_dump(mode="json"))
    kept = _flat(parse_recorded_recipe(recorded, "recorded recipe").model_dump(mode="json"))
    defaults = _flat(Recipe().model_dump(mode="json"))
    unknown_then = _flat(VALUES_BEFORE).keys() - _flat(recorded).keys()
    keys = [key for key in wanted | kept if wanted.get(key) != kept.get(key)]
    return {
        key: (wanted.get(key), kept.get(key))
        for key in keys
        if key not in unknown_then or wanted.get(key) != defaults.get(key)
    }


def _merged(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    merged = {**below, **above}
    for key in below.keys() & above.keys():
        if isinstance(below[key], Mapping) and isinstance(above[key], Mapping):
            merged[key] = _merged(below[key], above[key])
    return merged


def _flat(values: Mapping[str, Any], path: str = "") -> dict[str, Any]:
    """Plain values by full key, such as training.epochs."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        flat |= _flat(value, f"{path}{key}.") if isinstance(value, Mapping) else {path + key: value}
    return flat


def apply_changes(values: dict[str, Any], changes: Iterable[str]) -> None:
    """Apply several changes to plain recipe values; their order does not matter."""
    # a new kind or unit removes keys, so it must precede the keys of that section
    for change in sorted(changes, key=lambda change: not changed_key(change).endswith((".kind", ".unit"))):
        apply_change(values, change)


def changed_key(change: str) -> str:
    """The key of one `section.key=value`."""
    return change.partition("=")[0].strip()


def apply_change(values: dict[str, Any], change: str) -> None:
    """Apply one `section.key=value` to plain recipe values. The value is TOML; a bare word is a string.

    A new `kind` empties its section, because other kinds have other keys; a new `text.unit` removes the keys of the
    old unit. Raises InputError for a change that cannot be read.
    """
    path, equals, raw = change.partition("=")
    keys = path.strip().split(".")
    if not equals or not all(keys) or len(keys) > DEEPEST:
        raise InputError(f"--set {_shortened(change)}: write it as section.key=value, such as --set training.epochs=3")
    section = values
    for key in keys[:-1]:
        below = section.setdefault(key, {})
        if not isinstance(below, dict):
            raise InputError(f"--set {_shortened(change)}: {_shortened(key)} is a value, not a section")
        section = below
    value = toml_value(raw.strip(), f"--set {_shortened(change)}")
    if keys[-1] == "kind" and section.get("kind") != value:
        section.clear()
    if keys == ["text", "unit"] and section.get("unit", "word") != value:
        for key in KEYS_OF_A_UNIT:
            section.pop(key, None)
    section[keys[-1]] = value


def recipe_toml(recipe: Recipe) -> str:
    """A recipe as TOML with all defaults written out. `load_recipe` reads the same recipe back."""
    return tomli_w.dumps(recipe.model_dump(mode="json", exclude_none=True))


def _explained(detail: Mapping[str, Any]) -> str:
    """An error of the schema in plain words: key, reason and value."""
    path, kinds = _place(detail["loc"])
    if detail["type"] == "extra_forbidden":
        return f"{'.'.join(path)}: unknown key; {_hint(path, detail['loc'])}"
    # pydantic adds the alternatives of an untagged union to the path, such as tuple[int, ...]
    shown = ".".join(part for part in path if "[" not in part)
    if detail["type"] == "union_tag_not_found":
        names = [name for kind in kinds for name in kind_names(kind)]
        return f"{shown}: kind is missing; it is one of {', '.join(names)}"
    message = detail["msg"].removeprefix("Value error, ")
    got = detail.get("input")
    shown_input = "" if isinstance(got, dict) else f" (got {_shortened(repr(got))})"
    return f"{shown}: {message}{shown_input}" if shown else message


def _place(location: Iterable[int | str]) -> tuple[list[str], tuple[type[Section], ...]]:
    """The path of keys that an error of the schema names, and the section there in each of its possible kinds."""
    path: list[str] = []
    here: tuple[type[Section], ...] = (Recipe,)
    for part in map(str, location):
        chosen = tuple(kind for kind in here if part in kind_names(kind))
        if len(here) > 1 and chosen:  # pydantic adds the chosen kind to the path
            here = chosen
            continue
        path.append(part)
        here = tuple(below for kind in here for below in sections(kind).get(part, ()))
    return path, here


def _hint(path: list[str], location: tuple[int | str, ...]) -> str:
    removed = REMOVED_KEYS.get(".".join(path))
    known = sorted({key for section in _place(location[:-1])[1] for key in section.model_fields})
    return removed or _nearest(path[-1], known) or f"known here: {', '.join(known)}"


def _shortened(value: str) -> str:
    return value if len(value) <= LONGEST_SHOWN_VALUE else f"{value[:LONGEST_SHOWN_VALUE]}…"


def _nearest(name: str, known: Iterable[str]) -> str:
    found = difflib.get_close_matches(name, list(known), n=1)
    return f"did you mean {found[0]}?" if found else ""
