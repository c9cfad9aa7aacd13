"""Hostile requests of our own, by kind. Each kind draws one request as bytes and says what its answer may be."""

import base64
import copy
import hashlib
import json
import random
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

from benchmarks._hostile_target import KEY, SECRET, Target, base64_text, request_bytes
from recurlm.models.memory import State
from recurlm.serving.sessions.packing import pack_state
from recurlm.serving.sessions.signed import StateTokens

HYPOTHESES = [{"text": "the red", "acoustic": -1.0}, {"text": "the lemon", "acoustic": -2.0}]
ACTIONS: dict[str, dict[str, Any]] = {
    "read": {"text": "the"},
    "generate": {"max_tokens": 3, "seed": 1},
    "score": {"text": "the"},
    "rescore": {"hypotheses": HYPOTHESES},
    "choose": {"text": "the"},
}
HONEST: dict[str, dict[str, Any]] = {
    "/v1/completions": {"prompt": "the", "max_tokens": 3, "seed": 1},
    "/score": {"lines": ["the red"]},
    "/rescore": {"hypotheses": HYPOTHESES},
    "/tokenize": {"prompt": "the"},
    "/detokenize": {"tokens": [0]},
    "/sessions": {"text": "the"},
    **{f"/sessions/{{session}}/{action}": fields for action, fields in ACTIONS.items()},
    "/sessions/{session}/fork": {},
    "/sessions/{session}/rollback": {"tokens": 1},
    **{f"/stateless/{action}": fields for action, fields in ACTIONS.items()},
}
"""An honest body for each path. A path of the description that is not here gets an empty one."""
STRANGE: list[Any] = [
    None, True, False, "", "x" * 50_000, "\ud800", "a\udfffb", "\x00", "\n\n", "<eos><eos>", "<unk>", "\u202e\ufeff",
    "é" * 999,
    0, -1, 1, 2**31, 2**63, 2**64, 10**9, 10**399, -(10**30), 0.5, 1e308, -1e308, 5e-324, -0.0, float("nan"),
    float("inf"),
    [], {}, [[]], [None], [{}], [[3, "x"]], ["x"] * 3_000, [0] * 3_000, [10**18], [-1], {"a": {"a": {}}},
    {"text": "the"},
    "floor:-1e308", "floor:nan", "share:0", "share:99999999999999", "skip", "carry", "word", "../../etc/passwd",
    "/etc/passwd", "file:///etc/passwd", "secret-of-the-machine.txt", "fruit", "other", "' OR 1=1 --",
    "${jndi:ldap://x}",
]  # fmt: skip
WRITTEN = [
    "NaN", "-Infinity", "1e309", "1" * 5_000, "-" + "9" * 300, "[" * 50_000 + "]" * 50_000,
    '{"a":' * 70 + "1" + "}" * 70,
    '"\\ud800"', '"\\u0000"', '"\\udc00\\ud800"', "", "nul", "{", "}", "[1,]", "01", "+1", "0x1", "'a'", '"\t"',
    "1 2", "1e", "\ufeff1",
]  # fmt: skip
FILES = [
    "/etc/passwd", "../" * 12 + "etc/passwd", "%2e%2e/" * 12 + "etc/passwd", "..%2f" * 12 + "etc%2fpasswd",
    "..%5c" * 8 + "boot.ini",
    "secret-of-the-machine.txt", "%2e/secret-of-the-machine.txt", "fruit/config.json", "sessions.db",
    "....//" * 8 + "etc/passwd",
    "%252e%252e%252f" * 8 + "etc%252fpasswd", "%00", "%ff%fe", "%ED%A0%80", "x" * 30_000, "'", "%27%20OR%201=1", "%",
    "%zz", ";a=b", "*",
    "etc/passwd%00.json", "proc/self/environ", "\u0130", "~root", "con", "a/b/c", "", ".", "..", "//",
    "%0d%0aset-cookie:a=b",
]  # fmt: skip
METHODS = ["GET", "PUT", "DELETE", "PATCH", "HEAD", "OPTIONS", "TRACE", "POST", "BREW", "get", "PROPFIND"]
SIZES = [2**63, 2**64, 10**400, -1, 2**31, 1.5, "1,2", "0x10", " ", "-0", "\u0661"]


