"""Who may ask what: the key, and what a browser's page may not do."""

from collections.abc import Iterator

import pytest

from recurlm.errors import UsageError
from recurlm.serving.options import ServerOptions
from recurlm.serving.server import check_address
from serving.http_server import Server, running_server

KEY = "a long key/+="


@pytest.fixture(scope="module")
def locked() -> Iterator[Server]:
    """A server with a key."""
    with running_server(ServerOptions(key=KEY)) as server:
        yield server


def described(server: Server) -> list[tuple[str, str]]:
    paths = server.get("/openapi.json").json["paths"]
    return [(method.upper(), path) for path, methods in paths.items() for method in methods]


def test_every_path_but_health_needs_the_key(locked: Server) -> None:
    routes = [
        *described(locked),
        ("GET", "/openapi.json"),
        ("GET", "/unheard"),
        ("GET", "/health/"),
        ("GET", "//health"),
    ]
    assert len(routes) > 10
    for method, path in routes:
        answer = locked.send(method, path, authorization="Bearer wrong")
        assert answer.status == (200 if path == "/health" else 401), path
    assert answer.headers["www-authenticate"] == "Bearer"
    assert (answer.error["type"], answer.error["code"]) == ("authentication_error", "invalid_api_key")


@pytest.mark.parametrize(
    "given", ["", KEY, f"Basic {KEY}", f"bearer {KEY}", f"Bearer {KEY} ", f"Bearer {KEY[:-1]}", "Bearer é", "Bearer "]
)
def test_only_the_whole_key_opens(locked: Server, given: str) -> None:
    expected = 200 if given.strip() == f"Bearer {KEY}" else 401  # HTTP takes no spaces at the end of a header
    assert locked.send("GET", "/v1/models", authorization=given).status == expected


def test_the_key_opens(locked: Server) -> None:
    assert locked.get("/v1/models").status == 200
    assert locked.post("/tokenize", prompt="the").status == 200


def test_the_key_is_not_shown() -> None:
    assert KEY not in repr(ServerOptions(key=KEY))


def test_no_page_of_another_origin_may_read_an_answer(server: Server) -> None:
    asked = server.send(
        "OPTIONS", "/v1/completions", origin="http://evil.example", access_control_request_method="POST"
    )
    answer = server.get("/v1/models", origin="http://evil.example")
    for each in (asked, answer):
        assert not [name for name in each.headers if name.startswith("access-control")]
    assert asked.status == 405


@pytest.mark.parametrize("host", ["evil.example", "evil.example:8000", "127.0.0.1.evil.example", ""])
def test_without_a_key_only_requests_to_this_machine_by_name_are_served(server: Server, host: str) -> None:
    answer = server.get("/v1/models", host=host)
    assert answer.status == 403
    assert "--api-key" in answer.error["message"]


@pytest.mark.parametrize("host", ["localhost", "localhost:1234", "127.0.0.1:9", "[::1]:9", "LOCALHOST"])
def test_a_local_name_is_served_without_a_key(server: Server, host: str) -> None:
    assert server.get("/v1/models", host=host).status == 200


def test_with_a_key_a_server_may_have_any_name(locked: Server) -> None:
    assert locked.get("/v1/models", host="models.example").status == 200


def test_every_answer_has_a_number(server: Server) -> None:
    numbers = {server.get("/health").headers["x-request-id"] for _ in range(5)}
    assert len(numbers) == 5


@pytest.mark.parametrize("host", ["0.0.0.0", "192.168.0.1", "::", "example.org"])
def test_another_address_needs_a_key(host: str) -> None:
    with pytest.raises(UsageError, match="give --api-key KEY or set RECURLM_API_KEY"):
        check_address(host, None)
    check_address(host, "key")


@pytest.mark.parametrize("key", ["", " key", "key ", "k\ney", "schlüssel"])
def test_a_key_that_no_header_carries_is_refused(key: str) -> None:
    with pytest.raises(UsageError, match="printable ASCII"):
        check_address("127.0.0.1", key)
