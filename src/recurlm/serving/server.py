"""The process that serves: its socket, its log, and how it ends."""

import asyncio
import gc
import logging
import signal
import socket
import sys
from collections.abc import Callable, Mapping
from functools import partial
from types import FrameType

import uvicorn
from fastapi import FastAPI

from recurlm.errors import UsageError
from recurlm.serving.app import create_app
from recurlm.serving.connections import connection_class
from recurlm.serving.middleware import JSONFormatter, log
from recurlm.serving.models import ServedModel
from recurlm.serving.options import ServerOptions
from recurlm.serving.sessions.sessions import Sessions

LOOPBACK = {"127.0.0.1", "::1", "localhost"}
CLOSING_ENGINE_SECONDS = 5.0


def check_address(host: str, key: str | None) -> None:
    """Raises UsageError for an address that others reach where there is no key, and for an empty key."""
    if key is None and host not in LOOPBACK:
        raise UsageError(
            f"--host {host}: others could reach the server, so it needs a key\n"
            "give --api-key KEY or set RECURLM_API_KEY, or leave --host out to serve this machine alone"
        )
    if key is not None and not (key.isascii() and key.isprintable() and key.strip() == key and key):
        raise UsageError("the key must be printable ASCII without spaces around it, since a header carries it")


def open_socket(host: str, port: int) -> socket.socket:
    """A socket that listens. Raises UsageError where the address cannot be had."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=2048)
    except (OSError, UnicodeError) as error:
        raise UsageError(f"cannot listen at {host}, port {port}: {error}; choose another --host or --port") from error


def address_of(listening: socket.socket) -> str:
    """The address to which requests go, such as http://127.0.0.1:8000."""
    host, port = listening.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def start_log() -> None:
    """Sends the events of the server to standard error, one JSON object a line."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JSONFormatter())
    for name, level in ((log.name, logging.INFO), ("uvicorn.error", logging.ERROR)):
        logger = logging.getLogger(name)
        logger.handlers, logger.propagate = [handler], False
        logger.setLevel(level)


class Server(uvicorn.Server):
    """Ends at a first signal when running requests are done, and at a second one at once.

    `began` is called when requests and signals are heard.
    """

    def __init__(self, app: FastAPI, options: ServerOptions, began: Callable[[], None] = lambda: None) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                http=connection_class(options.head_seconds, options.seconds),
                log_config=None,
                access_log=False,
                lifespan="off",
                ws="none",
                server_header=False,
                proxy_headers=False,
                timeout_graceful_shutdown=max(1, round(options.closing_seconds)),
            )
        )
        self._sessions: Sessions = app.state.context.sessions
        self._began = began
        self.stopped_by: int | None = None
        self.cut_off = 0

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Hears a signal. The log hears of it from the loop, since a line may be half written when a signal comes."""
        self.force_exit = self.should_exit
        self.should_exit, self.stopped_by = True, sig
        fields = {"signal": signal.Signals(sig).name, "at_once": self.force_exit}
        asyncio.get_running_loop().call_soon_threadsafe(partial(log.info, "stopping", extra={"fields": fields}))

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begins to serve."""
        await super().startup(sockets)
        _spare_collector()
        self._began()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Waits for running requests, counts those that did not end in time, and closes the sessions."""
        await super().shutdown(sockets)
        self.cut_off = len(self.server_state.tasks)
        self._sessions.close()

    @property
    def exit_code(self) -> int:
        """0 where every request was answered, otherwise 128 and the signal's number."""
        return 128 + self.stopped_by if self.cut_off and self.stopped_by is not None else 0


def _spare_collector() -> None:
    """Takes what stays for good out of Python's garbage collection, which would go through it for 0.1 s every while."""
    gc.collect()
    gc.freeze()


def serve(models: Mapping[str, ServedModel], options: ServerOptions, listening: socket.socket) -> int:
    """Serves until a signal comes; returns the exit code."""
    start_log()
    facts = {"address": address_of(listening), "models": list(models), "key": options.key is not None}
    server = Server(create_app(models, options), options, lambda: log.info("serving", extra={"fields": facts}))
    try:
        asyncio.run(server.serve([listening]))
    finally:
        for served in models.values():
            served.close(CLOSING_ENGINE_SECONDS)
    log.info("stopped", extra={"fields": {"cut_off": server.cut_off}})
    return server.exit_code
