"""Downloads of files: each is verified, and written whole or not at all."""

import contextlib
import hashlib
import lzma
import sys
import threading
import time
import urllib.request
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Sequence
from io import BufferedRandom
from pathlib import Path
from queue import Empty, Queue
from urllib.error import HTTPError, URLError
from urllib.parse import urldefrag

from recurlm.errors import DownloadError
from recurlm.files import digest_of
from recurlm.files.locks import locked
from recurlm.files.partial import keep, temporary_file
from recurlm.terminal import escaped, unescaped
from recurlm.version import VERSION

STALL_SECONDS = 30.0
LEAST_BYTES_PER_SECOND = 1024
LARGEST_FILE = 1 << 31
PIECE_BYTES = 1 << 16


class MirrorError(Exception):
    """One address failed; `download` tries the next one."""


def matches(path: Path, digest: str) -> bool:
    """Whether the file exists and has this digest, written ``algorithm:hex``."""
    return path.is_file() and digest_of(path, digest.partition(":")[0]) == digest


def download(
    addresses: Sequence[str],
    target: Path,
    digest: str,
    *,
    size: int | None = None,
    offline: bool = False,
    stall_seconds: float = STALL_SECONDS,
) -> Path:
    """Fetch a file from the first address that gives the right bytes, unless ``target`` already holds them.

    ``digest`` is ``algorithm:hex``; an address ``….zip#member`` means that member of the archive.
    A server that sends less than 1 KiB/s for ``stall_seconds`` is given up. Of two processes that fetch the same
    file, one waits for the other. Raises DownloadError with every address and its failure, and what to do instead.
    """
    if matches(target, digest):
        return target
    if offline:
        raise DownloadError(
            _advice(f"{target.name} is not on this machine, and --offline forbids the download", target, addresses)
        )
    target.parent.mkdir(parents=True, exist_ok=True)
    with locked(target.parent):
        if not matches(target, digest):  # another process may have fetched it meanwhile
            _fetch_from_any(addresses, target, digest, size, stall_seconds)
    return target


def probe(address: str, stall_seconds: float = STALL_SECONDS) -> str | None:
    """Ask an address for its first bytes. Returns None if it answers, else what is wrong."""
    try:
        head = next(_response_bytes(urldefrag(address).url, stall_seconds, {"Range": "bytes=0-511"}), b"")
    except MirrorError as failure:
        return str(failure)
    if not head:
        return "the answer is empty"
    return "a web page came instead of the file" if _is_page(head) else None


def _fetch_from_any(
    addresses: Sequence[str], target: Path, digest: str, size: int | None, stall_seconds: float
) -> None:
    failures = []
    for address in addresses:
        try:
            _fetch(address, target, digest, size, stall_seconds)
        except MirrorError as failure:
            failures.append(f"  {address}: {failure}")
        else:
            return
    raise DownloadError(_advice("\n".join([f"cannot fetch {target.name}", *failures]), target, addresses))


def _fetch(address: str, target: Path, digest: str, size: int | None, stall_seconds: float) -> None:
    url, member = urldefrag(address)
    limit = size if size is not None and not member else LARGEST_FILE
    with temporary_file(target.parent) as file:
        for piece in _with_progress_bar(_response_bytes(url, stall_seconds), target.name, size):
            file.write(piece)
            if file.tell() > limit:
                raise MirrorError(f"more than the expected {limit:,} bytes came")
        if not member:
            _verify(file, digest)
            keep(file, target)
            return
        with temporary_file(target.parent) as content:
            _extract(file, member, content, size or LARGEST_FILE)
            _verify(content, digest)
            keep(content, target)


def _verify(file: BufferedRandom, digest: str) -> None:
    algorithm, _, expected = digest.partition(":")
    file.seek(0)
    head = file.read(512)
    file.seek(0)
    found = hashlib.file_digest(file, algorithm).hexdigest()
    if found != expected:
        reason = "a web page came instead of the file" if _is_page(head) else "these are other bytes"
        raise MirrorError(f"{reason} ({algorithm} {found[:16]}… instead of {expected[:16]}…)")


def _extract(archive: BufferedRandom, member: str, content: BufferedRandom, limit: int) -> None:
    for piece in _member_bytes(archive, member):
        content.write(piece)
        if content.tell() > limit:
            raise MirrorError(f"{member} has more than the expected {limit:,} bytes")


