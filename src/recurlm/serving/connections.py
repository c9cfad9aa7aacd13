"""Connections of the server: what is not HTTP is refused in the server's own form, and a slow request head in time."""

import asyncio
import contextlib
import json
import socket
from collections.abc import Callable
from http import HTTPStatus
from typing import Any

from uvicorn.protocols.http.auto import AutoHTTPProtocol

from recurlm.serving.errors import error_body
from recurlm.serving.middleware import log

LARGEST_HEAD = 64 << 10
"""Bytes of a request's first line and headers."""
LONGEST_MILLISECONDS = 2**31 - 1
"""What the system takes."""


class GuardedConnection:
    """A part of uvicorn's protocol classes, which have no such limits and answer in plain text."""

    transport: asyncio.Transport
    loop: asyncio.AbstractEventLoop
    cycle: Any
    shutdown: Callable[[], None]
    head_seconds: float
    unread_seconds: float

    def connection_made(self, transport: asyncio.Transport) -> None:
        """Begins to wait for the first request."""
        super().connection_made(transport)  # type: ignore[misc]
        self._send_at_once()
        self._forget_who_does_not_read()
        self._head_bytes = 0
        self._waiting: asyncio.TimerHandle | None = None
        self._expect_head()

    def connection_lost(self, error: Exception | None) -> None:
        """Ends the wait."""
        self._stop_waiting()
        super().connection_lost(error)  # type: ignore[misc]

    def data_received(self, data: bytes) -> None:
        """Passes bytes on, and refuses a head that does not end."""
        before, is_idle = self.cycle, self._is_idle
        super().data_received(data)  # type: ignore[misc]
        if self.cycle is not before:
            self._head_bytes = 0
            self._stop_waiting()
        elif is_idle and not self.transport.is_closing():
            self._head_bytes += len(data)
            if self._head_bytes > LARGEST_HEAD:
                self._refuse(431, f"the headers have more than {LARGEST_HEAD:,} bytes; send less")
            elif self._waiting is None:
                self._expect_head()

    def send_400_response(self, message: str) -> None:
        """Refuses what is not HTTP; `message` is uvicorn's."""
        self._refuse(400, "not a request of HTTP/1.1, or its headers are too long")

    @property
    def _is_idle(self) -> bool:
        return self.cycle is None or bool(self.cycle.response_complete)

    def _send_at_once(self) -> None:
        """Lets small pieces go without waiting until earlier ones are confirmed, which may take 40 ms.

        asyncio asks for that itself, but not where the listening socket was made without naming its protocol.
        """
        self.transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def _forget_who_does_not_read(self) -> None:
        """Lets the system end a connection whose peer takes no bytes, which would hold an answer in memory."""
        option = getattr(socket, "TCP_USER_TIMEOUT", None)  # Linux has it
        if option is not None:
            with contextlib.suppress(OSError):
                milliseconds = min(int(self.unread_seconds * 1000), LONGEST_MILLISECONDS)
                self.transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, option, milliseconds)

    def _expect_head(self) -> None:
        late = f"the head of the request did not arrive in {self.head_seconds:g} seconds"
        self._waiting = self.loop.call_later(self.head_seconds, self._refuse, 408, late)

    def _stop_waiting(self) -> None:
        if self._waiting is not None:
            self._waiting.cancel()
            self._waiting = None

    def _refuse(self, status: int, message: str) -> None:
        """Answers with an error and closes; an answer that is on its way to an earlier request comes to its end."""
        self._stop_waiting()
        log.info("refused", extra={"fields": {"status": status, "reason": message}})
        if self._is_idle and not self.transport.is_closing():
            body = json.dumps(error_body(status, message)).encode()
            phrase = HTTPStatus(status).phrase
            head = f"HTTP/1.1 {status} {phrase}\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n"
            self.transport.write(head.encode() + b"connection: close\r\n\r\n" + body)
        self.shutdown()


def connection_class(head_seconds: float, unread_seconds: float) -> type[asyncio.Protocol]:
    """The protocol class of the server's connections, on top of the HTTP parser that is installed.

    head_seconds: within which the head of a request arrives, from the connection or from its first byte ·
    unread_seconds: after which a connection ends whose peer reads nothing of an answer.
    """
    values = {"head_seconds": head_seconds, "unread_seconds": unread_seconds}
    return type("Connection", (GuardedConnection, AutoHTTPProtocol), values)
