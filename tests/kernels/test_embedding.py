import torch
from torch import nn

from recurlm.kernels.embedding import add_row_gradients, looked_up

IDS = torch.tensor([[3, 0], [3, 5]])


def test_rows_teach_the_matrix_as_autograd_does():
    weight = nn.Parameter(torch.arange(14.0).view(7, 2))
    rows = looked_up(weight, IDS)
    rows.square().sum().backward()
    add_row_gradients(weight, IDS, rows)
    expected = nn.Parameter(weight.detach().clone())
    nn.functional.embedding(IDS, expected).square().sum().backward()
    assert torch.equal(weight.grad, expected.grad)


def test_rows_are_added_to_the_gradient_that_a_shared_matrix_has():
    weight = nn.Parameter(torch.arange(14.0).view(7, 2))
    rows = looked_up(weight, IDS)
    (rows.sum() + (weight * 2).sum()).backward()
    kept = weight.grad
    add_row_gradients(weight, IDS, rows)
    assert weight.grad is kept
    assert torch.equal(weight.grad[:, 0], torch.tensor([3.0, 2, 2, 4, 2, 3, 2]))


def test_without_gradient_nothing_is_taught():
    weight = nn.Parameter(torch.zeros(7, 2), requires_grad=False)
    rows = looked_up(weight, IDS)
    add_row_gradients(weight, IDS, rows)
    assert weight.grad is None
