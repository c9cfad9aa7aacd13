"""The reader of downloads: a server of this machine answers with damaged HTTP."""

import contextlib
import hashlib
import io
import shutil
import socket
import threading
import zipfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any
from unittest.mock import patch

from fuzz.mutate import Form
from fuzz.reader import Reader
from recurlm.errors import DownloadError
from recurlm.text.download import download, probe

CONTENT = b"the cat sat on the mat\n" * 40
DIGEST = "sha256:" + hashlib.sha256(CONTENT).hexdigest()
WORDS = (
    *(b"HTTP/1.1 200 OK\r\n", b"HTTP/1.0 206", b"HTTP/1.1 302 Found\r\nLocation: /again\r\n", b"HTTP/1.1 100 Continue"),
    *(b"Content-Length: 5\r\n", b"Content-Length: -1\r\n", b"Transfer-Encoding: chunked\r\n", b"\r\n\r\n", b"\r\n"),
    *(
        b"Connection: close\r\n",
        b"Content-Encoding: gzip\r\n",
        b"0\r\n\r\n",
        b"ffffffff\r\n",
        b"<!doctype html>",
        b": ",
    ),
)
HOST = "127.0.0.1"


class _Server:
    """Answers every request with the same bytes, whatever was asked, and hangs up."""

    def __init__(self) -> None:
        self.answer = b""
        self._socket = socket.create_server((HOST, 0), backlog=64)
        self.port = self._socket.getsockname()[1]
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            connection, _ = self._socket.accept()
            with connection, contextlib.suppress(OSError):
                connection.settimeout(1)
                connection.recv(1 << 16)
                connection.sendall(self.answer)


@cache
def _server() -> _Server:
    return _Server()


def _looked_up(host: str, port: Any, *args: Any, **kwargs: Any) -> list[Any]:
    """No redirection leads away from this machine."""
    if host != HOST:
        raise socket.gaierror(socket.EAI_NONAME, "no such host")
    return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (host, int(port)))]


def response(body: bytes, *headers: str, status: str = "HTTP/1.1 200 OK") -> bytes:
    return "".join(f"{line}\r\n" for line in (status, *headers, "")).encode() + body


def _seeds() -> list[bytes]:
    chunks = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in (CONTENT[:100], CONTENT[100:]))
    return [
        response(CONTENT, f"Content-Length: {len(CONTENT)}"),
        response(CONTENT, "Content-Type: text/plain", status="HTTP/1.0 200 OK"),
        response(chunks + b"0\r\n\r\n", "Transfer-Encoding: chunked"),
        response(b"", "Location: /again", status="HTTP/1.1 302 Found"),
        response(b"<!doctype html><title>Sign in</title>", "Content-Type: text/html"),
    ]


def _zip_seeds() -> list[bytes]:
    archives = []
    for method in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        archive = io.BytesIO()
        with zipfile.ZipFile(archive, "w", method) as file:
            file.writestr(zipfile.ZipInfo("folder/text.txt"), CONTENT, method)
            file.writestr(zipfile.ZipInfo("other.txt"), b"other", method)
        archives.append(archive.getvalue())
    return archives


def _downloads(member: str, framed: Callable[[bytes], bytes]) -> Callable[[bytes, Path], None]:
    def check(content: bytes, folder: Path) -> None:
        server = _server()
        server.answer = framed(content)
        place = folder / "download"
        shutil.rmtree(place, ignore_errors=True)
        address = f"http://{HOST}:{server.port}/file{member}"
        with patch("socket.getaddrinfo", _looked_up), patch.dict("os.environ", {"no_proxy": HOST}):
            wrong = probe(address, stall_seconds=5)
            assert wrong is None or wrong.strip(), "no word of what is wrong"
            try:
                target = download([address], place / "text.txt", DIGEST, size=len(CONTENT), stall_seconds=5)
            except DownloadError:
                assert not any(place.iterdir()), "something is left of a failed download"
                raise
        assert target.read_bytes() == CONTENT, "other bytes were kept"

    return check


def _in_response(archive: bytes) -> bytes:
    return response(archive, f"Content-Length: {len(archive)}")


READERS = (
    Reader("download", _seeds, _downloads("", lambda content: content), Form(words=WORDS)),
    Reader("download-zip", _zip_seeds, _downloads("#folder/text.txt", _in_response), Form(binary=True)),
)
