"""A client of a server process over real sockets, light enough to share two cores with the server."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

END = b"\r\n\r\n"
MOST_REST = 3.0
"""Seconds after which an unused connection is not used again; uvicorn ends one after five."""


@dataclass
class Answer:
    """What came back: when the request was sent, and the pieces that arrived, each with its time."""

    sent: float
    pieces: list[tuple[float, bytes]] = field(default_factory=list)

    @property
    def raw(self) -> bytes:
        return b"".join(piece for _, piece in self.pieces)

    @property
    def status(self) -> int:
        return int(self.raw.split(b" ", 2)[1])

    @property
    def headers(self) -> dict[str, str]:
        lines = self.raw.partition(END)[0].decode("latin-1").split("\r\n")[1:]
        return {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}

    @property
    def body(self) -> bytes:
        head, _, body = self.raw.partition(END)
        return b"".join(_chunks(body)) if is_chunked(head) else body

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def seconds(self) -> float:
        """From the request to the last piece."""
        return self.pieces[-1][0] - self.sent

    @property
    def events(self) -> list[tuple[float, Any]]:
        """The JSON values of a stream, each with the time at which its end arrived."""
        found, rest = [], b""
        for arrived, piece in self.pieces:
            *whole, rest = (rest + piece).split(b"\n\n")
            values = (part[part.index(b"data: ") + 6 :] for part in whole if b"data: {" in part)
            found += [(arrived, json.loads(value)) for value in values]
        return found


def is_chunked(head: bytes) -> bool:
    """Whether the body comes in chunks; the head is that of an answer."""
    return b"transfer-encoding: chunked" in head.lower()


def _chunks(body: bytes) -> Iterator[bytes]:
    while body:
        size, _, body = body.partition(b"\r\n")
        yield body[: int(size, 16)]
        body = body[int(size, 16) + 2 :]


class Connection(asyncio.Protocol):
    """A connection that is used again for the next request, as an HTTP client's pool does.

    A server closes connections that rest, so one that rested for long, or that the server closed, is opened again.
    """

    def __init__(self, address: str) -> None:
        """A server's address, such as http://127.0.0.1:8000."""
        self._place = urlsplit(address)
        self._answer = Answer(0.0)
        self._done: asyncio.Future[Answer] | None = None
        self._head, self._left, self._tail = b"", 0, b""
        self._transport: asyncio.Transport | None = None
        self._lost = asyncio.get_running_loop().create_future()
        self._used = 0.0

    @classmethod
    async def open(cls, address: str) -> "Connection":
        """Connects to a server."""
        made = cls(address)
        await made._opened()
        return made

    async def _opened(self) -> asyncio.Transport:
        """The transport, which has not rested for long."""
        loop = asyncio.get_running_loop()
        if self._transport is None or self._lost.done() or time.perf_counter() > self._used + MOST_REST:
            if self._transport is not None:
                await self.close()
            self._lost = loop.create_future()
            self._transport, _ = await loop.create_connection(lambda: self, self._place.hostname, self._place.port)
            self._used = time.perf_counter()
        return self._transport

    async def send(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Answer:
        """Sends a request and waits for the end of its answer. Raises ConnectionError where the server hangs up."""
        transport = await self._opened()
        text = b"" if body is None else json.dumps(body).encode()
        head = f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        self._done = asyncio.get_running_loop().create_future()
        self._answer = Answer(time.perf_counter())
        self._head = self._tail = b""
        transport.write(f"{head}Content-Length: {len(text)}\r\n\r\n".encode() + text)
        try:
            return await self._done
        finally:
            self._used = time.perf_counter()

    async def close(self) -> None:
        """Ends the connection, even in the middle of an answer."""
        if self._transport is not None:
            self._transport.abort()
            await self._lost

    def data_received(self, data: bytes) -> None:
        self._answer.pieces.append((time.perf_counter(), data))
        if not self._head:
            raw = self._answer.raw
            if END not in raw:
                return
            self._head, _, data = raw.partition(END)
            self._left = int(self._answer.headers.get("content-length", 0))
        self._left -= len(data)
        self._tail = (self._tail + data)[-7:]
        has_ended = self._tail.endswith(b"\r\n0\r\n\r\n") if is_chunked(self._head) else self._left <= 0
        if has_ended and self._done is not None and not self._done.done():
            self._done.set_result(self._answer)

    def connection_lost(self, error: Exception | None) -> None:
        if self._done is not None and not self._done.done():
            self._done.set_exception(ConnectionError("the connection ended"))
        self._lost.set_result(None)


@asynccontextmanager
async def connected(address: str, count: int) -> AsyncIterator[list[Connection]]:
    """Opens `count` connections; they end with the context."""
    connections = [await Connection.open(address) for _ in range(count)]
    try:
        yield connections
    finally:
        for each in connections:
            await each.close()
