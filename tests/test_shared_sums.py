import os
import threading

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from recurlm.shared_sums import SharedFile, SharedSums, bytes_to_sum, mapped

SHAPES = st.lists(st.lists(st.integers(0, 7), max_size=3).map(tuple), min_size=1, max_size=4)
TYPES = st.sampled_from([torch.float32, torch.float64, torch.int64])


def sum_in_threads(values: list[list[list[torch.Tensor]]], memory: torch.Tensor) -> None:
    """Each thread plays a process: it sums its tensors of each round with those of the others, in place."""
    barrier = threading.Barrier(len(values), timeout=20)

    def play(rank: int) -> None:
        sums = SharedSums(memory, rank, len(values), barrier.wait)
        for tensors in values[rank]:
            assert sums.holds(tensors)
            sums.add(tensors)

    threads = [threading.Thread(target=play, args=(rank,)) for rank in range(len(values))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


@given(st.integers(2, 4), st.lists(SHAPES, min_size=1, max_size=3), TYPES, st.integers(0, 1000))
def test_every_process_has_the_same_sums_round_after_round(count, rounds, kind, seed):
    drawn = torch.Generator().manual_seed(seed)
    # whole numbers, whose sums do not depend on the order
    values = [
        [[torch.randint(-1000, 1000, shape, generator=drawn).to(kind) for shape in shapes] for shapes in rounds]
        for _ in range(count)
    ]
    expected = [[sum(parts) for parts in zip(*tensors, strict=True)] for tensors in zip(*values, strict=True)]
    memory = torch.zeros(max(bytes_to_sum(tensors, count) for tensors in values[0]), dtype=torch.uint8)
    sum_in_threads(values, memory)
    for process in values:
        for tensors, sums in zip(process, expected, strict=True):
            for tensor, total in zip(tensors, sums, strict=True):
                assert torch.equal(tensor, total)


def test_processes_have_the_same_bits_whatever_the_rounding():
    values = [[[torch.randn(1001) * 10**rank]] for rank in range(3)]
    parts = [process[0][0].double() for process in values]
    sum_in_threads(values, torch.zeros(bytes_to_sum(values[0][0], 3), dtype=torch.uint8))
    first, *others = (process[0][0] for process in values)
    assert all(torch.equal(first, other) for other in others)
    torch.testing.assert_close(first.double(), torch.stack(parts).sum(0), rtol=1e-6, atol=1e-5)


def test_tensors_that_do_not_fit_are_seen_before_they_are_summed():
    tensors = [torch.zeros(100)]
    memory = torch.zeros(bytes_to_sum(tensors, 2), dtype=torch.uint8)
    sums = SharedSums(memory, 0, 2, lambda: None)
    assert sums.holds(tensors)
    assert not sums.holds([torch.zeros(1000)])


@pytest.mark.skipif(not hasattr(os, "memfd_create"), reason="memory without a name is of Linux")
def test_memory_is_shared_and_ends_with_its_tensors():
    file = SharedFile(4096)
    first, second = mapped(file.place, 4096), mapped(file.place, 4096)
    file.close()
    assert first is not None
    assert second is not None
    first[7] = 42
    assert second[7] == 42
    assert mapped(file.place, 4096) is None


@pytest.mark.skipif(not hasattr(os, "memfd_create"), reason="memory without a name is of Linux")
def test_another_file_with_the_same_numbers_is_left_alone(tmp_path):
    other = tmp_path / "other"
    other.write_bytes(bytes(4096))
    with other.open("r+b") as file:
        assert mapped((os.getpid(), file.fileno(), 12345), 4096) is None
    assert other.read_bytes() == bytes(4096)


def test_memory_that_cannot_be_made_is_none(monkeypatch):
    monkeypatch.delattr(os, "memfd_create", raising=False)
    file = SharedFile(4096)
    file.close()
    assert mapped(file.place, 4096) is None


@pytest.mark.skipif(not hasattr(os, "memfd_create"), reason="memory without a name is of Linux")
def test_a_full_machine_gives_no_memory(monkeypatch):
    def full(*_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    file = SharedFile(4096)
    assert mapped(file.place, 4096) is None
    file.close()
