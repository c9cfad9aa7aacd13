"""Bodies and paths that no honest client sends never break the server."""

import json
import random
import socket
from collections.abc import Iterator
from typing import Any

import pytest

from recurlm.serving.bodies.completions import CompletionRequest
from recurlm.serving.bodies.inspection import InspectRequest
from recurlm.serving.bodies.scores import RescoreRequest, ScoreRequest
from recurlm.serving.bodies.tokens import DetokenizeRequest, TokenizeRequest
from recurlm.serving.options import ServerOptions
from serving.http_server import Answer, Server, running_server

PATHS = {
    "/v1/completions": {"prompt": "the", "max_tokens": 2, "seed": 1},
    "/score": {"lines": ["the red"]},
    "/rescore": {"hypotheses": [{"text": "the red", "acoustic": -1.0}]},
    "/tokenize": {"prompt": "the"},
    "/detokenize": {"tokens": [3]},
    "/inspect": {"text": "the red"},
}
DEEP = "[" * 100_000 + "]" * 100_000
WRITTEN = ["NaN", "1e309", "-Infinity", "1" * 5000, DEEP, '{"a":' * 70 + "1" + "}" * 70, '"\\ud800"', "", "nul", "{"]
STRANGE: list[Any] = [
    None,
    True,
    "",
    "x" * 100_000,
    "\ud800",
    "\x00",
    "\n",
    "<eos><eos>",
    0,
    -1,
    10**9,
    10**399,
    -(10**30),
    1e308,
    5e-324,
    -0.0,
    [],
    {},
    [[]],
    [None],
    [{}],
    [[3, "x"]],
    ["x"] * 10_000,
    {"a": {"a": {}}},
    {"text": "the"},
    "floor:-1e308",
    "floor:nan",
    "share:0",
    "carry",
    "../../etc/passwd",
    "/etc/passwd",
]
BODIES = (CompletionRequest, ScoreRequest, RescoreRequest, TokenizeRequest, DetokenizeRequest, InspectRequest)
FIELDS = sorted({field.alias or name for body in BODIES for name, field in body.model_fields.items()} | {"unheard"})


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    """A server with the usual limits."""
    with running_server(ServerOptions()) as server:
        yield server


def check(answer: Answer) -> None:
    assert answer.status < 500, answer.body
    if answer.status >= 400:
        assert set(answer.error) == {"message", "type", "param", "code"}
        assert answer.error["message"]
        assert len(answer.body) < 10_000


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("written", WRITTEN, ids=lambda text: text[:12])
def test_what_is_not_json_is_refused(server: Server, path: str, written: str) -> None:
    name, _ = next(iter(PATHS[path].items()))
    for body in (written, f'{{"{name}": {written}}}', f'{{"unheard": {written}}}'):
        answer = server.send("POST", path, body.encode())
        check(answer)
        assert answer.status == 400


@pytest.mark.parametrize("body", [b"\xff\xfe", b'{"prompt": "\xff"}', b'{"prompt": "a", "prompt": "b"}', b"[1, 2]"])
def test_bytes_that_no_text_has_are_refused(server: Server, body: bytes) -> None:
    assert server.send("POST", "/v1/completions", body).status == 400


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("field", FIELDS)
def test_a_strange_value_of_a_field_is_refused_or_does_no_harm(server: Server, path: str, field: str) -> None:
    for value in STRANGE:
        check(server.post(path, **PATHS[path] | {field: value}))


def test_strange_values_together_do_no_harm(server: Server) -> None:
    draw = random.Random(3)
    for _ in range(300):
        path = draw.choice(list(PATHS))
        changes = {draw.choice(FIELDS): draw.choice(STRANGE) for _ in range(draw.randrange(1, 5))}
        check(server.post(path, **PATHS[path] | changes))


def test_sums_beyond_the_range_of_numbers_are_refused(server: Server) -> None:
    answer = server.post("/rescore", hypotheses=[{"text": "the", "acoustic": -1e308}], acoustic_scale=10)
    assert (answer.status, answer.error["message"]) == (
        400,
        "a result is beyond the range of numbers; give smaller scores and scales",
    )


