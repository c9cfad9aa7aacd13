import json
import math
import os
import platform
import stat
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from benchmarks._job import Job, new_job, open_text
from benchmarks._measure import Contestant, ContestantError, Spread, running, take_turns
from benchmarks._peers import Idiomatic
from benchmarks._products import operations, targets
from benchmarks._record import ROOT, circumstances, write_record
from benchmarks._recurlm import EachAlone, ListAtOnce, Recurlm, RecurlmWithLogprobs
from benchmarks._report import Options, Result, Row, agreement
from benchmarks._training import train
from benchmarks.rescore_nbest import distinct_prefixes, made_lists
from benchmarks.score_sentences import same_scores
from benchmarks.train_processes import tokens_a_second

from benchmarks import _worker
from benchmarks import all as everything
from recurlm.training.captured import WARM_UP_STEPS, CapturedSteps

CPU = torch.device("cpu")
TINY = ["model.embedding_size=16", "model.hidden_sizes=[16,16]"]
BUCKETED = ("mxnet-bucketing", ["batches.padding=masked", *TINY])
STREAM = ("zaremba-small", ["model.tied=true", "batches.batch_size=5", *TINY])
UNEQUAL = ("zaremba-small", ["model.tied=true", "model.embedding_size=16", "model.hidden_sizes=[24,24,16]"])
TEXT = open_text(Options("tiny"))


@pytest.fixture
def job(request: pytest.FixtureRequest) -> Iterator[Job]:
    recipe, changes = getattr(request, "param", BUCKETED)
    with new_job(recipe, changes, len(TEXT.corpus.codec.vocabulary)) as made:
        made.save_batches(TEXT.corpus["train"], 6)
        made.save_text(TEXT.corpus.codec, TEXT.lines[:20])
        yield made


def losses(program: Recurlm | Idiomatic, job: Job) -> list[float]:
    return [float(nats) / int(tokens) for nats, tokens in map(program.train, job.batches())]


@pytest.mark.parametrize("job", [BUCKETED, STREAM, UNEQUAL], indirect=True, ids=["bucketed", "stream", "unequal"])
def test_the_peer_computes_the_same_training(job):
    ours = losses(Recurlm(job, "fp32", CPU), job)
    theirs = losses(Idiomatic(job, "fp32", CPU), job)
    assert ours[0] == pytest.approx(theirs[0], rel=1e-5)
    assert ours == pytest.approx(theirs, rel=1e-4)
    assert ours[-1] < ours[0]


def test_a_contestant_that_does_not_learn_is_caught(job):
    honest, wrong = Recurlm(job, "fp32", CPU), Idiomatic(job, "fp32", CPU)
    wrong.optimizer.param_groups[0]["lr"] = 0.0
    last = {"recurlm": losses(honest, job)[-1], "idiomatic": losses(wrong, job)[-1]}
    assert not agreement("loss", last, "recurlm").passed


def test_a_contestant_with_other_weights_is_caught(job):
    honest, wrong = Recurlm(job, "fp32", CPU), Idiomatic(job, "fp32", CPU)
    with torch.no_grad():
        wrong.model.decoder.bias[:5] += 5
    batch = job.batches()[0]
    first = {name: program.train(batch)[0] for name, program in (("ours", honest), ("theirs", wrong))}
    assert not agreement("loss", first, "ours").passed


def test_a_loss_that_is_no_number_never_agrees():
    assert not agreement("loss", {"a": 5.0, "b": math.nan}, "a").passed
    assert not agreement("loss", {"a": math.nan, "b": 5.0}, "a").passed
    assert agreement("loss", {"a": 5.0, "b": 5.04}, "a").passed


def test_the_peer_scores_and_samples_the_same(job):
    ours, theirs = Recurlm(job, "fp32", CPU), Idiomatic(job, "fp32", CPU)
    scores = [program.score(job.lines()) for program in (ours, theirs)]
    for line, other in zip(*scores, strict=True):
        assert line == pytest.approx(other, abs=1e-4)
    ids, logprobs = RecurlmWithLogprobs(job, "fp32", CPU).generate(3, 12, seed=1)
    assert [len(row) for row in ids] == [12, 12, 12]
    assert logprobs == pytest.approx(theirs.logprobs(ids), rel=1e-4)


