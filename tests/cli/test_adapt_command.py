import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

Command = Callable[..., subprocess.CompletedProcess[str]]


def test_both_figures_are_printed_apart(recurlm: Command, trained: Path):
    static = json.loads(recurlm("eval", trained, "--json").stdout)
    done = recurlm("adapt", trained, "--method", "cache", "--set", "window=20", "--set", "theta=0.5", "--json")
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert set(result) == {"static", "adapted", "method", "options", "tuning"}
    assert result["static"] == static
    assert result["options"] == {"window": 20, "theta": 0.5, "share": 0.1}
    assert result["adapted"]["signature"].startswith("stream|adapted=cache(window=20,theta=0.5,share=0.1)|tokens=125|")
    assert result["adapted"]["perplexity"] != static["perplexity"]


def test_the_table_has_a_column_and_a_signature_for_each(recurlm: Command, trained: Path):
    done = recurlm("adapt", trained, "--method", "dynamic-rms")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0].split() == ["static", "dynamic-rms"]
    assert [len(line.split()) for line in lines[1:2]] == [3]
    assert lines[-2].split()[0] == "static"
    assert "adapted" not in lines[-2]
    assert "|adapted=dynamic-rms(rate=5e-05,decay=0.002,epsilon=2e-05,segment=5,gathered=200000)|" in lines[-1]


@pytest.mark.parametrize("method", ["dynamic-sgd", "temperature"])
def test_options_are_chosen_on_valid(recurlm: Command, trained: Path, method: str):
    done = recurlm("adapt", trained, "--method", method, "--tune", "valid", "--tune-tokens", "60", "--json")
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert (result["tuning"]["split"], result["tuning"]["tokens"]) == ("valid", 60)
    best = min(result["tuning"]["trials"], key=lambda trial: trial["bits_per_token"])
    assert result["options"] == best["options"]
    assert "|tuned=valid:60|" in result["adapted"]["signature"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--method", "cache", "--tune", "test"], "never chosen on a split named test"),
        (["--method", "cache", "--set", "windw=3"], "did you mean window?"),
        (["--method", "cache", "--tune-tokens", "5"], "--tune-tokens belongs to --tune"),
        (["--method", "mc-dropout", "--tune", "valid"], "has nothing to tune"),
    ],
)
def test_what_cannot_be_is_refused_in_a_line(recurlm: Command, trained: Path, arguments: list[str], message: str):
    done = recurlm("adapt", trained, *arguments)
    assert done.returncode == 2
    assert message in done.stderr
    assert done.stderr.count("\n") == 1
    assert done.stdout == ""
