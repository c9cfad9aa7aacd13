"""Log-probabilities of sequences that share prefixes; the model reads each distinct prefix once.

The distinct prefixes are the nodes of a trie. The model goes down the trie level by level, with all prefixes of one
length as one batch, and passes the state of a node to each of its children.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from recurlm.evaluation.shapes import rounded_up
from recurlm.evaluation.token_losses import losses_of
from recurlm.kernels.linear_cross_entropy import linear_cross_entropy
from recurlm.models.language_model import LanguageModel, evaluating
from recurlm.models.outputs import Softmax
from recurlm.models.state import LayerStates, map_state
from recurlm.text.vocabulary import EOS_ID

SEQUENCES_AT_ONCE = 1024
"""Most rows in a batch, and states in memory."""

NO_TOKEN = -1

Ids = NDArray[np.int64]
Logprobs = NDArray[np.float64]


@dataclass(frozen=True)
class TrieLevel:
    """The distinct prefixes of one length, which are N nodes.

    parents (N,): node of the level above, counted among those that do not end with ``<eos>`` · tokens (N,): last id of
    each prefix · rows: the sequences that are long enough · nodes: the node of each of these sequences.
    """

    parents: Tensor
    tokens: Tensor
    rows: Ids
    nodes: Ids


def sequence_logprobs(
    model: LanguageModel,
    sequences: Sequence[Sequence[int]],
    state: LayerStates | None = None,
    first: int = EOS_ID,
) -> list[Logprobs]:
    """ln p of every id of each sequence and of the ``<eos>`` after it, as `score_lines` gives them, in fp32.

    Every sequence starts after the id `first` from the same state, (1, H) for each layer, or from zeros without one.
    Equal prefixes are computed once in each group of `SEQUENCES_AT_ONCE` neighbors in the sorted order.
    """
    order = sorted(range(len(sequences)), key=lambda index: list(sequences[index]))
    found: list[Logprobs] = [np.empty(0)] * len(sequences)
    state = model.initial_state(1) if state is None else state
    for start in range(0, len(order), SEQUENCES_AT_ONCE):
        block = order[start : start + SEQUENCES_AT_ONCE]
        logprobs = _block_logprobs(model, [[*sequences[index], EOS_ID] for index in block], state, first)
        for index, row in zip(block, logprobs, strict=True):
            found[index] = row[: len(sequences[index]) + 1]
    return found


def levels(sequences: Sequence[Sequence[int]]) -> Iterator[TrieLevel]:
    """The levels of the trie of sorted sequences that end with ``<eos>``, starting with prefixes of one id."""
    longest = max(map(len, sequences))
    ids = np.full((len(sequences), longest), NO_TOKEN, np.int64)
    for row, sequence in enumerate(sequences):
        ids[row, : len(sequence)] = sequence
    # equal prefixes are neighbors in sorted rows: a prefix is new where it differs from the row above
    new = np.ones_like(ids, dtype=bool)
    new[1:] = np.logical_or.accumulate(ids[1:] != ids[:-1], axis=1)
    inner = np.zeros(len(sequences), np.int64)
    for length in range(longest):
        rows = np.flatnonzero(ids[:, length] != NO_TOKEN)
        first = rows[new[rows, length]]
        tokens = ids[first, length]
        nodes = np.cumsum(new[rows, length]) - 1
        yield TrieLevel(torch.from_numpy(inner[first]), torch.from_numpy(tokens), rows, nodes)
        inner[rows] = (np.cumsum(tokens != EOS_ID) - 1)[nodes]


@torch.no_grad()
def _block_logprobs(
    model: LanguageModel, sequences: Sequence[Sequence[int]], state: LayerStates, first: int
) -> Logprobs:
    """Log-probabilities with one row for each sequence, padded with zeros."""
    logprobs = np.zeros((len(sequences), max(map(len, sequences))))
    read = torch.full((1,), first, dtype=torch.int64, device=model.device)
    for length, level in enumerate(levels(sequences)):
        output, state = model.stack.step(model.embedding(read), state)
        parents, tokens = level.parents.to(model.device), level.tokens.to(model.device)
        logprobs[level.rows, length] = _logprobs(model, output, parents, tokens)[level.nodes]
        inner = tokens != EOS_ID
        read, origin = tokens[inner], parents[inner]
        state = map_state(lambda tensor, origin=origin: tensor[origin], state)  # type: ignore[misc]
    return logprobs


def _logprobs(model: LanguageModel, output: Tensor, parents: Tensor, tokens: Tensor) -> Logprobs:
    """ln p of tokens (N,), each after the output (P, H) of its parent (N,).

    The sum over a parent's logits is computed once for all its children: ln z = (ln z - logit of id 0) + logit of id 0.
    Output layers without one logit per token compute it for each child.
    """
    found: Logprobs
    if not isinstance(model.decoder, Softmax):
        with evaluating(model):
            found = -losses_of(model, output[parents], tokens).cpu().numpy()
        return found
    weight, bias = model.decoder.weight, model.decoder.bias
    padded = F.pad(output, (0, 0, 0, rounded_up(len(output)) - len(output)))
    _, losses = linear_cross_entropy(padded, weight, bias, torch.zeros_like(padded[:, 0], dtype=torch.int64))
    losses = losses[: len(output)]
    log_sums = losses.double() + (output @ weight[0]).double() + (0.0 if bias is None else bias[0].double())
    logits = (output[parents] * weight[tokens]).sum(-1).double() + (0.0 if bias is None else bias[tokens].double())
    found = (logits - log_sums[parents]).cpu().numpy()
    return found
