"""Files that version 0.1.0 wrote: a run, a run stopped in the middle of an epoch, a state, a prepared text."""

import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch

import recurlm
from recurlm.config import TextOptions
from recurlm.errors import RecurlmWarning
from recurlm.progress import Silent
from recurlm.recipe_files import parse_recorded_recipe, recipe_toml
from recurlm.text.corpora import open_source
from recurlm.text.places import DataPlaces
from recurlm.text.store import prepare
from recurlm.training.request import TrainingRequest
from recurlm.training.setup import prepare_training
from recurlm.training.stopping import StopRequest

FIXTURES = Path(__file__).parent / "fixtures" / "0.1.0"
EXPECTED = json.loads((FIXTURES / "expected.json").read_text())
TEXTS = FIXTURES / "texts"
OTHER_PROCESSOR = 1e-4
"""Relative: 0.1.0 computed the expected values on one kind of processor."""


def copied_run(name: str, folder: Path) -> Path:
    """A copy of a run whose text lies in this checkout: 0.1.0 wrote down where it lay when the run began."""
    run = folder / name
    shutil.copytree(FIXTURES / name, run)
    config = json.loads((run / "config.json").read_text())
    assert config["corpus"]["source"] == EXPECTED["source"]
    config["corpus"]["source"] = str(TEXTS)
    content = json.dumps(config).encode()
    (run / "config.json").write_bytes(content)
    manifest = json.loads((run / "manifest.json").read_text())
    manifest["sha256"]["config.json"] = hashlib.sha256(content).hexdigest()
    (run / "manifest.json").write_text(json.dumps(manifest))
    return run


def test_a_run_measures_the_text_that_it_learned_from(tmp_path: Path) -> None:
    model = recurlm.load(copied_run("run", tmp_path))
    for split in ("valid", "test"):
        measured = model.perplexity(split=split)
        assert measured.value == pytest.approx(EXPECTED[f"{split}_perplexity"], rel=OTHER_PROCESSOR)


def test_a_run_scores_a_sentence() -> None:
    [scored] = recurlm.load(FIXTURES / "run").score(["the red fruit is a lemon"])
    assert scored.logprob == pytest.approx(EXPECTED["score"], rel=OTHER_PROCESSOR)


def test_a_state_is_gone_on_from() -> None:
    with pytest.warns(RecurlmWarning, match="without a digest"):
        state = recurlm.State.load(FIXTURES / "after-the-red-fruit.state")
    [scored] = recurlm.load(FIXTURES / "run").score(["is a lemon"], state=state)
    assert scored.logprob == pytest.approx(EXPECTED["score_from_state"], rel=OTHER_PROCESSOR)


def test_a_sample_with_unk_is_drawn_as_0_1_0_drew_it() -> None:
    drawn = recurlm.load(FIXTURES / "run").generate("the red", tokens=12, seed=3, allow_unk=True)
    assert list(drawn.tokens) == EXPECTED["generated"]
    assert drawn.logprob == pytest.approx(EXPECTED["generated_logprob"], rel=OTHER_PROCESSOR)


def test_a_prepared_text_has_the_ids_of_its_text(tmp_path: Path) -> None:
    shutil.copytree(FIXTURES / "cache", tmp_path / "cache")
    source = open_source(str(TEXTS))
    prepared = prepare(source, TextOptions(), tmp_path / "cache")
    for split in ("train", "valid", "test"):
        encoded = prepared.codec.encode(source.split(split))
        assert np.array_equal(prepared[split].ids, encoded.ids)
        old = np.fromfile(FIXTURES / "cache" / "prepared" / EXPECTED["prepared"] / f"{split}.ids", "<u2")
        assert np.array_equal(old, encoded.ids)


def test_a_run_stopped_in_the_middle_of_an_epoch_ends_as_an_undisturbed_one(tmp_path: Path) -> None:
    run = copied_run("stopped", tmp_path)
    counters = json.loads(next(run.glob("checkpoints/step-*/counters.json")).read_text())
    assert counters["index"] > 0
    request = TrainingRequest(out=run, resume=True, places=DataPlaces(cache_directory=tmp_path / "cache", offline=True))
    heard: list[str] = []
    watcher = Silent()
    watcher.say = heard.append  # type: ignore[method-assign]
    with StopRequest() as stop:
        prepare_training(request, watcher).fit(stop)
    assert any(
        "the kernels that began this run are not recorded" in line or "not bit for bit" in line for line in heard
    )
    undisturbed = safetensors.torch.load_file(FIXTURES / "run" / "model.safetensors")
    resumed = safetensors.torch.load_file(run / "model.safetensors")
    assert undisturbed.keys() == resumed.keys()
    for name, tensor in undisturbed.items():
        torch.testing.assert_close(resumed[name], tensor, rtol=1e-3, atol=1e-4)


def test_a_run_repeats_with_the_recipe_that_it_kept(tmp_path: Path) -> None:
    config = json.loads((FIXTURES / "run" / "config.json").read_text())
    recipe = tmp_path / "kept.toml"
    recipe.write_text(recipe_toml(parse_recorded_recipe(config["recipe"], "config.json")))
    request = TrainingRequest(
        text=str(TEXTS),
        recipe=str(recipe),
        out=tmp_path / "again",
        seed=config["seed"],
        device=config["device"],
        precision=config["precision"],
        places=DataPlaces(cache_directory=tmp_path / "cache", offline=True),
    )
    with StopRequest() as stop:
        result = prepare_training(request, Silent()).fit(stop)
    assert result.test is not None
    assert result.test.value == pytest.approx(EXPECTED["test_perplexity"], rel=1e-3)
