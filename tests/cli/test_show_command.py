import json
import shutil
from pathlib import Path

import pytest

from cli.conftest import Command
from recurlm.runs.folder import RunFolder

OLD = Path(__file__).parents[1] / "fixtures" / "0.1.0" / "run"
SHOWN = """\
run         old: finished
            begun 2026-11-26T01:01:15+00:00, recurlm 0.1.0
            seed 7, cpu, fp32, 1 thread
text        /fruit/texts
            train  1,500 tokens, 240 sentences, sha256:12bd2102
            valid  100 tokens, 16 sentences, sha256:e1ca9e37
            test   125 tokens, 20 sentences, sha256:a30c07f8
model       lstm 8 + 8, 1,278 parameters, vocabulary of 14
recipe      default; 22 keys differ from the defaults of the schema
            text.cut                 "spaces"  (default: "auto")
            text.minimum_count       2  (default: 1)
"""
LATER = """\
            validation.warm_up       0  (default: 256)
results     valid  perplexity 6.64
                   stream|tokens=100|eos=counted|state=carried|oov=0|text=sha256:e1ca9e37|recurlm=0.1.0
            test   perplexity 6.62
                   stream|tokens=125|eos=counted|state=carried|oov=0|text=sha256:a30c07f8|recurlm=0.1.0
            3 epochs, 114 steps
last log    epoch 3, step 114, loss 1.987, perplexity 7.292, lr 2e-06, after 0:08
sizes       model 5,920 bytes, 19 kB in all, checkpoints 0 bytes
            state of one text 128 bytes
next        recurlm generate old
            recurlm eval old
            recurlm train TEXT --from old --out NEW
"""


@pytest.fixture
def old(tmp_path: Path) -> Path:
    return Path(shutil.copytree(OLD, tmp_path / "old"))


def test_a_run_is_described_with_its_results_and_what_to_type_next(recurlm: Command, old: Path) -> None:
    done = recurlm("show", "old", cwd=old.parent)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(SHOWN)
    assert done.stdout.endswith(LATER)


def test_json_holds_the_same(recurlm: Command, old: Path) -> None:
    shown = json.loads(recurlm("show", "old", "--json", cwd=old.parent).stdout)
    config = json.loads((old / "config.json").read_text())
    final = json.loads((old / "metrics.jsonl").read_text().splitlines()[-1])
    assert shown["texts"] == config["corpus"]["splits"]
    assert shown["results"]["test"] == {"perplexity": final["test_perplexity"], "signature": final["signature"]}
    assert shown["results"]["valid"]["signature"] == final["valid_signature"]
    assert {"key": "schedule.kind", "value": "one-cycle", "default": "constant"} in shown["changed"]
    # two layers of eight units, each with h and c in four bytes
    assert shown["sizes"]["state"] == 2 * 8 * 2 * 4
    assert shown["sizes"]["files"]["model.safetensors"] == (old / "model.safetensors").stat().st_size
    assert shown["sizes"]["total"] == sum(path.stat().st_size for path in old.iterdir())
    assert shown["next"][-1] == "recurlm train TEXT --from old --out NEW"
    assert "longer_epochs" not in shown


def test_a_stopped_run_is_resumed_first(recurlm: Command, old: Path) -> None:
    metrics = old / "metrics.jsonl"
    metrics.write_bytes(b"".join(metrics.read_bytes().splitlines(keepends=True)[:6]))
    shown = json.loads(recurlm("show", "old", "--json", cwd=old.parent).stdout)
    assert (shown["state"], shown["results"], shown["steps"], shown["epochs"]) == ("stopped", {}, 30, 0)
    assert shown["last"]["step"] == 30
    assert shown["next"][0] == "recurlm train --out old --resume"


def test_a_run_with_checkpoints_and_a_constant_rate_can_go_on(recurlm: Command, trained: Path) -> None:
    shown = json.loads(recurlm("show", trained, "--json").stdout)
    kind = [each["value"] for each in shown["changed"] if each["key"] == "schedule.kind"]
    longer = f"recurlm train --out {trained} --resume --epochs 24"
    assert (longer in shown["next"]) == (kind in ([], ["step"], ["plateau"]))
    assert shown["sizes"]["checkpoints"] > 0
    lines = recurlm("show", trained).stdout.splitlines()
    assert f"text        {shown['source']}" in lines


def test_damaged_and_foreign_folders_are_refused(recurlm: Command, old: Path, tmp_path: Path) -> None:
    folder = RunFolder(old)
    folder.write({"vocabulary.json": folder.read("vocabulary.json")})
    (old / "vocabulary.json").write_text("[]")
    done = recurlm("show", old)
    assert done.returncode == 4
    assert "vocabulary.json: altered or truncated" in done.stderr
    done = recurlm("show", tmp_path)
    assert done.returncode == 3
    assert "not a run folder" in done.stderr
