"""`recurlm recipes`: the shipped recipes and their content."""

from typing import Annotated

import typer

from recurlm.cli.console import JsonOption, print_json
from recurlm.errors import UsageError


def recipes(
    action: Annotated[
        str | None, typer.Argument(metavar="[show]", help="Print a whole recipe.", show_default=False)
    ] = None,
    name: Annotated[
        str | None, typer.Argument(metavar="[NAME]", help="Shipped recipe or recipe file.", show_default=False)
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """List the shipped recipes.

    `recipes show NAME` prints a whole recipe.
    """
    if action is None:
        _list(as_json)
    elif action != "show":
        raise UsageError(f"recipes {action}: no such action; write `recurlm recipes` or `recurlm recipes show NAME`")
    elif name is None:
        raise UsageError("recipes show: which one? `recurlm recipes` lists them")
    else:
        _show(name, as_json)


def _list(as_json: bool) -> None:
    from recurlm.recipe_files import load_recipe, recipe_names

    found = {name: load_recipe(name) for name in recipe_names()}
    width = max(map(len, found), default=0)
    for name, recipe in found.items():
        if as_json:
            print_json({"name": name, "description": recipe.description, "corpus": recipe.corpus})
        else:
            print(f"{name:{width}}  {recipe.description}")


def _show(name: str, as_json: bool) -> None:
    from recurlm.recipe_files import load_recipe, recipe_text

    recipe = load_recipe(name)
    if as_json:
        print_json(recipe.model_dump(mode="json"))
    else:
        print(recipe_text(name)[0].rstrip("\n"))
