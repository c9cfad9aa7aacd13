"""Packed states and ids: what comes back is what went in, in few bytes."""

import pytest
import torch

from recurlm.models.memory import State
from recurlm.serving.sessions.errors import DamagedSessionError
from recurlm.serving.sessions.packing import pack_ids, pack_state, sealed, unpack_ids, unpack_state, unsealed

LAYERS = ((torch.tensor([[1.0, -2.5, 0.0]]), torch.tensor([[0.1, -3e-40, 7e30]])),)
LIKE = ((torch.zeros(1, 3), torch.zeros(1, 3)),)


def test_a_state_comes_back_and_rounded_numbers_take_two_bytes() -> None:
    state = State(LAYERS, 70_000, "ab" * 32)
    packed = pack_state(state)
    assert len(packed) == 4 + 2 + 3 * 2 + 3 * 4
    assert packed[4:6] == bytes([2, 4])
    assert packed[6:12] == bytes.fromhex("803f20c00000")  # 1, -2.5 and 0 in bfloat16, little endian
    assert unpack_state(packed, LIKE, state.model) == state


def test_a_minus_zero_stays_one() -> None:
    state = State(((torch.tensor([[-0.0, 0.0]]),),), 0, "")
    (((found,),),) = (unpack_state(pack_state(state), ((torch.zeros(1, 2),),), "").layers,)
    assert torch.signbit(found).tolist() == [[True, False]]


@pytest.mark.parametrize("content", [b"", b"\0" * 7, b"\0\0\0\0\2\4" + b"\0" * 19, b"\0\0\0\0\3\3" + b"\0" * 18])
def test_other_content_is_refused(content: bytes) -> None:
    with pytest.raises(ValueError, match=r"bytes|shorter|longer"):
        unpack_state(content, LIKE, "")


def test_ids_take_two_bytes_or_four() -> None:
    assert pack_ids((1, 258)) == bytes([2, 1, 0, 2, 1])
    assert pack_ids((1, 65_536)) == bytes([4, 1, 0, 0, 0, 0, 0, 1, 0])
    assert [unpack_ids(pack_ids(ids)) for ids in [(), (65_535,), (1, 2**31)]] == [(), (65_535,), (1, 2**31)]


def test_every_flipped_bit_is_noticed() -> None:
    stored = sealed(b"content")
    assert unsealed(stored, "it") == b"content"
    for bit in range(8 * len(stored)):
        flipped = bytearray(stored)
        flipped[bit // 8] ^= 1 << bit % 8
        with pytest.raises(DamagedSessionError, match="it: altered since it was written"):
            unsealed(bytes(flipped), "it")
