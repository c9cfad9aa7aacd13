import json

import pytest

from recurlm.config import Recipe
from recurlm.config.defaults import ChangedKey, changed_keys
from recurlm.recipe_files import apply_changes, load_recipe, parse_recipe, recipe_names


def test_a_recipe_without_keys_differs_in_nothing() -> None:
    assert changed_keys(Recipe()) == ()


def test_a_kind_is_compared_with_the_usual_kind_and_its_keys_with_their_own_defaults() -> None:
    values = {"schedule": {"kind": "cosine", "final": 0.1}, "model": {"output": {"kind": "adaptive"}}}
    assert changed_keys(parse_recipe(values, "test")) == (
        ChangedKey("model.output.kind", "adaptive", "softmax"),
        ChangedKey("schedule.kind", "cosine", "constant"),
        ChangedKey("schedule.final", 0.1, 0.0),
    )


def test_two_kinds_of_one_section_are_compared() -> None:
    values = {"optimizer": {"kind": "adam", "beta1": 0.8}, "description": "words"}
    assert changed_keys(parse_recipe(values, "test")) == (
        ChangedKey("optimizer.kind", "adam", "adamw"),
        ChangedKey("optimizer.beta1", 0.8, 0.9),
    )


@pytest.mark.parametrize("name", recipe_names())
def test_the_changed_keys_repeat_the_recipe(name: str) -> None:
    recipe = load_recipe(name)
    values = Recipe().model_dump(mode="json")
    apply_changes(values, [f"{each.key}={json.dumps(each.value)}" for each in changed_keys(recipe)])
    described = recipe.model_dump(include={"description", "source", "result", "corpus"})
    assert parse_recipe(values | described, "test") == recipe
