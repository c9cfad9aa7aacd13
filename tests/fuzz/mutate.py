"""Damaged inputs, made from sound ones by random changes; the same random generator makes the same inputs."""

import copy
import gzip
import json
import re
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

LARGEST = 64_000
"""Bytes of an input."""

NUMBER = re.compile(rb"-?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?")
WORD = re.compile(rb"[^\s\",:=\[\]{}]+")
NUMBERS = (
    *(b"0", b"-0", b"-1", b"1", b"2", b"7", b"0.5", b"-0.0", b"-99", b"1e-400", b"1e308", b"-1e308", b"1e400"),
    *(b"255", b"256", b"65536", b"2147483647", b"2147483648", b"4294967296", b"9223372036854775808", b"1" + b"0" * 18),
    *(b"nan", b"NaN", b"inf", b"-inf", b"Infinity", b"true", b"null", b"1_000", b"0x10", b"1.", b".5", b"+3", b"1e5"),
    *(b"9" * 300, b"9" * 5000, b"0." + b"1" * 500, "\u0663".encode(), "\u00b2".encode(), b'"3"', b"[3]", b"{}"),
)
PIECES = (
    *(b"\xef\xbb\xbf", b"\0", b"\xff", b"\xc3", b"\xed\xa0\x80", b"\\ud83d", b"\\udc00", b"\\u0000", b"\x1b]0;x\x07"),
    *(b"\n", b"\r\n", b"\r", b"\n\n", b"\t", b" ", b"  ", b"\x0b", b"\x0c", b"\x1c", b"\x85", "\u0085".encode()),
    *("\u00a0".encode(), "\u2028".encode(), "\u3000".encode(), "e\u0301".encode(), "\U0001f600".encode()),
    *(b"<unk>", b"<eos>", b"<s>", b"</s>", b"<pad>", b'"', b"'", b"\\", b"\\\\", b"#", b"=", b"[", b"]", b"{", b"}"),
    *(b"[" * 5000, b'{"a":' * 5000, b"[[", b"..", b"../", b"/", b"-", b",", b":", b";", b"|||", b"-1"),
)
INTEGERS = (0, 1, 2, 3, 4, 7, 8, 16, 127, 128, 255, 256, 32767, 65535, 1 << 20, (1 << 31) - 1, 1 << 31, (1 << 32) - 1)
LONG_INTEGERS = (*INTEGERS, 1 << 32, 1 << 40, (1 << 53) + 1, (1 << 63) - 1, 1 << 63, (1 << 64) - 1)
VALUES: tuple[Any, ...] = (
    *(None, True, False, 0, 1, -1, 2, 1.5, -0.5, 10**9, 10**30, 1e308, float("nan"), float("inf")),
    *("", "a", "\ud83d", "\0", "<eos>", "<unk>", "\n", "../x", "a b", "1", "\x1b[2J", "x" * 5000),
    *([], {}, [[]], [{}], {"": 0}, {"a": {"b": []}}, [0] * 500, ["a", "a"], [1, "a", None]),
)

Change = Callable[[bytes, Random], bytes]


@dataclass(frozen=True)
class Form:
    """What is known of a format: how to change its structure, words that mean something in it, its packing.

    structured: changes that keep the format's outer frame whole · packed: the files are gzip files, and half of the
    changes are made to what they hold.
    """

    structured: Change | None = None
    words: tuple[bytes, ...] = ()
    packed: bool = False
    binary: bool = False


def mutated(seeds: Sequence[bytes], form: Form, random: Random) -> bytes:
    """One damaged input of at most `LARGEST` bytes."""
    content = random.choice(seeds)
    if form.packed and random.random() < 0.5:
        return gzip.compress(_unpacked_and_changed(content, seeds, form, random), 1, mtime=0)[:LARGEST]
    return _changed(content, seeds, form, random)[:LARGEST]


def _unpacked_and_changed(content: bytes, seeds: Sequence[bytes], form: Form, random: Random) -> bytes:
    """What a gzip file holds, changed; some hold a hundred times as much as they should."""
    content = _changed(gzip.decompress(content), [gzip.decompress(each) for each in seeds], form, random)
    return content + bytes([random.randrange(256)]) * (4 << 20) if random.random() < 0.01 else content


