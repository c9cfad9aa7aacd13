"""Connections whose bytes are no requests, come too slowly, or whose answers nobody reads."""

import contextlib
import http.client
import json
import socket
import time
from collections.abc import Iterator

import pytest
from uvicorn.protocols.http.h11_impl import H11Protocol

from recurlm.serving import connections
from recurlm.serving.options import ServerOptions
from serving.http_server import SECONDS, Server, running_server

PARSERS = [H11Protocol]
with contextlib.suppress(ImportError):
    from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

    PARSERS.append(HttpToolsProtocol)
HEAD = b"POST /tokenize HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
BODY = b'{"prompt": "the"}'
REQUEST = HEAD + b"content-length: %d\r\n\r\n%s" % (len(BODY), BODY)


@pytest.fixture(params=PARSERS, ids=lambda kind: kind.__name__)
def server(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """A server with each parser of HTTP that is installed, which waits half a second for the head of a request."""
    monkeypatch.setattr(connections, "AutoHTTPProtocol", request.param)
    with running_server(ServerOptions(head_seconds=0.5, tokens=10**9)) as server:
        yield server


def received(server: Server, *parts: bytes, pause: float = 0.0) -> bytes:
    """What the server answers until it closes the connection."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=SECONDS) as client:
        answer = b""
        with contextlib.suppress(ConnectionError):
            for part in parts:
                client.sendall(part)
                time.sleep(pause)
        with contextlib.suppress(ConnectionError):
            while part := client.recv(65536):
                answer += part
        return answer


def status_of(client: socket.socket) -> int:
    """The status of the next answer, which is read whole."""
    with http.client.HTTPResponse(client) as answer:
        answer.begin()
        answer.read()
        return answer.status


def error_in(answer: bytes) -> tuple[int, str]:
    """Status and message of an answer that must be an error in the server's form."""
    head, _, body = answer.partition(b"\r\n\r\n")
    lines = head.decode().lower().split("\r\n")
    assert "content-type: application/json" in lines
    assert "connection: close" in lines
    error = json.loads(body)["error"]
    assert (set(error), error["type"]) == ({"message", "type", "param", "code"}, "invalid_request_error")
    return int(lines[0].split()[1]), error["message"]


@pytest.mark.parametrize(
    "raw",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 a client of TLS\r\n\r\n",
        b"GET / HTTP/x\r\n\r\n",
        b"GET /\x00 HTTP/1.1\r\nhost: localhost\r\n\r\n",
        b"GET / HTTP/1.1\r\nbad header\r\n\r\n",
        HEAD + b"content-length: -1\r\n\r\n",
        HEAD + b"content-length: 5\r\ncontent-length: 6\r\n\r\nabcdef",
    ],
    ids=lambda raw: raw[-24:],
)
def test_what_is_not_http_is_refused_in_the_form_of_every_error(server: Server, raw: bytes) -> None:
    assert error_in(received(server, raw))[0] == 400


def test_a_head_that_does_not_end_is_refused(server: Server) -> None:
    endless = b"GET /health HTTP/1.1\r\nhost: localhost\r\n" + b"x-long: " + b"y" * 40_000
    assert error_in(received(server, endless, b"y" * 40_000, pause=0.05))[0] in (400, 431)
    many = b"".join(b"x-%d: y\r\n" % number for number in range(9_000))
    answer = received(server, b"GET /health HTTP/1.1\r\nhost: localhost\r\n", many, pause=0.05)
    assert error_in(answer)[0] in (400, 431)


@pytest.mark.parametrize("begun", [b"", b"POST /tokenize HTTP/1.1\r\nhost: loc"])
def test_a_head_that_does_not_arrive_is_given_up(server: Server, begun: bytes) -> None:
    began = time.monotonic()
    status, message = error_in(received(server, begun))
    assert (status, message) == (408, "the head of the request did not arrive in 0.5 seconds")
    assert time.monotonic() - began > 0.4


def test_a_slow_head_after_an_answer_is_given_up(server: Server) -> None:
    with socket.create_connection(("127.0.0.1", server.port), timeout=SECONDS) as client:
        client.sendall(REQUEST)
        assert status_of(client) == 200
        client.sendall(b"GET /hea")
        assert status_of(client) == 408


def test_a_body_may_be_slower_than_a_head(server: Server) -> None:
    with socket.create_connection(("127.0.0.1", server.port), timeout=SECONDS) as client:
        client.sendall(REQUEST[:-5])
        time.sleep(0.8)
        client.sendall(REQUEST[-5:])
        assert status_of(client) == 200


def test_requests_in_a_row_are_answered_and_rubbish_after_them_ends_the_connection(server: Server) -> None:
    answer = received(server, REQUEST * 3 + b"\x00rubbish\r\n\r\n")
    answered = answer.count(b'"count":1')
    assert 1 <= answered == answer.count(b"HTTP/1.1 200 ") <= 3
    assert server.get("/health").status == 200


def test_an_answer_that_nobody_reads_ends_with_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("recurlm.serving.streaming.UNREAD_SECONDS", 0.2)
    body = json.dumps({"prompt": "the", "stream": True, "max_tokens": 10**9, "logprobs": 5}).encode()
    raw = HEAD.replace(b"/tokenize", b"/v1/completions") + b"content-length: %d\r\n\r\n%s" % (len(body), body)
    with running_server(ServerOptions(tokens=10**9, told=10**12, seconds=0.5)) as server, socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.connect(("127.0.0.1", server.port))
        client.sendall(raw)
        deadline = time.monotonic() + SECONDS
        while not any(server.served["fruit"].engine.load):
            assert time.monotonic() < deadline
        server.wait_until_idle()


@pytest.mark.parametrize(("seconds", "milliseconds"), [(7.5, 7500), (3e9, 2**31 - 1)])
def test_a_connection_ends_when_its_peer_reads_nothing_for_long(seconds: float, milliseconds: int) -> None:
    option = getattr(socket, "TCP_USER_TIMEOUT", None)
    if option is None:
        pytest.skip("only Linux ends such connections")
    kind = connections.connection_class(1.0, seconds)
    with socket.socket() as given:

        class Transport:
            def get_extra_info(self, name: str) -> socket.socket:
                assert name == "socket"
                return given

        kind._forget_who_does_not_read(type("Holder", (), {"transport": Transport(), "unread_seconds": seconds})())
        assert given.getsockopt(socket.IPPROTO_TCP, option) == milliseconds


def test_small_pieces_of_an_answer_are_sent_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    received = connections.GuardedConnection.data_received

    def looking(self: connections.GuardedConnection, data: bytes) -> None:
        seen.append(self.transport.get_extra_info("socket").getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
        received(self, data)

    monkeypatch.setattr(connections.GuardedConnection, "data_received", looking)
    with running_server(ServerOptions()) as server:
        assert server.get("/health").status == 200
    assert seen
    assert all(seen)
