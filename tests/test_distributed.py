import pytest
from hypothesis import given
from hypothesis import strategies as st

from recurlm.distributed import Team


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
