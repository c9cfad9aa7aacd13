"""The OpenAPI description and the pages about serving name every path."""

import json
from pathlib import Path
from typing import Any

import pytest

from serving.http_server import Server

DOCS = Path(__file__).parent.parent.parent / "docs"
COMPUTES = {"200", "400", "401", "404", "408", "413", "429", "503"}
BODY = COMPUTES - {"429", "503"}
CHANGES = COMPUTES | {"409", "500"}
ACTIONS = ("read", "generate", "score", "rescore", "choose")
ROUTES = {
    ("get", "/health"): {"200"},
    ("get", "/ready"): {"200", "401", "503"},
    ("get", "/metrics"): {"200", "401"},
    ("get", "/v1/models"): {"200", "401"},
    ("get", "/v1/models/{model}"): {"200", "401", "404"},
    ("post", "/v1/completions"): COMPUTES,
    ("post", "/tokenize"): BODY,
    ("post", "/detokenize"): BODY,
    ("get", "/tokenizer_info"): {"200", "400", "401", "404"},
    ("post", "/score"): COMPUTES,
    ("post", "/rescore"): COMPUTES,
    ("post", "/inspect"): COMPUTES,
    ("post", "/sessions"): CHANGES,
    ("get", "/sessions/{session}"): {"200", "401", "404"},
    ("delete", "/sessions/{session}"): {"204", "401", "404"},
    **{("post", f"/sessions/{{session}}/{action}"): CHANGES for action in (*ACTIONS, "fork", "rollback")},
    ("get", "/sessions/{session}/state"): {"200", "401", "404", "409", "500"},
    ("put", "/sessions/{session}/state"): CHANGES,
    **{("post", f"/stateless/{action}"): COMPUTES for action in ACTIONS},
}


@pytest.fixture(scope="module")
def description(server: Server) -> dict[str, Any]:
    return server.get("/openapi.json").json


def operations(description: dict[str, Any]) -> dict[tuple[str, str], dict[str, Any]]:
    return {
        (method, path): operation
        for path, methods in description["paths"].items()
        for method, operation in methods.items()
    }


def test_every_path_is_described_with_its_errors(description: dict[str, Any]) -> None:
    found = operations(description)
    assert {route: set(operation["responses"]) for route, operation in found.items() if route in ROUTES} == ROUTES
    for route, operation in found.items():
        assert operation["description"], route
        assert operation["tags"], route
        assert "422" not in operation["responses"], route
        for status, answer in operation["responses"].items():
            if not status.startswith("2"):
                schema = answer["content"]["application/json"]["schema"]
                assert schema == {"$ref": "#/components/schemas/ErrorBody"}, route


def test_every_reference_leads_somewhere(description: dict[str, Any]) -> None:
    written = json.dumps(description)
    names = {part.split('"')[0] for part in written.split("#/components/schemas/")[1:]}
    assert names <= set(description["components"]["schemas"])
    assert "HTTPValidationError" not in description["components"]["schemas"]


def test_bodies_are_described_and_take_no_other_fields(description: dict[str, Any]) -> None:
    for (method, path), operation in operations(description).items():
        if method == "post" and (method, path) in ROUTES:
            reference = operation["requestBody"]["content"]["application/json"]["schema"]["$ref"]
            schema = description["components"]["schemas"][reference.rpartition("/")[2]]
            assert schema["additionalProperties"] is False
            assert schema["description"]


@pytest.mark.parametrize("language", ["md", "zh.md"])
def test_every_path_stands_in_the_documentation(description: dict[str, Any], language: str) -> None:
    text = "".join((DOCS / f"{page}.{language}").read_text("utf-8") for page in ("serving", "sessions"))
    missing = [path for _, path in operations(description) if f"`{path}`" not in text and f" {path}`" not in text]
    assert not missing


def test_figures_count_requests_and_tokens(server: Server) -> None:
    def figures() -> dict[str, float]:
        lines = server.get("/metrics").body.decode().splitlines()
        return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines if line[0] != "#")}

    server.wait_until_idle()
    before = figures()
    server.post("/v1/completions", prompt="the red", max_tokens=7, stream=True)
    server.post("/score", lines=["the red"])
    server.get("/unheard")
    after = figures()
    changed = {name: value - before.get(name, 0) for name, value in after.items()}
    assert changed['recurlm_requests_total{method="POST",route="/v1/completions",status="200"}'] == 1
    assert changed['recurlm_requests_total{method="GET",route="unknown",status="404"}'] == 1
    assert changed['recurlm_drawn_tokens_total{model="fruit"}'] == 7
    assert changed['recurlm_read_tokens_total{model="fruit"}'] == 2
    assert changed['recurlm_scored_tokens_total{model="fruit"}'] == 3
    assert changed["recurlm_first_token_seconds_count"] == 1
    assert changed['recurlm_jobs_total{end="ended",model="fruit"}'] == 1
    assert after['recurlm_running_jobs{model="fruit"}'] == after['recurlm_waiting_jobs{model="fruit"}'] == 0
    assert after["process_resident_memory_bytes"] > 1e6


def test_a_living_server_is_ready(server: Server) -> None:
    assert server.get("/health").json == server.get("/ready").json == {"status": "ok"}
