import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from recurlm.errors import InputError, RecurlmError, StoppedError, UsageError
from recurlm.evaluation.perplexity import Perplexity
from recurlm.progress import Silent
from recurlm.recipe_files import load_recipe
from recurlm.search.findings import Findings
from recurlm.search.search import Objective, Search, SearchRequest, TrialWatcher, open_search, search
from recurlm.search.study import Trial
from recurlm.text.places import DataPlaces
from recurlm.training.loop import AfterValidation
from recurlm.training.request import TrainingRequest
from recurlm.training.result import Result
from recurlm.training.setup import prepare_training
from recurlm.training.step import DivergedError
from recurlm.training.stopping import StopRequest
from small_runs import Listener

pytest.importorskip("optuna")

RATE = "optimizer.learning_rate"
FOREVER = math.inf


def measured(perplexity: float) -> Perplexity:
    return Perplexity(math.log(perplexity), 1, 0, None, "stream", "signature")


def result(perplexity: float) -> Result:
    return Result("run", 1, 1, 0.0, measured(perplexity), None)


def bowl(trial: Trial, judge: AfterValidation, stop: StopRequest) -> Result:
    """Perplexity 50 at a learning rate of 0.01, and more on either side."""
    return result(50 + 10 * (math.log10(trial.values[RATE]) + 2) ** 2)


@pytest.fixture
def request_for(corpus_folder: Path, small_recipe: Callable[..., Path], tmp_path: Path) -> Callable[..., SearchRequest]:
    """A search over the learning rate of the small recipe, in a folder of this name."""

    def request(
        out: str, *, resume: bool = False, vary: tuple[str, ...] = (f"{RATE}=log:1e-4..1.0",), **others: object
    ) -> SearchRequest:
        training = TrainingRequest(
            text=str(corpus_folder),
            recipe=str(small_recipe(training={"epochs": 2, "precision": "fp32"})),
            out=tmp_path / out,
            device="cpu",
            resume=resume,
            places=DataPlaces(cache_directory=tmp_path / "cache"),
        )
        return SearchRequest(replace(training, **others), vary)

    return request


@pytest.fixture
def opened(request_for: Callable[..., SearchRequest]) -> Search:
    return open_search(request_for("search"))


def states(search: Search) -> list[str]:
    return [trial.state for trial in search.study.trials]


def test_a_known_optimum_is_found(opened: Search) -> None:
    found = opened.run(30, FOREVER, Silent(), bowl)
    rates = [trial.values[RATE] for trial in found.trials]
    assert len(rates) == 30
    distances = [abs(math.log10(rate) + 2) for rate in rates]
    assert found.best.values[RATE] == rates[distances.index(min(distances))]
    assert min(distances) < 0.5
    # the first ten are drawn blindly from four decades, the others where it was good
    assert sum(distances[10:]) / 20 < sum(distances[:10]) / 10
    recipe = load_recipe(str(found.recipe))
    assert recipe.optimizer.learning_rate == found.best.values[RATE]
    assert recipe.corpus == opened.request.text


def test_the_best_recipe_says_where_it_comes_from(opened: Search) -> None:
    found = opened.run(2, FOREVER, Silent(), scripted([[30.0], [20.0]]))
    recipe = load_recipe(str(found.recipe))
    about = opened.recipe.source or opened.recipe.description or "a recipe of one's own"
    assert recipe.source == f"trial 002 of a search around: {about}"
    assert recipe.result == "valid perplexity 20 (signature)"
    ours = replace(opened, recipe=opened.recipe.model_copy(update={"source": "", "description": "of my own"}))
    assert ours._recipe_of(found.best).source == "trial 002 of a search around: of my own"
    ours = replace(opened, recipe=opened.recipe.model_copy(update={"source": "", "description": ""}))
    assert ours._recipe_of(found.best).source == "trial 002 of a search around: a recipe of one's own"


