import sys
from types import ModuleType
from typing import Any

import pytest

from recurlm.notebook import NotebookLine, open_python_watcher
from recurlm.progress import PlainLines, WarningsOnly


class Screen:
    """What `IPython.display.display` was given, and what its handle was updated with."""

    def __init__(self) -> None:
        self.shown: list[dict[str, str]] = []
        self.updates: list[dict[str, str]] = []

    def __call__(self, content: dict[str, str], *, raw: bool, display_id: bool) -> "Screen":
        assert raw
        assert display_id
        self.shown.append(content)
        return self

    def update(self, content: dict[str, str], *, raw: bool) -> None:
        assert raw
        self.updates.append(content)


@pytest.fixture
def ipython(monkeypatch: pytest.MonkeyPatch) -> Any:
    """IPython as it appears inside a kernel: a module whose shell has a kernel."""
    module, inner = ModuleType("IPython"), ModuleType("IPython.display")
    module.shell, inner.display = type("Shell", (), {"kernel": object()})(), Screen()
    module.get_ipython = lambda: module.shell
    monkeypatch.setitem(sys.modules, "IPython", module)
    monkeypatch.setitem(sys.modules, "IPython.display", inner)
    return module


def test_one_line_is_drawn_redrawn_and_cleared(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    screen, clock = Screen(), [0.0]
    monkeypatch.setattr("recurlm.notebook.time.monotonic", lambda: clock[0])
    line = NotebookLine(screen)
    for now, done in ((0.0, 0.25), (0.1, 0.3), (0.2, 0.4), (0.3, 1.0), (9.0, None)):
        clock[0] = now
        line.tick(done, "a <b>\x1b[2J")
    line.step("not shown")
    line.say("epoch 1")
    line.warn("careful")
    line.close()
    assert [each["text/plain"] for each in screen.shown] == ["25%  a <b>\\u001b[2J"]
    assert [each["text/plain"] for each in screen.updates] == ["99%  a <b>\\u001b[2J", "a <b>\\u001b[2J", ""]
    assert screen.shown[0]["text/html"] == (
        '<progress value="0.250"></progress> <code>25%  a &lt;b&gt;\\u001b[2J</code>'
    )
    assert screen.updates[1]["text/html"].startswith("<progress></progress>")
    assert capsys.readouterr() == ("epoch 1\ncareful\n", "")


def test_a_line_that_was_never_drawn_is_not_cleared() -> None:
    screen = Screen()
    NotebookLine(screen).close()
    assert (screen.shown, screen.updates) == ([], [])


def test_a_notebook_gets_a_redrawn_line_unless_quiet(ipython: Any) -> None:
    assert type(open_python_watcher()) is NotebookLine
    assert type(open_python_watcher(quiet=True)) is WarningsOnly


def test_a_shell_without_a_kernel_is_a_terminal(ipython: Any) -> None:
    ipython.shell = object()
    assert type(open_python_watcher()) is PlainLines
    ipython.shell = None
    assert type(open_python_watcher()) is PlainLines


def test_python_without_ipython_gets_plain_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "IPython", raising=False)
    assert type(open_python_watcher()) is PlainLines
    assert "IPython" not in sys.modules
