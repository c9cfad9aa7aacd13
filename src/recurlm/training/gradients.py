"""The gradient of a step that several processes take: the sum of their gradients, in one message.

The message holds the gradients of all weights, whether a process has them, and the gradients of the embeddings that it
looked up. A batch usually looks up far fewer embeddings than there are, so their rows (T, B, E) travel instead of the
matrix (V, E). All processes read the ids of the whole batch, so each knows where the rows belong.
"""

import torch
from torch import Tensor, nn

from recurlm.distributed import Team
from recurlm.kernels.embedding import add_rows
from recurlm.models.language_model import LanguageModel
from recurlm.text.batching import Batch, Part


def sum_gradients(team: Team, model: LanguageModel, batch: Batch, part: Part, embedded: Tensor) -> None:
    """Replaces the gradients of the weights by their sums over all processes.

    `embedded` (T, columns, E) are the embeddings of `batch`, which is a part of a larger one. A weight that no process
    has a gradient of keeps none.
    """
    whole, embedding = part.whole.input.to(model.device), model.embedding.weight
    travel = whole.numel() < len(embedding)
    if not travel:
        add_rows(embedding, batch.input, embedded.grad)
    left_out = embedding if travel and not model.options.tied else None
    weights = [weight for weight in model.parameters() if weight is not left_out]
    rows = _rows(part, embedded) if travel else None
    message = _message(weights, rows)
    team.add(message)
    sizes = [weight.numel() for weight in weights]
    lengths = [*sizes, len(weights), 0 if rows is None else rows.numel()]
    *sums, present, summed_rows = torch.split(message, lengths)
    for weight, summed, count in zip(weights, sums, present.tolist(), strict=True):
        weight.grad = summed.view_as(weight) if count else None
    if rows is not None:
        add_rows(embedding, whole, summed_rows.view_as(rows))


def _rows(part: Part, embedded: Tensor) -> Tensor:
    """The gradients of the embeddings of the whole batch (T, B, E), zero where other processes read."""
    rows = embedded.new_zeros(len(embedded), part.whole.columns, embedded.shape[-1])
    if embedded.grad is not None and part.columns:
        rows[:, part.first : part.first + part.columns] = embedded.grad
    return rows


def _message(weights: list[nn.Parameter], rows: Tensor | None) -> Tensor:
    """One vector: every gradient, for every weight whether there is one, and the rows."""
    present = torch.tensor([float(weight.grad is not None) for weight in weights])
    pieces = [weight.new_zeros(weight.numel()) if weight.grad is None else weight.grad.flatten() for weight in weights]
    pieces.append(present.to(pieces[0]))
    return torch.cat(pieces if rows is None else [*pieces, rows.flatten()])