def test_every_trial_is_told_with_its_values(opened: Search) -> None:
    watcher = Listener()

    def stopping(trial: Trial, judge: AfterValidation, stop: StopRequest) -> Result:
        if trial.number == 4:
            judge(1, measured(25.0))
            stop.requested = True
            raise StoppedError("stopped")
        return scripted([[30.0], [20.0], [20.0]])(trial, judge, stop)

    with pytest.raises(StoppedError, match="3 trials done"):
        opened.run(5, FOREVER, watcher, stopping)
    assert [line.partition("  learning_rate")[0].partition("  optimizer")[0] for line in watcher.said] == [
        "trial 001  valid 30, the best so far",
        "trial 002  valid 20, the best so far",
        "trial 003  valid 20",
        "trial 004  stopped after 1 epoch, goes on with --resume",
    ]
    assert watcher.said[0].endswith(f"  {RATE}={opened.study.trials[0].values[RATE]:.4g}")


@pytest.mark.parametrize(("time", "seconds"), [(None, FOREVER), ("2m", 120.0)])
def test_a_search_tells_what_it_varies_and_how_far_its_trials_are(
    request_for: Callable[..., SearchRequest], monkeypatch: pytest.MonkeyPatch, time: str | None, seconds: float
) -> None:
    runs: list[tuple[object, ...]] = []
    monkeypatch.setattr(Search, "run", lambda self, *arguments: runs.append((self.folder, *arguments)))
    watcher = Listener()
    request = replace(request_for("search"), trials=1, time=time)
    search(request, watcher)
    folder = request.training.out
    assert runs == [(folder, 1, seconds, watcher)]
    assert watcher.said == [f"search {folder}: 0 of 1 trial done", f"       --vary {RATE}=log:0.0001..1.0"]
    TrialWatcher(watcher, Trial(7, {})).tick(0.5, "epoch 1")
    assert watcher.shown == [(0.5, "trial 007  epoch 1")]


def test_a_search_has_twenty_trials_and_no_limit_unless_told_otherwise() -> None:
    request = SearchRequest(TrainingRequest())
    assert (request.trials, request.time) == (20, None)
    assert (Trial(1, {}).seconds, Trial(1, {}).state) == (0.0, "unfinished")


def test_a_space_of_few_values_is_tried_once(request_for: Callable[..., SearchRequest]) -> None:
    watcher = Listener()
    opened = open_search(request_for("search", vary=("batches.bptt=5|7",)))
    found = opened.run(9, FOREVER, watcher, scripted([[30.0], [20.0]]))
    assert sorted(trial.values["batches.bptt"] for trial in found.trials) == [5, 7]
    assert watcher.said[-1] == "every combination was tried"


def test_without_a_complete_trial_the_search_asks_for_more(opened: Search) -> None:
    with pytest.raises(RecurlmError, match="no trial is complete; go on with --resume, more --time or --trials"):
        opened.run(1, 0.0, Silent(), bowl)


def test_findings_in_json_and_in_words(tmp_path: Path) -> None:
    trials = (Trial(1, {RATE: 0.1}, "complete", [80.0], 74.5, "s", 6.0), Trial(2, {RATE: 0.2}, "failed", note="no"))
    found = Findings(tmp_path / "best.toml", trials[0], trials, 1)
    json = found.to_json()
    assert (json["recipe"], json["best"], json["valid_perplexity"], json["signature"]) == (
        str(tmp_path / "best.toml"), 1, 74.5, "s",
    )  # fmt: skip
    assert json["trials"][1]["note"] == "no"
    assert found.summary().splitlines() == [
        "best   trial 001: valid perplexity 74.50  [s]",
        f"next   recurlm train --recipe {tmp_path / 'best.toml'}",
    ]
    assert replace(found, seed=2).summary().endswith("best.toml --seed 2")


