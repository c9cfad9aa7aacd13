"""Calls that resume one another, and the record that they end in."""

import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from benchmarks._quality_plan import TRAINING, Plan
from benchmarks._quality_record import write_quality_record
from benchmarks.quality import advance

import recurlm
from benchmarks import quality
from recurlm.errors import RecurlmError, StoppedError, UsageError
from recurlm.training.stopping import StopRequest


def requested() -> StopRequest:
    """A call whose time is up at once: it stops after one step."""
    stop = StopRequest()
    stop.requested = True
    return stop


def tiny(folder: Path, adaptations: tuple[str, ...]) -> Plan:
    return Plan("best", 3.0, (1,), folder, adaptations, tiny=True)


@pytest.fixture(scope="module", autouse=True)
def processor_time() -> Iterator[None]:
    """The clock of a run counts this process's own time, so that a busy machine takes time from no step."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(time, "monotonic", time.process_time)
        yield


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a plan whose training took three calls; adaptations are still to do."""
    plan = tiny(tmp_path_factory.mktemp("runs"), ())
    for step in (1, 2):
        with pytest.raises(StoppedError):
            advance(plan, requested())
        checkpoints = [path.name for path in plan.run(1).glob("checkpoints/*")]
        assert checkpoints == [f"step-{step:08d}"]
        assert write_quality_record(plan, plan.folder / "record") is None
    advance(plan, StopRequest())
    return plan.folder


def test_three_calls_are_one_training_and_end_in_a_record(trained, tmp_path):
    plan = tiny(trained, ("cache", "dynamic-rms"))
    advance(plan, StopRequest())
    page = write_quality_record(plan, tmp_path)
    assert page is not None
    record = json.loads((tmp_path / "summary.json").read_text())["quality"]
    figures = record["seeds"]["1"][TRAINING]["figures"]
    assert figures["steps"] > 2
    metrics = [json.loads(line) for line in (plan.run(1) / "metrics.jsonl").read_text().splitlines()]
    assert metrics[-1]["event"] == "final"
    assert record["runs"]["1"]["config"] == json.loads((plan.run(1) / "config.json").read_text())
    curve = record["runs"]["1"]["curve"]
    measured = [entry["valid_perplexity"] for entry in metrics if entry["event"] == "epoch"]
    assert [entry["valid_perplexity"] for entry in curve] == measured
    epochs = [entry["epoch"] for entry in curve]
    assert epochs == sorted(set(epochs))
    assert epochs[-1] == figures["epochs"]
    model = recurlm.load(plan.run(1))
    valid, test = (model.perplexity(None, split=split) for split in ("valid", "test"))
    assert f"| 1 | {valid.value:.2f} | {test.value:.2f} | " in page.read_text("utf-8")
    for signature in (valid.signature, test.signature, "stream|adapted=cache(", "stream|adapted=dynamic-rms("):
        assert signature in page.read_text("utf-8")
    assert "missing" not in page.read_text("utf-8")
    assert not list(plan.run(1).glob("checkpoints/*"))


def test_what_is_done_is_not_done_again(trained):
    before = (trained / f"seed-1-{TRAINING}.json").read_bytes()
    advance(tiny(trained, ()), requested())
    assert (trained / f"seed-1-{TRAINING}.json").read_bytes() == before


def test_an_adaptation_that_fills_a_whole_call_is_no_reason_to_call_again(trained):
    with pytest.raises(RecurlmError, match="temperature does not fit into one call") as failure:
        advance(tiny(trained, ("temperature",)), requested())
    assert failure.value.exit_code != StoppedError.exit_code


def test_another_plan_is_refused_in_the_same_folder(trained):
    with pytest.raises(UsageError, match="was begun with"):
        advance(Plan("best", 5.0, (1,), trained, (), tiny=True), StopRequest())


def test_a_refused_call_writes_no_record(trained, monkeypatch, tmp_path, capsys):
    words = [
        "quality",
        "--tiny",
        "--recipe",
        "best",
        "--seconds",
        "4000",
        "--runs",
        str(trained),
        "--out",
        str(tmp_path),
    ]
    monkeypatch.setattr("sys.argv", words)
    with pytest.raises(SystemExit) as ended:
        quality.main()
    assert ended.value.code == 2
    assert "was begun with" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def write_figures(plan: Plan, seed: int, part: str, figures: dict[str, object]) -> None:
    facts = {"commit": "abc", "processor": "P", "cores": 2, "gpu": None, "load": 0.1}
    facts |= {"python": "3.11", "torch": "2.13", "date": "2026-01-02"}
    plan.run(seed).mkdir(parents=True, exist_ok=True)
    (plan.run(seed) / "config.json").write_text("{}")
    (plan.run(seed) / "metrics.jsonl").write_text("")
    content = {"circumstances": facts, "call_seconds": 1.0, "figures": figures}
    plan.figures(seed, part).write_text(json.dumps(content))


def test_the_page_means_over_seeds_and_says_what_is_missing(tmp_path):
    plan = Plan("default", 600, (1, 2, 3), tmp_path / "runs", ("cache",))
    for seed, valid, test in ((1, 60.0, 58.0), (2, 63.0, 61.5)):
        static = {"valid_perplexity": valid, "test_perplexity": test, "signature": "s", "valid_signature": "v"}
        write_figures(plan, seed, TRAINING, static | {"epochs": 9, "steps": 1234, "seconds": 599.8})
    write_figures(plan, 1, "cache", {"adapted": {"perplexity": 52.25, "signature": "c"}})
    page = write_quality_record(plan, tmp_path / "record")
    assert page is not None
    lines = page.read_text("utf-8").splitlines()
    assert "| 1 | 60.00 | 58.00 | 52.25 | 9 | 1,234 | 600 |" in lines
    assert "| 2 | 63.00 | 61.50 | – | 9 | 1,234 | 600 |" in lines
    assert "| mean | 61.50 | 59.75 | – |  |  |  |" in lines
    assert "Not complete; still missing: seed 2 cache, seed 3 training, seed 3 cache." in lines
    assert "| commit | abc |" in lines


def test_a_call_that_must_come_again_exits_with_75(tmp_path, monkeypatch, capsys):
    def stopped(plan: Plan, stop: StopRequest) -> None:
        raise StoppedError("stopped")

    monkeypatch.setattr(quality, "advance", stopped)
    monkeypatch.setattr(sys, "argv", ["benchmarks quality", "--tiny", "--runs", str(tmp_path)])
    with pytest.raises(SystemExit) as end:
        quality.main()
    assert end.value.code == 75
    assert "call again" in capsys.readouterr().out
