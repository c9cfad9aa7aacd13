"""The curl lines of the README and the pages, run as they stand against a server with a tiny model of their words."""

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

import recurlm
from recurlm.serving.options import ServerOptions
from serving.http_server import SECONDS, Server, running_server

ROOT = Path(__file__).parent.parent.parent
PAGES = [f"{page}.{language}" for page in ("README", "docs/serving", "docs/sessions") for language in ("md", "zh.md")]
ADDRESS = "http://127.0.0.1:8000"
SHOWN_SESSION = "nZXdqsejsbbtk5Y6GCjxOg"
CURL = 'curl() { command curl --silent --show-error --fail-with-body "$@" && echo; }\nset -e\n'

pytestmark = pytest.mark.skipif(not shutil.which("curl") or not shutil.which("bash"), reason="needs curl and bash")


class Block(NamedTuple):
    """Lines with curl, and what the page shows as their output."""

    lines: str
    output: str


def blocks(page: str) -> list[Block]:
    text = (ROOT / page).read_text("utf-8")
    found = re.findall(r"```sh\n(.*?)```\n(?:\n```text\n(.*?)```)?", text, re.DOTALL)
    return [Block(*each) for each in found if "curl " in each[0]]


def words() -> set[str]:
    """Every word of the bodies."""
    bodies = " ".join(re.findall(r"-d '(.*?)'", "".join(block.lines for page in PAGES for block in blocks(page)), re.S))
    return set(re.findall(r"[a-z]+|(?<= )\.", bodies))


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("run")
    (folder / "text.txt").write_text(f"{' '.join(sorted(words()))}\n" * 40, "utf-8")
    sizes = {"embedding_size": 8, "hidden_sizes": [8]}
    run = recurlm.train(folder / "text.txt", out=folder / "run", recipe="demo", epochs=1, quiet=True, model=sizes)
    with running_server(ServerOptions(), names=("fruit",), model=run.model) as server:
        yield server


def answers(server: Server, lines: str) -> list[Any]:
    """The JSON that some lines print, one answer after another."""
    made = server.post("/sessions", text="the function").json["session"]
    script = CURL + lines.replace(ADDRESS, f"http://127.0.0.1:{server.port}")
    if SHOWN_SESSION not in script and "$S" in script:
        script = f"S=http://127.0.0.1:{server.port}/sessions/{made}\n{script}"
    script = script.replace(SHOWN_SESSION, made)
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, timeout=SECONDS)
    assert done.returncode == 0, done.stdout + done.stderr
    return [json.loads(line) for line in done.stdout.splitlines() if line]


@pytest.mark.parametrize("page", PAGES)
def test_every_curl_line_works_as_it_stands(server: Server, page: str) -> None:
    found = blocks(page)
    assert found
    for block in found:
        told = answers(server, block.lines)
        assert len(told) == block.lines.count("curl ")
        shown = block.output.splitlines()
        for answer, line in zip(told, shown, strict=bool(shown)):
            assert "error" not in answer
            if "…" not in line:
                assert list(answer) == list(json.loads(line))


def test_both_languages_show_the_same_lines() -> None:
    for page in ("README", "docs/serving", "docs/sessions"):
        english, chinese = ([block.lines for block in blocks(f"{page}.{language}")] for language in ("md", "zh.md"))
        assert english == chinese