@dataclass(frozen=True)
class Hostile:
    """A request. `statuses`: those that the answer may have, any below 500 where None; `how`: how it is sent."""

    kind: str
    raw: bytes
    statuses: frozenset[int] | None = None
    method: str = "POST"
    how: str = "whole"


Kind = Callable[[Target, random.Random], Hostile]
UNAUTHORIZED = frozenset({401})


def strange_fields(target: Target, draw: random.Random) -> Hostile:
    """Strange values in one to four fields of a body, also in fields within fields."""
    path, body = _honest(target, draw)
    names = _fields_of(target.description, path)
    for _ in range(draw.choice((1, 1, 1, 2, 4))):
        name = draw.choice(names) if draw.random() < 0.95 else "unheard"
        _put(body, name, draw.choice(STRANGE), draw)
    return _post("strange fields", target, draw, path, json.dumps(body).encode())


def broken_json(target: Target, draw: random.Random) -> Hostile:
    """What is not JSON, or JSON that no honest program writes: cut off, with flipped bytes, deep, in other codings."""
    path, body = _honest(target, draw)
    written = json.dumps(body)
    name = draw.choice(_fields_of(target.description, path))
    change = draw.randrange(7)
    if change == 0:
        content = written[: draw.randrange(len(written) + 1)].encode()
    elif change == 1:
        flipped = bytearray(written.encode())
        for _ in range(draw.choice((1, 1, 3, 9))):
            flipped[draw.randrange(len(flipped))] = draw.randrange(256)
        content = bytes(flipped)
    elif change == 2:
        content = written.encode(draw.choice(("utf-16", "utf-32", "utf-8-sig", "utf-16-le")))
    elif change == 3:
        content = f'{{"{name}": 1, {written[1:]}'.encode()
    elif change == 4:
        content = draw.choice(WRITTEN).encode()
    else:
        content = f'{{"{name}": {draw.choice(WRITTEN)}}}'.encode()
    return _post("broken JSON", target, draw, path, content)


def strange_paths(target: Target, draw: random.Random) -> Hostile:
    """Paths that should lead to files, wrong methods, and names and queries of all sorts."""
    method, name = draw.choice(METHODS), draw.choice(FILES)
    shapes = [
        "/{}",
        "/v1/models/{}",
        "/sessions/{}",
        "/sessions/{}/state",
        "/sessions/{}/read",
        "/tokenizer_info?model={}",
    ]
    shapes += ["/runs/{}", "/static/{}", "//{}", "/sessions/{}/state?state=x&state={}", "http://localhost/{}", "{}"]
    path = draw.choice([*shapes, *target.description["paths"]]).replace("{}", name).replace("{session}", name)
    if not path.isascii() or " " in path:
        path = path.encode("unicode_escape").decode().replace(" ", "")
    return Hostile("strange paths", request_bytes(method, path, b"{}"), None, method)


def wrong_keys(target: Target, draw: random.Random) -> Hostile:
    """Requests without the key, or with one that is almost the key. All must get 401."""
    path, body = _honest(target, draw)
    keys = [
        None,
        "",
        KEY[:-1],
        KEY + "x",
        KEY.upper(),
        f"Bearer {KEY}",
        "\u00e9",
        "x" * 20_000,
        f"{KEY},{KEY}",
        f"{KEY}\x00",
    ]
    key = draw.choice(keys[:-1])
    raw = request_bytes("POST", path, json.dumps(body).encode(), key=key)
    if draw.random() < 0.2:
        scheme = draw.choice([b"Basic", b"bearer", b"Token", b"Bearer\t", b""])
        raw = request_bytes("POST", path, b"").replace(b"Bearer", scheme)
    return Hostile("wrong keys", raw, UNAUTHORIZED)