def test_lists_are_rescored_alike_by_all(job):
    lists = [[" ".join(reading) for reading in each] for each in made_lists([["w1", "w2", "w3"]] * 2, ["w4", "w5"], 9)]
    trie, alone, at_once = (program(job, "fp32", CPU).rescore(lists) for program in (Recurlm, EachAlone, ListAtOnce))
    assert len(trie) == 18
    assert trie == pytest.approx(alone, rel=1e-5)
    assert at_once == pytest.approx(alone, rel=1e-5)


def test_made_lists_hold_different_readings_that_share_prefixes():
    (readings,) = made_lists([[f"w{number}" for number in range(20)]], ["a", "b", "c"], 100)
    assert len(set(readings)) == 100
    assert distinct_prefixes([[("a", "b"), ("a", "c"), ("a",)]]) == 4
    assert distinct_prefixes([readings]) < 0.7 * sum(len(reading) + 1 for reading in readings)


def test_scores_that_differ_are_caught():
    ours = {"tokens": 9, "logprobs": [-10.0, -20.0]}
    assert same_scores("ours", ours, {"tokens": 9, "logprobs": [-10.05, -20.0]}).passed
    assert not same_scores("ours", ours, {"tokens": 9, "logprobs": [-10.0, -20.3]}).passed
    assert not same_scores("ours", ours, {"tokens": 8, "logprobs": [-10.0, -20.0]}).passed


def test_weights_for_scoring_make_lines_differ():
    with new_job("mxnet-bucketing", [], len(TEXT.corpus.codec.vocabulary), wide=True) as made:
        made.save_text(TEXT.corpus.codec, ["w1 w2 w3", "w3 w2 w1"])
        scores = Idiomatic(made, "fp32", CPU).score(made.lines())
    assert abs(sum(scores[0]) - sum(scores[1])) > 0.01 * abs(sum(scores[0]))


def test_the_limit_counts_padded_positions_for_the_layers_and_real_ones_for_the_softmax(job):
    batch = job.batches()[0]
    positions, words = batch.input.numel(), len(TEXT.corpus.codec.vocabulary)
    assert targets(batch) < positions
    layers = 2 * positions * (16 + 16) * (4 * 16)
    assert operations(job, batch) == 3 * 2 * (layers + targets(batch) * 16 * words)


def test_every_shape_is_warmed_up_and_no_batch_comes_twice(job):
    warm_up = job.save_batches(TEXT.corpus["train"], 4)
    batches = job.batches()
    assert len(batches) == warm_up + 4
    assert {batch.input.shape for batch in batches[warm_up:]} <= {batch.input.shape for batch in batches[:warm_up]}
    assert len({batch.input.numpy().tobytes() for batch in batches}) == len(batches)


def test_on_a_gpu_every_shape_is_warmed_up_until_it_is_replayed(job):
    warm_up = job.save_batches(TEXT.corpus["train"], 4, "cuda")
    batches = job.batches()
    warm = Counter(batch.input.shape for batch in batches[:warm_up])
    assert {batch.input.shape for batch in batches[warm_up:]} <= set(warm)
    rare = Counter(batch.input.shape for batch in batches[warm_up:])
    assert all(times == WARM_UP_STEPS + 2 or not rare[shape] for shape, times in warm.items())


def test_recurlm_takes_the_loops_captured_steps(job):
    """What a GPU's contestant does, with a stand-in that repeats a step by doing it again."""

    class Again:
        def run(self, work):
            work()

        def capture(self, work):
            return work

    program, twin = Recurlm(job, "fp32", CPU), Recurlm(job, "fp32", CPU)
    for group in program.learner.optimizer.param_groups:
        group["lr"] = torch.tensor(group["lr"])
    program.captured = CapturedSteps(program.learner, Again(), print)
    assert losses(program, job) == pytest.approx(losses(twin, job), rel=1e-4)


