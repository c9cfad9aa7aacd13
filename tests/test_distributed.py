import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from recurlm.cli import processes
from recurlm.cli.processes import settle_processes
from recurlm.devices import resolve_device
from recurlm.distributed import Team, open_team
from recurlm.errors import UsageError


def member(rank: int, count: int) -> Team:
    team = Team()
    team.rank, team.count = rank, count
    return team


@given(st.integers(1, 40), st.integers(0, 100))
def test_each_column_belongs_to_one_process_and_the_shares_are_equal(count, total):
    shares = [range(total)[member(rank, count).columns(total)] for rank in range(count)]
    assert [column for share in shares for column in share] == list(range(total))
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


def test_a_process_alone_leads_and_its_sums_are_its_values():
    with Team() as team:
        assert team.leads
        assert team.sum([2.5, 1.0]) == [2.5, 1.0]
        assert team.first(3.0) == 3.0
        assert team.columns(20) == slice(0, 20)


@pytest.mark.parametrize("rank", [0, 1])
def test_the_first_process_leads(rank):
    assert member(rank, 2).leads == (rank == 0)


@pytest.mark.parametrize(("rank", "error"), [("0", UsageError), ("1", SystemExit)])
def test_an_error_of_all_processes_of_torchrun_is_told_by_the_first(monkeypatch, rank, error):
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "theirs")
    monkeypatch.setenv("LOCAL_RANK", rank)
    monkeypatch.setattr(processes, "SECONDS_TO_TELL", 0)
    with pytest.raises(error), processes.told_by_first():
        resolve_device("gpu")


def test_more_processes_than_gpus_are_refused(monkeypatch):
    started = {"TORCHELASTIC_RUN_ID": "x", "WORLD_SIZE": "3", "LOCAL_RANK": "0", "LOCAL_WORLD_SIZE": "3"}
    for name, value in started.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(UsageError, match="3 processes need as many GPUs; this machine has 2"):
        open_team("cuda")


def test_one_launched_process_is_a_team_of_its_own(monkeypatch):
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "x")
    monkeypatch.setenv("WORLD_SIZE", "1")
    assert open_team("cpu").count == 1


def test_another_number_of_processes_than_was_started_is_refused(monkeypatch):
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "x")
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert settle_processes(None, 0, "") is None
    assert settle_processes(2, 0, "") is None
    with pytest.raises(UsageError, match="--processes 3: torchrun started 2 processes"):
        settle_processes(3, 0, "")


def test_restarts_belong_to_several_processes():
    assert settle_processes(1, 0, "") is None
    with pytest.raises(UsageError, match="--max-restarts belongs to --processes 2 or more"):
        settle_processes(None, 3, "")