@pytest.mark.parametrize(
    "path",
    [
        "/etc/passwd",
        "/../../../../etc/passwd",
        "/%2e%2e/%2e%2e/etc/passwd",
        "/v1/models/../../../etc/passwd",
        "/v1/models/%2Fetc%2Fpasswd",
        "/v1/models/%00",
        "/v1/models/" + "x" * 10_000,
        "/static/config.json",
        "/docs",
        "/redoc",
        "/tokenizer_info?model=/etc/passwd",
        "/tokenizer_info?model=%00&model=%FF",
        "//",
        "/%",
    ],
)
def test_no_path_leads_to_a_file(server: Server, path: str) -> None:
    answer = server.get(path)
    assert answer.status == 404
    check(answer)
    assert b"root:" not in answer.body


@pytest.mark.parametrize("path", ["/score/", "/v1/models/", "//v1/models", "/sessions/"])
def test_no_answer_leads_to_an_address_of_the_client_s_own(server: Server, path: str) -> None:
    for method in ("GET", "POST"):
        answer = server.send(method, path, host="localhost")
        assert answer.status in (404, 405)
        assert "location" not in answer.headers


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "GET", "TRACE", "CONNECT", "BREW"])
def test_a_wrong_method_is_refused(server: Server, method: str) -> None:
    answer = server.send(method, "/score")
    check(answer)
    assert answer.status in (405, 400)  # a parser of HTTP may know the registered methods alone


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", "", "é"])
def test_a_body_that_is_not_said_to_be_json_is_refused(server: Server, kind: str) -> None:
    answer = server.send("POST", "/score", b'{"lines": ["the"]}', content_type=kind.encode("latin-1").decode("latin-1"))
    assert answer.status == 400
    assert "content-type: application/json" in answer.error["message"]


def test_a_large_body_is_refused_before_it_is_read() -> None:
    with running_server(ServerOptions(body_bytes=1000)) as server:
        for path in PATHS:
            answer = server.send("POST", path, json.dumps({"unheard": "x" * 2000}).encode())
            assert (answer.status, answer.error["code"]) == (413, "body_too_large")
        assert server.post("/tokenize", prompt="x" * 900).status == 200


def test_a_large_body_in_chunks_is_refused(server: Server) -> None:
    with socket.create_connection(("127.0.0.1", server.port), timeout=60) as client:
        client.sendall(
            b"POST /score HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
            b"transfer-encoding: chunked\r\n\r\n"
        )
        answer = b""
        try:
            for _ in range(100):
                client.sendall(b"10000\r\n" + b"x" * 0x10000 + b"\r\n")
        except OSError:
            pass  # the server has closed the connection already
        try:
            while part := client.recv(65536):
                answer += part
        except ConnectionResetError:
            pass
    assert not answer or b" 413 " in answer.splitlines()[0]
    assert server.get("/health").status == 200


def test_a_body_that_does_not_arrive_is_given_up() -> None:
    with (
        running_server(ServerOptions(seconds=0.2)) as server,
        socket.create_connection(("127.0.0.1", server.port), timeout=60) as client,
    ):
        client.sendall(
            b"POST /score HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: 9\r\n\r\n{"
        )
        assert client.recv(65536).startswith(b"HTTP/1.1 408 ")


@pytest.mark.parametrize(
    "raw",
    [
        b"\x00\x01\x02\r\n\r\n",
        b"GET\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"POST /score HTTP/1.1\r\ncontent-length: -1\r\n\r\n",
    ],
)
def test_what_is_not_http_does_no_harm(server: Server, raw: bytes) -> None:
    with socket.create_connection(("127.0.0.1", server.port), timeout=60) as client:
        client.sendall(raw)
        assert b" 50" not in client.recv(65536)[:15]
    assert server.get("/health").status == 200
