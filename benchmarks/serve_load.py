"""A server with 16 and 64 streams against the bare stepper on the same cores: tokens a second, time between tokens."""

import asyncio
import itertools
import statistics
import sys
import time
from collections.abc import Mapping, Sequence

from benchmarks._client import Answer, connected
from benchmarks._measure import Contestant, Running, Spread, late, running
from benchmarks._report import Options, Result, Row, run
from benchmarks._server import ServerProcess, described, serving
from recurlm.cli.threads import thread_settings

BARE, WHOLE, STREAMED = "bare stepper", "answers in one piece", "answers streamed"
STREAMS = (16, 64)
TARGETS = {WHOLE: 0.7, STREAMED: 0.4}
"""Tokens a second against the bare stepper, at least."""
MOST_STEPS_BETWEEN = 3


def measure(options: Options) -> Result:
    """In each round the bare stepper, whole answers and streams take turns."""
    with serving(options) as server:
        return measured(server, options)


def measured(server: ServerProcess, options: Options) -> Result:
    """The same of a server that runs."""
    rounds, tokens = options.pick((5, 2000), (3, 500), (1, 10))
    command = (sys.executable, "-m", "benchmarks._stepper", str(server.run))
    with running([Contestant(BARE, command, thread_settings())]) as processes:
        rows = asyncio.run(_rows(server, processes[BARE], rounds, tokens))
    description = f"{described(options)}, {tokens} tokens a stream, {rounds} rounds in turn, client beside it"
    return Result("serving", description, rows)


async def _rows(server: ServerProcess, bare: Running, rounds: int, tokens: int) -> list[Row]:
    rows: list[Row] = []
    for streams in STREAMS:
        speeds: dict[str, list[float]] = {BARE: [], WHOLE: [], STREAMED: []}
        gaps: list[float] = []
        for number in range(1 + rounds):
            speeds[BARE].append(bare.ask(do="step", streams=streams, tokens=tokens)["speed"])
            speeds[WHOLE].append((await driven(server, streams, tokens, number))[0])
            speed, answers = await driven(server, streams, tokens, number, stream=True)
            speeds[STREAMED].append(speed)
            gaps += gaps_of(answers) if number else []
        measured = {name: values[1:] for name, values in speeds.items()}
        rows += [*_speeds(streams, measured), *_times(streams, measured[BARE], gaps)]
    return rows


async def driven(
    server: ServerProcess, streams: int, tokens: int, seed: int, *, stream: bool = False
) -> tuple[float, list[Answer]]:
    """Sends `streams` requests at once, each over its own connection; returns tokens a second and the answers."""
    bodies = [
        {"prompt": "w1 w2 w3", "max_tokens": tokens, "stream": stream, "seed": streams * seed + number}
        for number in range(streams)
    ]
    async with connected(server.address, streams) as connections:
        begin = time.perf_counter()
        sent = [each.send("POST", "/v1/completions", body) for each, body in zip(connections, bodies, strict=True)]
        answers = await asyncio.gather(*sent)
        seconds = time.perf_counter() - begin
    if failed := [answer for answer in answers if answer.status != 200]:
        raise RuntimeError(failed[0].raw.decode())
    return streams * tokens / seconds, answers


def gaps_of(answers: Sequence[Answer]) -> list[float]:
    """Seconds between neighbouring events with text, of each stream."""
    times = [[arrived for arrived, event in answer.events if event["choices"][0]["text"]] for answer in answers]
    return [later - earlier for each in times for earlier, later in itertools.pairwise(each)]


def _speeds(streams: int, speeds: Mapping[str, Sequence[float]]) -> list[Row]:
    job = f"{streams} streams"
    rows = [Row(job, BARE, Spread.of(speeds[BARE]), "tokens/s")]
    for name, at_least in TARGETS.items():
        ratio = Spread.of_ratios(speeds[name], speeds[BARE])
        rows.append(Row(job, name, Spread.of(speeds[name]), "tokens/s", BARE, ratio, at_least))
    return rows


def _times(streams: int, bare: Sequence[float], gaps: Sequence[float]) -> list[Row]:
    job = f"{streams} streams"
    step = [streams / speed * 1e3 for speed in bare]
    latest = late(gaps) * 1e3
    most = MOST_STEPS_BETWEEN * statistics.median(step)
    return [
        Row(job, "one step", Spread.of(step), "ms"),
        Row(job, "between events", Spread.of([gap * 1e3 for gap in gaps or [0.0]]), "ms"),
        Row(job, "between events, 99th percentile", Spread.of([latest]), "ms", at_most=most),
    ]


def main() -> None:
    """Print and record it."""
    run("serve-load", __doc__, measure)


if __name__ == "__main__":
    main()
