"""One time step after another, for generation: takes ids, returns logits of the next ids, keeps the state inside."""

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor

from recurlm.kernels.linear import PackedLinear, PackedModel, generate
from recurlm.kernels.lstm_sweep import PackedLSTM
from recurlm.kernels.native import has_tiles
from recurlm.models.language_model import LanguageModel
from recurlm.models.lstm_cells import LSTMCell
from recurlm.models.outputs import Softmax
from recurlm.models.state import LayerStates


class Stepper(Protocol):
    """Advances B sequences side by side."""

    def step(self, tokens: Tensor) -> Tensor:
        """Reads the next ids (B,); returns the logits (B, V) of what follows, which the next step may overwrite."""


class PlainStepper:
    """Steps by the equations, in the model's own type and on its device."""

    def __init__(self, model: LanguageModel, state: LayerStates) -> None:
        self.model, self.state = model, state

    def step(self, tokens: Tensor) -> Tensor:
        logits, self.state = self.model.step(tokens.to(self.model.device), self.state)
        return logits


class TileStepper:
    """Steps LSTM layers in bfloat16 tiles; weights are packed once and a step allocates nothing.

    The factors of products are rounded to bfloat16, as in training on hardware with bfloat16 units. The plain
    reference is `PlainStepper`.
    """

    def __init__(self, model: LanguageModel, state: LayerStates) -> None:
        """Raises ValueError unless all layers are plain LSTMs without residual or skip sums."""
        cells = _plain_lstms(model)
        if not cells:
            raise ValueError("tiles step plain LSTM layers only, without residual or skip sums")
        assert isinstance(model.decoder, Softmax)
        self.model = PackedModel(
            model.embedding.weight.detach(),
            [PackedLSTM(cell.weights, *layer_state) for cell, layer_state in zip(cells, state, strict=True)],
            PackedLinear(model.decoder.weight, model.decoder.bias),
            torch.empty(len(state[0][0]), model.vocabulary_size),
        )

    def ban(self, tokens: Sequence[int]) -> None:
        """Makes the logits of these tokens minus infinity from now on, so that `draw` never draws them."""
        self.model.decoder.ban(tokens)

    def read(self, tokens: Sequence[int]) -> None:
        """Reads ids, one after another, into every row; the rows have one state, so one of them is computed for all."""
        rows = len(self.model.logits)
        for layer in self.model.layers:
            hidden, cell = layer.state
            layer.load(hidden[:1].clone(), cell[:1].clone())
        for token in tokens:
            output = self.model.embedding[token : token + 1]
            for layer in self.model.layers:
                output = layer.step(output)
        for layer in self.model.layers:
            hidden, cell = layer.state
            layer.load(hidden.repeat(rows, 1), cell.repeat(rows, 1))

    def step(self, tokens: Tensor) -> Tensor:
        output = self.model.embedding[tokens]
        for layer in self.model.layers:
            output = layer.step(output)
        return self.model.decoder(output, self.model.logits)

    def draw(self, tokens: Tensor, temperature: float, shares: Tensor) -> Tensor:
        """Reads the next ids (B,), then draws and reads in turn: one id (N, B) for each share (N, B) of [0, 1).

        Draws as `draw_plain` from each step's logits, all in one call of the library.
        """
        return generate(self.model, tokens, temperature, shares)


def open_stepper(model: LanguageModel, state: LayerStates) -> Stepper:
    """The fast stepper where the model's layers and the processor allow it. Both steppers ignore dropout."""
    return TileStepper(model, state) if steps_in_tiles(model) else PlainStepper(model, state)


def steps_in_tiles(model: LanguageModel) -> bool:
    """Whether the model's layers and the processor allow steps in bfloat16 tiles."""
    on_cpu = model.device.type == "cpu" and model.embedding.weight.dtype == torch.float32
    plain = bool(_plain_lstms(model)) and isinstance(model.decoder, Softmax)
    return plain and on_cpu and has_tiles()


def _plain_lstms(model: LanguageModel) -> list[LSTMCell]:
    """The layers where all of them are plain LSTMs without residual or skip sums, otherwise an empty list."""
    stack = model.stack
    cells = [cell for cell in stack.cells if isinstance(cell, LSTMCell)]
    return cells if len(cells) == len(stack.cells) and not any(stack.residuals) and not stack.skip else []
