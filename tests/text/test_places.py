from pathlib import Path

import pytest

from recurlm.errors import UsageError
from recurlm.text.corpora import open_source
from recurlm.text.places import DataPlaces

VARIABLES = ("RECURLM_DATA_DIR", "RECURLM_CACHE_DIR", "RECURLM_OFFLINE")


@pytest.fixture(autouse=True)
def no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in VARIABLES:
        monkeypatch.delenv(variable, raising=False)


@pytest.mark.parametrize("unset", [{}, dict.fromkeys(VARIABLES, "")], ids=["absent", "empty"])
def test_without_variables_the_places_are_those_of_the_system(monkeypatch, unset):
    for variable, value in unset.items():
        monkeypatch.setenv(variable, value)
    places = DataPlaces.from_environment()
    assert places == DataPlaces(None, None, False)
    assert places.cache.is_absolute()
    assert places.cache.name == "recurlm"


def test_the_variables_are_those_of_the_command_line(monkeypatch):
    for variable, value in zip(VARIABLES, ("/data", "/cache", "1"), strict=True):
        monkeypatch.setenv(variable, value)
    places = DataPlaces.from_environment()
    assert places == DataPlaces(Path("/data"), Path("/cache"), offline=True)
    assert places.cache == Path("/cache")


@pytest.mark.parametrize(("value", "offline"), [("yes", True), ("TRUE", True), ("0", False), ("off", False)])
def test_offline_is_switched_by_the_words_that_the_command_line_takes(monkeypatch, value, offline):
    monkeypatch.setenv("RECURLM_OFFLINE", value)
    assert DataPlaces.from_environment().offline is offline


def test_another_word_is_refused(monkeypatch):
    monkeypatch.setenv("RECURLM_OFFLINE", "perhaps")
    with pytest.raises(UsageError, match="RECURLM_OFFLINE=perhaps: write 1 or 0"):
        DataPlaces.from_environment()


def test_a_corpus_is_found_where_the_environment_says(monkeypatch, tmp_path):
    monkeypatch.setenv("RECURLM_CACHE_DIR", str(tmp_path))
    assert open_source("python-docs").train.path.is_relative_to(tmp_path)
