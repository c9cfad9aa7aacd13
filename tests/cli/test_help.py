"""Help pages: every command in one group, every option in a panel, examples that can be typed."""

import shlex
from collections import Counter

import pytest

from recurlm.cli.help import COMMAND_GROUPS
from recurlm.cli.main import app
from recurlm.cli.train import TRAIN_EXAMPLES
from recurlm.terminal import escaped


def names() -> list[str]:
    return [command.name for command in app.registered_commands]


def test_every_command_stands_in_one_group():
    assert Counter(name for group in COMMAND_GROUPS for name in group.commands) == Counter(names())


@pytest.mark.parametrize("arguments", [[], ["--help"]])
def test_the_first_screen_has_the_groups_and_fits_a_terminal(recurlm, monkeypatch, arguments):
    monkeypatch.setenv("COLUMNS", "80")
    done = recurlm(*arguments)
    shown = (done.stdout + done.stderr).splitlines()
    for group in COMMAND_GROUPS:
        start = shown.index(f"{group.title}:")
        listed = shown[start + 1 : start + 1 + len(group.commands)]
        assert [line.split()[0] for line in listed] == list(group.commands)
        assert not [line for line in listed if line.endswith("...")]
        if group.example:
            assert shown[start + 1 + len(group.commands)].strip() == f"example: {group.example}"
    assert max(map(len, shown)) <= 80


def test_the_first_three_groups_have_an_example():
    assert [bool(group.example) for group in COMMAND_GROUPS] == [True, True, True, False, False]


def test_train_shows_units_and_time_limit_first_and_three_examples_last(recurlm, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    shown = recurlm("train", "--help").stdout
    lines = shown.splitlines()
    options = [line.split()[0] for line in lines if line.startswith("  -")]
    assert options[:2] == ["--unit", "--time-limit"]
    assert [line.strip() for line in lines[-6::2]] == [command for command, _ in TRAIN_EXAMPLES]
    assert max(map(len, lines)) <= 80
    assert escaped(shown) == shown


@pytest.mark.parametrize("command", [command for command, _ in TRAIN_EXAMPLES])
def test_the_options_of_the_examples_exist(recurlm, command):
    options = [word for word in shlex.split(command) if word.startswith("--")]
    shown = recurlm("train", "--help").stdout
    assert all(option in shown for option in options)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("train --unit words", "'--unit': 'words' is not one of 'word', 'character', 'bpe'."),
        ("eval RUN --split tests", "'--split': 'tests' is not one of 'train', 'valid', 'test'."),
    ],
)
def test_a_choice_that_does_not_exist_is_refused_in_plain_words(recurlm, arguments, message):
    refused = recurlm(*arguments.split())
    assert refused.returncode == 2
    assert refused.stderr.splitlines()[-1] == f"Error: Invalid value for {message}"
