"""Runs whose output layer is not the plain softmax, through every command that uses one."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

Command = Callable[..., subprocess.CompletedProcess[str]]
LAYERS = {
    "mixture": ["model.output.kind=mixture", "model.output.experts=2", "model.output.dropout=0.1", "model.tied=true"],
    "adaptive": ["model.output.kind=adaptive", "model.output.cutoffs=[4,8]", "model.tied=false"],
}


@pytest.fixture(scope="module", params=LAYERS)
def run(
    request: pytest.FixtureRequest,
    recurlm: Command,
    small_options: list[str],
    text_folder: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    folder = tmp_path_factory.mktemp("runs") / request.param
    changes = [part for change in LAYERS[request.param] for part in ("--set", change)]
    done = recurlm("train", text_folder, "--out", folder, *small_options, *changes)
    assert done.returncode == 0, done.stderr
    return folder


def test_it_learns_and_is_measured_as_trained(recurlm: Command, run: Path):
    measured = json.loads(recurlm("eval", run, "--json").stdout)
    # after 'the' a colour, three of them; 'it is sweet' in a quarter of the lines: little is left to guess
    assert measured["perplexity"] < 2
    static = json.loads(recurlm("adapt", run, "--method", "temperature", "--json").stdout)
    assert static["adapted"]["perplexity"] == pytest.approx(measured["perplexity"], rel=1e-4)


def test_a_sampled_softmax_learns_and_says_that_its_losses_are_estimates(
    recurlm: Command, small_options: list[str], text_folder: Path, tmp_path: Path
):
    changes = ["--set", "model.output.kind=sampled", "--set", "model.output.tokens=6"]
    done = recurlm("train", text_folder, "--out", tmp_path / "run", *small_options, *changes)
    assert done.returncode == 0, done.stderr
    assert "training losses are estimates from 6 words a step" in done.stderr
    assert "training perplexity (estimated)" in done.stderr
    entries = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert all(entry["estimated"] for entry in entries if entry["event"] in ("step", "epoch"))
    assert json.loads(recurlm("eval", tmp_path / "run", "--json").stdout)["perplexity"] < 2
    assert recurlm("graph", tmp_path / "run").returncode == 0


@pytest.mark.parametrize("method", ["cache", "dynamic-rms", "mc-dropout"])
def test_it_adapts(recurlm: Command, run: Path, method: str):
    done = recurlm("adapt", run, "--method", method, "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["adapted"]["perplexity"] < 3


def test_samples_and_beams_score_what_they_say(recurlm: Command, run: Path):
    for options in (["--until-eos", "--seed", "1"], ["--beam", "3"]):
        done = recurlm("generate", run, "--tokens", "12", "--json", *options)
        assert done.returncode == 0, done.stderr
        sample = json.loads(done.stdout.splitlines()[0])
        scored = json.loads(recurlm("score", run, "-", "--json", stdin=sample["text"] + "\n").stdout)
        assert sample["end"] == "eos"
        assert sample["logprob"] == pytest.approx(scored["logprob"], abs=1e-4)


def test_it_is_drawn(recurlm: Command, run: Path):
    done = recurlm("graph", run)
    assert done.returncode == 0, done.stderr
