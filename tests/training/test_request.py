import json
from collections.abc import Callable
from pathlib import Path

import pytest

from recurlm.config import Recipe
from recurlm.errors import InputError, UsageError
from recurlm.recipe_files import differing_keys, parse_recipe, parse_recorded_recipe
from recurlm.runs.folder import RunFolder
from recurlm.training.loop import Trainer
from recurlm.training.opening import open_run
from recurlm.training.request import TrainingRequest, parse_duration
from recurlm.training.resuming import _refuse_other_recipe
from recurlm.training.stopping import StopRequest

OpenTrainer = Callable[..., Trainer]


@pytest.fixture
def nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder to work in."""
    folder = tmp_path / "empty"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


@pytest.mark.parametrize("asked", [{}, {"changes": ("training.epochs=3",)}, {"seed": 5}, {"time_limit": "1m"}])
def test_resume_alone_begins_nothing(nowhere: Path, asked: dict) -> None:
    with pytest.raises(InputError, match=r"^nothing to resume: runs/python-docs-demo holds no run; .* --out"):
        open_run(TrainingRequest(resume=True, **asked))
    assert not list(nowhere.iterdir())


@pytest.mark.parametrize("named", [{"text": "python-docs"}, {"recipe": "demo"}, {"out": Path("mine")}])
def test_resume_with_a_text_a_recipe_or_a_folder_begins(nowhere: Path, named: dict) -> None:
    folder, config = open_run(TrainingRequest(resume=True, **named))
    assert not folder.holds_run()
    assert config.source == "python-docs"


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        (("training.epochs=1",), ["training.epochs=2, not 1"]),
        (("training.epochs=2", "optimizer.learning_rate=0.5"), ["optimizer.learning_rate=0.01, not 0.5"]),
        (("model.tied=true", "optimizer.beta1=0.5"), ["model.tied=false, not true", "optimizer.beta1=0.9, not 0.5"]),
        (("training.clip_norm=0.25",), ["training.clip_norm=nothing, not 0.25"]),
    ],
)
def test_a_resumed_run_names_the_keys_that_differ_and_how_to_train_further(
    open_trainer: OpenTrainer, small_recipe: Callable[..., Path], changes: tuple[str, ...], named: list[str]
) -> None:
    trainer = open_trainer("run")
    trainer.fit(StopRequest())
    run = trainer.run.folder.path
    request = TrainingRequest(recipe=str(small_recipe()), changes=changes, out=run, resume=True)
    with pytest.raises(InputError) as refused:
        open_run(request)
    said = str(refused.value)
    assert all(part in said for part in named)
    assert f"recurlm train TEXT --from {run} --out NEW" in said


@pytest.mark.parametrize(
    ("number", "end"), [(1, "key0=1, not 2; leave"), (3, "key2=1, not 2; leave"), (4, "other key)")]
)
def test_at_most_three_keys_that_differ_are_named(tmp_path: Path, number: int, end: str) -> None:
    differing = {"description": ("a", "b"), **{f"key{n}": (2, 1) for n in range(number)}, "source": ("a", "b")}
    with pytest.raises(InputError) as refused:
        _refuse_other_recipe(RunFolder(tmp_path), differing)
    first_line, second_line = str(refused.value).split("\n")
    assert f"was begun with key0=1, not 2{', key1=1, not 2' * (number > 1)}" in first_line
    assert end in first_line
    assert ("(and 1 other key)" in first_line) == (number == 4)
    assert "description" not in first_line
    assert second_line.endswith(f"recurlm train TEXT --from {tmp_path} --out NEW")


def test_nothing_is_asked_for_unless_it_is_said() -> None:
    request = TrainingRequest()
    asked = {name for name, value in vars(request).items() if value}
    assert asked == {"device", "places"}
    assert request.device == "auto"
    assert not request.names_a_run


def test_keys_that_only_describe_a_recipe_may_differ(tmp_path: Path) -> None:
    _refuse_other_recipe(RunFolder(tmp_path), dict.fromkeys(("description", "source", "result", "corpus"), ("a", "b")))


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90s", 90), ("90", 90), ("10m", 600), ("1.5h", 5400), ("1h30m", 5400), (" 1h1m1s ", 3661), ("0.001s", 0.001)],
)
def test_a_duration_is_written_in_hours_minutes_and_seconds(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "0s", "0h0m0", "1d", "m", "1.2.3s", "-5s", "5s1m"])
def test_what_is_no_duration_is_refused_with_its_option(text: str) -> None:
    with pytest.raises(UsageError, match=r"--time .*: write it as 90s, 10m, 1\.5h or 1h30m"):
        parse_duration(text, "--time")


def test_a_recipe_kept_without_the_warm_up_had_none() -> None:
    kept = Recipe().model_dump(mode="json")
    del kept["validation"]["warm_up"]
    assert parse_recorded_recipe(kept, "config.json").validation.warm_up == 0
    assert parse_recorded_recipe({}, "config.json").validation.warm_up == 0
    assert parse_recipe({}, "a recipe").validation.warm_up == 256
    assert parse_recorded_recipe(Recipe().model_dump(mode="json"), "config.json").validation.warm_up == 256


def test_the_command_that_began_an_older_run_goes_on_with_it() -> None:
    kept = Recipe().model_dump(mode="json")
    del kept["validation"]["warm_up"]
    assert differing_keys(Recipe(), kept) == {}
    asked = parse_recipe({"validation": {"warm_up": 8}, "training": {"epochs": 3}}, "the command")
    assert differing_keys(asked, kept) == {"validation.warm_up": (8, 0), "training.epochs": (3, 10)}


def test_a_resumed_older_run_validates_without_a_warm_up(open_trainer: OpenTrainer) -> None:
    trainer = open_trainer("run")
    config = trainer.run.folder.config()
    del config["recipe"]["validation"]["warm_up"]
    trainer.run.folder.write({"config.json": json.dumps(config).encode()})
    trainer.run.claim.__exit__(None, None, None)
    resumed = open_trainer("run", resume=True)
    assert resumed.run.recipe.validation.warm_up == 0
    assert "warm-up" not in resumed.validator.measure("valid").signature
