import errno
import math
import os
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from recurlm.cli import main as program
from recurlm.errors import UsageError


@pytest.mark.parametrize(
    ("error", "lines"),
    [
        (
            RuntimeError("mat1 and mat2 differ\nat ..."),
            [
                "RuntimeError: mat1 and mat2 differ",
                "this is an error of the program; --debug before the command shows where",
            ],
        ),
        (
            RuntimeError("[enforce fail at alloc_cpu.cpp:117] DefaultCPUAllocator: not enough memory"),
            [
                "out of memory: [enforce fail at alloc_cpu.cpp:117] DefaultCPUAllocator: not enough memory",
                "use a smaller batch or model, or another --device",
            ],
        ),
        (MemoryError(), ["out of memory: no reason given", "use a smaller batch or model, or another --device"]),
    ],
)
def test_an_error_that_nobody_foresaw_is_two_lines_without_debug(error, lines, monkeypatch, capsys):
    def fail() -> None:
        raise error

    monkeypatch.setattr(program, "app", fail)
    monkeypatch.setattr("sys.argv", ["recurlm", "eval"])
    monkeypatch.delenv("RECURLM_DEBUG", raising=False)
    with pytest.raises(SystemExit) as ended:
        program.main()
    assert ended.value.code == 1
    assert capsys.readouterr().err.splitlines() == [f"recurlm: {lines[0]}", lines[1]]
    monkeypatch.setattr("sys.argv", ["recurlm", "--debug", "eval"])
    with pytest.raises(SystemExit):
        program.main()
    assert "Traceback" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (KeyboardInterrupt(), 130, "recurlm: interrupted"),
        (UsageError("write unk or skip"), 2, "recurlm: write unk or skip"),
        (PermissionError(errno.EACCES, "Permission denied", "file"), 1, "recurlm: no permission"),
    ],
)
def test_an_error_ends_in_its_exit_code_and_a_line(error, code, line, monkeypatch, capsys):
    def fail() -> None:
        raise error

    monkeypatch.setattr(program, "app", fail)
    monkeypatch.setattr("sys.argv", ["recurlm", "--debug", "eval"])
    with pytest.raises(SystemExit) as ended:
        program.main()
    assert ended.value.code == code
    said = capsys.readouterr().err
    assert said.splitlines()[-1].startswith(line)
    assert ("Traceback" in said) == isinstance(error, Exception)


def test_a_reader_of_the_output_that_goes_away_ends_the_command_without_a_word(environment):
    command = [sys.executable, "-m", "recurlm.cli.main", "recipes"]
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    process.stdout.close()
    assert (process.stderr.read(), process.wait(60)) == (b"", 1)
    process.stderr.close()


@pytest.mark.skipif(os.name != "posix", reason="closes streams with a shell of POSIX")
@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&- >&- 2>&-"])
def test_a_command_runs_with_closed_streams(closed, environment):
    command = f'"{sys.executable}" -m recurlm.cli.main recipes {closed}'
    done = subprocess.run(["sh", "-c", command], env=environment, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_texts_of_any_language_can_be_printed_wherever_output_goes(recurlm_process, trained):
    done = recurlm_process("score", trained, "-", stdin="你好 é\n", PYTHONIOENCODING="ascii")
    assert done.returncode == 0, done.stderr
    assert "你好" in done.stdout


@pytest.mark.parametrize(
    "arguments",
    [
        ["generate", "R", "--beam", "1000000000000"],
        ["generate", "R", "--count", "10000000000000000000"],
        ["generate", "R", "--tokens", "1000000000000"],
        ["generate", "R", "--top-k", "1000000000000"],
        ["train", "--epochs", "1000000000"],
        ["search", "--trials", "1000000000000"],
        ["rescore", "R", "list", "--nbest", "1000000000000"],
        ["graph", "default", "--vocabulary", "1000000000000"],
        ["eval", "R", "--full-batches", "1000000000000"],
        ["adapt", "R", "--method", "cache", "--tune", "valid", "--tune-tokens", "1000000000000"],
    ],
)
def test_numbers_that_no_machine_has_room_or_time_for_are_refused_before_work(arguments):
    result = CliRunner().invoke(program.app, arguments)
    assert result.exit_code == 2
    assert "less than or equal to" in result.output


RUN_0_1_0 = Path(__file__).parents[1] / "fixtures" / "0.1.0" / "run"


@pytest.mark.parametrize("format", ["text", "jsonl", "sentence", "kaldi"])
@pytest.mark.parametrize("piped", [False, True])
def test_scoring_nothing_prints_nothing_and_says_so(tmp_path, format, piped):
    empty = tmp_path / "empty.txt"
    empty.write_bytes(b"")
    file = "-" if piped else str(empty)
    result = CliRunner().invoke(program.app, ["score", str(RUN_0_1_0), file, "--format", format], input="")
    assert (result.exit_code, result.stdout, result.stderr) == (0, "", "# no lines to score\n")


def test_blank_lines_are_sentences_of_an_eos_alone(tmp_path):
    blank = tmp_path / "blank.txt"
    blank.write_text("\n\n")
    result = CliRunner().invoke(program.app, ["score", str(RUN_0_1_0), str(blank), "--format", "lines"])
    assert [row.split("\t")[:3] for row in result.stdout.splitlines()[1:]] == [["1", "1", "0"], ["2", "1", "0"]]


def test_a_text_of_unknown_words_is_scored_with_a_warning_or_by_their_share(tmp_path):
    text = tmp_path / "text.txt"
    text.write_text("the zebra yak gnu\n" * 3)
    lines = ["score", str(RUN_0_1_0), str(text), "--format", "sentence"]
    usual, shared = (CliRunner().invoke(program.app, [*lines, "--oov", rule]) for rule in ("unk", "share:1000"))
    assert "warning: 9 of 15 tokens (60.0%)" in usual.stderr
    assert "warning" not in shared.stderr
    assert "|oov=share(1000):9|" in shared.stderr
    before, after = (float(result.stdout.split()[0]) for result in (usual, shared))
    assert after == pytest.approx(before - 3 * math.log(1000), rel=1e-6)


@pytest.mark.skipif(os.name != "posix", reason="sends a signal of POSIX")
@pytest.mark.parametrize("module", ["recurlm.cli.main", "typer", "recurlm.cli.verify", "recurlm.training.opening"])
def test_ctrl_c_while_the_command_line_or_a_command_loads_leaves_one_line(module, environment):
    program = f"""
import os, signal, sys
class Interrupting:
    def find_spec(self, name, *rest):
        if name == {module!r}:
            os.kill(os.getpid(), signal.SIGINT)
sys.meta_path.insert(0, Interrupting())
from recurlm.cli.start import main
main()
"""
    done = subprocess.run([sys.executable, "-c", program, "train"], env=environment, capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "recurlm: interrupted\n")


@pytest.mark.skipif(os.name != "posix", reason="sends a signal of POSIX")
def test_the_command_line_leaves_an_ignored_interrupt_ignored(environment):
    program = "import signal; signal.signal(signal.SIGINT, signal.SIG_IGN); from recurlm.cli.start import main; "
    program += "from recurlm.cli.interrupts import interrupt_ends\n"
    program += "with interrupt_ends(): signal.raise_signal(signal.SIGINT); print('went on')"
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "went on\n", "")
