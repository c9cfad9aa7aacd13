import itertools

import pytest

from recurlm.evaluation.shapes import parts, rounded_up


@pytest.mark.parametrize("length", [0, 1, 3, 4, 21, 63, 64, 1023, 5000])
@pytest.mark.parametrize("largest", [1, 5, 100, 1024])
def test_parts_cover_a_length_once_and_in_order(length, largest):
    places = [place for part in parts(length, largest) for place in range(part.start, part.stop)]
    assert places == list(range(length))


def test_parts_by_hand():
    assert [part.stop - part.start for part in parts(1024 + 64 + 64 + 5)] == [1024, 64, 64, 4, 1]
    assert [part.stop - part.start for part in parts(70, largest=20)] == [16, 16, 16, 16, 4, 1, 1]


def test_all_parts_together_have_few_lengths():
    lengths = {part.stop - part.start for length in range(3000) for part in parts(length)}
    assert lengths == {1, 4, 16, 64, 256, 1024}


def test_sizes_are_rounded_up_by_an_eighth_at_most_above_32():
    assert [rounded_up(size) for size in (1, 4, 5, 60, 64, 65, 72, 73, 128, 129, 1000)] == [
        4, 4, 8, 60, 64, 72, 72, 80, 128, 144, 1024,
    ]  # fmt: skip
    assert len({rounded_up(size) for size in range(1, 1025)}) == 16 + 4 * 8
    assert all(size <= rounded_up(size) < 1.125 * size + 1 for size in range(32, 5000))
    assert all(before <= after for before, after in itertools.pairwise(map(rounded_up, range(1, 5000))))
