"""What a model holds after it has read a text: a value to compare, copy, save and go on from."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from recurlm.errors import CorruptFileError, InputError
from recurlm.files import write_whole
from recurlm.models.language_model import LanguageModel, evaluating
from recurlm.models.state import State as LayerStates
from recurlm.models.state import map_state
from recurlm.text.vocabulary import EOS_ID, Vocabulary

FORMAT = "recurlm state 1"
STEPS_AT_ONCE = 512


@dataclass(frozen=True, eq=False)
class State:
    """The memory of one model at one place of a text, of constant size however long the text.

    layers: what each layer passes on, tensors (1, H), after all tokens but the last · last: id of the last token,
    which the model reads next · model: digest of the model it belongs to. A value: nothing changes it, so any number
    of texts may go on from it.
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

    def columns(self, count: int) -> LayerStates:
        """The same memory in `count` columns, tensors (count, H)."""
        return map_state(lambda tensor: tensor.expand(count, -1), self.layers)

    def save(self, path: str | Path) -> None:
        """Write it whole or not at all, as a safetensors file."""
        metadata = {"format": FORMAT, "model": self.model, "last": str(self.last)}
        write_whole(Path(path), safetensors.torch.save(_tensors(self.layers), metadata))

    @classmethod
    def load(cls, path: str | Path) -> "State":
        """Read back what `save` wrote. Raises InputError where there is no such file, CorruptFileError for others."""
        path = Path(path)
        if not path.is_file():
            raise InputError(f"no such file: {path}; a state is written by --state-out or State.save")
        try:
            with safetensors.safe_open(path, "pt") as file:
                metadata = file.metadata() or {}
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        except Exception as error:
            raise CorruptFileError(f"{path}: not a whole safetensors file: {error}") from error
        if metadata.get("format") != FORMAT:
            raise CorruptFileError(f"{path}: not a state (no format {FORMAT!r}); --state-out writes one")
        return cls(_layers(tensors), int(metadata["last"]), metadata["model"])


def initial_state(model: LanguageModel, digest: str) -> State:
    """The state before any text: zeros, and ``<eos>`` to be read next."""
    return State(model.initial_state(1), EOS_ID, digest)


def check_state(state: State, digest: str) -> None:
    """Raises InputError where a state belongs to another model than that of this digest."""
    if state.model != digest:
        raise InputError(
            f"the state belongs to the model sha256:{state.model[:8]}, not to this one (sha256:{digest[:8]}); "
            "a state can be read only by the model that made it"
        )


@torch.no_grad()
def read(model: LanguageModel, ids: Sequence[int], start: State) -> State:
    """The state after these ids too."""
    first, layers = begin(model, start, 1)
    pending = [first, *ids]
    with evaluating(model):
        for begun in range(0, len(ids), STEPS_AT_ONCE):
            steps = pending[begun : min(begun + STEPS_AT_ONCE, len(ids))]
            _, layers = model.hidden(torch.tensor(steps, device=model.device)[:, None], layers)
    return State(map_state(lambda tensor: tensor.cpu(), layers), pending[-1], start.model)


def begin(model: LanguageModel, start: State | None, count: int) -> tuple[int, LayerStates]:
    """The id to read first, and the layers' states (count, H) before it."""
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


def _layers(tensors: dict[str, Tensor]) -> LayerStates:
    layers: dict[int, dict[int, Tensor]] = {}
    for name, tensor in tensors.items():
        layer, part = map(int, name.split("."))
        layers.setdefault(layer, {})[part] = tensor
    return tuple(tuple(parts[part] for part in sorted(parts)) for _, parts in sorted(layers.items()))
