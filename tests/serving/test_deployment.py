"""The files of deploy/: no image can be built here, so their steps are read, and their commands run as they stand."""

import contextlib
import fnmatch
import json
import os
import re
import shlex
import shutil
import socket
import subprocess
import sys
import tomllib
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from serving.http_server import RUN, SECONDS

ROOT = Path(__file__).parent.parent.parent
DEPLOY = ROOT / "deploy"
DOCKERFILE = DEPLOY / "Dockerfile"
UNIT = DEPLOY / "recurlm.service"
LISTED = {"FROM", "ARG", "WORKDIR", "RUN", "COPY", "ENV", "USER", "VOLUME", "EXPOSE", "HEALTHCHECK", "STOPSIGNAL"}
LISTED |= {"ENTRYPOINT", "CMD"}


def instructions() -> list[tuple[str, str]]:
    """The instructions of the Dockerfile with their arguments, lines joined."""
    lines = [line for line in DOCKERFILE.read_text("utf-8").splitlines() if not line.startswith("#")]
    joined = re.sub(r"\\\n\s*", "", "\n".join(lines))
    return [(name, rest) for name, _, rest in (line.partition(" ") for line in joined.splitlines() if line)]


def arguments(name: str) -> list[str]:
    return [rest for found, rest in instructions() if found == name]


def container_command() -> list[str]:
    return [*json.loads(arguments("ENTRYPOINT")[-1]), *json.loads(arguments("CMD")[-1])]


def unit_values(name: str) -> list[str]:
    lines = UNIT.read_text("utf-8").splitlines()
    return [line.partition("=")[2] for line in lines if line.partition("=")[0] == name]


def is_sent(path: str) -> bool:
    """Whether the build context has a file, by the last pattern of the ignore file that matches it."""
    sent = True
    for line in (DEPLOY / "Dockerfile.dockerignore").read_text("utf-8").splitlines():
        pattern = line.removeprefix("!")
        anywhere = pattern.startswith("**/")
        places = [Path(path), *Path(path).parents][:-1]
        names = [place.name if anywhere else str(place) for place in places]
        if line and line[0] != "#" and any(fnmatch.fnmatch(name, pattern.removeprefix("**/")) for name in names):
            sent = line[0] == "!"
    return sent


def test_every_step_is_known_and_every_copied_file_is_there_and_sent() -> None:
    assert {name for name, _ in instructions()} <= LISTED
    copied = [words[:-1] for words in map(str.split, arguments("COPY")) if not words[0].startswith("--from")]
    sources = [name for words in copied for name in words]
    assert {"constraints.txt", "pyproject.toml", "src"} <= set(sources)
    for name in sources:
        assert (ROOT / name).exists(), name
        assert is_sent(name), name
    assert is_sent("src/recurlm/recipes/demo.toml")
    for name in (".git", "runs", "tests", ".venv", "records", "deploy/Dockerfile", "src/recurlm/__pycache__"):
        assert not is_sent(name), name


def test_the_package_finds_all_that_its_build_reads() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    copied = " ".join(arguments("COPY"))
    for name in (project["readme"], *project["license-files"], "setup.py"):
        assert name in copied
    for step in arguments("RUN"):
        for extra in re.findall(r'"\.\[(\w+)\]"', step):
            assert extra in project["optional-dependencies"]
        if "pip install" in step:
            assert "--constraint constraints.txt" in step


def test_every_step_is_a_command_of_the_shell() -> None:
    for step in arguments("RUN"):
        subprocess.run(["sh", "-n", "-c", step], check=True, timeout=SECONDS)


def test_the_service_is_no_root_and_keeps_what_it_writes_in_volumes() -> None:
    names = [name for name, _ in instructions()]
    (user,) = arguments("USER")
    assert user != "root"
    assert f" {user}" in next(step for step in arguments("RUN") if "useradd" in step)
    assert names.index("USER") < names.index("ENTRYPOINT")
    volumes = json.loads(arguments("VOLUME")[-1])
    command = container_command()
    assert str(Path(command[command.index("--sessions") + 1]).parent) in volumes
    environment = dict(each.split("=", 1) for each in shlex.split(arguments("ENV")[-1]))
    assert environment["RECURLM_CACHE_DIR"] in volumes
    assert arguments("EXPOSE") == [command[command.index("--port") + 1]]


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as found:
        return int(found.getsockname()[1])


