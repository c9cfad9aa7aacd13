"""The command `serve` as a process: its address, its log, its signals."""

import contextlib
import http.client
import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

RUN = Path(__file__).parent.parent / "fixtures" / "0.1.0" / "run"
SECONDS = 120


class Process:
    """A running server and what it logs."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.connections: list[http.client.HTTPConnection] = []
        self.address = self.event()["address"]

    def event(self) -> dict[str, Any]:
        """The next line of the log."""
        assert self.process.stderr is not None
        return json.loads(self.process.stderr.readline())

    def begin(self, **fields: Any) -> http.client.HTTPConnection:
        """Sends a completion and does not wait for its answer."""
        connection = self.connection()
        connection.request("POST", "/v1/completions", json.dumps(fields).encode(), {"content-type": "application/json"})
        return connection

    def connection(self) -> http.client.HTTPConnection:
        """A connection that is closed at the end."""
        self.connections.append(http.client.HTTPConnection(self.address.removeprefix("http://"), timeout=SECONDS))
        return self.connections[-1]

    def complete(self, **fields: Any) -> int:
        """The status of a completion."""
        with self.begin(**fields).getresponse() as answer:
            answer.read()
            return answer.status

    def end(self, number: int) -> tuple[int, list[dict[str, Any]]]:
        """Sends a signal; the exit code and the rest of the log."""
        self.process.send_signal(number)
        assert self.process.stderr is not None
        log = [json.loads(line) for line in self.process.stderr]  # `communicate` would lose what was read ahead
        return self.process.wait(SECONDS), log


@contextlib.contextmanager
def serving(environment: dict[str, str], *options: str, **variables: str) -> Iterator[Process]:
    command = [sys.executable, "-m", "recurlm.cli.main", "serve", str(RUN), "--port", "0", *options]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment | variables)
    connections: list[http.client.HTTPConnection] = []
    try:
        server = Process(process)
        connections = server.connections
        yield server
    finally:
        for connection in connections:
            connection.close()
        process.kill()
        process.communicate()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_is_heard_as_soon_as_the_log_says_that_the_server_serves(environment, number) -> None:
    with serving(environment) as server:
        code, log = server.end(number)
    assert code == 0
    assert [line["event"] for line in log] == ["stopping", "stopped"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_lets_running_requests_finish(environment, number) -> None:
    with serving(environment) as server:
        connection = server.begin(prompt="the", max_tokens=16_000, logprobs=3, seed=1)
        wait_for_a_job(server)
        code, log = server.end(number)
        with connection.getresponse() as answer:
            assert json.loads(answer.read())["usage"]["completion_tokens"] == 16_000
        assert code == 0
        assert [line["event"] for line in log if line["event"] != "request"] == ["stopping", "stopped"]
        assert log[-1]["cut_off"] == 0


def test_a_second_signal_ends_at_once(environment) -> None:
    with serving(environment, RECURLM_LIMITS="100000") as server:  # for a text that does not end before the signals
        server.begin(prompt="the", max_tokens=10**9)
        wait_for_a_job(server)
        server.process.send_signal(signal.SIGTERM)
        while server.event()["event"] != "stopping":
            pass
        code, log = server.end(signal.SIGTERM)
        assert code == 143
        assert log[-1]["cut_off"] >= 1


def test_the_log_holds_no_texts_unless_asked_to(environment) -> None:
    for options, is_shown in (((), False), (("--log-texts",), True)):
        with serving(environment, *options) as server:
            assert server.complete(prompt="the red cherry", max_tokens=1) == 200
            event = server.event()
            assert (event["event"], event["path"], event["status"]) == ("request", "/v1/completions", 200)
            assert event["drawn_tokens"] == 1
            assert ("the red cherry" in json.dumps(event)) == is_shown


def test_the_key_may_come_from_the_environment(environment) -> None:
    with serving(environment, RECURLM_API_KEY="secret") as server:
        assert server.complete(prompt="the") == 401


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--host", "0.0.0.0"], "recurlm: --host 0.0.0.0: others could reach the server, so it needs a key\n"),
        (["--api-key", ""], "the key must be printable ASCII"),
        (["--name", "a", "--name", "b"], "--name is given 2 times for 1 runs"),
        (["--name", "a/b"], "'a/b': a served model needs a name of up to 200 characters without"),
        (["--host", "256.1.1.1", "--api-key", "k"], "cannot listen at 256.1.1.1, port 8000"),
        ([str(RUN)], "two runs are named 'run'; give each a --name of its own"),
    ],
    ids=str,
)
def test_a_server_that_cannot_be_had_is_refused(recurlm, arguments, words) -> None:
    done = recurlm("serve", RUN, *arguments)
    assert done.returncode == 2
    assert words in done.stderr


def test_a_run_that_does_not_exist_is_an_error(recurlm, tmp_path) -> None:
    assert recurlm("serve", tmp_path / "none", "--port", "0").returncode == 3


@pytest.mark.parametrize("absent", ["fastapi", "uvicorn", "prometheus_client"])
def test_without_its_libraries_the_command_names_the_extra(recurlm, monkeypatch, absent) -> None:
    monkeypatch.setitem(sys.modules, absent, None)
    done = recurlm("serve", RUN)
    assert done.returncode == 2
    assert done.stderr == f"recurlm: serve needs the {absent} library: pip install 'recurlm[serve]'\n"


def wait_for_a_job(server: Process) -> None:
    """Waits until the engine runs something, as its figures tell."""
    deadline = time.monotonic() + SECONDS
    while time.monotonic() < deadline:
        connection = server.connection()
        connection.request("GET", "/metrics", headers={"connection": "close"})
        with connection.getresponse() as answer:
            figures = answer.read().decode()
        connection.close()
        time.sleep(0.05)
        if 'recurlm_running_jobs{model="run"} 0.0' not in figures:
            return
    raise AssertionError("no job began")


def test_a_confirmed_session_survives_a_server_that_is_killed(environment, tmp_path) -> None:
    path = str(tmp_path / "sessions.db")
    with serving(environment, "--sessions", path) as server:
        made = sessions(server, "POST", "", {"text": "the red fruit"})
        read = sessions(server, "POST", f"/{made['session']}/read", {"text": "is a cherry"})
        server.process.kill()
    with serving(environment, "--sessions", path) as server:
        found = sessions(server, "GET", f"/{made['session']}")
        assert (found["state"], found["tokens"]) == (read["state"], 6)


def sessions(server: Process, method: str, path: str, fields: dict[str, Any] | None = None) -> Any:
    connection = server.connection()
    body = None if fields is None else json.dumps(fields)
    connection.request(method, f"/sessions{path}", body, {"content-type": "application/json"})
    with connection.getresponse() as answer:
        assert answer.status == 200
        return json.loads(answer.read())


@pytest.mark.parametrize(
    ("option", "words"),
    [
        (("--sessions", "missing/sessions.db"), "missing/sessions.db: cannot hold sessions: No such file or directory"),
        (("--sessions", "letter.txt"), "letter.txt: not a database of sessions: file is not a database"),
        (("--session-idle", "soon"), "--session-idle soon: write it as 90s, 10m, 1.5h or 1h30m"),
    ],
)
def test_sessions_that_cannot_be_kept_are_refused(recurlm, tmp_path, option, words) -> None:
    (tmp_path / "letter.txt").write_text("Dear reader,\n" * 1000)
    name, value = option
    given = tmp_path / value if name == "--sessions" else value
    done = recurlm("serve", RUN, "--port", "0", name, given)
    assert done.returncode in (2, 4)
    assert words in done.stderr
