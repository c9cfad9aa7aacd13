"""A model's state after a text, as a value to compare, copy, save, and continue from."""

import hashlib
import itertools
import re
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from recurlm.errors import CorruptFileError, InputError, RecurlmWarning
from recurlm.files import read_bounded, write_whole
from recurlm.files.suggestions import did_you_mean
from recurlm.markup import table
from recurlm.models.language_model import LanguageModel, evaluating
from recurlm.models.state import LayerStates, map_state
from recurlm.tensor_files import finite_tensors, read_header, tensor_bytes
from recurlm.terminal import escaped
from recurlm.text.vocabulary import EOS_ID, Vocabulary
from recurlm.wording import counted

FORMAT = "recurlm state 2"
_METADATA = {"recurlm state 1": {"format", "model", "last"}, FORMAT: {"format", "model", "last", "digest"}}
"""The keys in the metadata of each format; version 0.1.0 wrote the first."""
STEPS_AT_ONCE = 512


@dataclass(frozen=True, eq=False, repr=False)
class State:
    """The memory of one model at one place of a text; its size does not depend on the length of the text.

    layers: the tensors (1, H) that each layer passes on, after all tokens but the last · last: id of the last token,
    which the model reads next · model: digest of the model that the state belongs to.

    A state never changes, so any number of texts may continue from it.
    """

    layers: LayerStates
    last: int
    model: str

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, State):
            return NotImplemented
        if (self.model, self.last) != (other.model, other.last):
            return False
        pairs = zip(_tensors(self.layers).values(), _tensors(other.layers).values(), strict=True)
        return all(torch.equal(mine, theirs) for mine, theirs in pairs)

    def __hash__(self) -> int:
        return hash((self.model, self.last))

    def __repr__(self) -> str:
        return f"State({', '.join(fact for _, fact in self._facts())})"

    def _repr_html_(self) -> str:
        return table([("state", ""), *self._facts()])

    def _facts(self) -> list[tuple[str, str]]:
        """The names and facts that Python and a notebook show."""
        tensors = _tensors(self.layers).values()
        numbers, size = sum(map(Tensor.numel, tensors)), sum(tensor.nbytes for tensor in tensors)
        return [
            ("layers", counted(len(self.layers), "layer")),
            ("size", f"{counted(numbers, 'number')} in {counted(size, 'byte')}"),
            ("last token", f"last token {self.last}"),
            ("model", f"model sha256:{escaped(self.model[:8])}"),
        ]

    def columns(self, count: int) -> LayerStates:
        """The layers' state repeated in `count` columns, tensors (count, H)."""
        return map_state(lambda tensor: tensor.expand(count, -1), self.layers)

    def to_bytes(self) -> bytes:
        """A safetensors file that holds its own digest."""
        metadata = {"format": FORMAT, "model": self.model, "last": str(self.last), "digest": self._digest}
        return tensor_bytes(_tensors(self.layers), metadata)

    def save(self, path: str | Path) -> None:
        """Writes the file of `to_bytes`, completely or not at all."""
        write_whole(Path(path), self.to_bytes())

    @classmethod
    def load(cls, path: str | Path) -> "State":
        """Reads a file that `save` wrote; a file of version 0.1.0, which has no digest, gives a RecurlmWarning.

        Raises InputError where the file does not exist, CorruptFileError where it is not a state or was altered.
        """
        path = Path(path)
        if not path.exists():
            raise InputError(
                f"no such file: {path}{did_you_mean(path)}; a state is written by --state-out or State.save"
            )
        return cls.from_bytes(read_bounded(path, error=CorruptFileError), path)

    @classmethod
    def from_bytes(cls, content: bytes, path: str | Path) -> "State":
        """Reads what `to_bytes` returned; `path` names it in messages. Warns and raises as `load` does."""
        path = Path(path)
        metadata = read_header(content, path).metadata
        if metadata.keys() != _METADATA.get(metadata.get("format", "")):
            raise CorruptFileError(f"{path}: not a state (no format {FORMAT!r}); --state-out writes one")
        if not re.fullmatch("[0-9]{1,18}", metadata["last"]):
            raise CorruptFileError(f"{path}: not a state: its last token is not a number")
        state = cls(_layers(finite_tensors(content, path), path), int(metadata["last"]), metadata["model"])
        if "digest" not in metadata:
            warnings.warn(f"{path}: written by version 0.1.0 without a digest, so not verified", RecurlmWarning, 3)
        elif metadata["digest"] != state._digest:
            raise CorruptFileError(f"{path}: altered since it was written; read the text again")
        return state

    @property
    def _digest(self) -> str:
        """Hex SHA-256 of the whole state."""
        digest = hashlib.sha256(f"{FORMAT}\n{self.model}\n{self.last}\n".encode())
        for name, tensor in sorted(_tensors(self.layers).items()):
            digest.update(f"{name} {tensor.dtype} {list(tensor.shape)}\n".encode())
            digest.update(tensor.cpu().view(torch.uint8).numpy().tobytes())
        return digest.hexdigest()