def test_ratios_are_taken_round_by_round():
    # the second round is twice as slow for both
    assert Spread.of_ratios([4.0, 2.0, 4.0], [2.0, 1.0, 2.0]) == Spread(2.0, 2.0, 2.0)


def test_a_target_is_met_by_the_median():
    row = Row("job", "ours", Spread.of([1.0]), "s", "theirs", Spread(3.9, 1.0, 9.0), 4, 6)
    assert row.met is False
    assert Row("job", "ours", Spread.of([0.2]), "s", at_most=0.3).met
    assert Row("job", "ours", Spread.of([0.2]), "s").met is None


def test_contestants_take_turns_and_a_dead_one_is_named():
    script = "import json\nprint('{}', flush=True)\nwhile True: print(json.dumps([input(), {!r}]), flush=True)"
    contestants = [Contestant(name, (sys.executable, "-c", script.replace("{!r}", repr(name)))) for name in "ab"]
    with running(contestants) as processes:
        answers = take_turns(processes, [{"n": 1}, {"n": 2}])
    assert answers == {name: [['{"n": 1}', name], ['{"n": 2}', name]] for name in "ab"}
    dead = Contestant("dead", (sys.executable, "-c", "pass"))
    with pytest.raises(ContestantError, match="dead"), running([dead]):
        pass


def test_peak_memory_is_the_process_own():
    held = bytearray(200_000_000)
    code = "from benchmarks._measure import peak_megabytes; p = peak_megabytes(); x = bytearray(300_000_000)\n"
    code += "print(p, peak_megabytes())"
    before, after = map(float, subprocess.check_output([sys.executable, "-c", code], text=True, cwd=ROOT).split())
    assert after - before > 200
    assert len(held)


def test_a_record_names_no_folder_of_this_machine(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["benchmarks all", "--mxnet-python", "/home/me/m/bin/python", "--out=/tmp/x/y"])
    assert circumstances()["command"] == "benchmarks all --mxnet-python python --out=y"


def test_measurements_of_one_record_stand_side_by_side_in_its_summary(tmp_path):
    for name, value in (("first", 1), ("second", 2), ("first", 3)):
        path = write_record(name, {"value": value}, tmp_path)
    assert path == tmp_path / "summary.json"
    summary = json.loads(path.read_text())
    assert {name: measured["value"] for name, measured in summary.items()} == {"first": 3, "second": 2}
    assert summary["first"]["circumstances"]["torch"] == torch.__version__


def test_every_record_is_a_page_and_a_small_summary():
    for folder in filter(Path.is_dir, (ROOT / "records").iterdir()):
        assert sorted(path.name for path in folder.iterdir()) == ["README.md", "summary.json"]
        assert (folder / "summary.json").stat().st_size < 100_000


def measured_in_processes(folder: Path, **environment: str) -> tuple[dict[str, Any], str]:
    """The record and the report of a tiny measurement."""
    command = [sys.executable, "-m", "benchmarks", "train_seed_job", "--tiny", "--out", str(folder)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", **environment}
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env=environment, timeout=300)
    assert done.returncode == 0, done.stderr
    (result,) = json.loads((folder / "summary.json").read_text())["train-seed-job"]["results"]
    return result, done.stdout


def test_a_measurement_in_processes_of_its_own_leaves_a_record(tmp_path):
    result, report = measured_in_processes(tmp_path)
    assert "NOT AGREED" not in report
    assert all(check["passed"] for check in result["checks"])
    compared = {(row["contestant"], row["against"]) for row in result["rows"] if row["ratio"]}
    others = {"idiomatic fp32", "idiomatic bf16", "products bf16"} - result["left_out"].keys()
    assert {("recurlm auto", other) for other in others} <= compared


