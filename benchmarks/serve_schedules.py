"""A thousand schedules of random requests in random company: each answer byte for byte that of the request alone."""

import asyncio
import random
from collections.abc import Sequence
from typing import Any

from benchmarks._client import Connection, connected
from benchmarks._measure import Spread
from benchmarks._report import Check, Options, Result, Row, run
from benchmarks._schedules import settled, some_request
from benchmarks._server import ServerProcess, described, serving

MOST_TOGETHER = 16
WORDS = [f"w{number}" for number in range(1, 40)]
Request = tuple[str, dict[str, Any]]


def measure(options: Options) -> Result:
    """Each schedule is a handful of requests, sent at random moments, after each was answered alone."""
    with serving(options) as server:
        return measured(server, options)


def measured(server: ServerProcess, options: Options) -> Result:
    """The same of a server that runs."""
    schedules = options.pick(1000, 100, 3)
    sizes, differing = asyncio.run(_run(server, schedules))
    rows = [
        Row("schedules", "requests in each", Spread.of(sizes), "requests"),
        Row("schedules", "answers that differ", Spread.of([differing]), f"of {sum(sizes):,}", at_most=0),
    ]
    checks = (Check("every answer in company equals the answer alone", differing == 0, {}),)
    return Result("schedules", f"{schedules:,} schedules, {described(options)}", rows, checks)


async def _run(server: ServerProcess, schedules: int) -> tuple[list[int], int]:
    async with connected(server.address, MOST_TOGETHER) as connections:
        return await _compared(connections, schedules)


async def _compared(connections: Sequence[Connection], schedules: int) -> tuple[list[int], int]:
    sizes, differing = [], 0
    for seed in range(schedules):
        draw = random.Random(seed)
        requests = [some_request(draw, WORDS) for _ in range(draw.randint(2, MOST_TOGETHER))]
        alone = [await _answer(connections[0], request) for request in requests]
        sent = [
            _answer(connection, request, draw.choice([0, 0, draw.uniform(0, 0.05)]))
            for connection, request in zip(connections, requests, strict=False)
        ]
        together = await asyncio.gather(*sent)
        sizes.append(len(requests))
        differing += sum(one != other for one, other in zip(alone, together, strict=True))
    return sizes, differing


async def _answer(connection: Connection, request: Request, wait: float = 0) -> Any:
    await asyncio.sleep(wait)
    answer = await connection.send("POST", *request)
    return settled(answer.status, answer.headers, answer.body)


def main() -> None:
    """Print and record it."""
    run("serve-schedules", __doc__, measure)


if __name__ == "__main__":
    main()
