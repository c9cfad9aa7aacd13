"""A client that goes away leaves its slot; a full queue refuses at once."""

import gc
import http.client
import json
import logging
import resource
import time

import pytest

from recurlm.serving import middleware
from recurlm.serving.options import ServerOptions
from serving.http_server import SECONDS, Server, running_server

ENDLESS = {"prompt": "the", "max_tokens": 10**9}


def begin(server: Server, path: str = "/v1/completions", **fields: object) -> http.client.HTTPConnection:
    """Sends a request and does not wait for its answer."""
    connection = server.connection()
    headers = {"content-type": "application/json"}
    connection.request("POST", path, json.dumps(fields).encode(), headers)
    return connection


def wait_for_load(server: Server, running: int, waiting: int = 0) -> None:
    deadline = time.monotonic() + SECONDS
    while server.served["fruit"].engine.load != (running, waiting):
        assert time.monotonic() < deadline, server.served["fruit"].engine.load
        time.sleep(0.002)


@pytest.mark.parametrize("fields", [{}, {"stream": True}, {"n": 5}, {"stream": True, "n": 5, "stop": "zebra"}], ids=str)
def test_a_slot_is_free_after_its_client_has_gone(server: Server, fields: dict[str, object]) -> None:
    connection = begin(server, **ENDLESS, **fields)
    wait_for_load(server, fields.get("n", 1))
    connection.close()
    server.wait_until_idle()


def test_a_stream_that_was_read_in_part_ends_with_its_client(server: Server) -> None:
    connection = begin(server, **ENDLESS, stream=True)
    assert connection.getresponse().readline().startswith(b"data: {")
    connection.close()
    server.wait_until_idle()


def test_a_waiting_request_leaves_the_queue_with_its_client() -> None:
    with running_server(ServerOptions(tokens=10**9), slots=1) as server:
        first = begin(server, **ENDLESS)
        wait_for_load(server, 1)
        second = begin(server, **ENDLESS)
        wait_for_load(server, 1, 1)
        second.close()
        wait_for_load(server, 1, 0)
        first.close()
        server.wait_until_idle()


def test_a_full_queue_refuses_and_says_when_to_try_again() -> None:
    with running_server(ServerOptions(tokens=10**9), slots=1, queue=1) as server:
        clients = [begin(server, **ENDLESS)]
        wait_for_load(server, 1)
        clients.append(begin(server, **ENDLESS))
        wait_for_load(server, 1, 1)
        for fields in ({}, {"stream": True}, {"n": 2}):
            answer = server.post("/v1/completions", prompt="the", **fields)
            assert (answer.status, answer.headers["retry-after"]) == (429, "1")
            assert (answer.error["type"], answer.error["code"]) == ("rate_limit_error", "queue_full")
        for client in clients:
            client.close()
        server.wait_until_idle()
        assert server.post("/v1/completions", prompt="the").status == 200


def test_a_full_server_does_not_read_what_it_refuses_but_asks_for_the_key_first() -> None:
    with running_server(ServerOptions(tokens=10**9, key="secret"), slots=1, queue=0) as server:
        connection = server.connection()
        headers = {"content-type": "application/json"} | server.headers
        connection.request("POST", "/v1/completions", json.dumps(ENDLESS), headers)
        wait_for_load(server, 1)
        assert server.send("POST", "/v1/completions", b"no JSON").status == 429
        assert server.send("POST", "/v1/completions", b"no JSON", authorization="Bearer wrong").status == 401
        assert server.send("POST", "/score", b"no JSON").status == 400
        connection.close()
        server.wait_until_idle()
        assert server.send("POST", "/v1/completions", b"no JSON").status == 400


def test_refusals_for_want_of_room_are_counted_and_share_a_line_of_the_log(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(middleware, "TELL_SECONDS", 0.5)
    caplog.set_level(logging.INFO, middleware.log.name)
    with running_server(ServerOptions(tokens=10**9), slots=1, queue=0) as server:
        client = begin(server, **ENDLESS)
        wait_for_load(server, 1)
        refused = 5
        for _ in range(refused):
            assert server.post("/v1/completions", prompt="the").status == 429
        counted = 'recurlm_requests_total{method="POST",route="/v1/completions",status="429"} 5.0'
        assert counted in server.get("/metrics").body.decode().splitlines()
        deadline = time.monotonic() + SECONDS
        while sum(told(caplog)) < refused:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        assert sum(told(caplog)) == refused > len(told(caplog))
        client.close()


def told(caplog: pytest.LogCaptureFixture) -> list[int]:
    """The numbers of refused requests that lines of the log tell."""
    return [record.fields["requests"] for record in caplog.records if record.message == "queue full"]


def test_a_request_that_only_fits_in_part_leaves_nothing_behind() -> None:
    with running_server(ServerOptions(tokens=10**9), slots=1, queue=2) as server:
        assert server.post("/v1/completions", **ENDLESS, n=16).status == 429
        server.wait_until_idle()


def test_scores_that_wait_too_many_are_refused() -> None:
    with running_server(ServerOptions(queue=0)) as server:
        answer = server.post("/score", lines=["the"])
        assert (answer.status, answer.headers["retry-after"]) == (429, "1")


def test_scores_of_a_client_that_has_gone_are_given_up() -> None:
    with running_server(ServerOptions()) as server:
        served = server.served["fruit"]
        connections = [begin(server, "/score", lines=["the red fruit " * 5] * 9_000) for _ in range(3)]
        deadline = time.monotonic() + SECONDS
        while served.waiting_scores < 3:
            assert time.monotonic() < deadline
            time.sleep(0.002)
        for connection in connections:
            connection.close()
        while served.waiting_scores:
            assert time.monotonic() < deadline
            time.sleep(0.002)
        assert server.post("/score", lines=["the"]).status == 200


@pytest.mark.thorough
def test_a_thousand_abandoned_requests_leave_no_memory_behind(server: Server) -> None:
    def abandon(times: int) -> int:
        for number in range(times):
            begin(server, **ENDLESS, stream=number % 2 == 0).close()
        server.wait_until_idle()
        gc.collect()
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    before = abandon(1000)
    assert abandon(1000) - before < 5_000  # kB
