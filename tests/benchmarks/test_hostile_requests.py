"""The measurement with hostile requests: it sends every kind, and it notices what it looks for."""

import json
import os
import random
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from benchmarks._hostile_target import KEY, MARK, Answer, Target, Wire, request_bytes, target
from benchmarks._record import ROOT
from benchmarks.hostile_requests import FILE, OPENED, OTHER_FORM, SERVER_ERROR, Findings, deliver, described_requests

from benchmarks import _hostile_kinds as kinds

REFUSED = json.dumps({"error": {"message": "no", "type": "x", "param": None, "code": None}}).encode()
JSON = "application/json"
SENT = kinds.Hostile("some", b"GET / HTTP/1.1\r\n\r\n")


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    with target(tmp_path_factory.mktemp("target"), 8) as served:
        yield served


@pytest.mark.parametrize(
    ("sent", "answer", "fault"),
    [
        (SENT, Answer(500, JSON, REFUSED), SERVER_ERROR),
        (SENT, Answer(503, "text/plain", b"busy"), SERVER_ERROR),
        (SENT, Answer(400, "text/plain", b"Invalid HTTP request received."), OTHER_FORM),
        (SENT, Answer(404, JSON, b'{"detail": "Not Found"}'), OTHER_FORM),
        (SENT, Answer(400, JSON, REFUSED.replace(b"no", b"n" * 20_000)), OTHER_FORM),
        (SENT, Answer(200, JSON, MARK.encode()), FILE),
        (kinds.Hostile("key", b"", kinds.UNAUTHORIZED), Answer(200, JSON, b"{}"), OPENED),
        (kinds.Hostile("key", b"", kinds.UNAUTHORIZED), Answer(401, JSON, REFUSED), None),
        (SENT, Answer(400, JSON, REFUSED), None),
        (SENT, Answer(0, "", b""), None),
        (SENT, None, None),
    ],
)
def test_every_fault_is_noticed(sent: kinds.Hostile, answer: Answer | None, fault: str | None) -> None:
    findings = Findings()
    findings.hear(sent, answer)
    assert list(findings.faults) == ([] if fault is None else [fault])
    assert bool(findings.worst) == (fault is not None)


@pytest.mark.parametrize("kind", kinds.KINDS, ids=lambda kind: kind.__name__)
def test_a_server_stands_every_kind(served: Target, kind: kinds.Kind) -> None:
    findings = Findings()
    wire = Wire(served.port)
    draw = random.Random(4)
    for _ in range(3 if kind in (kinds.slow, kinds.too_large, kinds.abandoned) else 60):
        sent = kind(served, draw)
        findings.hear(sent, deliver(sent, wire, served.port))
    wire.close()
    assert not findings.worst
    assert served.is_idle()
    assert served.ask("GET", "/health").status == 200


@pytest.mark.parametrize("count", [20, pytest.param(300, marks=pytest.mark.thorough)])
def test_requests_come_from_the_description_and_carry_the_key(
    served: Target, monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    monkeypatch.setattr("benchmarks.hostile_requests.CASES_AT_ONCE", 3)
    requests = described_requests(served, random.Random(1))
    paths = set()
    for sent in (next(requests) for _ in range(count)):
        assert f"authorization: Bearer {KEY}".encode() in sent.raw
        paths.add(sent.raw.split()[1].partition(b"?")[0].decode())
    written = {path for path in served.description["paths"] if "{" not in path}
    assert written <= paths or count < 300
    assert written & paths


def test_the_same_requests_have_the_same_fingerprint(served: Target) -> None:
    first = served.fingerprint()
    assert served.fingerprint() == first
    assert len(set(first)) == len(first)


def test_an_honest_request_is_one(served: Target) -> None:
    wire = Wire(served.port)
    body = json.dumps({"prompt": "the red"}).encode()
    answers = [wire.exchange(request_bytes("POST", "/tokenize", body), "POST") for _ in range(3)]
    wire.close()
    assert [json.loads(answer.body)["count"] for answer in answers] == [2, 2, 2]


@pytest.mark.thorough
def test_the_measurement_runs(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "benchmarks", "hostile-requests", "--tiny", "--out", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env=dict(os.environ), timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    (result,) = json.loads((tmp_path / "summary.json").read_text())["hostile-requests"]["results"]
    assert all(row["met"] is not False for row in result["rows"])
