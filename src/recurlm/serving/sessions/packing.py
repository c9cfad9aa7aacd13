"""States and ids as few bytes; stored bytes carry a digest, so a flipped bit is noticed.

A packed state is the id of the last token (4 bytes), one byte for each tensor, and the numbers of the tensors, little
endian. The byte says how a tensor's numbers are written: 4 bytes each, or 2 where the lower half of each is zero, as it
is in numbers that were rounded to bfloat16.
"""

import hashlib
from itertools import accumulate, pairwise

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from recurlm.models.memory import State
from recurlm.models.state import LayerStates
from recurlm.serving.sessions.errors import DamagedSessionError

DIGEST_BYTES = 16
LAST_BYTES = 4
SHORT_ID = 1 << 16


def sealed(content: bytes) -> bytes:
    """Content with its digest before it."""
    return hashlib.blake2b(content, digest_size=DIGEST_BYTES).digest() + content


def unsealed(stored: bytes, place: str) -> bytes:
    """What `sealed` was given. Raises DamagedSessionError, naming the place, where a bit has changed."""
    digest, content = stored[:DIGEST_BYTES], stored[DIGEST_BYTES:]
    if hashlib.blake2b(content, digest_size=DIGEST_BYTES).digest() != digest:
        raise DamagedSessionError(f"{place}: altered since it was written; delete the session and read the text again")
    return content


def pack_ids(ids: tuple[int, ...]) -> bytes:
    """Ids as 2 bytes each, or 4 where one of them needs them; the first byte says which."""
    width = 2 if max(ids, default=0) < SHORT_ID else 4
    return bytes([width]) + np.array(ids, f"<u{width}").tobytes()


def unpack_ids(content: bytes) -> tuple[int, ...]:
    """The ids that `pack_ids` was given."""
    return tuple(np.frombuffer(content, f"<u{content[0]}", offset=1).tolist())


def pack_state(state: State) -> bytes:
    """A state without the digest of its model."""
    parts = [_pack(tensor) for layer in state.layers for tensor in layer]
    widths = bytes(width for width, _ in parts)
    return state.last.to_bytes(LAST_BYTES, "little") + widths + b"".join(content for _, content in parts)


def unpack_state(content: bytes, like: LayerStates, model: str) -> State:
    """The state that `pack_state` was given, in float32; `like` has its shapes. Raises ValueError for other content."""
    tensors = [tensor for layer in like for tensor in layer]
    start = LAST_BYTES + len(tensors)
    widths = content[LAST_BYTES:start]
    if strange := set(widths) - {2, 4}:
        raise ValueError(f"no numbers of {strange.pop()} bytes")
    sizes = [width * tensor.numel() for width, tensor in zip(widths, tensors, strict=True)]
    stops = list(accumulate(sizes, initial=start))
    if stops[-1] != len(content):
        raise ValueError(f"{len(content)} bytes instead of {stops[-1]}")
    found = [
        _unpack(content[first:stop], width).reshape(tensor.shape)
        for width, tensor, (first, stop) in zip(widths, tensors, pairwise(stops), strict=True)
    ]
    rest = iter(found)
    layers = tuple(tuple(next(rest) for _ in layer) for layer in like)
    return State(layers, int.from_bytes(content[:LAST_BYTES], "little"), model)


def _pack(tensor: Tensor) -> tuple[int, bytes]:
    halves: NDArray[np.uint16] = tensor.float().contiguous().numpy().astype("<f4", copy=False).view("<u2")
    if halves[..., ::2].any():
        return 4, halves.tobytes()
    return 2, halves[..., 1::2].tobytes()


def _unpack(content: bytes, width: int) -> Tensor:
    stored = np.frombuffer(content, f"<u{width}")
    bits = stored.astype("<u4") << (32 - 8 * width)
    return torch.from_numpy(bits.view("<f4").astype(np.float32))
