"""A studio in this process, over a real socket."""

import contextlib
import http.client
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from recurlm.serving.server import Server, open_socket
from recurlm.studio.app import create_studio, first_address
from serving.http_server import Answer

TOKEN = "a-long-token"
SECONDS = 60


class RunningStudio:
    """Where a studio listens, and requests with its cookie."""

    def __init__(self, port: int, address: str) -> None:
        self.port, self.address = port, address
        self.cookie = {"cookie": f"recurlm-studio-{port}={TOKEN}"}

    def send(self, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None) -> Answer:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=SECONDS)
        with contextlib.closing(connection):
            sent = self.cookie if headers is None else headers
            content = None if body is None else json.dumps(body).encode()
            connection.request(method, path, content, {"content-type": "application/json"} | sent)
            answer = connection.getresponse()
            return Answer(answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read())

    def get(self, path: str, headers: dict[str, str] | None = None) -> Answer:
        return self.send("GET", path, None, headers)

    def post(self, path: str, body: Any = None, headers: dict[str, str] | None = None) -> Answer:
        return self.send("POST", path, body, headers)


@contextlib.contextmanager
def running_studio(directory: Path) -> Iterator[RunningStudio]:
    """Serves the page for a folder; at the end the training and the models are closed."""
    app = create_studio(directory, TOKEN, "cpu")
    process = Server(app, app.state.context.options)
    with open_socket("127.0.0.1", 0) as listening:
        port = listening.getsockname()[1]
        thread = threading.Thread(target=process.run, kwargs={"sockets": [listening]})
        thread.start()
        try:
            yield RunningStudio(port, first_address(listening, TOKEN))
        finally:
            process.should_exit = True
            thread.join(SECONDS)
            app.state.studio.close()
    assert not thread.is_alive()
