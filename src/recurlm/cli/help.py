"""Help pages in groups, of the commands of the program and of the options of a command; messages about options."""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, NamedTuple

from typer import BadParameter
from typer.core import TyperArgument, TyperCommand, TyperGroup

from recurlm.cli.interrupts import CommandInterrupted

if TYPE_CHECKING:
    from typer._click import Context, HelpFormatter, Parameter


class CommandGroup(NamedTuple):
    """Commands that belong together: what one does with them, their names, and an example."""

    title: str
    commands: tuple[str, ...]
    example: str = ""


COMMAND_GROUPS = (
    CommandGroup(
        "Learn from a text",
        ("train", "search", "vocabulary", "ngram", "recipes", "corpora", "fetch"),
        "recurlm train my-text.txt --time-limit 10m --out runs/mine",
    ),
    CommandGroup("Measure a text", ("eval", "score", "compare", "adapt"), "recurlm score runs/mine sentences.txt"),
    CommandGroup(
        "Use a model",
        ("generate", "rescore", "serve", "studio"),
        'recurlm generate runs/mine --prompt "the" --tokens 40',
    ),
    CommandGroup("Exchange models with other programs", ("import-mxnet", "export-mxnet")),
    CommandGroup("Inspect runs and this machine", ("runs", "show", "inspect", "plot", "graph", "verify", "doctor")),
)


class GroupedCommands(TyperGroup):
    """The program, whose help lists its commands by `COMMAND_GROUPS`."""

    def invoke(self, ctx: "Context") -> Any:
        try:
            return super().invoke(ctx)
        except BadParameter as error:
            # pydantic, which checks the values, puts this before a message about a choice
            error.message = error.message.removeprefix("Value error, ")
            raise
        except KeyboardInterrupt as error:
            raise CommandInterrupted from error

    def format_options(self, ctx: "Context", formatter: "HelpFormatter") -> None:
        self.format_commands(ctx, formatter)
        TyperCommand.format_options(self, ctx, formatter)  # type: ignore[arg-type]

    def format_commands(self, ctx: "Context", formatter: "HelpFormatter") -> None:
        width = max(map(len, self.commands))
        for group in COMMAND_GROUPS:
            with formatter.section(group.title):
                limit = formatter.width - width - 6
                rows = [(name.ljust(width), self.commands[name].get_short_help_str(limit)) for name in group.commands]
                formatter.write_dl(rows)
                if group.example:
                    formatter.write(f"{'':{formatter.current_indent}}example: {group.example}\n")


class GroupedOptions(TyperCommand):
    """A command whose help lists its options by their panel, in the order in which the panels first appear.

    The lines of the epilog stay as they are.
    """

    def format_options(self, ctx: "Context", formatter: "HelpFormatter") -> None:
        panels: dict[str, list[tuple[str, str]]] = {}
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx)
            if record is not None:
                panels.setdefault(_panel(parameter), []).append(record)
        for title, rows in panels.items():
            with formatter.section(title):
                formatter.write_dl(rows)

    def format_epilog(self, ctx: "Context", formatter: "HelpFormatter") -> None:
        if self.epilog:
            formatter.write_paragraph()
            formatter.write(self.epilog + "\n")


def examples(lines: Iterable[tuple[str, str]]) -> str:
    """The epilog of a command: examples, each with a line that says what it does."""
    return "\n".join(["Examples:", *(f"  {command}\n      {does}" for command, does in lines)])


def _panel(parameter: "Parameter") -> str:
    usual = "Arguments" if isinstance(parameter, TyperArgument) else "Output"
    return getattr(parameter, "rich_help_panel", None) or usual
