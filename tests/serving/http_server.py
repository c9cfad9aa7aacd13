"""A server in this process and a client of its real socket."""

import contextlib
import http.client
import json
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import recurlm
from recurlm.serving.app import create_app
from recurlm.serving.models import ServedModel, serve_model
from recurlm.serving.options import ServerOptions
from recurlm.serving.server import Server as UvicornServer
from recurlm.serving.server import open_socket

RUN = Path(__file__).parent.parent / "fixtures" / "0.1.0" / "run"
SECONDS = 60


class Answer(NamedTuple):
    """A status, headers in small letters, and the body."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def error(self) -> dict[str, Any]:
        assert set(self.json) == {"error"}
        return self.json["error"]

    @property
    def events(self) -> list[Any]:
        """The values of a stream, whose end is checked."""
        assert self.headers["content-type"].startswith("text/event-stream")
        *events, done, rest = self.body.decode().split("\n\n")
        assert (done, rest) == ("data: [DONE]", "")
        return [json.loads(event.removeprefix("data: ")) for event in events]


@dataclass
class Server:
    """Where a server listens, and what it serves."""

    port: int
    served: dict[str, ServedModel]
    headers: dict[str, str] = field(default_factory=dict)

    @property
    def model(self) -> recurlm.Model:
        return self.served["fruit"].model

    def connection(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=SECONDS)

    def send(self, method: str, path: str, body: bytes | None = None, **headers: str) -> Answer:
        with contextlib.closing(self.connection()) as connection:
            named = {name.replace("_", "-"): value for name, value in headers.items()}
            connection.request(method, path, body, {"content-type": "application/json"} | self.headers | named)
            answer = connection.getresponse()
            return Answer(answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read())

    def get(self, path: str, **headers: str) -> Answer:
        return self.send("GET", path, **headers)

    def post(self, path: str, **fields: Any) -> Answer:
        return self.send("POST", path, json.dumps(fields).encode())

    def complete(self, **fields: Any) -> Any:
        """The choices of a completion."""
        answer = self.post("/v1/completions", model="fruit", **fields)
        assert answer.status == 200, answer.body
        return answer.json["choices"]

    def wait_until_idle(self) -> None:
        """Waits until no job runs or waits."""
        deadline = time.monotonic() + SECONDS
        while any(any(served.engine.load) for served in self.served.values()):
            assert time.monotonic() < deadline, "jobs still run"
            time.sleep(0.005)


@contextlib.contextmanager
def running_server(
    options: ServerOptions,
    *,
    slots: int = 8,
    queue: int = 256,
    names: tuple[str, ...] = ("fruit",),
    model: recurlm.Model | None = None,
) -> Iterator[Server]:
    """Serves the recorded run, or another model, under these names; at the end nothing may be running."""
    served = {name: serve_model(name, model or recurlm.load(RUN), slots=slots, queue=queue) for name in names}
    process = UvicornServer(create_app(served, options), options)
    with open_socket("127.0.0.1", 0) as listening:
        port = listening.getsockname()[1]
        thread = threading.Thread(target=process.run, kwargs={"sockets": [listening]})
        thread.start()
        try:
            headers = {} if options.key is None else {"authorization": f"Bearer {options.key}"}
            yield Server(port, served, headers)
        finally:
            process.should_exit = True
            thread.join(SECONDS)
            closed = [each.close(SECONDS) for each in served.values()]
    assert not thread.is_alive()
    assert all(closed)