@pytest.mark.parametrize("name", ["search.json", "trials.jsonl"])
def test_a_link_in_the_place_of_a_file_is_replaced(
    opened: Search, request_for: Callable[..., SearchRequest], name: str, tmp_path: Path
) -> None:
    opened.run(1, FOREVER, Silent(), bowl)
    path, outside = opened.folder / name, tmp_path / "outside"
    path.rename(outside)
    content = outside.read_bytes()
    path.symlink_to(outside)
    open_search(request_for("search", resume=True)).run(2, FOREVER, Silent(), bowl)
    assert not path.is_symlink()
    assert outside.read_bytes() == content


@pytest.mark.parametrize("name", ["trials", "trials/001"])
def test_a_link_in_the_place_of_a_folder_of_trials_is_not_written_through(
    opened: Search, name: str, tmp_path: Path
) -> None:
    (tmp_path / "outside").mkdir()
    (opened.folder / name).parent.mkdir(exist_ok=True)
    (opened.folder / name).symlink_to(tmp_path / "outside")
    with pytest.raises(RecurlmError):
        opened.run(1, FOREVER, Silent())
    assert "is a link" in opened.study.trials[0].note
    assert list((tmp_path / "outside").iterdir()) == []


def scripted(curves: list[list[float]]) -> Objective:
    """Each trial in turn has these validations."""

    def objective(trial: Trial, judge: AfterValidation, stop: StopRequest) -> Result:
        for epoch, perplexity in enumerate(curves[trial.number - 1], start=1):
            judge(epoch, measured(perplexity))
        return result(curves[trial.number - 1][-1])

    return objective


def test_a_trial_that_falls_behind_is_pruned_and_says_so(request_for: Callable[..., SearchRequest]) -> None:
    opened = open_search(request_for("search", changes=("training.epochs=3",)))
    watcher = Listener()
    complete = [[90.0, value, value] for value in (10.0, 20.0, 30.0, 40.0, 50.0)]
    # after two epochs the median is 30; after the last epoch nothing is left to save
    opened.run(8, FOREVER, watcher, scripted([*complete, [9.0, 8.0, 7.0], [90.0, 31.0, 1.0], [90.0, 25.0, 80.0]]))
    assert states(opened) == ["complete"] * 6 + ["pruned", "complete"]
    assert opened.study.trials[6].curve == pytest.approx([90.0, 31.0])
    assert opened.study.best is opened.study.trials[5]
    assert "trial 007  pruned after 2 epochs at 31  " in watcher.said[6]


def test_what_diverges_or_fails_is_noted_and_the_search_goes_on(opened: Search) -> None:
    errors = {1: DivergedError("the loss is nan at step 3; more"), 2: InputError("sizes do not fit")}

    def objective(trial: Trial, judge: AfterValidation, stop: StopRequest) -> Result:
        if trial.number in errors:
            raise errors[trial.number]
        return result(20.0)

    found = opened.run(3, FOREVER, Silent(), objective)
    assert states(opened) == ["diverged", "failed", "complete"]
    assert [trial.note for trial in found.trials] == ["the loss is nan at step 3", "sizes do not fit", ""]
    assert found.best.number == 3


def test_where_no_trial_is_complete_the_reason_is_told(opened: Search) -> None:
    def objective(trial: Trial, judge: AfterValidation, stop: StopRequest) -> Result:
        raise InputError("sizes do not fit")

    with pytest.raises(RecurlmError, match="no trial is complete\nthe last one: sizes do not fit"):
        opened.run(2, FOREVER, Silent(), objective)


