"""States that clients hold: signed, so that the server trusts what it gave, and bound to a model."""

import base64
import binascii
import hashlib
import hmac

from recurlm.errors import InputError
from recurlm.models.memory import State
from recurlm.models.state import LayerStates
from recurlm.serving.sessions.packing import pack_state, unpack_state

VERSION = b"\x01"
MODEL_BYTES, SIGNATURE_BYTES = 32, 32
PURPOSE = b"recurlm state token\n"
"""Part of what is signed, so that no signature made for another purpose counts."""
OTHER_VERSION = "state: given by another version of recurlm; start again without a state"


class StateTokens:
    """Turns states into tokens and back: base64 of version, model's digest, packed state and HMAC-SHA256."""

    def __init__(self, secret: bytes) -> None:
        self._secret = secret

    def token(self, state: State) -> str:
        """The token of a state."""
        content = VERSION + bytes.fromhex(state.model) + pack_state(state)
        return base64.urlsafe_b64encode(content + self._signature(content)).decode()

    def model(self, token: str) -> str:
        """The digest of the model that a token belongs to. Raises InputError for a token that was not given here."""
        return self._content(token)[len(VERSION) : len(VERSION) + MODEL_BYTES].hex()

    def state(self, token: str, like: LayerStates) -> State:
        """The state of a token; `like` has its shapes. Raises InputError as `model` does."""
        content = self._content(token)
        model, packed = content[len(VERSION) : len(VERSION) + MODEL_BYTES], content[len(VERSION) + MODEL_BYTES :]
        try:
            return unpack_state(packed, like, model.hex())
        except ValueError as error:
            raise InputError(OTHER_VERSION) from error

    def _content(self, token: str) -> bytes:
        try:
            decoded = base64.b64decode(token, b"-_", validate=True)
        except (binascii.Error, ValueError) as error:
            raise InputError("state: not a state token; send the field `state` of an answer unchanged") from error
        content, signature = decoded[:-SIGNATURE_BYTES], decoded[-SIGNATURE_BYTES:]
        if not hmac.compare_digest(signature, self._signature(content)):
            raise InputError(
                "state: altered, or given by a server with another secret; start again without a state, "
                "and give all servers the same --state-secret"
            )
        if content[: len(VERSION)] != VERSION or len(content) < len(VERSION) + MODEL_BYTES:
            raise InputError(OTHER_VERSION)
        return content

    def _signature(self, content: bytes) -> bytes:
        return hmac.digest(self._secret, PURPOSE + content, hashlib.sha256)
