"""`recurlm eval --processes` as real commands: the figure of one process, and the ways in which processes end."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from recurlm.interface.model import load

Command = Callable[..., subprocess.CompletedProcess[str]]
FIXTURES = Path(__file__).parents[1] / "fixtures" / "0.1.0"
RUN, TEST = FIXTURES / "run", FIXTURES / "texts" / "test.txt"
SECONDS = 120
WAYS: list[dict[str, Any]] = [
    {"protocol": "stream", "columns": 16},
    {"protocol": "stream", "columns": 7},
    {"protocol": "sentence"},
    {"protocol": "mxnet"},
    {"protocol": "mxnet", "full_batches": 40},
]
MEASURE = """
import json, sys
from recurlm.distributed import open_team
from recurlm.interface.model import load
text, runs, ways = json.loads(sys.argv[1])
with open_team("cpu") as team:
    found = [[load(run).perplexity(text, team=team, **way).to_json() for way in ways] for run in runs]
print(json.dumps(found))
"""
"""What a process of a team does: measures a text by several models in several ways."""


@pytest.fixture
def text(tmp_path: Path) -> Path:
    """A text of several groups of sentences, short and empty ones among them; the longest fills its own group."""
    lines = [f"the red fruit is a cherry{' indeed it is' * (number % 7)}" * (number % 5 > 0) for number in range(400)]
    path = tmp_path / "text.txt"
    path.write_text("".join(f"{line}\n" for line in (*lines, "the green fruit is a lime " * 300)))
    return path


@pytest.fixture
def runs(recurlm: Command, small_options: list[str], text_folder: Path, tmp_path: Path) -> list[str]:
    """A run of words, and one of characters with a sampled softmax whose state restarts at each line."""
    changes = ["model.output.kind=sampled", "model.output.tokens=6", "text.document=line", "text.unit=character"]
    options = [*small_options, *(part for change in changes for part in ("--set", change)), "--epochs", "1"]
    done = recurlm("train", text_folder, "--out", tmp_path / "characters", *options)
    assert done.returncode == 0, done.stderr
    return [str(RUN), str(tmp_path / "characters")]


def in_team(processes: int, environment: dict[str, str], plan: list[Any]) -> list[list[dict[str, Any]]]:
    """What each process of a team measures; the processes start as torch's launcher starts them."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    shared = {"TORCHELASTIC_RUN_ID": "test", "WORLD_SIZE": processes, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    team = []
    for rank in range(processes):
        own = {key: str(value) for key, value in (shared | {"RANK": rank, "LOCAL_RANK": rank}).items()}
        command = [sys.executable, "-c", MEASURE, json.dumps(plan)]
        team.append(subprocess.Popen(command, env=environment | own, stdout=subprocess.PIPE, text=True))
    told = [process.communicate(timeout=SECONDS)[0] for process in team]
    assert [process.returncode for process in team] == [0] * processes
    return [json.loads(each) for each in told]


def test_every_protocol_has_the_figure_of_one_process_to_the_last_digit(text, runs, environment):
    alone = [[load(run).perplexity(text, **way).to_json() for way in WAYS] for run in runs]
    for measured in in_team(3, environment, [str(text), runs, WAYS]):
        assert measured == alone
    assert len({each["perplexity"] for each in alone[0]}) == len(WAYS)


def test_the_command_prints_once_what_one_process_prints(recurlm, recurlm_process):
    command = "eval", RUN, FIXTURES / "texts" / "train.txt", "--json", "--columns", "4"
    alone, together = recurlm(*command), recurlm_process(*command, "--processes", "2")
    assert together.returncode == alone.returncode == 0
    assert (together.stdout, together.stderr) == (alone.stdout, alone.stderr)
    assert "the model learned from" in together.stderr


@pytest.mark.parametrize(
    ("options", "code", "told"),
    [
        ([RUN, TEST], 2, "the exact stream is one column\nadd --columns 16, or measure by --protocol sentence\n"),
        ([RUN, TEST, "--columns", "3"], 2, "3 columns are fewer than two for each\nadd --columns 16, or"),
        ([RUN, "-", "--protocol", "sentence"], 2, "2 processes cannot read standard input: name a file"),
        ([RUN, TEST, "--with", RUN], 2, "--with measures a mixture in one process; leave --processes out"),
        ([RUN, TEST, "--protocol", "mxnet", "--columns", "8"], 2, "--columns belongs to --protocol stream"),
    ],
)
def test_what_cannot_be_shared_is_refused_with_the_way_out(recurlm, options, code, told):
    done = recurlm("eval", *options, "--processes", "2")
    assert done.returncode == code
    assert done.stderr.startswith("recurlm: ")
    assert told in done.stderr


def test_an_error_that_all_processes_meet_is_told_once(recurlm, recurlm_process, tmp_path):
    short = tmp_path / "short.txt"
    short.write_text("the\n" * 5)
    command = "eval", RUN, short, "--protocol", "mxnet"
    alone, together = recurlm(*command), recurlm_process(*command, "--processes", "2")
    assert "no token is left to count" in alone.stderr
    assert together.returncode == alone.returncode == 3
    assert together.stderr == alone.stderr


@pytest.fixture
def start(environment: dict[str, str], tmp_path: Path) -> Iterator[Callable[[], subprocess.Popen[str]]]:
    """Starts a command of two processes that takes long enough to be ended."""
    long, started = tmp_path / "long.txt", []
    long.write_text(TEST.read_text("utf-8") * 40_000)
    command = [sys.executable, "-m", "recurlm", "eval", RUN, long, "--protocol", "sentence", "--processes", "2"]

    def start_() -> subprocess.Popen[str]:
        streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        started.append(subprocess.Popen(command, env=environment, text=True, **streams))
        return started[-1]

    yield start_
    for process in started:
        process.kill()
        process.communicate()


def workers(command: subprocess.Popen[str]) -> list[int]:
    """The processes of a command, once both have joined their team: they open no further sockets."""
    deadline, before = time.monotonic() + SECONDS, []
    while True:
        found = Path(f"/proc/{command.pid}/task/{command.pid}/children").read_text().split()
        opened = [sockets(worker) for worker in found]
        if len(found) == 2 and opened == before and min(opened) > 2:
            return list(map(int, found))
        before = opened
        assert command.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.3)


def sockets(process: str) -> int:
    """Number of sockets that a process holds."""
    folder = Path(f"/proc/{process}/fd")
    try:
        return sum(os.readlink(each).startswith("socket:") for each in folder.iterdir())
    except FileNotFoundError:
        return 0


needs_proc = pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="finds processes by Linux's /proc")


@needs_proc
def test_a_killed_process_ends_the_command_in_plain_words(start):
    command = start()
    os.kill(workers(command)[1], signal.SIGKILL)
    told = command.communicate(timeout=SECONDS)
    assert command.returncode == 1
    assert told == (
        "",
        "recurlm: process 2 of 2 was killed (SIGKILL), so all 2 ended\n"
        "nothing was measured; give the same command again\n",
    )


@needs_proc
def test_ctrl_c_ends_all_processes(start):
    command = start()
    found = workers(command)
    command.send_signal(signal.SIGINT)
    assert command.communicate(timeout=SECONDS) == ("", "recurlm: interrupted\n")
    assert command.returncode == 130
    assert not any(Path(f"/proc/{worker}").exists() for worker in found)


@needs_proc
@pytest.mark.thorough
def test_processes_end_with_their_launcher(start):
    command = start()
    workers(command)
    command.kill()
    # the processes hold the streams until they end
    assert command.communicate(timeout=SECONDS)[1].count("the command was ended, so its processes end too") == 1