def test_what_cannot_run_on_this_processor_says_why(monkeypatch, tmp_path):
    monkeypatch.setattr(_worker, "runs", lambda job: False)
    monkeypatch.setattr(_worker, "bf16_is_fast", lambda: False)
    job = SimpleNamespace(folder=tmp_path)
    reasons = {
        (program, precision): _worker.contestant("name", job, program, precision, "cpu").unable
        for program in ("recurlm", "idiomatic", "products")
        for precision in ("fp32", "bf16")
    }
    assert {contestant: reason for contestant, reason in reasons.items() if reason} == {
        ("idiomatic", "bf16"): "oneDNN has no LSTM in bfloat16 for this processor",
        ("products", "bf16"): "this processor does not multiply bfloat16 in hardware",
    }


@pytest.mark.thorough
@pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="the variable hides instructions of x86")
def test_a_contestant_that_cannot_run_on_this_processor_is_left_out_with_its_reason(tmp_path):
    result, report = measured_in_processes(tmp_path, ONEDNN_MAX_CPU_ISA="AVX2", ATEN_CPU_CAPABILITY="avx2")
    assert set(result["left_out"]) == {"idiomatic bf16", "products bf16"}
    assert "  left out: idiomatic bf16: oneDNN has no LSTM in bfloat16 for this processor\n" in report
    assert all(check["passed"] for check in result["checks"])
    ran = {row["contestant"] for row in result["rows"]}
    assert ran == {"recurlm auto", "recurlm fp32", "idiomatic fp32", "products fp32"}


def test_a_reason_keeps_a_contestant_from_being_started():
    contestants = [Contestant("absent", ("/no/such/program",), unable="is not made for this processor")]
    trained = train(contestants, [])
    assert trained.left_out == {"absent": "is not made for this processor"}


def test_the_whole_run_goes_on_when_one_measurement_fails(monkeypatch, tmp_path, capsys):
    def fail(options: Options) -> Result:
        raise ContestantError("no such thing here")

    good = Result("good", "made up", [Row("good", "recurlm", Spread.of([2.0]), "s")])
    monkeypatch.setitem(sys.modules, "benchmarks.broken", SimpleNamespace(measure=fail))
    monkeypatch.setitem(sys.modules, "benchmarks.good", SimpleNamespace(measure=lambda options: good))
    monkeypatch.setattr(everything, "MEASUREMENTS", {"cpu": ("broken", "good")})
    monkeypatch.setattr(sys, "argv", ["benchmarks all", "--quick", "--out", str(tmp_path)])
    with pytest.raises(SystemExit) as end:
        everything.main()
    assert end.value.code == 1
    content = json.loads((tmp_path / "summary.json").read_text())["speed"]
    assert [result["job"] for result in content["results"]] == ["broken", "good"]
    assert "no such thing here" in capsys.readouterr().out


@pytest.mark.parametrize("script", ["gpu.sh", "quality_gpu.sh"])
def test_a_gpu_script_says_what_an_interpreter_lacks(script, tmp_path):
    bare = tmp_path / "python"
    bare.write_text("#!/bin/sh\nexit 1\n")
    bare.chmod(bare.stat().st_mode | stat.S_IXUSR)
    done = subprocess.run(
        ["sh", str(ROOT / "benchmarks" / script)],
        capture_output=True,
        text=True,
        env={"PATH": os.environ["PATH"], "PYTHON": str(bare)},
    )
    assert done.returncode == 1
    assert done.stderr.startswith(f"{script}: ")
    assert "has no torch" in done.stderr
    assert "WHEELS" in done.stderr


def test_every_measurement_of_a_list_exists():
    for names in everything.MEASUREMENTS.values():
        for name in names:
            assert Path(ROOT, "benchmarks", f"{name}.py").is_file()


def test_the_speed_of_a_run_is_the_median_of_its_steps_after_the_first():
    seconds = [0.0, 9.0, 18.0, 27.0, 36.0, 45.0, 46.0, 47.0, 49.0]
    entries = [{"event": "begin", "step": 0}]
    entries += [{"event": "step", "tokens": 700 * number, "seconds": each} for number, each in enumerate(seconds)]
    journal = "".join(f"{json.dumps(entry)}\n" for entry in [*entries, {"event": "final"}])
    assert tokens_a_second(journal) == 700.0