def _member_bytes(archive: BufferedRandom, member: str) -> Iterator[bytes]:
    archive.seek(0)
    try:
        with zipfile.ZipFile(archive) as whole, whole.open(member) as file:
            while piece := file.read(PIECE_BYTES):
                yield piece
    except KeyError:
        raise MirrorError(f"the archive has no member {member}") from None
    except _DAMAGED_ZIP as error:
        raise MirrorError(f"not a whole zip archive: {error}") from error


_DAMAGED_ZIP = (
    *(zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, OSError),
    # RuntimeError: encrypted · NotImplementedError: an unknown compression · ValueError: wild offsets and names
    *(RuntimeError, NotImplementedError, ValueError, OverflowError),
)


def _response_bytes(url: str, stall_seconds: float, headers: dict[str, str] | None = None) -> Iterator[bytes]:
    """The body of the response, piece by piece; MirrorError when the server fails, stalls or trickles.

    A thread reads, so that name lookup, handshake and trickled headers are bounded too.
    """
    arrived: Queue[bytes | Exception | None] = Queue(maxsize=16)
    abandoned = threading.Event()
    request = urllib.request.Request(url, headers={"User-Agent": f"recurlm/{VERSION}", **(headers or {})})
    threading.Thread(target=_receive, args=(request, 2 * stall_seconds, arrived, abandoned), daemon=True).start()
    received, deadline = 0, time.monotonic() + stall_seconds
    try:
        while (piece := _next_piece(arrived, deadline, stall_seconds)) is not None:
            received += len(piece)
            if received >= _least_bytes(stall_seconds):
                received, deadline = 0, time.monotonic() + stall_seconds
            yield piece
    finally:
        abandoned.set()
        with contextlib.suppress(Empty):
            while True:
                arrived.get_nowait()


def _next_piece(arrived: "Queue[bytes | Exception | None]", deadline: float, stall_seconds: float) -> bytes | None:
    """The next piece, or None at the end; MirrorError when none comes by the deadline."""
    try:
        piece = arrived.get(timeout=max(0.0, deadline - time.monotonic()))
    except Empty:
        least = _least_bytes(stall_seconds)
        raise MirrorError(f"fewer than {least:,} bytes came in {stall_seconds:g} s") from None
    if isinstance(piece, Exception):
        raise MirrorError(_plain(piece)) from piece
    return piece


def _least_bytes(stall_seconds: float) -> int:
    """A server that sends fewer bytes than this in `stall_seconds` has stalled."""
    return int(stall_seconds * LEAST_BYTES_PER_SECOND)


def _receive(
    request: urllib.request.Request,
    timeout: float,
    arrived: "Queue[bytes | Exception | None]",
    abandoned: threading.Event,
) -> None:
    try:
        with urllib.request.urlopen(request, timeout=timeout) as response:
            missing = response.length
            while not abandoned.is_set() and (piece := response.read1(PIECE_BYTES)):
                missing = None if missing is None else missing - len(piece)
                arrived.put(piece)
            if missing and not abandoned.is_set():
                raise ConnectionError(f"the connection ended {missing:,} bytes too early")
        arrived.put(None)
    except Exception as error:
        if isinstance(error, HTTPError):
            error.close()
        arrived.put(error)


def _plain(error: Exception) -> str:
    if isinstance(error, HTTPError):
        return f"HTTP {error.code} {error.reason}"
    cause = error.reason if isinstance(error, URLError) and isinstance(error.reason, Exception) else error
    # the status line of a server may be blank, or hold line ends
    return " ".join(str(cause).split()) or type(cause).__name__


def _is_page(head: bytes) -> bool:
    return head.lstrip()[:14].lower().startswith((b"<!doctype html", b"<html"))


def _with_progress_bar(pieces: Iterable[bytes], name: str, size: int | None) -> Iterator[bytes]:
    """The same pieces, with a progress bar if stderr is a terminal."""
    if not sys.stderr.isatty():
        yield from pieces
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )

    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    console = Console(file=unescaped(sys.stderr))
    with Progress(*columns, TimeRemainingColumn(), console=console, transient=True) as progress:
        task = progress.add_task(escaped(name), total=size)
        for piece in pieces:
            progress.advance(task, len(piece))
            yield piece


def _advice(problem: str, target: Path, addresses: Sequence[str]) -> str:
    return (
        f"{problem}\nfetch it by hand, for example from {addresses[0]} , put it at "
        f"DIRECTORY/{target.parent.name}/{target.name} and set RECURLM_DATA_DIR=DIRECTORY"
    )
