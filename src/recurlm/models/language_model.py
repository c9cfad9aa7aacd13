"""The language model: embed, remember, predict; (tokens, state) -> (logits, state).

tokens (T, B) -> embedding (T, B, E) -> recurrent stack (T, B, H) -> decoder (T, B, V).
The logits at step n predict the token at step n + 1, given tokens 1 to n and the state before them. Where `restarts`
(T, B) is true, a column's state is zero before the token of this step is read. The decoder is one
of the output layers in `outputs.py`; some of them give log-probabilities as logits.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from recurlm.config import ModelOptions
from recurlm.models.dropout import SequenceDropout, drop_word_types
from recurlm.models.outputs import output_layer
from recurlm.models.stack import RecurrentStack
from recurlm.models.state import LayerStates, Restarts


class LanguageModel(nn.Module):
    """A recurrent language model over V tokens (Mikolov et al. 2010)."""

    def __init__(self, options: ModelOptions, vocabulary_size: int) -> None:
        super().__init__()
        self.options = options
        dropout = options.dropout
        self.embedding = nn.Embedding(vocabulary_size, options.embedding_size)
        self.input_dropout = SequenceDropout(dropout.input, locked=dropout.locked)
        self.stack = RecurrentStack(options)
        self.output_dropout = SequenceDropout(dropout.output, locked=dropout.locked)
        self.decoder = output_layer(options, vocabulary_size)
        if options.tied:
            self.decoder.weight = self.embedding.weight

    def forward(
        self, tokens: Tensor, state: LayerStates, restarts: Restarts | None = None
    ) -> tuple[Tensor, LayerStates]:
        """Takes tokens (T, B) and the state before them; returns logits (T, B, V) and the state after them."""
        hidden, state = self.hidden(tokens, state, restarts)
        return self.decoder(hidden), state

    def hidden(
        self, tokens: Tensor, state: LayerStates, restarts: Restarts | None = None
    ) -> tuple[Tensor, LayerStates]:
        """The last layer's outputs (T, B, H), ready for the decoder, and the state after them."""
        return self.recur(self.embedding(tokens), tokens, state, restarts)

    def recur(
        self, embedded: Tensor, tokens: Tensor, state: LayerStates, restarts: Restarts | None = None
    ) -> tuple[Tensor, LayerStates]:
        """As `hidden`, from embeddings (T, B, E) of the tokens that the caller has looked up."""
        _, output, state = self.outputs(embedded, tokens, state, restarts)
        return output, state

    def outputs(
        self, embedded: Tensor, tokens: Tensor, state: LayerStates, restarts: Restarts | None = None
    ) -> tuple[Tensor, Tensor, LayerStates]:
        """The last layer's outputs (T, B, H) before and after dropout, and the state after them."""
        probability = self.options.dropout.embedding
        if self.training and probability:
            embedded = drop_word_types(embedded, tokens, self.vocabulary_size, probability)
        output, state = self.stack(self.input_dropout(embedded), state, restarts)
        return output, self.output_dropout(output), state

    def step(self, tokens: Tensor, state: LayerStates) -> tuple[Tensor, LayerStates]:
        """Computes one step without dropout, for generation: tokens (B,); returns logits (B, V) and the new state."""
        hidden, state = self.stack.step(self.embedding(tokens), state)
        return self.decoder(hidden), state

    def initial_state(self, batch: int) -> LayerStates:
        """The state before any token: zeros, (batch, H) for each layer."""
        return self.stack.initial_state(batch)

    @property
    def vocabulary_size(self) -> int:
        """V, the number of tokens in the vocabulary."""
        return self.embedding.num_embeddings

    @property
    def device(self) -> torch.device:
        """The device of the weights."""
        return self.embedding.weight.device

    def weights(self) -> dict[str, Tensor]:
        """The weights by name, each matrix once: a tied decoder is left out."""
        weights = {name: tensor.detach() for name, tensor in self.state_dict().items()}
        if self.options.tied:
            del weights["decoder.weight"]
        return weights

    def load_weights(self, weights: dict[str, Tensor]) -> None:
        """Loads weights in the form of `weights`. Raises RuntimeError where names or shapes differ."""
        if self.options.tied:
            weights = {**weights, "decoder.weight": weights["embedding.weight"]}
        self.load_state_dict(weights)

    def parameter_count(self) -> int:
        """Number of trainable parameters; a tied matrix counts once."""
        return sum(parameter.numel() for parameter in self.parameters())


@contextmanager
def evaluating(model: LanguageModel) -> Iterator[None]:
    """Turns dropout off inside and restores the model's mode at the end."""
    training = model.training
    model.train(False)
    try:
        yield
    finally:
        model.train(training)


@contextmanager
def restored(weights: list[Tensor]) -> Iterator[list[Tensor]]:
    """Yields a copy of some weights and restores it at the end, also after an exception."""
    before = [weight.clone() for weight in weights]
    try:
        yield before
    finally:
        for weight, old in zip(weights, before, strict=True):
            weight.copy_(old)
