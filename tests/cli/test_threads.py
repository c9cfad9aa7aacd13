"""How long threads spin before they sleep."""

import os
import subprocess
import sys

import pytest

from recurlm.cli import threads

PROGRAM = "import recurlm.cli.main, os; print(os.environ.get('GOMP_SPINCOUNT'), os.environ.get('OMP_WAIT_POLICY'))"


def settled(**variables: str) -> str:
    kept = {name: value for name, value in os.environ.items() if name not in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")}
    done = subprocess.run([sys.executable, "-c", PROGRAM], env=kept | variables, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_a_command_settles_how_long_threads_spin() -> None:
    expected = threads.thread_settings()
    assert settled() == f"{expected['GOMP_SPINCOUNT']} {expected.get('OMP_WAIT_POLICY')}"


@pytest.mark.parametrize(
    ("variables", "told"),
    [({"GOMP_SPINCOUNT": "5"}, "5 None"), ({"OMP_WAIT_POLICY": "passive"}, "None passive")],
    ids=["count", "policy"],
)
def test_what_the_user_chose_stays(variables: dict[str, str], told: str) -> None:
    assert settled(**variables) == told


@pytest.mark.parametrize(("library", "policy"), [("libgomp.so.1", "active"), ("libiomp5.so", None)])
def test_threads_spin_in_company_where_torch_brings_gnu_openmp(
    tmp_path, monkeypatch: pytest.MonkeyPatch, library: str, policy: str | None
) -> None:
    (tmp_path / "torch" / "lib").mkdir(parents=True)
    (tmp_path / "torch" / "__init__.py").touch()
    (tmp_path / "torch" / "lib" / library).touch()
    monkeypatch.delitem(sys.modules, "torch")
    monkeypatch.syspath_prepend(tmp_path)
    assert threads.thread_settings().get("OMP_WAIT_POLICY") == policy
