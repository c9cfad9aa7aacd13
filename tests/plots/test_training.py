import json
import math
import re
import xml.etree.ElementTree as ElementTree

import pytest

from recurlm.errors import InputError
from recurlm.plots.run_log import RunLog
from recurlm.plots.training import smoothed, training_picture, write_training_pictures
from recurlm.recipe_files import load_recipe
from recurlm.runs.folder import RunFolder

EPOCH_SIGNATURE = "stream|tokens=9|eos=counted|columns=16|text=sha256:00000000|recurlm=0.1.0"
FINAL_SIGNATURE = "stream|tokens=9|eos=counted|text=sha256:00000000|recurlm=0.1.0"


def step(number, loss, **more):
    return {"event": "step", "step": number, "epoch": 1, "loss": loss, "lr": 0.5, "tokens_per_second": 900.0} | more


def epoch(number, perplexity):
    return {
        "event": "epoch",
        "epoch": number,
        "step": 10 * number,
        "loss": 3.0,
        "valid_perplexity": perplexity,
        "signature": EPOCH_SIGNATURE,
    }


FINAL = {"event": "final", "valid_perplexity": 71.25, "test_perplexity": 68.5, "signature": FINAL_SIGNATURE}
WHOLE = [step(5, 6.0), step(10, 5.0), epoch(1, 80.0), step(15, 4.5), step(20, 4.2), epoch(2, 72.5), FINAL]


def run(folder, metrics, *, tail=""):
    folder.mkdir(exist_ok=True)
    (folder / "metrics.jsonl").write_text("".join(json.dumps(metric) + "\n" for metric in metrics) + tail)
    return folder


def written(svg: bytes) -> str:
    return "\n".join(re.findall(r"<!-- (.*?) -->", svg.decode()))


def test_a_folder_without_a_log_is_refused(tmp_path):
    with pytest.raises(InputError, match="missing"):
        training_picture([tmp_path], "svg")


@pytest.mark.parametrize("metrics", [[], [step(1, None)], [{"event": "step"}]])
def test_a_log_without_figures_is_refused(tmp_path, metrics):
    with pytest.raises(InputError, match="nothing is logged yet"):
        training_picture([run(tmp_path, metrics)], "svg")


def test_null_missing_and_impossible_values_are_passed_over(tmp_path):
    odd = [step(12, None), step(13, math.nan), step(14, -1.0), step(None, 3.0), step(16, True), {"event": "epoch"}]
    log = RunLog(run(tmp_path, [*WHOLE, *odd]))
    assert log.losses == [(5, 6.0), (10, 5.0), (15, 4.5), (20, 4.2)]
    assert log.validations == [(10, 80.0), (20, 72.5)]


def test_a_step_logged_again_after_a_restart_counts_once(tmp_path):
    log = RunLog(run(tmp_path, [step(5, 6.0), step(10, 5.0), step(5, 5.5), step(10, 4.5)]))
    assert log.losses == [(5, 5.5), (10, 4.5)]


def test_smoothing_is_centred_and_keeps_a_straight_line_straight():
    line = [(step, 2.0 * step) for step in range(200)]
    assert [value for _, value in smoothed(line)] == pytest.approx([value for _, value in line])
    spike = [(step, 9.0 if step == 100 else 0.0) for step in range(200)]
    assert [step for step, value in smoothed(spike) if value] == list(range(96, 105))
    assert smoothed(spike)[100][1] == pytest.approx(1.0)


def test_one_run_tells_its_figures_and_their_contracts(tmp_path):
    svg = training_picture([run(tmp_path, WHOLE)], "svg")
    ElementTree.fromstring(svg)
    words = written(svg)
    assert "validation perplexity 71.25 · test perplexity 68.50" in words
    assert f"while training: {EPOCH_SIGNATURE}" in words
    assert f"end of run: {FINAL_SIGNATURE}" in words
    assert "72.50" in words
    assert "learning rate" in words
    assert "tokens a second" in words


def test_a_run_that_goes_on_tells_its_last_epoch(tmp_path):
    assert "validation perplexity 80.00 after epoch 1" in written(training_picture([run(tmp_path, WHOLE[:4])], "svg"))
    assert "not validated yet" in written(training_picture([run(tmp_path, WHOLE[:1])], "svg"))


def test_several_runs_share_a_picture_with_a_legend(tmp_path):
    first, second = run(tmp_path / "first", WHOLE), run(tmp_path / "second", [step(5, 6.0), epoch(1, 95.0)])
    words = written(training_picture([first, second], "svg"))
    assert "first · best 72.50" in words
    assert "second · best 95.00" in words
    assert "Perplexity of 2 runs" in words
    assert f"end of run of first: {FINAL_SIGNATURE}" in words
    assert f"while training: {EPOCH_SIGNATURE}" in words


@pytest.mark.parametrize("format", ["svg", "png"])
def test_the_same_runs_give_the_same_bytes(tmp_path, format):
    run(tmp_path, WHOLE)
    assert training_picture([tmp_path], format) == training_picture([tmp_path], format)
    assert training_picture([tmp_path], "png").startswith(b"\x89PNG\r\n\x1a\n")


def test_a_run_that_exploded_is_drawn(tmp_path):
    metrics = [step(5, 6.0), step(10, 5000.0), epoch(1, 1e300)]
    ElementTree.fromstring(training_picture([run(tmp_path, metrics)], "svg"))


def test_names_are_not_read_as_formulas(tmp_path):
    assert "$x_1$" in written(training_picture([run(tmp_path / "$x_1$", WHOLE)], "svg"))


def test_pictures_enter_the_manifest_of_a_run(tmp_path):
    folder = RunFolder(run(tmp_path, WHOLE))
    recipe = load_recipe("demo")
    config = {
        "recipe_name": "demo",
        "recipe": recipe.model_dump(mode="json"),
        "parameters": 1_234_567,
        "corpus": {"name": "own", "source": ""},
    }
    folder.write({"config.json": json.dumps(config).encode()})
    paths = write_training_pictures(folder)
    assert [path.name for path in paths] == ["training.svg", "training.png"]
    assert "own · demo · 1,234,567 parameters" in written(folder.read("training.svg"))
    assert folder.read("training.png") == training_picture([tmp_path], "png")
