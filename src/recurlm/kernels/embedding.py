"""Embedding lookup whose backward pass touches only the rows that were looked up.

Autograd would allocate a second gradient as large as the matrix and add it to the first where softmax and embedding
share the matrix. Here the gradient of the looked-up rows is added to the existing gradient in place.
"""

from torch import Tensor, nn


def looked_up(weight: Tensor, ids: Tensor) -> Tensor:
    """Returns the rows (..., E) of a matrix (V, E) as a new leaf, which collects its own gradient."""
    return nn.functional.embedding(ids, weight.detach()).requires_grad_(weight.requires_grad)


def add_row_gradients(weight: Tensor, ids: Tensor, rows: Tensor) -> None:
    """Adds the gradient of looked-up rows to the gradient of the matrix; call it after the backward pass."""
    add_rows(weight, ids, rows.grad)


def add_rows(weight: Tensor, ids: Tensor, gradient: Tensor | None) -> None:
    """Adds a gradient (..., E), if there is one, to the rows `ids` (...) of the gradient of a matrix (V, E)."""
    if gradient is None:
        return
    if weight.grad is None:
        weight.grad = weight.new_zeros(weight.shape)
    weight.grad.index_add_(0, ids.flatten(), gradient.flatten(0, -2))
