"""Requests to sessions that no honest client sends never break the server."""

import base64
import random
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
import torch

from recurlm.serving.bodies import sessions as bodies
from recurlm.serving.options import ServerOptions
from serving.http_server import Server, running_server
from serving.test_hostile_requests import STRANGE, WRITTEN, check

HYPOTHESES = [{"text": "the red", "acoustic": -1.0}]
ACTIONS: dict[str, dict[str, Any]] = {
    "read": {"text": "the"},
    "generate": {"max_tokens": 2, "seed": 1},
    "score": {"text": "the"},
    "rescore": {"hypotheses": HYPOTHESES},
    "choose": {"text": "the"},
}
PATHS = {
    "/sessions": {"text": "the"},
    **{f"/sessions/SESSION/{action}": fields for action, fields in ACTIONS.items()},
    "/sessions/SESSION/fork": {},
    "/sessions/SESSION/rollback": {"tokens": 1},
    **{f"/stateless/{action}": fields for action, fields in ACTIONS.items()},
}
KINDS = [each for each in vars(bodies).values() if isinstance(each, type) and issubclass(each, bodies.RequestBody)]
FIELDS = sorted({name for kind in KINDS for name in kind.model_fields} | {"unheard"})


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with running_server(ServerOptions()) as server:
        yield server


@pytest.fixture
def session(server: Server) -> str:
    return server.post("/sessions", text="the red fruit").json["session"]


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("written", WRITTEN, ids=lambda text: text[:12])
def test_what_is_not_json_is_refused(server: Server, session: str, path: str, written: str) -> None:
    place = path.replace("SESSION", session)
    for body in (written, f'{{"state": {written}}}', f'{{"unheard": {written}}}'):
        answer = server.send("POST", place, body.encode())
        if path.endswith("fork") and not body:
            assert answer.status == 200  # a fork needs no body
            continue
        check(answer)
        assert answer.status in (400, 409)


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("field", FIELDS)
def test_a_strange_value_of_a_field_is_refused_or_does_no_harm(
    server: Server, session: str, path: str, field: str
) -> None:
    for value in STRANGE:
        check(server.post(path.replace("SESSION", session), **PATHS[path] | {field: value}))
    assert server.get(f"/sessions/{session}").status == 200


def test_strange_values_together_do_no_harm(server: Server, session: str) -> None:
    draw = random.Random(3)
    for _ in range(300):
        path = draw.choice(list(PATHS))
        changes = {draw.choice(FIELDS): draw.choice(STRANGE) for _ in range(draw.randrange(1, 5))}
        check(server.post(path.replace("SESSION", session), **PATHS[path] | changes))


@pytest.mark.parametrize("name", ["%00", "%ff", "%ED%A0%80", "x" * 10_000, "'", "%27%20OR%201=1", "..%2f..", "%"])
def test_a_strange_id_is_no_session(server: Server, name: str) -> None:
    for method, path in (("GET", ""), ("DELETE", ""), ("GET", "/state"), ("POST", "/fork"), ("POST", "/read")):
        answer = server.send(method, f"/sessions/{name}{path}", b"{}" if method == "POST" else None)
        check(answer)
        assert answer.status == 404


def test_a_file_with_any_bit_flipped_is_refused_or_the_same_state(server: Server, session: str) -> None:
    content = server.get(f"/sessions/{session}/state").body
    draw = random.Random(1)
    for _ in range(300):
        flipped = bytearray(content)
        for _ in range(draw.choice([1, 1, 1, 5])):
            flipped[draw.randrange(len(flipped))] ^= 1 << draw.randrange(8)
        check(server.send("PUT", f"/sessions/{session}/state", bytes(flipped)))
        check(server.post("/sessions", state_file=base64.b64encode(flipped).decode()))
    for rest in range(0, len(content), 37):
        answer = server.send("PUT", f"/sessions/{session}/state", content[:rest])
        check(answer)
        assert answer.status == 400


@pytest.mark.parametrize("value", [3e38, -3e38, 1e30])
def test_a_state_that_no_text_leads_to_harms_nobody_else(server: Server, session: str, value: float) -> None:
    honest = server.model.read("the red")
    layers = tuple(tuple(torch.full_like(tensor, value) for tensor in layer) for layer in honest.layers)
    content = replace(honest, layers=layers).to_bytes()  # with a digest that is right
    expected = server.complete(prompt="the", max_tokens=30, seed=3)
    assert server.send("PUT", f"/sessions/{session}/state", content).status == 200
    for action, fields in ACTIONS.items():
        for more in ({}, {"top_k": 3}, {"logprobs": 2}) if action == "generate" else ({},):
            check(server.post(f"/sessions/{session}/{action}", **fields, **more))
    check(server.post("/sessions", state_file=base64.b64encode(content).decode(), text="the red"))
    assert server.complete(prompt="the", max_tokens=30, seed=3) == expected
