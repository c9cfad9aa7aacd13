import json
import sys
from pathlib import Path

import pytest

from recurlm.errors import CorruptFileError, UsageError
from recurlm.search.search_space import Choice, Range
from recurlm.search.study import Study, Trial

pytest.importorskip("optuna")

RATE = Range("optimizer.learning_rate", 1e-4, 1.0, True)
SIZE = Choice("model.hidden_sizes", ([16], [16, 16]))


def study_with(path: Path, curves: list[list[float]]) -> Study:
    """A study whose complete trials had these validation perplexities."""
    study = Study(path / "trials.jsonl", (RATE,), 1)
    for number, curve in enumerate(curves, start=1):
        study.trials.append(Trial(number, {RATE.key: 0.1}, "complete", curve, curve[-1], "signature"))
    return study


FIVE = [[100.0, value, value] for value in (10.0, 20.0, 30.0, 40.0, 50.0)]


def test_a_trial_above_the_median_after_as_many_epochs_falls_behind(tmp_path: Path) -> None:
    study = study_with(tmp_path, FIVE)
    assert study.falls_behind(Trial(6, {RATE.key: 0.2}, curve=[100.0, 30.5]))
    assert not study.falls_behind(Trial(6, {RATE.key: 0.2}, curve=[100.0, 29.5]))


def test_every_trial_is_given_one_epoch(tmp_path: Path) -> None:
    assert not study_with(tmp_path, FIVE).falls_behind(Trial(6, {RATE.key: 0.2}, curve=[999.0]))


def test_nothing_falls_behind_before_five_trials_are_complete(tmp_path: Path) -> None:
    assert not study_with(tmp_path, FIVE[:4]).falls_behind(Trial(5, {RATE.key: 0.2}, curve=[100.0, 999.0]))


def test_values_lie_in_the_space_and_are_short(tmp_path: Path) -> None:
    whole = Range("batches.bptt", 10, 12)
    study = Study(tmp_path / "trials.jsonl", (RATE, SIZE, whole), 1)
    for _ in range(20):
        trial = study.next()
        assert trial is not None
        trial.state = "failed"
        rate = trial.values[RATE.key]
        assert 1e-4 <= rate <= 1.0
        assert rate == float(f"{rate:.4g}")
        assert trial.values[SIZE.key] in ([16], [16, 16])
        assert trial.values["batches.bptt"] in (10, 11, 12)
    assert {len(trial.values[SIZE.key]) for trial in study.trials} == {1, 2}


def test_values_that_were_tried_are_not_tried_again(tmp_path: Path) -> None:
    space = (SIZE, Choice("model.tied", (True, False)), Range("batches.bptt", 1, 2))
    study = Study(tmp_path / "trials.jsonl", space, 1)
    while (trial := study.next()) is not None:
        trial.state = "failed"
    assert len({json.dumps(trial.values) for trial in study.trials}) == len(study.trials) == 2 * 2 * 2


def test_the_interrupted_trial_comes_again_and_the_next_ones_as_if_nothing_had_been(tmp_path: Path) -> None:
    def go_on(study: Study, until: int) -> None:
        while len(study.over) < until:
            trial = study.next()
            assert trial is not None
            trial.state, trial.perplexity = "complete", 100 * trial.values[RATE.key]
        study.save(study.trials[-1])

    whole = Study(tmp_path / "whole.jsonl", (RATE, SIZE), 3)
    go_on(whole, 14)
    first = Study(tmp_path / "cut.jsonl", (RATE, SIZE), 3)
    go_on(first, 6)
    begun = first.next()
    second = Study(tmp_path / "cut.jsonl", (RATE, SIZE), 3)
    assert begun is not None
    assert second.next() == begun
    go_on(second, 14)
    assert [trial.values for trial in second.trials] == [trial.values for trial in whole.trials]


def test_seeds_give_other_values(tmp_path: Path) -> None:
    trials = [Study(tmp_path / f"{seed}.jsonl", (RATE,), seed).next() for seed in (1, 2)]
    assert trials[0] != trials[1]


def test_the_best_is_the_complete_trial_with_the_lowest_perplexity(tmp_path: Path) -> None:
    study = study_with(tmp_path, [[30.0], [20.0], [20.0]])
    study.trials.append(Trial(4, {RATE.key: 0.1}, "pruned", [1.0]))
    assert study.best is study.trials[1]
    assert Study(tmp_path / "none.jsonl", (RATE,), 1).best is None


def test_a_file_that_is_no_list_of_trials_is_named(tmp_path: Path) -> None:
    path = tmp_path / "trials.jsonl"
    for content in ("{", "[]", '{"number": 1}'):
        path.write_text(content + "\n")
        with pytest.raises(CorruptFileError, match=r"trials.jsonl, line 1"):
            Study(path, (RATE,), 1)


def test_without_the_extra_the_install_command_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(UsageError, match=r"pip install 'recurlm\[search\]'"):
        Study(tmp_path / "trials.jsonl", (RATE,), 1)


@pytest.mark.parametrize(
    "changed",
    [
        {"number": 2},
        {"number": True},
        {"state": "lost"},
        {"values": {}},
        {"values": {RATE.key: "much"}},
        {"values": {RATE.key: 1e9}},
        {"perplexity": None},
        {"curve": ["a"]},
        {"more": 1},
    ],
)
def test_a_trial_that_no_search_has_made_is_refused(tmp_path: Path, changed: dict[str, object]) -> None:
    study = study_with(tmp_path, [[30.0]])
    study.save(study.trials[-1])
    assert len(Study(study.path, (RATE,), 1).trials) == 1
    values = json.loads(study.path.read_text()) | changed
    study.path.write_text(json.dumps(values) + "\n")
    with pytest.raises(CorruptFileError, match=r"trials.jsonl, line 1"):
        Study(study.path, (RATE,), 1)