def strange_headers(target: Target, draw: random.Random) -> Hostile:
    """Headers that are long, many, doubled or contradictory; other kinds of content; absurd lengths."""
    path, body = _honest(target, draw)
    raw = request_bytes("POST", path, json.dumps(body).encode(), kind=draw.choice(_CONTENT_KINDS))
    size = draw.choice(SIZES)
    lines = draw.choice([
        f"x-long: {'y' * draw.choice((9_000, 70_000))}",
        "\r\n".join(f"x-{number}: y" for number in range(draw.choice((99, 3_000)))),
        f"content-length: {size}", "content-length: 5\r\ncontent-length: 6", "transfer-encoding: chunked",
        "transfer-encoding: gzip, chunked",
        f"authorization: Bearer {KEY}", "authorization: Bearer wrong", "host: evil.example", "expect: 100-continue",
        "expect: 200-maybe",
        "connection: upgrade\r\nupgrade: websocket", "connection: close, keep-alive", "content-encoding: gzip",
        "x-forwarded-for: 127.0.0.1",
        "range: bytes=0-1", "accept: image/png", "cookie: " + "a=b; " * 900, "bad header", ": empty", "x\x00y: z",
        "x: \x7f\x01", " folded: a",
        "x-request-id: \x1b[31m", "origin: http://evil.example", "te: trailers\r\ntrailer: x",
        "x-http-method-override: DELETE", "keep-alive: 9",
    ])  # fmt: skip
    head, _, rest = raw.partition(b"\r\n\r\n")
    if draw.random() < 0.3:
        head = b"\r\n".join(line for line in head.split(b"\r\n") if not line.startswith(b"content-length"))
    return Hostile("strange headers", head + b"\r\n" + lines.encode() + b"\r\n\r\n" + rest, None, how="alone")


_CONTENT_KINDS = [
    *["application/json"] * 6, "text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x",
    "", "application/json; charset=utf-16",
    "application/vnd.api+json", "application/octet-stream", "*/*", "application/json" + ";" * 500,
]  # fmt: skip


def not_http(target: Target, draw: random.Random) -> Hostile:
    """Rubbish in place of a request, or of the chunks of its body."""
    path, body = _honest(target, draw)
    head = request_bytes("POST", path).replace(b"content-length: 0", b"transfer-encoding: chunked")
    content = json.dumps(body).encode()
    chunk = b"%x\r\n%s\r\n0\r\n\r\n" % (len(content), content)
    raw = draw.choice([
        draw.randbytes(draw.choice((1, 20, 3_000))) + b"\r\n\r\n", b"\r\n" * 50 + b"GET\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n", b"GET /health HTTP/1.0\r\n\r\n",
        b"GET / \r\nhost\r\n\r\n", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + draw.randbytes(200),
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"GET " + b"/" * 70_000 + b" HTTP/1.1\r\n\r\n", b"GET http:// HTTP/1.1\r\n\r\n",
        b"CONNECT a:1 HTTP/1.1\r\nhost: a\r\n\r\n",
        head + b"zz\r\n", head + b"-5\r\nabc\r\n", head + b"f" * 30 + b"\r\n",
        head + b"5;" + b"x" * 9_000 + b"\r\nabcde\r\n", head + chunk[:-7] + b"xx\r\n",
        head + chunk, head + b"1\r\n{\r\n" * 40, head + chunk[:-2] + b"trailer: x\r\n\r\n",
        head + chunk + draw.randbytes(60) + b"\r\n\r\n",
        request_bytes("GET", "/health") * 20 + draw.randbytes(30), request_bytes("POST", path, content) * 3,
    ])  # fmt: skip
    return Hostile("not HTTP", raw, None, how="alone")


def forged_states(target: Target, draw: random.Random) -> Hostile:
    """States that the server did not give: altered, signed by another secret, of another model, with huge numbers."""
    if draw.random() < 0.5:
        action = draw.choice(list(ACTIONS))
        body = ACTIONS[action] | {"state": _forged_token(target, draw)}
        return _post("forged states", target, draw, f"/stateless/{action}", json.dumps(body).encode())
    content = _forged_file(target, draw)
    if draw.random() < 0.5:
        raw = request_bytes("PUT", _in_session("/sessions/{session}/state", target, draw), content)
        return Hostile("forged states", raw, method="PUT")
    fields = {"state_file": base64_text(content), "text": draw.choice(("", "the red"))}
    return _post("forged states", target, draw, "/sessions", json.dumps(fields).encode())


