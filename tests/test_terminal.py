import io
import os
import pty
import select
import tty
from collections.abc import Callable, Iterator
from typing import TextIO

import pytest

from recurlm.cli import main as program
from recurlm.progress import LiveLine
from recurlm.terminal import escaped, for_terminal, unescaped

TITLE = "\x1b]0;owned\x07"


@pytest.fixture
def terminal() -> Iterator[tuple[TextIO, Callable[[], str]]]:
    """A stream that leads to a terminal, and what has arrived there."""
    master, slave = pty.openpty()
    tty.setraw(slave)
    stream = os.fdopen(slave, "w", encoding="utf-8")

    def arrived() -> str:
        stream.flush()
        parts = []
        while select.select([master], [], [], 0.2)[0]:
            parts.append(os.read(master, 1 << 16))
        return b"".join(parts).decode()

    yield stream, arrived
    stream.close()
    os.close(master)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a\tb\nc é 深 🙂 \u00a0", "a\tb\nc é 深 🙂 \u00a0"),
        (TITLE, "\\u001b]0;owned\\u0007"),
        ("\x00\x08\r\x7f", "\\u0000\\u0008\\u000d\\u007f"),
        ("\x80\x9b31m\x9f", "\\u0080\\u009b31m\\u009f"),
        ("\u202eevil\u202c \u2066\u2069 \u200f", "\\u202eevil\\u202c \\u2066\\u2069 \\u200f"),
    ],
)
def test_what_a_terminal_would_obey_is_escaped(text, shown):
    assert escaped(text) == shown


def test_a_terminal_gets_it_escaped_and_a_pipe_as_it_is(terminal):
    stream, arrived = terminal
    print(TITLE, "end", file=for_terminal(stream))
    assert arrived() == "\\u001b]0;owned\\u0007 end\n"
    for_terminal(stream).writelines([TITLE, "end\n"])
    assert arrived() == "\\u001b]0;owned\\u0007end\n"
    pipe = io.StringIO()
    print(TITLE, file=for_terminal(pipe))
    assert pipe.getvalue() == f"{TITLE}\n"
    assert unescaped(for_terminal(stream)) is stream
    assert for_terminal(pipe) is pipe


@pytest.mark.parametrize("broken", ["stdout", "stderr"])
def test_every_command_writes_through_it(terminal, monkeypatch, broken):
    stream, arrived = terminal

    def command() -> None:
        print(TITLE, file=getattr(program.sys, broken))
        raise program.RecurlmError(f"bad {TITLE}")

    monkeypatch.setattr(program, "app", command)
    monkeypatch.setattr("sys.argv", ["recurlm"])
    monkeypatch.setattr("sys.stdout", stream)
    monkeypatch.setattr("sys.stderr", stream)
    with pytest.raises(SystemExit):
        program.main()
    assert arrived() == "\\u001b]0;owned\\u0007\nrecurlm: bad \\u001b]0;owned\\u0007\n"


def test_the_live_line_moves_the_cursor_but_shows_texts_escaped(terminal, monkeypatch):
    stream, arrived = terminal
    monkeypatch.setattr("sys.stderr", for_terminal(stream))
    monkeypatch.setenv("TERM", "xterm")
    line = LiveLine()
    line.tick(0.5, f"reading {TITLE}")
    line.say(f"it writes: {TITLE}")
    line.close()
    shown = arrived()
    assert "\x1b[" in shown
    assert "\x1b]" not in shown
    assert "it writes: \\u001b]0;owned\\u0007" in shown
