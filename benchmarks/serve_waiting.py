"""A server at half its load and at ten times its load: time to the first token, goodput, and how fast it refuses."""

import asyncio
import random
import statistics
import time
from collections.abc import Sequence

from benchmarks._client import Answer, Connection
from benchmarks._measure import Spread, late
from benchmarks._report import Check, Options, Result, Row, run
from benchmarks._server import ServerProcess, described, serving
from benchmarks.serve_load import driven

STREAMS = 64
MOST_FIRST_MILLISECONDS, MOST_REFUSAL_MILLISECONDS = 50, 10
LEAST_GOODPUT = 0.8
LATE = "99th percentile"


def measure(options: Options) -> Result:
    """Requests come at random moments, whether or not earlier ones are answered."""
    with serving(options) as server:
        return asyncio.run(measured(server, options))


async def measured(server: ServerProcess, options: Options) -> Result:
    """The same of a server that runs."""
    seconds, tokens = options.pick((20, 200), (5, 200), (0.5, 5))
    await driven(server, STREAMS, tokens, 0)
    carried = statistics.median([(await driven(server, STREAMS, tokens, number))[0] for number in range(5)])
    half = await arriving(server, carried / tokens / 2, seconds, tokens, stream=True)
    many = await arriving(server, carried / tokens * 10, seconds, tokens, stream=False)
    again = statistics.median([(await driven(server, STREAMS, tokens, number))[0] for number in range(5)])
    rows = [Row("capacity", f"{STREAMS} at a time", Spread.of([carried, again]), "tokens/s")]
    description = f"{described(options)}; requests of {tokens} tokens, {seconds} s each, client beside it"
    checks = (_all_answered(half, {200}), _all_answered(many, {200, 429}), _told_when(many))
    rows += [*_first_tokens(half), *_overloaded(many, carried, tokens)]
    return Result("serving", description, rows, checks)


async def arriving(server: ServerProcess, rate: float, seconds: float, tokens: int, *, stream: bool) -> list[Answer]:
    """Sends `rate` requests a second on average, at random moments, for `seconds`; returns all answers."""
    draw, idle, sent = random.Random(1), list[Connection](), list[asyncio.Task[Answer]]()
    begin = due = time.perf_counter()

    async def one(seed: int) -> Answer:
        connection = idle.pop() if idle else await Connection.open(server.address)
        body = {"prompt": "w1 w2 w3", "max_tokens": tokens, "stream": stream, "seed": seed}
        answer = await connection.send("POST", "/v1/completions", body)
        idle.append(connection)
        return answer

    while (due := due + draw.expovariate(rate)) < begin + seconds:
        await asyncio.sleep(max(0.0, due - time.perf_counter()))
        sent.append(asyncio.create_task(one(len(sent))))
    answers = await asyncio.gather(*sent)
    for connection in idle:
        await connection.close()
    return list(answers)


def _first_tokens(answers: Sequence[Answer]) -> list[Row]:
    waits = [(answer.events[0][0] - answer.sent) * 1e3 for answer in answers]
    job = f"time to the first token at half load, {len(answers):,} requests"
    return [
        Row(job, "all", Spread.of(waits), "ms"),
        Row(job, LATE, Spread.of([late(waits)]), "ms", at_most=MOST_FIRST_MILLISECONDS),
    ]


def _overloaded(answers: Sequence[Answer], carried: float, tokens: int) -> list[Row]:
    good = [answer for answer in answers if answer.status == 200]
    refused = [answer.seconds * 1e3 for answer in answers if answer.status == 429]
    begin, end = min(answer.sent for answer in answers), max(answer.sent + answer.seconds for answer in good)
    goodput = len(good) * tokens / (end - begin)
    job = f"ten times the load, {len(answers):,} requests, {len(refused):,} refused"
    return [
        Row(
            job, "goodput", Spread.of([goodput]), "tokens/s", "capacity", Spread.of([goodput / carried]), LEAST_GOODPUT
        ),
        Row(job, "refusal", Spread.of(refused or [0.0]), "ms", at_most=MOST_REFUSAL_MILLISECONDS),
        Row(job, f"refusal, {LATE}", Spread.of([late(refused)]), "ms"),
    ]


def _all_answered(answers: Sequence[Answer], statuses: set[int]) -> Check:
    strange = {answer.status for answer in answers} - statuses
    return Check(f"{len(answers):,} answers have the status {sorted(statuses)}", not strange, {})


def _told_when(answers: Sequence[Answer]) -> Check:
    refused = [answer for answer in answers if answer.status == 429]
    return Check("each refusal has Retry-After", all("retry-after" in answer.headers for answer in refused), {})


def main() -> None:
    """Print and record it."""
    run("serve-waiting", __doc__, measure)


if __name__ == "__main__":
    main()
