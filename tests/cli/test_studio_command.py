"""The command `studio` as a process: its address, its browser, its end, and its errors."""

import contextlib
import http.client
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from cli.in_process import run_command
from studio.browser import browser, needs_browser

SECONDS = 120


@contextlib.contextmanager
def started(environment: dict[str, str], folder: Path, *options: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A running studio and the address that it printed."""
    command = [sys.executable, "-m", "recurlm.cli.main", "studio", str(folder / "runs"), *options]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)
    try:
        assert process.stdout is not None
        yield process, process.stdout.readline().strip()
    finally:
        process.kill()
        process.communicate()


def status(address: str, path: str) -> int:
    """The status of an answer once the studio listens."""
    connection = http.client.HTTPConnection(urlsplit(address).netloc, timeout=SECONDS)
    with contextlib.closing(connection):
        connection.request("GET", path)
        return connection.getresponse().status


def test_it_prints_its_address_answers_and_ends_with_ctrl_c(environment, tmp_path):
    with started(environment, tmp_path, "--no-open") as (process, address):
        parts = urlsplit(address)
        assert (parts.hostname, parts.path) == ("127.0.0.1", "/")
        assert status(address, "/health") == 200
        assert status(address, "/") == 401
        assert status(address, f"/?{parts.query}") == 200
        process.send_signal(signal.SIGINT)
        output, told = process.communicate(timeout=SECONDS)
    assert process.returncode == 0
    assert output == ""
    assert told == "the page is at this address until Ctrl-C\n"
    assert not (tmp_path / "runs").exists()


def test_the_browser_is_given_a_file_of_its_owner_and_not_the_token(environment, tmp_path):
    seen, kept = tmp_path / "arguments", tmp_path / "page.html"
    (tmp_path / "temporary").mkdir()
    program = tmp_path / "browser"
    program.write_text(f'#!/bin/sh\nprintf "%s" "$*" >{seen}.new\nmv {seen}.new {seen}\n')
    program.chmod(0o700)
    variables = {"BROWSER": f"{program} %s", "TMPDIR": str(tmp_path / "temporary")}
    with started(environment | variables, tmp_path) as (process, address):
        deadline = time.monotonic() + SECONDS
        while not seen.exists():
            assert time.monotonic() < deadline
            time.sleep(0.05)
        file = Path(urlsplit(seen.read_text()).path)
        assert file.parent == tmp_path / "temporary"
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        kept.write_text(file.read_text())
        assert address in kept.read_text()
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=SECONDS)
    assert process.returncode == 0
    assert not file.exists()


@needs_browser
def test_a_browser_that_opens_the_file_reaches_the_page(environment, tmp_path):
    (tmp_path / "temporary").mkdir()
    variables = {"BROWSER": "true %s", "TMPDIR": str(tmp_path / "temporary")}
    with started(environment | variables, tmp_path) as (_, address), browser() as launched:
        page = launched.new_page(locale="en-US")
        (file,) = (tmp_path / "temporary").glob("recurlm-studio-*.html")
        page.goto(file.as_uri())
        page.get_by_text("There is no run in this folder yet.").wait_for()
        assert page.url == f"http://{urlsplit(address).netloc}/#runs"


def test_a_port_in_use_and_a_folder_that_cannot_be_are_refused(tmp_path):
    (tmp_path / "text.txt").write_text("a\n")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        cases = {
            ("runs", "--port", port): (2, f"cannot listen at 127.0.0.1, port {port}"),
            ("text.txt",): (3, "text.txt: is a file, not a folder"),
            ("nowhere/runs",): (3, "nowhere/runs: there is no folder nowhere; make it"),
            ("text.txt/runs",): (3, "text.txt/runs: there is no folder text.txt; make it"),
        }
        for arguments, (code, words) in cases.items():
            done = run_command(["studio", "--no-open", *arguments], folder=tmp_path)
            assert done.code == code, done.stderr
            assert done.stderr.decode().startswith(f"recurlm: {words}")
            assert done.stdout == b""


@pytest.mark.parametrize("option", ["--port=-1", "--port=70000", "--device=tpu"])
def test_wrong_options_are_refused(option, tmp_path):
    assert run_command(["studio", option], folder=tmp_path).code == 2