def too_large(target: Target, draw: random.Random) -> Hostile:
    """Bodies, texts, lists and numbers above the limits, or just below them."""
    path, body = draw.choice([
        ("/tokenize", {"prompt": "x" * (4 << 20)}), ("/tokenize", {"prompt": "the " * 900_000}),
        ("/score", {"lines": ["the"] * 10_001}),
        ("/score", {"lines": ["the " * 60] * 4_000}), ("/v1/completions", {"prompt": "the " * 33_000}),
        ("/v1/completions", {"prompt": ["the"] * 129}),
        ("/v1/completions", {"prompt": "the", "n": 10**9}),
        ("/v1/completions", {"prompt": "the", "max_tokens": 10**9}),
        ("/v1/completions", {"prompt": "the", "n": 128, "max_tokens": 16_384, "logprobs": 20}),
        ("/v1/completions", {"stop": ["x"] * 10_000}),
        ("/v1/completions", {"prompt": "the", "stop": "x" * 100_000}),
        ("/v1/completions", {"prompt": [[0] * 40_000]}),
        ("/rescore", {"hypotheses": [{"text": "the red"}] * 10_001}),
        ("/rescore", {"hypotheses": [{"text": "the " * 300_000}]}),
        ("/detokenize", {"tokens": [2] * 1_000_000}), ("/sessions", {"text": "the " * 40_000}),
        ("/sessions/{session}/read", {"ids": [2] * 40_000}),
        ("/sessions/{session}/generate", {"max_tokens": 10**6}), ("/stateless/read", {"state": "A" * (3 << 20)}),
        ("/sessions", {"state_file": "A" * (3 << 20)}),
        ("/score", {"lines": ["the red " * 3_000] * 4, "likeliest": 20, "predictions": True}),
    ])  # fmt: skip
    return _post("too large", target, draw, path, json.dumps(body).encode())


def slow(target: Target, draw: random.Random) -> Hostile:
    """A request that arrives in small pieces with pauses; some never arrive whole."""
    path, body = _honest(target, draw)
    return Hostile("slow", request_bytes("POST", path, json.dumps(body).encode()), how=draw.choice(("drip", "stall")))


def abandoned(target: Target, draw: random.Random) -> Hostile:
    """A long answer whose client goes away: before it begins, or after its first bytes."""
    fields: dict[str, Any] = {"max_tokens": 4_000, "temperature": 1.1, "stream": draw.random() < 0.5}
    path = draw.choice(["/v1/completions", "/sessions/{session}/generate", "/stateless/generate"])
    if path == "/v1/completions":
        fields |= {"prompt": "the", "n": draw.randrange(1, 5), "logprobs": draw.choice((None, 3))}
    raw = request_bytes("POST", _in_session(path, target, draw), json.dumps(fields).encode())
    return Hostile("abandoned", raw, how=draw.choice(("leave", "leave in the middle")))


KINDS: dict[Kind, int] = {
    strange_fields: 320,
    broken_json: 200,
    strange_paths: 140,
    wrong_keys: 80,
    strange_headers: 100,
    not_http: 60,
    forged_states: 80,
    abandoned: 10,
    slow: 6,
    too_large: 4,
}
"""How many of a thousand requests are of each kind."""


def _honest(target: Target, draw: random.Random) -> tuple[str, dict[str, Any]]:
    """A path of the description that takes a JSON body, with the id of a session, and an honest body."""
    paths = [path for path, methods in target.description["paths"].items() if "requestBody" in methods.get("post", {})]
    path = draw.choice(paths)
    return path, copy.deepcopy(HONEST.get(path, {}))


def _post(kind: str, target: Target, draw: random.Random, path: str, body: bytes) -> Hostile:
    return Hostile(kind, request_bytes("POST", _in_session(path, target, draw), body))


def _in_session(path: str, target: Target, draw: random.Random) -> str:
    return path.replace("{session}", draw.choice(target.sessions))


def _fields_of(description: dict[str, Any], path: str) -> list[str]:
    """The names of a body's fields, as dotted paths also those of the objects within."""
    schema = description["paths"][path]["post"]["requestBody"]["content"]["application/json"]["schema"]
    return sorted(_names(description, schema, "")) or ["unheard"]


