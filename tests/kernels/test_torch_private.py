"""Private functions of torch: they are there, they stand in one file, and without them the numbers stay the same."""

import ast
from pathlib import Path

import pytest
import torch
from torch import Tensor

import recurlm
from recurlm.devices import runs
from recurlm.kernels import torch_private
from recurlm.kernels.linear_cross_entropy import linear_cross_entropy

PACKAGE = Path(recurlm.__file__).parent
HOMES = {PACKAGE / "kernels" / "torch_private.py", PACKAGE / "devices.py"}
"""`devices` lies below the kernels and tries one operation of oneDNN by its private name."""


def private_names(tree: ast.Module) -> list[str]:
    """Dotted names that begin with torch or F and have a private part, and imports of such modules."""
    attributes = [ast.unparse(node) for node in ast.walk(tree) if isinstance(node, ast.Attribute)]
    modules = [node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    names = [name for name in attributes if name.startswith(("torch.", "F."))]
    names += [module for module in modules if module.startswith("torch.")]
    return [name for name in names if any(part.startswith("_") and part[1:2] != "_" for part in name.split("."))]


def test_private_names_stand_in_one_file():
    found = {path for path in PACKAGE.rglob("*.py") if private_names(ast.parse(path.read_text("utf-8")))}
    assert found == HOMES


@pytest.mark.parametrize("name", ["_foreach_lerp_", "_cudnn_rnn_flatten_weight"])
def test_this_torch_has_the_private_function(name):
    assert callable(getattr(torch, name))


def test_this_torch_tells_whether_a_graph_is_kept():
    assert callable(torch._C._autograd._get_current_graph_task_keep_graph)


def test_this_torch_multiplies_through_onednn():
    if not torch.backends.mkldnn.is_available():
        pytest.skip("this torch is built without oneDNN")
    assert runs("onednn product fp32")
    torch.manual_seed(2)
    input, weight = torch.randn(5, 3), torch.randn(4, 3)
    torch.testing.assert_close(torch_private.onednn_linear(input, weight), input @ weight.t())


def moved(values: list[Tensor], ends: list[Tensor]) -> list[Tensor]:
    copies = [value.clone() for value in values]
    torch_private.lerp_in_place(copies, ends, 0.3)
    return copies


def test_without_lists_of_tensors_each_moves_by_itself(monkeypatch):
    torch.manual_seed(2)
    values, ends = [torch.randn(3, 2), torch.randn(4)], [torch.randn(3, 2), torch.randn(4)]
    expected = [value + 0.3 * (end - value) for value, end in zip(values, ends, strict=True)]
    with_lists = moved(values, ends)
    monkeypatch.delattr(torch, "_foreach_lerp_")
    without = moved(values, ends)
    for one, other, by_hand in zip(with_lists, without, expected, strict=True):
        assert torch.equal(one, other)
        torch.testing.assert_close(one, by_hand)


def test_without_cudnn_s_block_the_weights_stay_as_they_are(monkeypatch):
    weights = [torch.full(shape, 2.0) for shape in ((8, 3), (8, 2), (8,), (8,))]
    addresses = [weight.data_ptr() for weight in weights]
    monkeypatch.delattr(torch, "_cudnn_rnn_flatten_weight")
    torch_private.flatten_cudnn_weights(weights, 2, 3, 2)
    assert [weight.data_ptr() for weight in weights] == addresses
    assert all(bool((weight == 2).all()) for weight in weights)


def test_cudnn_is_told_of_one_layer_that_reads_forwards_with_time_steps_first(monkeypatch):
    """In the order of torch.nn.RNNBase.flatten_parameters: projection, layers, batch first, both directions."""
    calls = []
    monkeypatch.setattr(torch, "_cudnn_rnn_flatten_weight", lambda *arguments: calls.append(arguments))
    weights = [torch.zeros(shape) for shape in ((8, 3), (8, 2), (8,), (8,))]
    torch_private.flatten_cudnn_weights(weights, 2, 3, 2)
    ((given, *numbers),) = calls
    assert [weight.data_ptr() for weight in given] == [weight.data_ptr() for weight in weights]
    assert numbers == [4, 3, 2, 2, 0, 1, False, False]


def gradients(passes: int) -> list[Tensor]:
    """The gradients of a loss after so many backward passes through one graph."""
    torch.manual_seed(2)
    leaves = [torch.randn(shape, requires_grad=True) for shape in ((6, 3), (5, 3), (5,))]
    total, _ = linear_cross_entropy(*leaves, torch.tensor([0, 4, 2, 1, 1, 3]))
    for number in range(passes):
        total.backward(retain_graph=number < passes - 1)
    return [leaf.grad for leaf in leaves if leaf.grad is not None]


@pytest.mark.parametrize("passes", [1, 2])
def test_where_torch_does_not_tell_whether_a_graph_is_kept_gradients_stay(monkeypatch, passes):
    told = gradients(passes)
    monkeypatch.delattr(torch._C._autograd, "_get_current_graph_task_keep_graph")
    untold = gradients(passes)
    assert len(told) == len(untold) == 3
    assert all(torch.equal(one, other) for one, other in zip(told, untold, strict=True))
    for one, twice in zip(gradients(1), gradients(2), strict=True):
        torch.testing.assert_close(twice, 2 * one)