def _changed(content: bytes, seeds: Sequence[bytes], form: Form, random: Random) -> bytes:
    if form.structured is not None and random.random() < 0.6:
        content = form.structured(content, random)
        if random.random() < 0.7:
            return content
    changes = BINARY_CHANGES if form.binary else TEXT_CHANGES
    for _ in range(random.choice((1, 1, 1, 2, 2, 3, 5))):
        draw = random.random()
        if draw < 0.05:
            content = _spliced(content, random.choice(seeds), random)
        elif draw < 0.2 and form.words:
            content = _with_piece(content, random.choice(form.words), random)
        else:
            content = random.choice(changes)(content, random)
    return content


def _span(content: bytes, random: Random) -> tuple[int, int]:
    """Where a part begins and ends: mostly a short one."""
    start = random.randrange(len(content) + 1)
    length = random.choice((1, 1, 2, 4, 8, 16, 64, 512, 4096))
    return start, min(start + random.randrange(length) + 1, len(content))


def _with_piece(content: bytes, piece: bytes, random: Random) -> bytes:
    """A piece put in, or in the place of a word."""
    words = list(WORD.finditer(content)) if random.random() < 0.5 else []
    if words:
        start, stop = random.choice(words).span()
    else:
        start = stop = random.randrange(len(content) + 1)
    return content[:start] + piece + content[stop:]


def _spliced(content: bytes, other: bytes, random: Random) -> bytes:
    return content[: random.randrange(len(content) + 1)] + other[random.randrange(len(other) + 1) :]


def _flip(content: bytes, random: Random) -> bytes:
    if not content:
        return content
    place = random.randrange(len(content))
    return content[:place] + bytes([content[place] ^ 1 << random.randrange(8)]) + content[place + 1 :]


def _overwrite(content: bytes, random: Random) -> bytes:
    start, stop = _span(content, random)
    return content[:start] + random.randbytes(stop - start) + content[stop:]


def _remove(content: bytes, random: Random) -> bytes:
    start, stop = _span(content, random)
    return content[:start] + content[stop:]


def _repeat(content: bytes, random: Random) -> bytes:
    start, stop = _span(content, random)
    return content[:stop] + content[start:stop] * random.choice((1, 1, 2, 10, 100)) + content[stop:]


