"""A real server process with a tiny model, and connections to it that send any bytes."""

import base64
import contextlib
import http.client
import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import recurlm
from recurlm.models.memory import State

KEY = "the-key-of-this-server"
SECRET = "what-signs-states"
SECONDS = 60.0
MARK = "what no stranger may read"
TEXT = "the red fruit is a cherry\nit is sweet\nthe lemon is sour and the cherry is red\n"


class Answer(NamedTuple):
    """What a server answered; a status of 0 stands for a connection that it closed without an answer."""

    status: int
    kind: str
    body: bytes


@dataclass
class Target:
    """The server under attack: where it listens, and what an attacker may know of it.

    description: its own OpenAPI description · sessions, tokens: ids of sessions, and states that the client holds.
    """

    process: subprocess.Popen[bytes]
    folder: Path
    port: int
    model: recurlm.Model
    other: recurlm.Model
    description: dict[str, Any] = field(default_factory=dict)
    sessions: list[str] = field(default_factory=list)
    tokens: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.description = json.loads(self.ask("GET", "/openapi.json").body)
        self.renew()

    def ask(self, method: str, path: str, fields: dict[str, Any] | None = None) -> Answer:
        """An honest request with the key."""
        body = b"" if fields is None else json.dumps(fields).encode()
        with contextlib.closing(Wire(self.port)) as wire:
            return wire.exchange(request_bytes(method, path, body))

    def renew(self) -> None:
        """New sessions, since hostile requests also delete them, and a state that the client holds."""
        made = [json.loads(self.ask("POST", "/sessions", {"text": "the red fruit"}).body) for _ in range(4)]
        self.sessions = [each["session"] for each in made]
        held = json.loads(self.ask("POST", "/stateless/read", {"text": "the red"}).body)
        self.tokens = [held["state"]]

    @cached_property
    def states(self) -> tuple[State, State]:
        """States after a text: of the served model and of another one."""
        return self.model.read("the red"), self.other.read("the red")

    def fingerprint(self) -> list[bytes]:
        """What honest requests with seeds get: equal before and after, byte for byte."""
        asked: list[tuple[str, dict[str, Any]]] = [
            ("/v1/completions", {"prompt": "the red", "max_tokens": 40, "seed": 7, "logprobs": 3, "n": 3}),
            ("/v1/completions", {"prompt": "the", "max_tokens": 40, "seed": 8, "top_k": 5, "stream": False}),
            ("/score", {"lines": TEXT.splitlines(), "likeliest": 2}),
            ("/stateless/generate", {"max_tokens": 30, "seed": 5, "model": None}),
        ]
        answers = [json.loads(self.ask("POST", path, fields).body) for path, fields in asked]
        for answer in answers:
            assert "error" not in answer, answer
            answer.pop("id", None)
            answer.pop("created", None)
        return [json.dumps(answer).encode() for answer in answers]

    def resident_megabytes(self) -> float:
        """Resident memory of the server's process."""
        lines = Path(f"/proc/{self.process.pid}/status").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS")) * 1024 / 1e6

    def is_idle(self) -> bool:
        """Whether the server runs no job and keeps none waiting, as its figures tell, within some seconds."""
        deadline = time.monotonic() + SECONDS
        while time.monotonic() < deadline:
            lines = self.ask("GET", "/metrics").body.decode().splitlines()
            loads = [line for line in lines if line.startswith(("recurlm_running_jobs{", "recurlm_waiting_"))]
            if len(loads) == 3 and all(line.endswith(" 0.0") for line in loads):
                return True
            time.sleep(0.1)
        return False


class Wire:
    """A connection that is opened when it is needed and after it was closed."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._socket: socket.socket | None = None

    def exchange(self, raw: bytes, method: str = "GET") -> Answer:
        """Sends some bytes and reads one answer."""
        was_open = self._socket is not None
        try:
            return self._exchange(raw, method)
        except (OSError, http.client.HTTPException):
            self.close()
        if not was_open:
            return Answer(0, "", b"")
        try:
            return self._exchange(raw, method)  # the server may have closed an idle connection just then
        except (OSError, http.client.HTTPException):
            self.close()
            return Answer(0, "", b"")

    def _exchange(self, raw: bytes, method: str) -> Answer:
        connection = self.opened()
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            connection.sendall(raw)  # a server may answer and close before it has read all
        with http.client.HTTPResponse(connection, method=method) as response:
            response.begin()
            answer = Answer(response.status, response.headers.get("content-type", ""), response.read())
            if response.will_close:
                self.close()
        return answer

    def opened(self) -> socket.socket:
        """The connection itself."""
        if self._socket is None:
            self._socket = socket.create_connection(("127.0.0.1", self._port), timeout=SECONDS)
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return self._socket

    def close(self) -> None:
        """Closes the connection."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None


def request_bytes(
    method: str, path: str, body: bytes = b"", *, key: str | None = KEY, kind: str = "application/json"
) -> bytes:
    """An HTTP request from its parts, which are not checked."""
    lines = [f"{method} {path} HTTP/1.1", "host: localhost", f"content-type: {kind}", f"content-length: {len(body)}"]
    if key is not None:
        lines.append(f"authorization: Bearer {key}")
    return "\r\n".join(lines).encode("utf-8", "surrogatepass") + b"\r\n\r\n" + body


def base64_text(content: bytes) -> str:
    """Bytes as a JSON string may carry them."""
    return base64.b64encode(content).decode()


@contextlib.contextmanager
def target(folder: Path, size: int) -> Iterator[Target]:
    """Trains two tiny models, serves one of them in a process of its own, and ends it."""
    (folder / "text.txt").write_text(TEXT * 20)
    (folder / "secret-of-the-machine.txt").write_text(MARK)
    runs = []
    for name, width in (("fruit", size), ("other", size + 8)):
        run = recurlm.train(
            folder / "text.txt", out=folder / name, recipe="demo", epochs=3, device="cpu", quiet=True,
            model={"embedding_size": width, "hidden_sizes": [width, width]},
        )  # fmt: skip
        runs.append(run.model)
    command = [sys.executable, "-m", "recurlm.cli.main", "serve", str(folder / "fruit"), "--port", "0", "--slots", "16"]
    command += ["--sessions", str(folder / "sessions.db"), "--session-limit", "2000"]
    environment = os.environ | {"RECURLM_API_KEY": KEY, "RECURLM_STATE_SECRET": SECRET}
    process = subprocess.Popen(command, stderr=subprocess.PIPE, env=environment, cwd=folder)
    assert process.stderr is not None
    address = json.loads(process.stderr.readline())["address"]
    log = threading.Thread(target=_keep_log, args=(process, folder / "server.log"))
    log.start()
    try:
        yield Target(process, folder, int(address.rpartition(":")[2]), *runs)
    finally:
        process.terminate()
        process.wait(SECONDS)
        log.join(SECONDS)


def _keep_log(process: subprocess.Popen[bytes], path: Path) -> None:
    """Keeps of the server's log what is no ordinary request: the file would grow to a hundred megabytes."""
    assert process.stderr is not None
    with path.open("wb") as file, process.stderr:
        for line in process.stderr:
            if b'"level": "info"' not in line or b'"status": 5' in line:
                file.write(line)
                file.flush()
