import pytest

from recurlm.distributed import LOST, LostProcessError
from recurlm.launching import _exit_code


@pytest.mark.parametrize(
    ("codes", "cause"),
    [
        ({1: -9, 0: LOST}, r"process 2 of 2 was killed \(SIGKILL\), so all 2 ended"),
        ({1: -9, 0: -15}, r"process 2 of 2 was killed \(SIGKILL\), so all 2 ended"),
        # the launcher kills the process that stalled after the other one has given up
        ({0: LOST, 1: -9}, "a process did not answer, so all 2 ended"),
    ],
)
def test_the_first_process_that_ended_is_the_cause(codes, cause):
    with pytest.raises(LostProcessError, match=cause):
        _exit_code(codes, 2)


@pytest.mark.parametrize("codes", [{0: 3, 1: LOST}, {1: LOST, 0: 3}])
def test_an_error_that_a_process_has_told_is_the_command_s(codes):
    assert _exit_code(codes, 2) == 3