def test_when_the_time_is_up_the_trial_in_progress_stops_and_no_other_begins(
    opened: Search, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 1000.0
    monkeypatch.setattr("recurlm.search.search.time", SimpleNamespace(monotonic=lambda: now))

    def objective(trial: Trial, judge: AfterValidation, stop: StopRequest) -> Result:
        nonlocal now
        now += 40
        if stop.requested:
            raise StoppedError("stopped")
        return result(20.0)

    found = opened.run(5, 60, Silent(), objective)
    assert states(opened) == ["complete", "unfinished"]
    assert [trial.seconds for trial in found.trials] == [40, 40]
    # 80 seconds are spent, so that 100 leave 20
    opened.run(5, 80, Silent(), bowl)
    assert states(opened) == ["complete", "unfinished"]
    opened.run(5, 100, Silent(), objective)
    assert states(opened) == ["complete", "unfinished"]
    assert opened.study.trials[1].seconds == 80
    opened.run(3, FOREVER, Silent(), objective)
    assert states(opened) == ["complete"] * 3


def test_the_seconds_of_a_trial_are_kept_after_each_epoch(opened: Search, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr("recurlm.search.search.time", SimpleNamespace(monotonic=lambda: now))
    kept: list[float] = []

    def objective(trial: Trial, judge: AfterValidation, stop: StopRequest) -> Result:
        nonlocal now
        for epoch in (1, 2):
            now += 40
            judge(epoch, measured(20.0))
            kept.append(json.loads(opened.study.path.read_text())["seconds"])
        now += 5
        return result(20.0)

    found = opened.run(1, FOREVER, Silent(), objective)
    assert kept == [40, 80]
    assert found.best.seconds == 85


def test_a_signal_stops_the_search_which_goes_on_later(
    opened: Search, request_for: Callable[..., SearchRequest]
) -> None:
    def interrupted(trial: Trial, judge: AfterValidation, stop: StopRequest) -> Result:
        if trial.number == 3:
            stop.requested = True
            raise StoppedError("stopped")
        return bowl(trial, judge, stop)

    with pytest.raises(StoppedError, match="2 trials done; go on with the same command and --resume"):
        opened.run(5, FOREVER, Silent(), interrupted)
    resumed = open_search(request_for("search", resume=True))
    begun = resumed.study.trials[2].values
    found = resumed.run(5, FOREVER, Silent(), bowl)
    assert states(resumed) == ["complete"] * 5
    assert resumed.study.trials[2].values == begun
    undisturbed = open_search(request_for("other")).run(5, FOREVER, Silent(), bowl)
    assert [trial.values for trial in found.trials] == [trial.values for trial in undisturbed.trials]


def test_another_command_does_not_go_on(opened: Search, request_for: Callable[..., SearchRequest]) -> None:
    with pytest.raises(InputError, match="already holds a search; add --resume"):
        open_search(request_for("search"))
    for others, key in (
        ({"seed": 2}, "seed"),
        ({"changes": ("training.epochs=7",)}, "training.epochs"),
        ({"vary": (f"{RATE}=log:1e-4..0.1",)}, "vary"),
    ):
        with pytest.raises(InputError, match=f"begun with another {key}"):
            open_search(request_for("search", resume=True, **others))
    Path(str(opened.request.text), "valid.txt").write_text("the red fruit is a lime\n")
    with pytest.raises(InputError, match="begun with another digests"):
        open_search(request_for("search", resume=True))


def test_a_search_in_earnest_is_resumed_in_the_middle_of_a_trial(
    request_for: Callable[..., SearchRequest],
) -> None:
    def values(found: Findings) -> list[tuple[object, ...]]:
        return [(trial.values, trial.curve, trial.perplexity, trial.signature) for trial in found.trials]

    expected = search(replace(request_for("whole"), trials=3), Silent())
    cut = open_search(request_for("cut"))
    whole = cut._objective(Silent())

    def interrupted(trial: Trial, judge: AfterValidation, stop: StopRequest) -> Result:
        def stopping(epoch: int, perplexity: Perplexity) -> None:
            judge(epoch, perplexity)
            stop.requested = trial.number == 2

        return whole(trial, stopping, stop)

    with pytest.raises(StoppedError):
        cut.run(3, FOREVER, Silent(), interrupted)
    assert states(cut) == ["complete", "unfinished"]
    assert len(cut.study.trials[1].curve) == 1
    assert list((cut.folder / "trials/002/checkpoints").iterdir())
    found = search(replace(request_for("cut", resume=True), trials=3), Silent())
    assert values(found) == values(expected)
    assert not list(cut.folder.glob("trials/*/checkpoints"))


def test_the_best_recipe_trains_to_the_same_model(request_for: Callable[..., SearchRequest], tmp_path: Path) -> None:
    found = search(replace(request_for("search"), trials=2), Silent())
    request = replace(
        request_for("again").training,
        text=None,
        recipe=str(found.recipe),
        changes=(),
        precision=None,
        out=tmp_path / "run",
    )
    again = prepare_training(request, Silent()).fit(StopRequest())
    assert again.valid.value == found.best.perplexity
    assert again.valid.signature == found.best.signature
    assert again.test is not None


def test_the_test_text_is_never_read(
    request_for: Callable[..., SearchRequest], corpus_folder: Path, tmp_path: Path
) -> None:
    (corpus_folder / "test.txt").write_bytes(b"this \xff is no UTF-8\n")
    request = replace(request_for("search"), trials=1)
    search(request, Silent())
    run = tmp_path / "search" / "trials" / "001"
    assert set(json.loads((run / "config.json").read_text())["corpus"]["splits"]) == {"train", "valid"}
    final = json.loads((run / "metrics.jsonl").read_text().splitlines()[-1])
    assert final["event"] == "final"
    assert final["test_perplexity"] is None
    with pytest.raises(InputError, match="not UTF-8"):
        prepare_training(replace(request.training, out=tmp_path / "run"), Silent())


def test_a_search_needs_a_valid_text(request_for: Callable[..., SearchRequest], corpus_folder: Path) -> None:
    (corpus_folder / "valid.txt").unlink()
    with pytest.raises(InputError, match="no valid text to choose by"):
        open_search(request_for("search"))


@pytest.mark.parametrize(
    ("others", "error", "message"),
    [
        ({"changes": ("validation.split=test",)}, InputError, "no choice may rest on"),
        ({"time_limit": "1m"}, UsageError, "leave --from, --time-limit and --precision out"),
        ({"changes": ("training.until=time",)}, UsageError, "trials of a search are of equal epochs"),
        ({"text": "-"}, UsageError, "write what comes through the pipe into a file"),
        ({"changes": ("validation.every=2",)}, UsageError, "add --set validation.every=1"),
        ({"changes": (f"{RATE}=0.1",)}, UsageError, "--vary has the same key"),
    ],
)
def test_what_a_search_cannot_do_is_refused_before_anything_is_written(
    others: dict[str, object],
    error: type[RecurlmError],
    message: str,
    request_for: Callable[..., SearchRequest],
    tmp_path: Path,
) -> None:
    with pytest.raises(error, match=message):
        open_search(request_for("search", **others))
    assert not (tmp_path / "search").exists()


def test_the_table_begins_with_the_best(tmp_path: Path) -> None:
    trials = (
        Trial(1, {RATE: 0.1, "batches.bptt": 20}, "complete", [80.0, 75.0], 74.5, "s", 61.0),
        Trial(2, {RATE: 0.25, "batches.bptt": 35}, "pruned", [300.0], seconds=30.0),
        Trial(3, {RATE: 0.01, "batches.bptt": 35}, "complete", [70.0, 65.0], 64.25, "s", 62.0),
    )
    assert Findings(tmp_path / "best.toml", trials[2], trials, 1).table().splitlines() == [
        "trial     state  valid  epochs  time  learning_rate  bptt",
        "  003  complete  64.25       2  1:02           0.01    35",
        "  001  complete   74.5       2  1:01            0.1    20",
        "  002    pruned              1  0:30           0.25    35",
    ]
