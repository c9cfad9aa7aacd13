"""Building the library in processes of their own: where it can be had, and where it silently cannot."""

import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ASK = """
import torch
from recurlm.kernels.native import native_library, native_status
from recurlm.kernels.linear_cross_entropy import linear_cross_entropy
total, _ = linear_cross_entropy(torch.eye(3), torch.eye(3), None, torch.arange(3))
print(native_library() is not None, round(total.item(), 4), native_status(), sep="|")
"""
needs_compiler = pytest.mark.skipif(
    not any(map(shutil.which, ("g++", "c++", "clang++"))), reason="no C++ compiler is installed"
)
LOSS = "1.6543"  # 3 log(1 + 2 / e)


def ask(cache: Path, **environment: str) -> subprocess.Popen[str]:
    inherited = {name: value for name, value in os.environ.items() if name not in ("CXX", "RECURLM_NATIVE")}
    return subprocess.Popen(
        [sys.executable, "-c", ASK],
        env={**inherited, "XDG_CACHE_HOME": str(cache), "HOME": str(cache), **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def answer(process: subprocess.Popen[str]) -> tuple[bool, str]:
    """Whether there is a library, and its status; the loss must be right and nothing told on stderr."""
    told, complaint = process.communicate(timeout=300)
    assert process.returncode == 0, complaint
    assert complaint == ""
    there, loss, status = told.strip().split("|")
    assert loss == LOSS
    return there == "True", status


@needs_compiler
def test_two_processes_may_build_it_at_once(tmp_path):
    answers = [answer(process) for process in [ask(tmp_path), ask(tmp_path)]]
    assert answers[0] == answers[1]
    there, status = answers[0]
    assert there, status
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert files == [Path(status)]


@pytest.mark.parametrize(
    ("environment", "why"),
    [
        ({"RECURLM_NATIVE": "0"}, "RECURLM_NATIVE"),
        ({"CXX": "/bin/false"}, "false fails"),
        ({"CXX": "/no/such/compiler"}, "no C++ compiler"),
        ({"CXX": "g++ '"}, "cannot be built"),
        ({"PATH": "/no/such/folder"}, "no C++ compiler"),
    ],
)
def test_where_it_cannot_be_had_the_plain_path_runs_in_silence(tmp_path, environment, why):
    there, status = answer(ask(tmp_path, **environment))
    assert not there
    assert why in status
    assert not list(tmp_path.rglob("*.so"))


@needs_compiler
def test_a_library_that_cannot_be_loaded_is_not_used(tmp_path):
    _, built = answer(ask(tmp_path))
    Path(built).write_bytes(b"not a library")
    there, status = answer(ask(tmp_path))
    assert not there
    assert "cannot be built or loaded" in status


@needs_compiler
def test_a_cache_that_cannot_be_written_is_no_error(tmp_path):
    (tmp_path / "recurlm").write_text("a file where the folder should be")
    there, status = answer(ask(tmp_path))
    assert not there
    assert "cannot be built or loaded" in status


@needs_compiler
@pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="the flags are those of x86 compilers")
@pytest.mark.parametrize("flags", ["-mno-avx512f", "-mno-avx"])
def test_a_library_without_wide_vectors_is_held_to_the_same_twins(tmp_path, flags):
    """What other processors get: registers of 8 floats and of 4, pairs of bfloat16 widened to float32."""
    here = Path(__file__).parent
    tests = [here / "test_tiles.py", here / "test_linear.py", here / "test_softmax_loss.py"]
    compiler = next(found for name in ("g++", "c++", "clang++") if (found := shutil.which(name)))
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", "-rs", *map(str, tests)],
        env={**os.environ, "CXX": f"{compiler} {flags}", "XDG_CACHE_HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout
    assert "no products of bfloat16 in hardware" in done.stdout
    assert "no native library" not in done.stdout
