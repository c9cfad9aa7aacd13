import os
import pty
import signal
import sys
from collections.abc import Iterator

import pytest

from recurlm.cli.interrupts import interrupt_held
from recurlm.training.stopping import StopRequest

SIGNALS = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]


@pytest.fixture(autouse=True)
def heard() -> Iterator[None]:
    """SIGHUP as a shell leaves it, independent of what runs the tests."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_asks_to_stop(number: int) -> None:
    before = signal.getsignal(number)
    with StopRequest() as stop:
        assert not stop.requested
        os.kill(os.getpid(), number)
        assert stop.requested
    assert signal.getsignal(number) is before


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_the_second_signal_ends_at_once(number: int, code: int) -> None:
    with StopRequest():
        os.kill(os.getpid(), signal.SIGINT)
        with pytest.raises(SystemExit) as ended:
            os.kill(os.getpid(), number)
    assert ended.value.code == code


def test_the_second_ctrl_c_interrupts() -> None:
    with StopRequest():
        os.kill(os.getpid(), signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)


def test_under_nohup_a_run_goes_on() -> None:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    with StopRequest() as stop:
        os.kill(os.getpid(), signal.SIGHUP)
        assert not stop.requested
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN


def test_nothing_more_is_written_to_a_terminal_that_has_hung_up(monkeypatch: pytest.MonkeyPatch) -> None:
    reader, terminal = pty.openpty()
    with os.fdopen(terminal, "w") as stream:
        monkeypatch.setattr(sys, "stderr", stream)
        with StopRequest() as stop:
            os.close(reader)
            os.kill(os.getpid(), signal.SIGHUP)
            stream.write("to nobody")
            stream.flush()
        assert stop.requested


def test_signals_that_are_not_named_keep_their_handlers() -> None:
    before = {number: signal.getsignal(number) for number in SIGNALS}
    with StopRequest([signal.SIGINT]) as stop:
        assert signal.getsignal(signal.SIGTERM) is before[signal.SIGTERM]
        os.kill(os.getpid(), signal.SIGINT)
        assert stop.requested
    assert {number: signal.getsignal(number) for number in SIGNALS} == before


def test_an_interrupt_is_held_until_libraries_are_loaded() -> None:
    done = []

    def load() -> None:
        with interrupt_held():
            os.kill(os.getpid(), signal.SIGINT)
            done.append("loaded")

    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        load()
    assert done == ["loaded"]
    assert signal.getsignal(signal.SIGINT) is before
