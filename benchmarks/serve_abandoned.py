"""Requests whose client goes away: when their slots are free, and what a thousand of them leave behind."""

import asyncio
import random
import re
import time

from benchmarks._client import Answer, Connection, connected
from benchmarks._measure import Spread
from benchmarks._report import Check, Options, Result, Row, run
from benchmarks._server import ServerProcess, described, serving

MOST_MILLISECONDS, MOST_MEGABYTES = 250, 5
ENDLESS = 16_384
BODIES = [{}, {"stream": True}, {"n": 4}, {"stream": True, "logprobs": 2}, {"top_k": 5}, {"stop": "zebra"}]


def measure(options: Options) -> Result:
    """Clients hang up at random moments, alone and in crowds; streamed or not, with and without log-probabilities."""
    with serving(options) as server:
        return asyncio.run(measured(server, options))


async def measured(server: ServerProcess, options: Options) -> Result:
    """The same of a server that runs."""
    async with connected(server.address, 1) as (watch,):
        return await _watched(server, watch, options)


async def _watched(server: ServerProcess, watch: Connection, options: Options) -> Result:
    alone, crowd = options.pick((100, 1000), (20, 1000), (3, 10))
    draw = random.Random(1)
    freed = [await _freed(server, watch, draw.choice(BODIES), draw.uniform(0, 0.05)) for _ in range(alone)]
    await _abandoned(server, crowd, draw)  # what is allocated once is allocated now
    await _idle(watch)
    before = server.megabytes()
    await _abandoned(server, crowd, draw)
    last = await _idle(watch)
    grown = server.megabytes() - before
    rows = [
        Row("slot free after a client went away", "each", Spread.of(freed), "ms", at_most=MOST_MILLISECONDS),
        Row(
            "slot free after a client went away", "the latest", Spread.of([max(freed)]), "ms", at_most=MOST_MILLISECONDS
        ),
        Row(f"{crowd:,} abandoned at random", "memory grown", Spread.of([grown]), "MB", at_most=MOST_MEGABYTES),
        Row(f"{crowd:,} abandoned at random", "none running after", Spread.of([last * 1e3]), "ms"),
    ]
    return Result("abandoned requests", described(options), rows, (await _still_answers(watch),))


async def _freed(server: ServerProcess, watch: Connection, body: dict[str, object], seconds: float) -> float:
    """Milliseconds from the end of a connection to the end of its jobs, seen from outside."""
    connection = await Connection.open(server.address)
    request = asyncio.create_task(connection.send("POST", "/v1/completions", _endless(body)))
    while not await _running(watch):
        await asyncio.sleep(0.001)
    await asyncio.sleep(seconds)
    await _hung_up(connection, request)
    return await _idle(watch) * 1e3


async def _abandoned(server: ServerProcess, count: int, draw: random.Random) -> None:
    """Starts `count` clients, at most 32 at a time; each hangs up before it has its whole answer."""
    room = asyncio.Semaphore(32)

    async def one(body: dict[str, object], seconds: float) -> None:
        async with room:
            connection = await Connection.open(server.address)
            request = asyncio.create_task(connection.send("POST", "/v1/completions", _endless(body)))
            await asyncio.sleep(seconds)
            await _hung_up(connection, request)

    await asyncio.gather(*(one(draw.choice(BODIES), draw.uniform(0, 0.2)) for _ in range(count)))


async def _hung_up(connection: Connection, request: "asyncio.Task[Answer]") -> None:
    await connection.close()
    await asyncio.wait([request])
    request.exception()  # that the connection ended, unless the answer was whole before


def _endless(body: dict[str, object]) -> dict[str, object]:
    return {"prompt": "w1 w2 w3", "max_tokens": ENDLESS} | body


async def _idle(watch: Connection) -> float:
    """Seconds until no job runs or waits."""
    begin = time.perf_counter()
    while await _running(watch):
        await asyncio.sleep(0.001)
    return time.perf_counter() - begin


async def _running(watch: Connection) -> float:
    figures = (await watch.send("GET", "/metrics")).body.decode()
    return sum(map(float, re.findall(r"^recurlm_(?:running|waiting)_jobs\{.*\} (\S+)$", figures, re.MULTILINE)))


async def _still_answers(watch: Connection) -> Check:
    answer = await watch.send("POST", "/v1/completions", {"prompt": "w1", "max_tokens": 3, "seed": 1})
    return Check("the server still answers", answer.status == 200, {})


def main() -> None:
    """Print and record it."""
    run("serve-abandoned", __doc__, measure)


if __name__ == "__main__":
    main()
