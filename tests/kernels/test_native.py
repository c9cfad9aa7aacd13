"""Building, checking and loading the library; most of it with a small source, which compiles in no time."""

import json
import os
import platform
import shutil
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

from recurlm.kernels import native
from recurlm.kernels.native import building
from recurlm.kernels.native.building import UntrustedError, UnusableError, load_library, run_compiler

ASK = """
import torch
from recurlm.kernels.native import native_library, native_status
from recurlm.kernels.linear_cross_entropy import linear_cross_entropy
total, _ = linear_cross_entropy(torch.eye(3), torch.eye(3), None, torch.arange(3))
print(native_library() is not None, round(total.item(), 4), native_status(), sep="|")
"""
LOSS = "1.6543"  # 3 log(1 + 2 / e)
SMALL_SOURCE = """
extern "C" void recurlm_softmax_loss_float32(float*, const float*, const long*, float* loss) { *loss = 1.386294f; }
extern "C" int recurlm_has_tiles() { return 0; }
"""
COMPILER = next((found for name in building.COMPILERS if (found := shutil.which(name))), "")
needs_compiler = pytest.mark.skipif(not COMPILER, reason="no C++ compiler is installed")


def ask(cache: Path, **environment: str) -> subprocess.Popen[str]:
    inherited = {name: value for name, value in os.environ.items() if name not in ("CXX", "RECURLM_NATIVE")}
    return subprocess.Popen(
        [sys.executable, "-c", ASK],
        env={**inherited, "XDG_CACHE_HOME": str(cache), "HOME": str(cache), **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@needs_compiler
def test_of_two_processes_at_once_one_builds_it_and_says_so(tmp_path):
    told = [process.communicate(timeout=300) for process in [ask(tmp_path), ask(tmp_path)]]
    assert sorted(len(complaint.splitlines()) for _, complaint in told) == [0, 1]
    assert any("compiling its C++ library once, about " in complaint for _, complaint in told)
    assert told[0][0] == told[1][0]
    there, loss, status = told[0][0].strip().split("|")
    assert (there, loss) == ("True", LOSS)
    assert sorted(path.suffix for path in tmp_path.rglob("*") if path.is_file()) == [".json", ".so"]
    assert Path(status).is_file()


def test_without_it_the_plain_path_runs_in_silence(tmp_path):
    told, complaint = ask(tmp_path, PATH="/no/such/folder").communicate(timeout=300)
    assert complaint == ""
    assert told.startswith(f"False|{LOSS}|no C++ compiler")


@pytest.fixture
def alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache folder of its own, and the small source in place of the project's."""
    source = tmp_path / "small.cpp"
    source.write_text(SMALL_SOURCE)
    monkeypatch.setattr(building, "SOURCES", [source])
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for name in ("CXX", "RECURLM_NATIVE", "RECURLM_NATIVE_TARGET"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


def status() -> str:
    """What `native_status` says in a process that asks for the first time."""
    library, told = native._outcome.__wrapped__()
    assert library is None
    return told


@pytest.mark.parametrize(
    ("environment", "why"),
    [
        ({"RECURLM_NATIVE": "0"}, "switched off by RECURLM_NATIVE=0"),
        ({"CXX": "/no/such/compiler"}, "no C++ compiler: none of g++, c++, clang++ is installed"),
        ({"CXX": "g++ '"}, "CXX cannot be read as a command"),
        ({"PATH": "/no/such/folder"}, "no C++ compiler"),
    ],
)
def test_the_status_says_why_there_is_none(alone, monkeypatch, capsys, environment, why):
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert why in status()
    assert capsys.readouterr().err == ""


@pytest.mark.skipif(not Path("/bin/false").exists(), reason="no /bin/false here")
def test_a_compiler_that_fails_is_named(alone, monkeypatch):
    monkeypatch.setenv("CXX", "/bin/false")
    assert status() == "/bin/false failed: exit code 1"


@needs_compiler
def test_a_target_that_the_compiler_does_not_know_is_said(alone, monkeypatch):
    monkeypatch.setenv("RECURLM_NATIVE_TARGET", "no-such-processor")
    assert "no-such-processor" in status()


@needs_compiler
def test_a_cache_that_cannot_be_made_is_said(alone):
    (alone / "cache").write_text("a file where the folder should be")
    assert "cannot be built or loaded" in status()


@needs_compiler
def test_too_few_file_descriptors_are_said(alone, monkeypatch):
    load_library()

    def refuse(*arguments, **options):
        raise OSError(24, "Too many open files")

    monkeypatch.setattr(os, "open", refuse)
    assert "Too many open files" in status()


@needs_compiler
def test_the_library_is_kept_where_only_its_user_writes_with_its_digest(alone):
    before = os.umask(0)
    try:
        library = load_library()
    finally:
        os.umask(before)
    modes = [stat.S_IMODE(path.stat().st_mode) for path in (library.path.parent, library.path)]
    assert modes == [0o700, 0o600]
    told = subprocess.run(["sha256sum", str(library.path)], capture_output=True, text=True, check=True).stdout
    assert library.digest == told.split()[0]
    assert json.loads(library.path.with_suffix(".json").read_text())["sha256"] == library.digest


@needs_compiler
def test_no_process_starts_and_nothing_is_said_where_the_library_is_there(alone, monkeypatch, capsys):
    first = load_library()
    assert "compiling its C++ library once" in capsys.readouterr().err
    monkeypatch.setattr(subprocess, "Popen", lambda *arguments, **options: pytest.fail("a process was started"))
    again = load_library()
    assert (again.path, again.digest) == (first.path, first.digest)
    assert capsys.readouterr().err == ""


def cut_short(library: Path) -> None:
    library.write_bytes(library.read_bytes()[:-500])


def empty(library: Path) -> None:
    library.write_bytes(b"")


def flip_a_bit(library: Path) -> None:
    content = bytearray(library.read_bytes())
    content[len(content) // 2] ^= 1
    library.write_bytes(content)


def lose_the_digest(library: Path) -> None:
    library.with_suffix(".json").unlink()


def garble_the_digest(library: Path) -> None:
    library.with_suffix(".json").write_text("[1]")


def write_no_json(library: Path) -> None:
    library.with_suffix(".json").write_bytes(b"\xff{")


def replace_it(library: Path) -> None:
    library.write_bytes(b"not a library")


@needs_compiler
@pytest.mark.parametrize(
    "damage", [cut_short, empty, flip_a_bit, lose_the_digest, garble_the_digest, write_no_json, replace_it]
)
def test_a_damaged_library_is_built_again(alone, capsys, damage):
    library = load_library()
    content = library.path.read_bytes()
    damage(library.path)
    capsys.readouterr()
    assert load_library().digest == library.digest
    assert library.path.read_bytes() == content
    assert "compiling" in capsys.readouterr().err


def give_the_folder_to_all(library: Path) -> None:
    library.parent.chmod(0o777)


def give_the_file_to_the_group(library: Path) -> None:
    library.chmod(0o660)


def give_the_digest_to_all(library: Path) -> None:
    library.with_suffix(".json").chmod(0o666)


def link_the_file(library: Path) -> None:
    moved = library.rename(library.parent.parent / "elsewhere.so")
    library.symlink_to(moved)


def link_the_folder(library: Path) -> None:
    moved = library.parent.rename(library.parent.parent / "elsewhere")
    library.parent.symlink_to(moved)


def make_a_pipe(library: Path) -> None:
    library.unlink()
    os.mkfifo(library, 0o600)


@needs_compiler
@pytest.mark.parametrize(
    ("change", "why"),
    [
        (give_the_folder_to_all, "can be written by other users"),
        (give_the_file_to_the_group, "can be written by other users"),
        (give_the_digest_to_all, "can be written by other users"),
        (link_the_file, "is a link"),
        (link_the_folder, "is not a folder or is a link"),
        (make_a_pipe, "is not a regular file"),
    ],
)
def test_what_another_user_could_have_written_is_refused(alone, capsys, change, why):
    change(load_library().path)
    capsys.readouterr()
    with pytest.raises(UntrustedError, match=why):
        load_library()
    assert why in status()
    assert capsys.readouterr().err == ""


@needs_compiler
@pytest.mark.skipif(not hasattr(os, "getuid") or os.getuid() != 0, reason="only root can give files away")
@pytest.mark.parametrize("which", ["folder", "library", "digest"])
def test_what_belongs_to_another_user_is_not_loaded_by_root(alone, which):
    library = load_library().path
    path = {"folder": library.parent, "library": library, "digest": library.with_suffix(".json")}[which]
    os.chown(path, 12345, -1)
    with pytest.raises(UntrustedError, match="belongs to another user"):
        load_library()


@needs_compiler
def test_a_system_without_users_has_nothing_to_refuse(alone, monkeypatch):
    give_the_file_to_the_group(load_library().path)
    monkeypatch.delattr(os, "getuid")
    assert load_library().functions.recurlm_has_tiles() == 0


def script(path: Path, content: str) -> str:
    path.write_text(f"#!/bin/sh\n{content}\n")
    path.chmod(0o700)
    return str(path)


def is_gone(process: int) -> bool:
    """Whether a process ends within some seconds; one that its parent has not asked after counts as ended."""
    for _ in range(100):
        told = subprocess.run(["ps", "-o", "stat=", "-p", str(process)], capture_output=True, text=True).stdout
        if not told.strip() or told.startswith("Z"):
            return True
        time.sleep(0.05)
    return False


def test_a_compiler_that_hangs_is_ended_with_its_children(tmp_path):
    slow = script(tmp_path / "slow", f"sleep 600 &\necho $! > {tmp_path}/child\nwait")
    start = time.monotonic()
    with pytest.raises(UnusableError, match="did not finish within 1 seconds and was ended"):
        run_compiler([slow], 1)
    assert time.monotonic() - start < 20
    assert is_gone(int((tmp_path / "child").read_text()))


def test_a_signal_that_ends_this_process_ends_the_compiler_too(tmp_path):
    slow = script(tmp_path / "slow", f"sleep 600 &\necho $! > {tmp_path}/child\nwait")
    code = "import sys; from recurlm.kernels.native.building import run_compiler; run_compiler(sys.argv[1:], 600)"
    process = subprocess.Popen([sys.executable, "-c", code, slow])
    for _ in range(1200):
        if (tmp_path / "child").is_file() and (tmp_path / "child").read_text().endswith("\n"):
            break
        time.sleep(0.05)
    process.terminate()
    assert process.wait(60) == 128 + signal.SIGTERM
    assert is_gone(int((tmp_path / "child").read_text()))


def test_a_signal_that_comes_while_the_compiler_starts_ends_it_too(tmp_path, monkeypatch):
    started = []

    class Started(subprocess.Popen):
        def __init__(self, *arguments, **options):
            super().__init__(*arguments, **options)
            started.append(self)
            signal.raise_signal(signal.SIGTERM)

    monkeypatch.setattr(building.subprocess, "Popen", Started)
    with pytest.raises(SystemExit) as ended:
        run_compiler([script(tmp_path / "slow", "sleep 600")], 600)
    assert ended.value.code == 128 + signal.SIGTERM
    assert started[0].returncode == -signal.SIGKILL
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


def test_a_compiler_that_leaves_a_child_behind_does_not_keep_it(tmp_path):
    quick = script(tmp_path / "quick", f"sleep 600 2>/dev/null &\necho $! > {tmp_path}/child")
    run_compiler([quick], 60)
    assert is_gone(int((tmp_path / "child").read_text()))


@needs_compiler
def test_another_processor_compiler_option_or_source_is_another_library(alone, monkeypatch):
    compiler = script(alone / "compiler", "exit 0")
    names = [building._name([compiler], ["-march=native"]), building._name([compiler], ["-march=x86-64"])]
    os.utime(compiler, (1, 1))
    names.append(building._name([compiler], ["-march=native"]))
    monkeypatch.setattr(building, "_processor_features", lambda: "x86_64 fpu sse2")
    names.append(building._name([compiler], ["-march=native"]))
    building.SOURCES[0].write_text(SMALL_SOURCE + "// another\n")
    names.append(building._name([compiler], ["-march=native"]))
    assert len(set(names)) == 5
    assert building._name([compiler], ["-march=native"]) == names[-1]


@needs_compiler
@pytest.mark.parametrize(
    ("body", "why"),
    [("{ __builtin_trap(); }", "ended by signal"), ("{ *loss = 7; }", "a softmax loss is wrong")],
)
def test_a_library_that_fails_its_trial_is_not_kept(alone, body, why):
    building.SOURCES[0].write_text(SMALL_SOURCE.replace("{ *loss = 1.386294f; }", body))
    with pytest.raises(UnusableError, match=f"does not run on this processor: .*{why}"):
        load_library()
    assert not list(alone.rglob("*.so"))


@needs_compiler
@pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="the targets are those of x86 compilers")
@pytest.mark.parametrize("target", ["x86-64-v3", "x86-64"])
def test_a_library_without_wide_vectors_is_held_to_the_same_twins(tmp_path, target):
    """What other processors get: registers of 8 floats and of 4, pairs of bfloat16 widened to float32."""
    here = Path(__file__).parent
    tests = [here / "test_tiles.py", here / "test_linear.py", here / "test_softmax_loss.py"]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", "-rs", *map(str, tests)],
        env={**os.environ, "RECURLM_NATIVE_TARGET": target, "RECURLM_NATIVE": "", "XDG_CACHE_HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout
    assert "no products of bfloat16 in hardware" in done.stdout
    assert "no native library" not in done.stdout