def _names(description: dict[str, Any], schema: dict[str, Any], before: str) -> set[str]:
    found: set[str] = set()
    if reference := schema.get("$ref"):
        schema = description["components"]["schemas"][reference.rpartition("/")[2]]
    for name, value in schema.get("properties", {}).items():
        found |= {before + name} | _names(description, value, f"{before}{name}.")
    for inner in (*schema.get("anyOf", ()), *([schema["items"]] if "items" in schema else [])):
        found |= _names(description, inner, before)
    return found


def _put(body: dict[str, Any], name: str, value: Any, draw: random.Random) -> None:
    """Puts a value at a dotted path, into one item of a list on the way."""
    first, _, rest = name.partition(".")
    if not rest:
        body[first] = value
        return
    inner = body.setdefault(first, {})
    if isinstance(inner, list):
        inner = draw.choice(inner) if inner else {}
    if isinstance(inner, dict):
        _put(inner, rest, value, draw)


def _forged_token(target: Target, draw: random.Random) -> Any:
    honest = target.tokens[0]
    content = bytearray(base64.urlsafe_b64decode(honest))
    change = draw.randrange(7)
    if change == 0:
        content[draw.randrange(len(content))] ^= 1 << draw.randrange(8)
        return base64.urlsafe_b64encode(content).decode()
    if change == 1:
        return base64.urlsafe_b64encode(content[: draw.randrange(len(content))]).decode()
    if change == 2:
        return StateTokens(draw.choice((b"", b"another", KEY.encode()))).token(target.states[0])
    if change == 3:
        return StateTokens(SECRET.encode()).token(target.states[1])
    if change == 4:  # signed with the right secret, but no state of a model
        return _signed(
            draw.choice(
                (b"", b"\x01", b"\x02" * 90, b"\x01" + draw.randbytes(draw.randrange(300)), bytes(content[:-32])[:-4])
            )
        )
    if change == 5:
        return StateTokens(SECRET.encode()).token(_strange_state(target, draw))
    return draw.choice(
        [honest[:-1], honest + "=", honest + "\n", honest.replace("_", "/"), "", "=", "\u00e9", "A" * 99, honest * 50]
    )


def _signed(content: bytes) -> str:
    return base64.urlsafe_b64encode(content + StateTokens(SECRET.encode())._signature(content)).decode()


def _strange_state(target: Target, draw: random.Random) -> State:
    """A state of the served model that no text leads to."""
    honest = target.states[0]
    numbers = [3e38, -3e38, 1e30, 1e-45, float("inf"), float("nan"), 1e4]
    layers = tuple(tuple(torch.full_like(tensor, draw.choice(numbers)) for tensor in layer) for layer in honest.layers)
    return replace(honest, layers=layers, last=draw.choice((0, 1, 3, 10**6, 2**31)))


def _forged_file(target: Target, draw: random.Random) -> bytes:
    honest = draw.choice(target.states).to_bytes()
    change = draw.randrange(5)
    if change == 0:
        flipped = bytearray(honest)
        for _ in range(draw.choice((1, 1, 5))):
            flipped[draw.randrange(len(flipped))] ^= 1 << draw.randrange(8)
        return bytes(flipped)
    if change == 1:
        return honest[: draw.randrange(len(honest))]
    if change == 2:
        return _strange_state(target, draw).to_bytes()
    if change == 3:
        header = draw.choice(
            (
                b"{}",
                b'{"a":' * 99,
                b'{"__metadata__": {}}',
                b"\xff" * 9,
                b'{"0.0":{"dtype":"F32","shape":[9999999999],"data_offsets":[0,8]}}',
            )
        )
        return struct.pack("<Q", draw.choice((len(header), 0, 2**63, 2**40))) + header
    return draw.choice(
        (
            honest,
            honest * 2,
            b"",
            draw.randbytes(500),
            pack_state(target.states[0]),
            hashlib.sha256(honest).digest(),
        )
    )


def plan(count: int, draw: random.Random) -> Sequence[Kind]:
    """The kind of each of `count` requests, in random order: shares as in `KINDS`, and every kind at least once."""
    kinds = list(KINDS) + draw.choices(list(KINDS), list(KINDS.values()), k=max(0, count - len(KINDS)))
    draw.shuffle(kinds)
    return kinds[:count]
