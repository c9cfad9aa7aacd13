from types import SimpleNamespace

import numpy as np
import pytest
import torch

from recurlm.config import Recipe
from recurlm.runs.config import CONFIG_KEYS, RUN_FORMAT, RunConfig, Start
from recurlm.version import CODE_VERSION


def config(time_limit: float | None, start: Start | None) -> RunConfig:
    return RunConfig(Recipe(), "demo", "text.txt", 5, "cpu", "fp32", 3, time_limit, start)


@pytest.mark.parametrize("time_limit", [None, 90.0])
@pytest.mark.parametrize("start", [None, Start("runs/first", "0123")])
def test_a_configuration_comes_back_from_its_file(time_limit, start):
    text = SimpleNamespace(digest="abcd", ids=np.zeros(9), sentences=2, oov=1)
    vocabulary = SimpleNamespace(digest="ef01")
    codec = SimpleNamespace(vocabulary=type("Words", (), {"__len__": lambda _: 7, **vars(vocabulary)})())
    corpus = SimpleNamespace(name="fruit", codec=codec, splits={"train": text})
    ours = config(time_limit, start)
    values = ours.to_json(corpus, parameters=123)
    assert RunConfig.from_json(values, ours.recipe) == ours
    assert set(CONFIG_KEYS) <= set(values)
    assert (values["format"], values["recurlm"], values["parameters"]) == (RUN_FORMAT, CODE_VERSION, 123)
    assert values["repeatable"] is (time_limit is None)
    assert values["vocabulary"] == {"size": 7, "digest": "ef01"}
    split = {"digest": "abcd", "tokens": 9, "sentences": 2, "oov": 1}
    assert values["corpus"] == {"source": "text.txt", "name": "fruit", "splits": {"train": split}}
    assert values["versions"]["torch"] == torch.__version__
    assert values["versions"]["numpy"] == np.__version__
    assert Recipe.model_validate(values["recipe"], strict=False) == ours.recipe
