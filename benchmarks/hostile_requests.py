"""Hostile requests to a server: answers of 500 or above, errors in another form, memory, and answers afterwards."""

import contextlib
import http.client
import itertools
import json
import random
import socket
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis.errors import Unsatisfiable

from benchmarks._hostile_kinds import Hostile, plan, too_large
from benchmarks._hostile_target import KEY, MARK, Answer, Target, Wire, request_bytes, target
from benchmarks._measure import Spread
from benchmarks._report import Check, Options, Result, Row, run

JOB = "hostile-requests"
CLIENTS = 16
PATIENCE = 0.05
"""Seconds between the pieces of a request that arrives slowly."""
SERVER_ERROR, OTHER_FORM, OPENED, FILE = FAULTS = (
    "answers of 500 or above",
    "errors in another form",
    "wrong keys that opened",
    "answers with a file's content",
)
CASES_AT_ONCE = 40
PARTS = 4
MOST_GROWTH = {"full": 5.0, "quick": None, "tiny": None}
"""Megabytes by which the server's memory may grow in the last part. Freed memory stays with the process, so the first
parts also show how many large answers happened to be made at the same moment."""
FORM = {"message", "type", "param", "code"}


@dataclass
class Findings:
    """What the answers show. `worst` keeps a few requests of each fault."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    kinds: Counter[str] = field(default_factory=Counter)
    statuses: Counter[int] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)
    worst: list[str] = field(default_factory=list)

    def hear(self, sent: Hostile, answer: Answer | None) -> None:
        """Judges an answer; None where the client did not wait for one."""
        fault = None if answer is None else _fault(sent, answer)
        with self.lock:
            self.kinds[sent.kind] += 1
            if answer is not None:
                self.statuses[answer.status] += 1
            if fault is not None:
                self.faults[fault] += 1
                if self.faults[fault] <= 5:
                    self.worst.append(f"{fault}: {sent.kind}: {sent.raw[:700]!r} -> {answer}"[:1500])


def _fault(sent: Hostile, answer: Answer) -> str | None:
    """What is wrong with an answer."""
    if answer.status >= 500:
        return SERVER_ERROR
    if any(mark in answer.body for mark in (b"root:x:0:0", MARK.encode())):
        return FILE
    if answer.status and sent.statuses is not None and answer.status not in sent.statuses:
        return OPENED
    if answer.status >= 400 and sent.method != "HEAD" and not _has_form(answer):
        return OTHER_FORM
    return None


def _has_form(answer: Answer) -> bool:
    try:
        error = json.loads(answer.body)["error"]
        told = answer.kind.startswith("application/json") and set(error) == FORM and error["message"]
        return bool(told) and len(answer.body) < 20_000
    except (ValueError, KeyError, TypeError):
        return False


def measure(options: Options) -> Result:
    """Four parts of requests, from the server's own description and of our own, with the same judge."""
    count = options.pick(100_000, 5_000, 400)
    with tempfile.TemporaryDirectory() as folder, target(Path(folder), options.pick(32, 32, 16)) as under_attack:
        findings = Findings()
        before = under_attack.fingerprint()
        crowd(under_attack, options.pick(400, 60, 20), findings)
        memory = [_settled_megabytes(under_attack)]
        begin = time.monotonic()
        for part in range(PARTS):
            attack(under_attack, count // PARTS, findings, part)
            memory.append(_settled_megabytes(under_attack))
        rate = count / (time.monotonic() - begin)
        is_same = under_attack.fingerprint() == before
        is_idle = under_attack.is_idle()
        log = (Path(folder) / "server.log").read_text("utf-8", "replace")
    for line in findings.worst:
        print(line)
    print(log[-5_000:], end="")
    rows = [
        *_rows(findings),
        *(Row(JOB, f"memory after part {part}", Spread.of([each]), "MB") for part, each in enumerate(memory)),
        Row(
            JOB, "grown in the last part", Spread.of([memory[-1] - memory[-2]]), "MB", at_most=MOST_GROWTH[options.size]
        ),
        Row(JOB, "requests a second", Spread.of([rate]), "1/s"),
    ]
    checks = (
        Check("no fault in any answer", not findings.faults, dict(findings.faults)),
        Check("honest requests get the same bytes afterwards", is_same, {}),
        Check("nothing runs or waits afterwards", is_idle, {}),
    )
    total = sum(findings.kinds.values())
    return Result(JOB, f"{total:,} hostile requests of {CLIENTS} clients at once", rows, checks)


def _rows(findings: Findings) -> list[Row]:
    """What was sent, what was answered, and the faults."""
    kinds, statuses = sorted(findings.kinds.items()), sorted(findings.statuses.items())
    return [
        *(Row(JOB, name, Spread.of([findings.faults[name]]), "answers", at_most=0) for name in FAULTS),
        *(Row(JOB, f"sent: {name}", Spread.of([number]), "") for name, number in kinds),
        *(Row(JOB, f"answered: {status or 'closed'}", Spread.of([number]), "") for status, number in statuses),
    ]


def crowd(under_attack: Target, count: int, findings: Findings) -> None:
    """The largest requests side by side: freed memory stays with the process, so its growth counts from there."""
    draw = random.Random(0)
    _send(under_attack, (too_large(under_attack, draw) for _ in range(count)), findings)


def attack(under_attack: Target, count: int, findings: Findings, number: int) -> None:
    """Sends `count` requests from many clients at once; a fifth comes from the description, the rest is ours."""
    draw = random.Random(number)
    described = count // 5
    cases = itertools.islice(described_requests(under_attack, draw), described)
    own = (kind(under_attack, random.Random(draw.random())) for kind in plan(count - described, draw))
    _send(under_attack, _mixed(cases, own, draw), findings)


def _send(under_attack: Target, given: Iterator[Hostile], findings: Findings) -> None:
    """Sends all requests, by many clients at once."""
    lock = threading.Lock()

    def client(_: int) -> None:
        with contextlib.closing(Wire(under_attack.port)) as wire:
            while True:
                with lock:
                    sent = next(given, None)
                if sent is None:
                    return
                findings.hear(sent, deliver(sent, wire, under_attack.port))

    with ThreadPoolExecutor(CLIENTS) as pool:
        list(pool.map(client, range(CLIENTS)))


def _mixed(first: Iterator[Hostile], second: Iterator[Hostile], draw: random.Random) -> Iterator[Hostile]:
    """All of both, one of the first after a few of the second."""
    for number, sent in enumerate(second):
        yield sent
        if number % 4 == 0:
            yield from itertools.islice(first, 1)
    yield from first


def described_requests(under_attack: Target, draw: random.Random) -> Iterator[Hostile]:
    """Requests that schemathesis makes from the server's own description, half of them against it, without end."""
    schema = schemathesis.openapi.from_dict(under_attack.description)
    operations = [found.ok() for found in schema.get_all_operations()]
    while True:
        draw.shuffle(operations)
        for operation in operations:
            for mode in schemathesis.GenerationMode:
                for case in _cases(operation, mode, draw.randrange(2**32)):
                    yield _described(case, under_attack, draw)
        under_attack.renew()


def _cases(operation: Any, mode: Any, number: int) -> list[schemathesis.Case]:
    found: list[schemathesis.Case] = []

    @seed(number)
    @settings(
        max_examples=CASES_AT_ONCE,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(operation.as_strategy(generation_mode=mode))
    def collect(case: schemathesis.Case) -> None:
        found.append(case)

    with contextlib.suppress(Unsatisfiable):  # a path without parameters has no wrong request
        collect()
    return found


def _described(case: schemathesis.Case, under_attack: Target, draw: random.Random) -> Hostile:
    """A case as bytes; most of those about a session are about one that exists."""
    if "session" in case.path_parameters and draw.random() < 0.8:
        case.path_parameters["session"] = draw.choice(under_attack.sessions)
    arguments = case.as_transport_kwargs(base_url="http://localhost")
    arguments["headers"] = {**arguments["headers"], "Authorization": f"Bearer {KEY}"}
    prepared = requests.Request(**{name: value for name, value in arguments.items() if name in _OF_A_REQUEST}).prepare()
    body = prepared.body or b""
    body = body.encode("utf-8", "surrogatepass") if isinstance(body, str) else body
    kind = str(prepared.headers.get("content-type", ""))
    return Hostile(
        "from the description",
        request_bytes(str(prepared.method), prepared.path_url, body, kind=kind),
        method=str(prepared.method),
    )


_OF_A_REQUEST = {"method", "url", "headers", "files", "data", "params", "json"}


def deliver(sent: Hostile, wire: Wire, port: int) -> Answer | None:
    """Sends a request in its way; returns the answer, None where the client does not wait for it."""
    if sent.how == "whole":
        return wire.exchange(sent.raw, sent.method)
    with contextlib.closing(Wire(port)) as own:
        if sent.how == "alone":
            return _alone(sent, own)
        if sent.how == "drip":
            return _drip(sent, own)
        connection = own.opened()
        connection.sendall(sent.raw if sent.how.startswith("leave") else sent.raw[: len(sent.raw) * 2 // 3])
        if sent.how == "leave in the middle":
            with contextlib.suppress(OSError):
                connection.settimeout(PATIENCE)
                connection.recv(100)
        time.sleep(PATIENCE / 10)
    return None


def _alone(sent: Hostile, own: Wire) -> Answer | None:
    """On a connection of its own, whose sending side closes, so a server that waits for more knows there is none."""
    connection = own.opened()
    try:
        connection.sendall(sent.raw)
        connection.shutdown(socket.SHUT_WR)
    except OSError:
        pass
    try:
        with http.client.HTTPResponse(connection) as response:
            response.begin()
            return Answer(response.status, response.headers.get("content-type", ""), response.read())
    except (OSError, http.client.HTTPException, ValueError):
        return Answer(0, "", b"")


def _drip(sent: Hostile, own: Wire) -> Answer:
    size = max(1, len(sent.raw) // 8)
    for start in range(0, len(sent.raw) - size, size):
        own.opened().sendall(sent.raw[start : start + size])
        time.sleep(PATIENCE)
    rest = (len(sent.raw) - 1) // size * size
    return own.exchange(sent.raw[rest:], sent.method)


def _settled_megabytes(under_attack: Target) -> float:
    under_attack.is_idle()
    time.sleep(1.0)
    return under_attack.resident_megabytes()


def main() -> None:
    """Print and record it."""
    run(JOB, __doc__, measure)


if __name__ == "__main__":
    main()