def _run(content: bytes, random: Random) -> bytes:
    """A very long run of one byte, or of one part."""
    start, stop = _span(content, random)
    part = content[start : min(stop, start + 8)] or b"a"
    return content[:stop] + part * (random.choice((1000, 30_000)) // len(part)) + content[stop:]


def _cut(content: bytes, random: Random) -> bytes:
    return content[: random.randrange(len(content) + 1)]


def _number(content: bytes, random: Random) -> bytes:
    numbers = list(NUMBER.finditer(content))
    if not numbers:
        return _piece(content, random)
    start, stop = random.choice(numbers).span()
    return content[:start] + random.choice(NUMBERS) + content[stop:]


def _piece(content: bytes, random: Random) -> bytes:
    return _with_piece(content, random.choice(PIECES), random)


def _exchange_words(content: bytes, random: Random) -> bytes:
    words = list(WORD.finditer(content))
    if len(words) < 2:
        return content
    (a, b), (c, d) = sorted(word.span() for word in random.sample(words, 2))
    return content[:a] + content[c:d] + content[b:c] + content[a:b] + content[d:]


def _lines(content: bytes, random: Random) -> bytes:
    lines = content.splitlines(keepends=True)
    if not lines:
        return content
    place, other = random.randrange(len(lines)), random.randrange(len(lines))
    match random.randrange(5):
        case 0:
            del lines[place]
        case 1:
            lines.insert(other, lines[place])
        case 2:
            lines[place], lines[other] = lines[other], lines[place]
        case 3:
            lines[place] = lines[place].rstrip(b"\n")
        case 4:
            end = random.choice((b"\r\n", b"\r", b"\n\r", b"\x0b", b"\x1e", "\u2029".encode()))
            return content.replace(b"\n", end) if random.random() < 0.5 else content.replace(b"\n", end, other + 1)
    return b"".join(lines)


def _integer(content: bytes, random: Random) -> bytes:
    """A binary number in the place of another, at an even place mostly."""
    form, values = random.choice((("<I", INTEGERS), ("<Q", LONG_INTEGERS), ("<H", INTEGERS[:13]), (">I", INTEGERS)))
    size = struct.calcsize(form)
    if len(content) < size:
        return content
    start = random.randrange(len(content) - size + 1)
    start -= start % 4 if random.random() < 0.7 else 0
    return content[:start] + struct.pack(form, random.choice(values)) + content[start + size :]


BINARY_CHANGES: tuple[Change, ...] = (_flip, _flip, _overwrite, _remove, _repeat, _cut, _integer, _integer, _integer)
TEXT_CHANGES: tuple[Change, ...] = (
    *(_flip, _overwrite, _remove, _repeat, _run, _cut, _number, _number, _number, _piece, _piece),
    *(_exchange_words, _lines, _lines),
)


def json_document(content: bytes, random: Random) -> bytes:
    """The document with a few of its values changed; written with another indentation now and then."""
    try:
        value = json.loads(content)
    except (ValueError, RecursionError):
        return content
    for _ in range(random.choice((1, 1, 1, 2, 3))):
        value = changed_value(value, random)
    written = json.dumps(value, indent=random.choice((None, None, 2)), ensure_ascii=random.random() < 0.5)
    if random.random() < 0.1:
        written = _key_twice(written, random)
    return written.encode("utf-8", "surrogatepass")


def json_lines(content: bytes, random: Random) -> bytes:
    """A few lines changed as documents."""
    lines = content.split(b"\n")
    for _ in range(random.choice((1, 1, 2))):
        place = random.randrange(len(lines))
        lines[place] = json_document(lines[place], random).replace(b"\n", b" ")
    return b"\n".join(lines)


def safetensors_file(content: bytes, random: Random) -> bytes:
    """The header changed as a document, its recorded length made to fit."""
    (length,) = struct.unpack("<Q", content[:8]) if len(content) >= 8 else (0,)
    header, body = content[8 : 8 + length], content[8 + length :]
    header = json_document(header, random) if random.random() < 0.8 else _number(header, random)
    if random.random() < 0.2:
        body = random.choice(BINARY_CHANGES)(body, random)
    return struct.pack("<Q", len(header)) + header + body


def changed_value(value: Any, random: Random) -> Any:
    """A JSON value with one of its parts changed, removed, added, renamed or exchanged."""
    value = copy.deepcopy(value)
    holders = list(_holders(value))
    if not holders or random.random() < 0.02:
        return copy.deepcopy(random.choice(VALUES))
    holder = random.choice(holders)
    if isinstance(holder, dict):
        _change_object(holder, random.choice(list(holder)), random)
    else:
        _change_list(holder, random.randrange(len(holder)), random)
    return value


def _holders(value: Any) -> list[Any]:
    """Every object and list that holds something."""
    found, waiting = [], [value]
    while waiting:
        holder = waiting.pop()
        if isinstance(holder, dict | list) and holder:
            found.append(holder)
            waiting += holder.values() if isinstance(holder, dict) else holder
    return found


def _change_object(holder: dict[str, Any], key: str, random: Random) -> None:
    match random.randrange(6):
        case 0:
            del holder[key]
        case 1:
            holder[random.choice((key + "x", "", "a", "kind", "__metadata__", "\udc00"))] = holder.pop(key)
        case 2:
            holder[random.choice(("x", "", "format", "../x"))] = copy.deepcopy(random.choice(VALUES))
        case 3:
            holder[key] = copy.deepcopy(holder[random.choice(list(holder))])
        case _:
            holder[key] = _other_value(holder[key], random)


def _change_list(holder: list[Any], place: int, random: Random) -> None:
    match random.randrange(6):
        case 0:
            del holder[place]
        case 1:
            holder.insert(place, copy.deepcopy(random.choice(holder)))
        case 2:
            holder.insert(place, copy.deepcopy(random.choice(VALUES)))
        case 3:
            random.shuffle(holder)
        case _:
            holder[place] = _other_value(holder[place], random)


def _other_value(value: Any, random: Random) -> Any:
    """Mostly one of the same type: what has another type is refused early."""
    draw = random.random()
    if isinstance(value, bool) or value is None or draw < 0.4:
        return copy.deepcopy(random.choice(VALUES))
    if isinstance(value, int | float):
        changes = (-value, value + 1, value - 1, value * 1000, value / 2, float(value), 10**9, 2**31, 2**63, 1e300, 0)
        return random.choice(changes)
    if isinstance(value, str):
        place = random.randrange(len(value) + 1)
        return value[:place] + random.choice(("", "x", " ", "\n", "\0", "\ud83d", value)) + value[place + 1 :]
    return random.choice(([value], {"a": value}, _nested(value, random.choice((10, 70, 150)))))


def _nested(value: Any, depth: int) -> Any:
    for _ in range(depth):
        value = [value]
    return value


def _key_twice(written: str, random: Random) -> str:
    keys = list(re.finditer(r'"[^"\\]*"(?=:)', written))
    if len(keys) < 2:
        return written
    one, other = random.sample(keys, 2)
    return written[: one.start()] + other.group() + written[one.end() :]