@contextlib.contextmanager
def started(command: list[str], environment: dict[str, str]) -> Iterator[subprocess.Popen[str]]:
    """A command of deploy/ as a process of this machine."""
    whole = [sys.executable, "-m", "recurlm.cli.main", *command[1:]]
    kept = {name: value for name, value in os.environ.items() if not name.startswith("RECURLM_API")}
    with subprocess.Popen(whole, stderr=subprocess.PIPE, text=True, env=kept | environment) as process:
        try:
            yield process
        finally:
            process.terminate()
            process.communicate(timeout=SECONDS)


def moved(command: list[str], folder: Path, port: int) -> list[str]:
    """A command with a run and a file of sessions that are here, and another port."""
    changes = {"/runs/model": str(RUN), "/srv/recurlm/model": str(RUN), "8000": str(port)}
    paths = {"/sessions": str(folder), "%S/recurlm": str(folder)}
    found = [changes.get(word, word) for word in command]
    for before, after in paths.items():
        found = [word.replace(before, after, 1) if word.startswith(before) else word for word in found]
    return found


def test_the_container_s_command_serves_and_its_check_tells_a_live_server_from_none(tmp_path: Path) -> None:
    port = free_port()
    words = re.search(r"CMD (\[.*\])", arguments("HEALTHCHECK")[0])
    assert words is not None
    check = [sys.executable, *json.loads(words[1])[1:]]
    check[-1] = check[-1].replace(":8000/", f":{port}/")
    assert subprocess.run(check, stderr=subprocess.DEVNULL, timeout=SECONDS).returncode != 0
    with started(moved(container_command(), tmp_path, port), {"RECURLM_API_KEY": "key"}) as process:
        assert process.stderr is not None
        assert json.loads(process.stderr.readline())["key"] is True
        assert subprocess.run(check, timeout=SECONDS).returncode == 0
        request = urllib.request.Request(f"http://127.0.0.1:{port}/ready", headers={"Authorization": "Bearer key"})
        assert urllib.request.urlopen(request, timeout=SECONDS).status == 200
    assert (tmp_path / "sessions.db").exists()
    assert process.returncode == 0
    assert subprocess.run(check, stderr=subprocess.DEVNULL, timeout=SECONDS).returncode != 0


def test_the_container_does_not_start_without_a_key(tmp_path: Path) -> None:
    with started(moved(container_command(), tmp_path, free_port()), {}) as process:
        assert process.stderr is not None
        assert "needs a key" in process.stderr.readline()
        assert process.wait(SECONDS) == 2


def test_the_unit_s_command_serves(tmp_path: Path) -> None:
    (command,) = unit_values("ExecStart")
    port = free_port()
    with started(moved(shlex.split(command), tmp_path, port), {}) as process:
        assert process.stderr is not None
        assert json.loads(process.stderr.readline())["address"] == f"http://127.0.0.1:{port}"
    assert process.returncode == 0


def test_the_unit_gives_the_service_a_user_and_folders_of_its_own_and_little_else() -> None:
    lines = set(UNIT.read_text("utf-8").splitlines())
    assert {"DynamicUser=yes", "ProtectSystem=strict", "NoNewPrivileges=yes", "CapabilityBoundingSet="} <= lines
    (command,) = unit_values("ExecStart")
    (state,), (cache,) = unit_values("StateDirectory"), unit_values("CacheDirectory")
    assert f"--sessions %S/{state}/" in command
    assert unit_values("Environment") == [f"RECURLM_CACHE_DIR=%C/{cache}"]
    assert "KEY" not in command
    assert unit_values("EnvironmentFile") == ["/etc/recurlm/environment"]
    assert int(unit_values("TimeoutStopSec")[0]) > 30  # more than running requests get


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd-analyze here")
def test_systemd_finds_nothing_wrong_with_the_unit(tmp_path: Path) -> None:
    program = tmp_path / "recurlm"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    copied = tmp_path / UNIT.name
    copied.write_text(UNIT.read_text("utf-8").replace("/opt/recurlm/bin/recurlm", str(program)), "utf-8")
    done = subprocess.run(["systemd-analyze", "verify", copied], capture_output=True, text=True, timeout=SECONDS)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")
