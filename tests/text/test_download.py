import hashlib
import io
import multiprocessing
import os
import threading
import time
import zipfile
import zlib
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from recurlm.errors import DownloadError
from recurlm.files import write_whole
from recurlm.files.partial import keep, temporary_file
from recurlm.text import download as module
from recurlm.text.download import STALL_SECONDS, download, probe
from recurlm.version import VERSION

CONTENT = b"a line of text\n" * 20_000
DIGEST = "sha256:" + hashlib.sha256(CONTENT).hexdigest()


def zipped(content: bytes) -> bytes:
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("text.txt", content)
    return archive.getvalue()


class Handler(BaseHTTPRequestHandler):
    """Each path misbehaves in its own way."""

    server: "Server"

    def do_GET(self) -> None:
        self.server.requests.append((self.path, dict(self.headers)))
        getattr(self, self.path.strip("/").split("?")[0])()

    def head(self, length: int | None, status: int = 200, **headers: str) -> None:
        self.send_response(status)
        if length is not None:
            self.send_header("Content-Length", str(length))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()

    def good(self) -> None:
        self.head(len(CONTENT))
        self.wfile.write(CONTENT)

    def slow(self) -> None:
        self.server.released.wait(0.5)
        self.good()

    def unsized(self) -> None:
        self.head(None)
        self.wfile.write(CONTENT)

    def ranged(self) -> None:
        first, last = self.headers["Range"].removeprefix("bytes=").split("-")
        self.head(512, 206)
        self.wfile.write(CONTENT[int(first) : int(last) + 1])

    def cut(self) -> None:
        self.head(len(CONTENT))
        self.wfile.write(CONTENT[:1000])

    def cut_unsized(self) -> None:
        self.head(None)
        self.wfile.write(CONTENT[:1000])

    def short_length(self) -> None:
        self.head(1000)
        self.wfile.write(CONTENT)

    def other(self) -> None:
        self.head(len(CONTENT))
        self.wfile.write(CONTENT.replace(b"line", b"lime"))

    def endless(self) -> None:
        self.head(None)
        while not self.server.released.is_set():
            self.wfile.write(CONTENT)

    def page(self) -> None:
        self.head(None, Content_Type="text/html")
        self.wfile.write(b"<!DOCTYPE html><title>Sign in</title>")

    def missing(self) -> None:
        self.head(0, 404)

    def broken(self) -> None:
        self.head(0, 500)

    def moved(self) -> None:
        self.head(0, 302, Location="/good")

    def loop(self) -> None:
        self.head(0, 302, Location="/loop")

    def wild_archive(self) -> None:
        """One that says its directory begins two billion bytes after its start."""
        self.head(None)
        self.wfile.write(zipped(CONTENT)[:-6] + b"\xff\xff\xff\x7f\0\0")

    def undeflatable_archive(self) -> None:
        self.head(None)
        self.wfile.write(zipped(CONTENT).replace(zlib.compress(CONTENT, wbits=-15)[:4], b"\xff" * 4, 1))

    def blank(self) -> None:
        self.wfile.write(b"\r\n\r\n")

    def rubbish(self) -> None:
        self.wfile.write(b"no protocol at all\r\n\r\n")

    def stall(self) -> None:
        self.head(len(CONTENT))
        self.wfile.write(CONTENT[:100_000])
        self.wfile.flush()
        self.server.released.wait()

    def stall_before_headers(self) -> None:
        self.server.released.wait()

    def trickle(self) -> None:
        self.head(len(CONTENT))
        self.drip(CONTENT)

    def trickle_headers(self) -> None:
        self.drip(b"HTTP/1.0 200 OK\r\n" + b"X-Header: value\r\n" * 1000)

    def drip(self, content: bytes) -> None:
        for byte in content:
            if self.server.released.wait(0.02):
                return
            self.wfile.write(bytes([byte]))

    def archive(self) -> None:
        whole = io.BytesIO()
        with zipfile.ZipFile(whole, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("folder/text.txt", CONTENT)
        self.head(len(whole.getvalue()))
        self.wfile.write(whole.getvalue())

    def log_message(self, format: str, *arguments: object) -> None:
        pass


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.requests: list[tuple[str, dict[str, str]]] = []
        self.released = threading.Event()

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that hangs up is part of the play."""


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.released.set()
        server.shutdown()
        thread.join()


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")


def address(server: Server, path: str) -> str:
    return f"http://127.0.0.1:{server.server_address[1]}/{path}"


def left_in(folder) -> set[str]:
    return {path.name for path in folder.iterdir()} - {".text.txt.lock"}


@pytest.mark.parametrize("path", ["good", "unsized", "moved", "archive#folder/text.txt"])
def test_a_file_is_fetched_whole(server, tmp_path, path):
    target = download([address(server, path)], tmp_path / "new" / "text.txt", DIGEST, size=len(CONTENT))
    assert target == tmp_path / "new" / "text.txt"
    assert target.read_bytes() == CONTENT
    assert left_in(target.parent) == {"text.txt"}
    assert server.requests[0][1]["User-Agent"] == f"recurlm/{VERSION}"


def test_a_terminal_sees_a_progress_bar(server, tmp_path, monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    terminal = Terminal()
    monkeypatch.setattr("sys.stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    target = download([address(server, "good")], tmp_path / "text.txt", DIGEST, size=len(CONTENT))
    assert target.read_bytes() == CONTENT
    assert "text.txt" in terminal.getvalue()
    assert "300.0" in terminal.getvalue()


def test_a_file_at_hand_is_not_fetched_again(server, tmp_path):
    for _ in range(2):
        download([address(server, "good")], tmp_path / "text.txt", DIGEST)
    assert len(server.requests) == 1


def test_an_altered_file_is_fetched_again(server, tmp_path):
    (tmp_path / "text.txt").write_bytes(CONTENT[:-1])
    assert download([address(server, "good")], tmp_path / "text.txt", DIGEST).read_bytes() == CONTENT


def test_another_digest_algorithm(server, tmp_path):
    digest = "sha1:" + hashlib.sha1(CONTENT).hexdigest()
    assert download([address(server, "good")], tmp_path / "text.txt", digest).read_bytes() == CONTENT


FAULTS = {
    "cut": "the connection ended 299,000 bytes too early",
    "cut_unsized": "these are other bytes",
    "short_length": "these are other bytes",
    "other": "these are other bytes",
    "endless": "more than the expected 300,000 bytes came",
    "page": "a web page came instead of the file",
    "missing": "HTTP 404",
    "broken": "HTTP 500",
    "loop": "redirect",
    "rubbish": "no protocol at all",
    "blank": "blank: BadStatusLine",
    "wild_archive#text.txt": "not a whole zip archive",
    "undeflatable_archive#text.txt": "not a whole zip archive",
    "archive#folder/absent.txt": "the archive has no member folder/absent.txt",
    "good#folder/text.txt": "not a whole zip archive",
    "stall": "fewer than 307 bytes came in 0.3 s",
    "stall_before_headers": "fewer than 307 bytes came in 0.3 s",
    "trickle": "fewer than 307 bytes came in 0.3 s",
    "trickle_headers": "fewer than 307 bytes came in 0.3 s",
}


@pytest.mark.parametrize("path", FAULTS)
def test_a_faulty_server_is_reported_and_leaves_nothing(server, tmp_path, path):
    with pytest.raises(DownloadError, match=FAULTS[path]) as caught:
        download([address(server, path)], tmp_path / "text.txt", DIGEST, size=len(CONTENT), stall_seconds=0.3)
    assert address(server, path) in str(caught.value)
    assert "RECURLM_DATA_DIR" in str(caught.value)
    assert left_in(tmp_path) == set()


def test_a_server_that_stalls_is_left_in_time(server, tmp_path):
    begin = time.monotonic()
    with pytest.raises(DownloadError):
        download([address(server, "trickle")], tmp_path / "text.txt", DIGEST, stall_seconds=0.3)
    assert time.monotonic() - begin < 5


def test_a_server_must_send_a_kibibyte_a_second_for_half_a_minute():
    assert STALL_SECONDS == 30
    assert module._least_bytes(STALL_SECONDS) == 30 * 1024
    assert module._least_bytes(0.5) == 512


@pytest.mark.parametrize("path", ["good", "archive#folder/text.txt"])
def test_a_file_of_unknown_size_has_a_limit(server, tmp_path, monkeypatch, path):
    assert module.LARGEST_FILE == 2 * 1024**3
    monkeypatch.setattr(module, "LARGEST_FILE", len(CONTENT))
    download([address(server, path)], tmp_path / "text.txt", DIGEST)
    (tmp_path / "text.txt").unlink()
    monkeypatch.setattr(module, "LARGEST_FILE", len(CONTENT) - 1)
    with pytest.raises(DownloadError, match=r"more than the expected 299,999 bytes"):
        download([address(server, path)], tmp_path / "text.txt", DIGEST)
    assert left_in(tmp_path) == set()


def test_mirrors_are_tried_in_turn(server, tmp_path):
    paths = ["missing", "cut", "other", "page", "good", "broken"]
    download([address(server, path) for path in paths], tmp_path / "text.txt", DIGEST)
    assert [path for path, _ in server.requests] == ["/missing", "/cut", "/other", "/page", "/good"]
    assert (tmp_path / "text.txt").read_bytes() == CONTENT


def test_every_mirror_is_named_with_its_failure(server, tmp_path):
    paths = ["missing", "broken", "page"]
    with pytest.raises(DownloadError, match=r"(?s)/missing: HTTP 404.*/broken: HTTP 500.*/page: a web page"):
        download([address(server, path) for path in paths], tmp_path / "text.txt", DIGEST)


def test_a_server_that_is_not_there_is_reported(tmp_path):
    with pytest.raises(DownloadError, match="refused"):
        download(["http://127.0.0.1:9/text.txt"], tmp_path / "text.txt", DIGEST, stall_seconds=5)


def test_offline_refuses_with_what_to_do_instead(server, tmp_path):
    target = tmp_path / "corpus" / "text.txt"
    with pytest.raises(DownloadError, match=r"--offline") as caught:
        download([address(server, "good")], target, DIGEST, offline=True)
    assert address(server, "good") in str(caught.value)
    assert "DIRECTORY/corpus/text.txt and set RECURLM_DATA_DIR=DIRECTORY" in str(caught.value)
    assert server.requests == []


def test_offline_uses_what_is_at_hand(tmp_path):
    (tmp_path / "text.txt").write_bytes(CONTENT)
    assert download(["http://127.0.0.1:9/"], tmp_path / "text.txt", DIGEST, offline=True) == tmp_path / "text.txt"


def test_a_full_disk_is_not_taken_for_a_faulty_server(server, tmp_path, monkeypatch):
    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        download([address(server, "good")], tmp_path / "text.txt", DIGEST)
    assert left_in(tmp_path) == set()
    assert len(server.requests) == 1


def fetch_and_say(url, target, answers):
    answers.put(download([url], target, DIGEST).read_bytes() == CONTENT)


@pytest.mark.skipif(os.name != "posix", reason="without fcntl both processes fetch")
def test_of_two_processes_one_fetches_and_both_get_the_whole_file(server, tmp_path):
    context = multiprocessing.get_context("spawn")
    answers = context.Queue()
    arguments = (address(server, "slow"), tmp_path / "text.txt", answers)
    processes = [context.Process(target=fetch_and_say, args=arguments) for _ in range(2)]
    for process in processes:
        process.start()
    assert [answers.get(timeout=60), answers.get(timeout=60)] == [True, True]
    for process in processes:
        process.join()
    assert len(server.requests) == 1
    assert left_in(tmp_path) == {"text.txt"}


def test_a_probe_asks_for_the_first_bytes_only(server):
    assert probe(address(server, "ranged")) is None
    assert server.requests[0][1]["Range"] == "bytes=0-511"
    assert probe(address(server, "endless")) is None


@pytest.mark.parametrize("path", ["missing", "page", "stall_before_headers", "loop"])
def test_a_probe_tells_what_is_wrong(server, path):
    assert probe(address(server, path), stall_seconds=0.3)


def test_a_file_is_written_whole_or_not_at_all(tmp_path):
    write_whole(tmp_path / "text.txt", b"old")

    def fail() -> None:
        with temporary_file(tmp_path) as file:
            file.write(b"new")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert (tmp_path / "text.txt").read_bytes() == b"old"
    with temporary_file(tmp_path) as file:
        file.write(b"new")
        keep(file, tmp_path / "text.txt")
    assert (tmp_path / "text.txt").read_bytes() == b"new"
    assert left_in(tmp_path) == {"text.txt"}
