"""The version, in one place. Every signature of a perplexity has it, with the commit that computed the perplexity.

A build records its commit in the file COMMIT. A checkout is asked for its commit; a change that is not committed does
not show. Without either the version has no commit.
"""

import re
from pathlib import Path

VERSION = "0.2.0"
SHOWN_DIGITS = 8


def commit_of(package: Path) -> str | None:
    """The hex digits of the commit that a package folder was built from or lies in; None where that is not known."""
    try:
        recorded = package / "COMMIT"
        digits = recorded.read_text("ascii") if recorded.is_file() else _commit_of_checkout(package)
    except (OSError, ValueError):
        return None
    return digits.strip() if re.fullmatch(r"[0-9a-f]{40,64}", digits.strip()) else None


def _commit_of_checkout(package: Path) -> str:
    """The commit of this project's repository. A repository further up, such as one around a .venv, is another's."""
    git = package.parent.parent / ".git"
    if package.parent.name != "src" or not git.exists():
        return ""
    if git.is_file():  # a second worktree names the folder of its own
        git = git.parent / git.read_text("utf-8").removeprefix("gitdir:").strip()
    head = (git / "HEAD").read_text("utf-8").strip()
    if not head.startswith("ref: "):
        return head
    common = git / "commondir"
    shared = git / common.read_text("utf-8").strip() if common.is_file() else git
    return _commit_of_branch(shared, head.removeprefix("ref: "))


def _commit_of_branch(git: Path, reference: str) -> str:
    loose = git / reference
    if loose.is_file():
        return loose.read_text("utf-8")
    packed = (line.partition(" ") for line in (git / "packed-refs").read_text("utf-8").splitlines())
    return next((digits for digits, _, name in packed if name == reference), "")


def _version_of(commit: str | None) -> str:
    return f"{VERSION}+g{commit[:SHOWN_DIGITS]}" if commit else VERSION


CODE_VERSION = _version_of(commit_of(Path(__file__).parent))
"""The version with its commit, such as 0.2.0+g1b7f034a, which names the code that computed a number."""
