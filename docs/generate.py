"""Writes the pages that are generated from the code: docs/recipe-keys.md and docs/commands.md.

python docs/generate.py          writes them
python docs/generate.py --check  exits with 1 if they differ from the code
"""

import argparse
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer

from recurlm.cli.main import app
from recurlm.config import Recipe, Section, kind_names, sections

FOLDER = Path(__file__).resolve().parent
WIDTH = 96
NOTICE = "<!-- Written by docs/generate.py; change the code and run ./dev docs. -->"


def pages() -> dict[str, str]:
    """File name to content of every generated page."""
    return {"recipe-keys.md": recipe_keys(), "commands.md": commands()}


RECIPE_KEYS = f"""{NOTICE}

# Recipe keys

This page lists every key of a recipe, for anyone who writes one. A recipe is a TOML file. recurlm refuses a key that
this page does not list, and names the nearest one. A section with a `kind` has the keys of that kind only.

On the command line write `--set section.key=value`, such as `--set optimizer.learning_rate=0.002`. A new `kind` resets
its section to the defaults of that kind. A key whose default is *none* may be left out. `recurlm recipes` lists the
shipped recipes, and `recurlm recipes show NAME` prints one.

## At the top of the file
"""


def recipe_keys() -> str:
    """Every key of a recipe: type, default, description."""
    inside = sections(Recipe)
    lines = [*RECIPE_KEYS.split("\n"), *_table(Recipe, without=set(inside))]
    for name, kinds in inside.items():
        lines += ["", f"## `[{name}]`", ""]
        usual = Recipe().model_dump()[name].get("kind")
        if usual:
            lines += [f'Without this section: `kind = "{usual}"` with its defaults.', ""]
        for number, kind in enumerate(kinds):
            lines += [""] * (number > 0) + _kind(name, kind)
    return "\n".join(lines) + "\n"


def _kind(name: str, kind: type[Section]) -> list[str]:
    heading = []
    if kind_names(kind):
        heading = [f"### `{name}.kind` {', '.join(f'`{choice}`' for choice in kind_names(kind))}", ""]
    elif "." in name:
        heading = [f"### `[{name}]`", ""]
    lines = [*heading, _sentence(kind), "", *_table(kind)]
    for below, kinds in sections(kind).items():
        for section in kinds:
            lines += ["", *_kind(f"{name}.{below}", section)]
    return lines


def _sentence(section: type[Section]) -> str:
    return " ".join((section.__doc__ or "").split())


def _table(section: type[Section], without: set[str] | None = None) -> list[str]:
    schema = section.model_json_schema()
    rows = [
        f"| `{name}` | {_cell(_type(value))} | {_default(value)} | {_cell(value.get('description', ''))} |"
        for name, value in schema["properties"].items()
        if name not in (without or set())
    ]
    return ["| key | type | default | meaning |", "|---|---|---|---|", *rows]


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def _type(value: dict[str, Any]) -> str:
    """A JSON schema in words."""
    if _is_section(value):
        return "section, see below"
    if "anyOf" in value or "oneOf" in value:
        choices = [choice for choice in value.get("anyOf") or value["oneOf"] if choice.get("type") != "null"]
        return " or ".join("array of these" if choice.get("items") in choices else _type(choice) for choice in choices)
    if "enum" in value or "const" in value:
        return ", ".join(f"`{json.dumps(choice)}`" for choice in value.get("enum", [value.get("const")]))
    if value["type"] == "array":
        most = f"at most {value['maxItems']:,} of " if "maxItems" in value else ""
        return f"array of {most}{_type(value['items'])}"
    names = {"integer": "integer", "number": "number", "string": "string", "boolean": "`true` or `false`"}
    return " ".join([names[value["type"]], ", ".join(_bounds(value))]).strip()


def _is_section(value: dict[str, Any]) -> bool:
    return all("$ref" in choice for choice in value.get("oneOf", [value]))


def _bounds(value: dict[str, Any]) -> Iterator[str]:
    signs = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}
    for key, sign in signs.items():
        if key in value:
            yield f"{sign} {value[key]:,.0f}" if value[key] >= 1000 else f"{sign} {value[key]:g}"


def _default(value: dict[str, Any]) -> str:
    if _is_section(value):
        return ""
    if value.get("default") is None:
        return "*none*"
    return f"`{json.dumps(value['default'])}`"


COMMANDS = """This page shows the help of every command, for anyone who looks for an option.
[The run folder](run-folder.md) explains the exit codes and the environment variables."""


def commands() -> str:
    """The output of `recurlm --help` and of each command's `--help`, at a fixed width."""
    group: Any = typer.main.get_command(app)
    context = _context(group, "recurlm", None)
    lines = [NOTICE, "", "# Commands", "", COMMANDS]
    lines += ["", "## `recurlm`", "", *_block(group.get_help(context))]
    for name, command in group.commands.items():
        text = command.get_help(_context(command, name, context))
        lines += ["", f"## `recurlm {name}`", "", *_block(text)]
    return "\n".join(lines) + "\n"


def _context(command: Any, name: str, parent: Any) -> Any:
    return command.context_class(
        command,
        info_name=name,
        parent=parent,
        terminal_width=WIDTH,
        max_content_width=WIDTH,
        **command.context_settings,
    )


def _block(text: str) -> list[str]:
    return ["```", *(line.rstrip() for line in text.strip().split("\n")), "```"]


def main() -> int:
    """Writes the pages; with --check only compares them."""
    parser = argparse.ArgumentParser(description="Writes the pages of docs/ that are generated from the code.")
    parser.add_argument("--check", action="store_true", help="write nothing; exit with 1 if a page is not current")
    check = parser.parse_args().check
    stale = []
    for name, content in pages().items():
        path = FOLDER / name
        if path.is_file() and path.read_text("utf-8") == content:
            continue
        stale.append(name)
        if not check:
            path.write_text(content, "utf-8")
    for name in stale:
        print(f"docs/{name}: {'not current; run ./dev docs' if check else 'written'}")
    return 1 if check and stale else 0


if __name__ == "__main__":
    sys.exit(main())
