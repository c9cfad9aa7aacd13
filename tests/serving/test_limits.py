"""Limits of the server: what they refuse, where they stand in the documentation, and how they are raised."""

import json
import socket
import time
from pathlib import Path

import pytest

from recurlm.errors import UsageError
from recurlm.serving.connections import LARGEST_HEAD
from recurlm.serving.options import ServerOptions
from serving.http_server import SECONDS, Server, running_server

DOCS = Path(__file__).parent.parent.parent / "docs"
RAISED = {
    "body_bytes": 4 << 20,
    "bodies_bytes": 256 << 20,
    "seconds": 300,
    "prompt_tokens": 32_768,
    "tokens": 16_384,
    "drawn": 262_144,
    "choices": 128,
    "logprobs": 20,
    "told": 524_288,
    "stops": 16,
    "stop_characters": 200,
    "lines": 10_000,
    "hypotheses": 10_000,
    "line_tokens": 200_000,
    "session_tokens": 1_048_576,
    "session_draws": 4_096,
}
FIXED = {"head_seconds": 30, "closing_seconds": 30}


def test_limits_are_raised_by_the_variable_that_raises_all_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RECURLM_LIMITS", raising=False)
    usual = ServerOptions()
    monkeypatch.setenv("RECURLM_LIMITS", "2.5")
    larger = ServerOptions()
    for name, value in RAISED.items():
        assert getattr(usual, name) == value
        assert getattr(larger, name) == int(value * 2.5), name
    for name, value in FIXED.items():
        assert getattr(usual, name) == getattr(larger, name) == value
    assert ServerOptions(tokens=7).tokens == 7


@pytest.mark.parametrize("written", ["0.5", "many", "nan"])
def test_a_factor_that_is_none_is_refused(monkeypatch: pytest.MonkeyPatch, written: str) -> None:
    monkeypatch.setenv("RECURLM_LIMITS", written)
    with pytest.raises(UsageError, match="RECURLM_LIMITS="):
        ServerOptions()


@pytest.mark.parametrize("language", ["md", "zh.md"])
def test_every_limit_stands_in_the_documentation(monkeypatch: pytest.MonkeyPatch, language: str) -> None:
    monkeypatch.delenv("RECURLM_LIMITS", raising=False)
    text = (DOCS / f"limits.{language}").read_text("utf-8")
    rows = [line for line in text.splitlines() if line.startswith("| ")]
    for name, value in {**RAISED, **FIXED, "head": LARGEST_HEAD}.items():
        written = f"{value >> 20} MiB" if name.endswith("bytes") else f"{value:,}"
        assert any(written in row for row in rows), name


def test_a_server_with_raised_limits_does_what_others_refuse(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = ["the"] * 10_001
    with running_server(ServerOptions()) as server:
        assert server.post("/score", lines=lines).status == 400
    monkeypatch.setenv("RECURLM_LIMITS", "2")
    with running_server(ServerOptions()) as server:
        assert len(server.post("/score", lines=lines).json["lines"]) == 10_001


@pytest.mark.parametrize(
    ("path", "fields", "words"),
    [
        ("/v1/completions", {"n": 17, "max_tokens": 20}, "max_tokens: 340 tokens in all texts: this server allows"),
        ("/v1/completions", {"n": 2, "max_tokens": 11, "logprobs": 5}, "logprobs: 110 likeliest tokens in one answer"),
        ("/v1/completions", {"prompt": "the " * 30, "echo": True, "logprobs": 5, "max_tokens": 1}, "150 likeliest"),
        ("/score", {"lines": ["the " * 25], "likeliest": 4}, "likeliest: 104 likeliest tokens in one answer"),
        ("/stateless/score", {"text": "the " * 26, "likeliest": 4}, "likeliest: 104 likeliest tokens"),
        ("/stateless/generate", {"max_tokens": 20, "logprobs": 6}, "logprobs: 120 likeliest tokens in one answer"),
    ],
    ids=str,
)
def test_an_answer_larger_than_memory_should_hold_is_refused(path: str, fields: dict[str, object], words: str) -> None:
    with running_server(ServerOptions(tokens=20, told=100)) as server:
        answer = server.post(path, **fields)
        assert answer.status == 400
        assert words in answer.error["message"]


def test_bodies_that_are_too_large_together_wait_outside() -> None:
    body = json.dumps({"prompt": "x" * 5_000}).encode()
    head = b"POST /tokenize HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
    with (
        running_server(ServerOptions(bodies_bytes=9_000)) as server,
        socket.create_connection(("127.0.0.1", server.port), timeout=SECONDS) as slow,
    ):
        slow.sendall(head + b"content-length: %d\r\n\r\n%s" % (len(body), body[:4_500]))
        wait_for_bytes(server, 4_500)
        answer = server.send("POST", "/tokenize", body)
        assert (answer.status, answer.headers["retry-after"]) == (429, "1")
        slow.sendall(body[4_500:])
        assert b" 200 " in slow.recv(65536)
        assert server.send("POST", "/tokenize", body).status == 200


def wait_for_bytes(server: Server, count: int) -> None:
    """Waits until a server holds so many bytes of bodies: smaller ones of others pass until then."""
    deadline = time.monotonic() + SECONDS
    while server.send("POST", "/tokenize", b" " * (9_000 - count) + b"1").status != 429:
        assert time.monotonic() < deadline


@pytest.mark.parametrize("stream", [False, True])
def test_the_log_tells_how_many_tokens_were_drawn(
    caplog: pytest.LogCaptureFixture, server: Server, stream: bool
) -> None:
    with caplog.at_level("INFO", "recurlm.serving"):
        server.post("/v1/completions", prompt="the red", max_tokens=3, n=2, stream=stream)
        deadline = time.monotonic() + SECONDS
        while not (lines := [record for record in caplog.records if record.getMessage() == "request"]):
            assert time.monotonic() < deadline
    told = lines[0].__dict__["fields"]
    assert (told["prompt_tokens"], told["drawn_tokens"]) == (2, 6)


def test_the_log_shows_only_the_beginning_of_a_long_path(caplog: pytest.LogCaptureFixture, server: Server) -> None:
    with caplog.at_level("INFO", "recurlm.serving"):
        assert server.get("/" + "x" * 30_000).status == 404
        deadline = time.monotonic() + SECONDS
        while not (lines := [record for record in caplog.records if record.getMessage() == "request"]):
            assert time.monotonic() < deadline
    assert [line.fields["path"] for line in lines] == ["/" + "x" * 199]
