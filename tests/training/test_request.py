import json
from collections.abc import Callable
from pathlib import Path

import pytest

from recurlm.config import Recipe
from recurlm.errors import InputError
from recurlm.recipe_files import differing_keys, parse_recipe, parse_recorded_recipe
from recurlm.training.loop import Trainer
from recurlm.training.opening import open_run
from recurlm.training.request import TrainingRequest
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
        (("training.epochs=30",), ["training.epochs=2, not 30"]),
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
