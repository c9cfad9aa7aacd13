"""Rows of a matrix by their numbers, and the gradient of just those rows.

Autograd would make a second gradient as large as the matrix and, where softmax and embedding share it, add the two.
Here the rows that were looked up are added to the gradient that is there.
"""

from torch import Tensor, nn


def looked_up(weight: Tensor, ids: Tensor) -> Tensor:
    """Rows (..., E) of a matrix (V, E): a leaf that gathers its own gradient."""
    return nn.functional.embedding(ids, weight.detach()).requires_grad_(weight.requires_grad)


def teach_rows(weight: Tensor, ids: Tensor, rows: Tensor) -> None:
    """Add the gradient of looked-up rows to the matrix's own, after the backward pass."""
    if rows.grad is None:
        return
    if weight.grad is None:
        weight.grad = weight.new_zeros(weight.shape)
    weight.grad.index_add_(0, ids.flatten(), rows.grad.flatten(0, -2))
