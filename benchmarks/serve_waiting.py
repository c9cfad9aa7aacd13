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
    """The same of a server that runs. In each round the loads follow the capacity that they are a share of."""
    rounds, seconds, tokens = options.pick((5, 8, 200), (2, 3, 200), (1, 0.5, 5))
    await driven(server, STREAMS, tokens, 0)
    whole, streamed, half, many, goodput = [], [], list[Answer](), list[Answer](), []
    for number in range(1, 1 + rounds):
        streamed.append(await _capacity(server, tokens, number, stream=True))
        half += await arriving(server, streamed[-1] / tokens / 2, seconds, tokens, number, stream=True)
        whole.append(await _capacity(server, tokens, number, stream=False))
        answers = await arriving(server, whole[-1] / tokens * 10, seconds, tokens, number, stream=False)
        goodput.append(_goodput(answers, tokens))
        many += answers
    description = f"{described(options)}; requests of {tokens} tokens, {rounds} rounds of {seconds} s, client beside it"
    rows = [
        Row(f"capacity, {STREAMS} at a time", "streamed", Spread.of(streamed), "tokens/s"),
        Row(f"capacity, {STREAMS} at a time", "in one piece", Spread.of(whole), "tokens/s"),
        *_first_tokens(half),
        *_overloaded(many, goodput, whole),
    ]
    checks = (_all_answered(half, {200}), _all_answered(many, {200, 429}), _told_when(many))
    return Result("serving", description, rows, checks)


async def _capacity(server: ServerProcess, tokens: int, seed: int, *, stream: bool) -> float:
    """Tokens a second of requests that follow each other, median of three times."""
    return statistics.median(
        [(await driven(server, STREAMS, tokens, 3 * seed + number, stream=stream))[0] for number in range(3)]
    )


async def arriving(
    server: ServerProcess, rate: float, seconds: float, tokens: int, seed: int, *, stream: bool
) -> list[Answer]:
    """Sends `rate` requests a second on average, at random moments, for `seconds`; returns all answers."""
    draw, idle, sent = random.Random(seed), list[Connection](), list[asyncio.Task[Answer]]()
    begin = due = time.perf_counter()

    async def one(number: int) -> Answer:
        connection = idle.pop() if idle else await Connection.open(server.address)
        body = {"prompt": "w1 w2 w3", "max_tokens": tokens, "stream": stream, "seed": number}
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


def _goodput(answers: Sequence[Answer], tokens: int) -> float:
    """Tokens a second of those answers that were not refusals."""
    good = [answer for answer in answers if answer.status == 200]
    begin, end = min(answer.sent for answer in answers), max(answer.sent + answer.seconds for answer in good)
    return len(good) * tokens / (end - begin)


def _overloaded(answers: Sequence[Answer], goodput: Sequence[float], carried: Sequence[float]) -> list[Row]:
    refused = [answer.seconds * 1e3 for answer in answers if answer.status == 429]
    job = f"ten times the load, {len(answers):,} requests, {len(refused):,} refused"
    ratio = Spread.of_ratios(goodput, carried)
    return [
        Row(job, "goodput", Spread.of(goodput), "tokens/s", "capacity", ratio, LEAST_GOODPUT),
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
