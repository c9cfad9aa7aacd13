"""The measurements of the server run, in toy sizes, and count what they say they count."""

import asyncio
import re
from collections.abc import Iterator

import pytest
from benchmarks._client import Answer, connected
from benchmarks._report import Options, Row
from benchmarks._server import ServerProcess, serving

from benchmarks import serve_abandoned, serve_load, serve_schedules, serve_waiting

pytestmark = pytest.mark.thorough
TINY = Options("tiny")
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"


@pytest.fixture(scope="module")
def server() -> Iterator[ServerProcess]:
    with serving(TINY) as server:
        yield server


def row(rows: list[Row], contestant: str) -> Row:
    return next(row for row in rows if row.contestant == contestant)


def test_the_load_is_driven_and_every_answer_has_its_tokens(server: ServerProcess) -> None:
    rows = list(serve_load.measured(server, TINY).rows)
    assert [each.job for each in rows] == ["16 streams"] * 6 + ["64 streams"] * 6
    assert all(each.figure.median > 0 for each in rows if "between" not in each.contestant)
    ratio = row(rows, serve_load.WHOLE).ratio
    assert ratio is not None
    assert ratio.median == pytest.approx(
        row(rows, serve_load.WHOLE).figure.median / row(rows, serve_load.BARE).figure.median
    )


def test_a_stream_and_a_whole_answer_of_one_seed_have_the_same_tokens(server: ServerProcess) -> None:
    _, (whole,) = asyncio.run(serve_load.driven(server, 1, 40, 3))
    _, (streamed,) = asyncio.run(serve_load.driven(server, 1, 40, 3, stream=True))
    text = "".join(event["choices"][0]["text"] for _, event in streamed.events)
    assert text == whole.json["choices"][0]["text"]
    assert len(text.split()) + text.count("\n") == 40


def test_waiting_times_and_refusals_are_measured(server: ServerProcess) -> None:
    result = asyncio.run(serve_waiting.measured(server, TINY))
    assert all(check.passed for check in result.checks)
    assert row(list(result.rows), "goodput").figure.median > 0


def test_abandoned_requests_leave_nothing(server: ServerProcess) -> None:
    result = asyncio.run(serve_abandoned.measured(server, TINY))
    assert all(check.passed for check in result.checks)

    async def figures() -> str:
        async with connected(server.address, 1) as (connection,):
            return (await connection.send("GET", "/metrics")).body.decode()

    told = asyncio.run(figures())
    assert re.search(r'^recurlm_running_jobs\{model="run"\} 0\.0$', told, re.MULTILINE)
    cancelled = re.search(r'^recurlm_jobs_total\{end="cancelled",model="run"\} (\S+)$', told, re.MULTILINE)
    assert cancelled is not None
    assert float(cancelled[1]) >= 10


def test_schedules_compare_each_answer_with_the_answer_alone(server: ServerProcess) -> None:
    result = serve_schedules.measured(server, TINY)
    assert all(check.passed for check in result.checks)
    assert row(list(result.rows), "requests in each").figure.low >= 2


def test_a_connection_that_the_server_ended_is_opened_anew() -> None:
    opened = []

    async def answer_once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        opened.append(writer)
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        writer.close()

    async def send_twice() -> list[bytes]:
        server = await asyncio.start_server(answer_once, "127.0.0.1", 0)
        async with server, connected(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", 1) as (connection,):
            bodies = []
            for _ in range(2):
                bodies.append((await connection.send("GET", "/")).body)
                await asyncio.wait_for(asyncio.shield(connection._lost), 60)
            return bodies

    assert asyncio.run(send_twice()) == [b"ok", b"ok"]
    assert len(opened) == 2


def test_an_answer_in_chunks_is_read_whatever_pieces_it_arrives_in() -> None:
    chunks = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in (b'data: {"a": 1}\n\n', b"data: [DONE]\n\n"))
    raw = HEAD + chunks + b"0\r\n\r\n"
    for size in (1, 7, len(raw)):
        pieces = [(float(at), raw[at : at + size]) for at in range(0, len(raw), size)]
        answer = Answer(0.0, pieces)
        assert answer.status == 200
        assert answer.body == b'data: {"a": 1}\n\ndata: [DONE]\n\n'
        assert [value for _, value in answer.events] == [{"a": 1}]
