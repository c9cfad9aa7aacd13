"""Tokens of states: only those that a server with the same secret gave."""

import base64
import hashlib
import hmac

import pytest
import torch

from recurlm.errors import InputError
from recurlm.models.memory import State
from recurlm.serving.sessions.packing import pack_state
from recurlm.serving.sessions.signed import StateTokens

STATE = State(((torch.tensor([[0.1, 0.5]]),),), 3, "ab" * 32)
LIKE = ((torch.zeros(1, 2),),)


def test_a_token_comes_back_as_the_state() -> None:
    tokens = StateTokens(b"secret")
    token = tokens.token(STATE)
    assert tokens.state(token, LIKE) == STATE
    assert tokens.model(token) == STATE.model


def test_a_token_is_version_model_state_and_signature() -> None:
    content = b"\x01" + bytes.fromhex(STATE.model) + pack_state(STATE)
    signature = hmac.new(b"secret", b"recurlm state token\n" + content, hashlib.sha256).digest()
    assert StateTokens(b"secret").token(STATE) == base64.urlsafe_b64encode(content + signature).decode()


def test_an_altered_token_is_refused() -> None:
    tokens = StateTokens(b"secret")
    content = base64.urlsafe_b64decode(tokens.token(STATE))
    for place in range(len(content)):
        altered = content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :]
        with pytest.raises(InputError, match="altered, or given by a server with another secret"):
            tokens.state(base64.urlsafe_b64encode(altered).decode(), LIKE)


def test_a_token_of_another_server_is_refused() -> None:
    with pytest.raises(InputError, match="another secret"):
        StateTokens(b"secret").state(StateTokens(b"other").token(STATE), LIKE)


def test_a_token_of_another_version_is_refused() -> None:
    content = b"\x02" + bytes.fromhex(STATE.model) + pack_state(STATE)
    signature = hmac.new(b"secret", b"recurlm state token\n" + content, hashlib.sha256).digest()
    with pytest.raises(InputError, match="another version of recurlm"):
        StateTokens(b"secret").state(base64.urlsafe_b64encode(content + signature).decode(), LIKE)


@pytest.mark.parametrize(
    "packed", [b"", b"\0", pack_state(STATE)[:-1], pack_state(STATE) + b"\0", b"\1\0\0\0\7" + b"\0" * 56]
)
def test_a_signed_token_of_another_shape_is_refused(packed: bytes) -> None:
    content = b"\x01" + bytes.fromhex(STATE.model) + packed
    signature = hmac.new(b"secret", b"recurlm state token\n" + content, hashlib.sha256).digest()
    with pytest.raises(InputError, match="another version of recurlm"):
        StateTokens(b"secret").state(base64.urlsafe_b64encode(content + signature).decode(), LIKE)


@pytest.mark.parametrize("token", ["", "abc", "ü", "\ud800", "not/base64+", "A" * 44])
def test_what_is_no_token_is_refused(token: str) -> None:
    with pytest.raises(InputError, match="state: "):
        StateTokens(b"secret").state(token, LIKE)
