"""The names of served models."""

import pytest

from recurlm.serving.models import NAME


@pytest.mark.parametrize("name", ["a", "my run 2", "run-1.5", "小说", "x" * 200])
def test_a_name_may_have_spaces_inside(name: str) -> None:
    assert NAME.fullmatch(name)


@pytest.mark.parametrize("name", ["", " ", " a", "a ", "a/b", "a?b", "a#b", "a%b", "a\nb", "a\tb", "a#", "x" * 201])
def test_a_name_has_nothing_that_clients_leave_unescaped_in_an_address(name: str) -> None:
    assert not NAME.fullmatch(name)