def initial_state(model: LanguageModel, digest: str) -> State:
    """The state before any text: zeros, with ``<eos>`` to be read next."""
    return State(model.initial_state(1), EOS_ID, digest)


def check_state(state: State, model: LanguageModel, digest: str) -> None:
    """Raises InputError unless a state belongs to this model, which has this digest, and fits it."""
    if state.model != digest:
        raise InputError(
            f"the state belongs to the model sha256:{state.model[:8]}, not to this one (sha256:{digest[:8]}); "
            "a state can be read only by the model that made it"
        )
    if _shapes(state.layers) != _shapes(model.initial_state(1)):
        raise InputError("the layers of the state do not match the model; read the text again")
    if not 0 <= state.last < model.vocabulary_size:
        raise InputError(f"the state continues from token {state.last}, which the model lacks; read the text again")


@torch.no_grad()
def state_after(model: LanguageModel, ids: Sequence[int], start: State) -> State:
    """The state after a model, in the state `start`, has read these ids."""
    first, layers = begin(model, start, 1)
    pending = [first, *ids]
    with evaluating(model):
        for first_step in range(0, len(ids), STEPS_AT_ONCE):
            steps = pending[first_step : min(first_step + STEPS_AT_ONCE, len(ids))]
            _, layers = model.hidden(torch.tensor(steps, device=model.device)[:, None], layers)
    return State(map_state(lambda tensor: tensor.cpu(), layers), pending[-1], start.model)


def begin(model: LanguageModel, start: State | None, count: int) -> tuple[int, LayerStates]:
    """The id to read first, and the layers' state (count, H) before it; zeros and ``<eos>`` without a start."""
    if start is None:
        return EOS_ID, model.initial_state(count)
    return start.last, map_state(lambda tensor: tensor.to(model.device), start.columns(count))


def model_digest(model: LanguageModel, vocabulary: Vocabulary) -> str:
    """Hex SHA-256 of the weights and the vocabulary."""
    digest = hashlib.sha256(vocabulary.digest.encode())
    for name, tensor in sorted(model.weights().items()):
        digest.update(name.encode())
        digest.update(tensor.contiguous().cpu().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def _tensors(layers: LayerStates) -> dict[str, Tensor]:
    return {
        f"{layer}.{part}": tensor.contiguous().clone()
        for layer, parts in enumerate(layers)
        for part, tensor in enumerate(parts)
    }


def _shapes(layers: LayerStates) -> list[list[tuple[int, ...]]]:
    return [[tuple(tensor.shape) for tensor in parts] for parts in layers]


def _is_row(tensor: Tensor) -> bool:
    return tensor.dim() == 2 and len(tensor) == 1 and tensor.dtype in (torch.float32, torch.bfloat16)


def _layers(tensors: dict[str, Tensor], path: Path) -> LayerStates:
    """Layers from tensors named ``layer.part``. Raises CorruptFileError for other names."""
    layers: list[list[Tensor]] = []
    for layer in itertools.takewhile(lambda layer: f"{layer}.0" in tensors, itertools.count()):
        parts = itertools.takewhile(tensors.__contains__, (f"{layer}.{part}" for part in itertools.count()))
        layers.append([tensors[name] for name in parts])
    if sum(map(len, layers)) != len(tensors) or not all(map(_is_row, tensors.values())):
        raise CorruptFileError(f"{path}: not a state: its tensors are not the layers of a model")
    return tuple(map(tuple, layers))
