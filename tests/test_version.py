import subprocess
import sys
from pathlib import Path

import pytest

import recurlm
from recurlm.version import CODE_VERSION, VERSION, commit_of

COMMIT, OTHER = "0123456789abcdef" * 2 + "01234567", "f" * 40


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A repository on the branch `main`, with the package in its place."""
    (tmp_path / "src" / "recurlm").mkdir(parents=True)
    (tmp_path / ".git" / "refs" / "heads").mkdir(parents=True)
    (tmp_path / ".git" / "HEAD").write_text("ref: refs/heads/main\n")
    return tmp_path


def test_a_loose_branch(checkout: Path) -> None:
    (checkout / ".git" / "refs" / "heads" / "main").write_text(f"{COMMIT}\n")
    (checkout / ".git" / "packed-refs").write_text(f"{OTHER} refs/heads/main\n")
    assert commit_of(checkout / "src" / "recurlm") == COMMIT


def test_a_packed_branch(checkout: Path) -> None:
    lines = ["# pack-refs with: peeled", f"{OTHER} refs/heads/mainly", f"{COMMIT} refs/heads/main", f"^{OTHER}"]
    (checkout / ".git" / "packed-refs").write_text("\n".join(lines) + "\n")
    assert commit_of(checkout / "src" / "recurlm") == COMMIT


def test_a_detached_head(checkout: Path) -> None:
    (checkout / ".git" / "HEAD").write_text(f"{COMMIT}\n")
    assert commit_of(checkout / "src" / "recurlm") == COMMIT


@pytest.mark.parametrize("absolute", [True, False])
def test_a_second_worktree(checkout: Path, absolute: bool) -> None:
    own = checkout / ".git" / "worktrees" / "second"
    own.mkdir(parents=True)
    (own / "HEAD").write_text("ref: refs/heads/side\n")
    (own / "commondir").write_text("../..\n")
    (checkout / ".git" / "refs" / "heads" / "side").write_text(f"{COMMIT}\n")
    (checkout / ".git" / "refs" / "heads" / "main").write_text(f"{OTHER}\n")
    second = checkout / "second"
    (second / "src" / "recurlm").mkdir(parents=True)
    (second / ".git").write_text(f"gitdir: {own if absolute else '../.git/worktrees/second'}\n")
    assert commit_of(second / "src" / "recurlm") == COMMIT


def test_a_build_has_the_commit_that_it_recorded(checkout: Path) -> None:
    (checkout / ".git" / "HEAD").write_text(f"{OTHER}\n")
    (checkout / "src" / "recurlm" / "COMMIT").write_text(f"{COMMIT}\n")
    assert commit_of(checkout / "src" / "recurlm") == COMMIT


@pytest.mark.parametrize("head", ["ref: refs/heads/none\n", "ref: refs/heads/.invalid\n", "", "\udcff", "nothing\n"])
def test_a_repository_without_a_commit(checkout: Path, head: str) -> None:
    (checkout / ".git" / "HEAD").write_text(head, "utf-8", "surrogateescape")
    assert commit_of(checkout / "src" / "recurlm") is None


def test_no_repository(tmp_path: Path) -> None:
    assert commit_of(tmp_path / "src" / "recurlm") is None


def test_a_repository_around_an_installed_package_is_another_one(checkout: Path) -> None:
    (checkout / ".git" / "HEAD").write_text(f"{COMMIT}\n")
    for installed in ("lib/recurlm", ".venv/lib/python3.11/site-packages/recurlm", "vendored/src/recurlm"):
        (checkout / installed).mkdir(parents=True)
        assert commit_of(checkout / installed) is None


def test_the_version_names_the_commit_of_this_code() -> None:
    assert recurlm.__version__ == VERSION
    root = Path(recurlm.__file__).parents[2]
    if not (root / ".git").exists():
        pytest.skip("not a checkout")
    git = subprocess.run(["git", "-C", root, "rev-parse", "HEAD"], capture_output=True, text=True, check=False)
    if git.returncode:
        pytest.skip("git cannot tell")
    assert f"{VERSION}+g{git.stdout[:8]}" == CODE_VERSION


def test_reading_the_version_starts_no_process_and_loads_little() -> None:
    code = "import recurlm.version, sys; print(sorted({'subprocess', 'torch', 'numpy', 'pydantic'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "[]"
