import numpy as np
import pytest
import torch

from recurlm.config import SGD, Adam, ModelOptions, Muon, Optimizer, RMSProp
from recurlm.errors import CorruptFileError
from recurlm.models.language_model import LanguageModel
from recurlm.training.optimizers import build_optimizer, optimizer_tensors, restore_optimizer, set_rate

OPTIONS = [SGD(learning_rate=0.1), SGD(momentum=0.9), Adam(kind="adam"), Adam(kind="adamw"), RMSProp(momentum=0.5)]
OPTIONS += [Adam(kind="adam", beta1=0.0), Muon(weight_decay=0.1)]


def tiny_model() -> LanguageModel:
    torch.manual_seed(0)
    model = LanguageModel(ModelOptions(embedding_size=2, hidden_sizes=(3,)), 5)
    for parameter in model.parameters():
        torch.nn.init.uniform_(parameter)
    return model


def set_gradients(model: LanguageModel, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    for parameter in model.parameters():
        parameter.grad = torch.randn(parameter.shape, generator=generator)


def test_sgd_with_momentum_and_decay_is_the_equation_it_names() -> None:
    model = tiny_model()
    optimizer = build_optimizer(SGD(learning_rate=0.1, momentum=0.9, weight_decay=0.01), model)
    weight = model.decoder.weight.detach().numpy().astype(np.float64).copy()
    bias = model.decoder.bias.detach().numpy().astype(np.float64).copy()
    weight_momentum, bias_momentum = np.zeros_like(weight), np.zeros_like(bias)
    for seed in range(3):
        set_gradients(model, seed)
        weight_momentum = 0.9 * weight_momentum + model.decoder.weight.grad.numpy() + 0.01 * weight
        weight -= 0.1 * weight_momentum
        bias_momentum = 0.9 * bias_momentum + model.decoder.bias.grad.numpy()
        bias -= 0.1 * bias_momentum
        optimizer.step()
    np.testing.assert_allclose(model.decoder.weight.detach().numpy(), weight, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(model.decoder.bias.detach().numpy(), bias, rtol=1e-5, atol=1e-6)


def test_adamw_decays_apart_from_the_gradient() -> None:
    """With no gradient the first moments stay zero, so a step is w <- (1 - lr wd) w, and biases stay."""
    model = tiny_model()
    before = {name: tensor.clone() for name, tensor in model.weights().items()}
    optimizer = build_optimizer(Adam(kind="adamw", learning_rate=0.1, weight_decay=0.5), model)
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    torch.testing.assert_close(model.decoder.weight.detach(), before["decoder.weight"] * 0.95)
    assert torch.equal(model.decoder.bias.detach(), before["decoder.bias"])


def test_adam_without_momentum_is_rmsprop_with_its_bias_corrected_and_its_decay_is_l2() -> None:
    model = tiny_model()
    options = Adam(kind="adam", learning_rate=0.1, beta1=0.0, beta2=0.9, epsilon=1e-6, weight_decay=0.02)
    optimizer = build_optimizer(options, model)
    weight = model.decoder.weight.detach().numpy().astype(np.float64).copy()
    squares = np.zeros_like(weight)
    for step in range(1, 5):
        set_gradients(model, step)
        gradient = model.decoder.weight.grad.numpy() + 0.02 * weight
        squares = 0.9 * squares + 0.1 * gradient**2
        weight -= 0.1 * gradient / (np.sqrt(squares / (1 - 0.9**step)) + 1e-6)
        optimizer.step()
    np.testing.assert_allclose(model.decoder.weight.detach().numpy(), weight, rtol=1e-4, atol=1e-5)


def orthogonalised(matrix: np.ndarray) -> np.ndarray:
    """Its nearest orthogonal matrix: all singular values become one."""
    left, _, right = np.linalg.svd(matrix, full_matrices=False)
    return left @ right


def test_muon_turns_recurrent_matrices_along_their_orthogonalised_momentum_and_leaves_the_rest_to_adamw() -> None:
    model, twin = tiny_model(), tiny_model()
    options = Muon(learning_rate=0.1, momentum=0.5, weight_decay=0.2)
    optimizer = build_optimizer(options, model)
    adamw = build_optimizer(Adam(kind="adamw", learning_rate=0.1, weight_decay=0.2), twin)
    cell = model.stack.cells[0]
    before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    for each, its_optimizer in ((model, optimizer), (twin, adamw)):
        set_gradients(each, 1)
        its_optimizer.step()
    for name, tensor in model.weights().items():
        if name.startswith("stack.") and tensor.dim() == 2:
            continue
        torch.testing.assert_close(tensor, twin.weights()[name])
    for name in ("weight_ih", "weight_hh"):
        parameter = getattr(cell, name)
        step = before[f"stack.layers.0.{name}"] * (1 - 0.1 * 0.2) - parameter.detach()
        # the first momentum is half the gradient, and so the direction is the gradient's; 12 rows
        expected = 0.1 * 0.2 * 12**0.5 * orthogonalised(parameter.grad.numpy())
        # five steps of Newton and Schulz bring singular values to between 0.7 and 1.2
        values = np.linalg.svd(step.numpy(), compute_uv=False) / (0.1 * 0.2 * 12**0.5)
        assert ((values > 0.6) & (values < 1.3)).all()
        cosine = (step.numpy() * expected).sum() / np.linalg.norm(step.numpy()) / np.linalg.norm(expected)
        assert cosine > 0.95


@pytest.mark.parametrize("options", OPTIONS, ids=lambda options: f"{options.kind} {getattr(options, 'momentum', 0)}")
def test_a_restored_optimizer_takes_the_same_steps(options: Optimizer) -> None:
    model = tiny_model()
    optimizer = build_optimizer(options, model)
    for seed in range(3):
        set_gradients(model, seed)
        optimizer.step()
    twin = tiny_model()
    twin.load_weights({name: tensor.clone() for name, tensor in model.weights().items()})
    restored = build_optimizer(options, twin)
    restore_optimizer(restored, {name: tensor.clone() for name, tensor in optimizer_tensors(optimizer).items()})
    for seed in range(3, 6):
        for each, its_optimizer in ((model, optimizer), (twin, restored)):
            set_gradients(each, seed)
            set_rate(its_optimizer, 0.01 * seed)
            its_optimizer.step()
    for name, tensor in model.weights().items():
        assert torch.equal(tensor, twin.weights()[name])


def test_the_memory_of_another_optimizer_is_refused() -> None:
    optimizer = build_optimizer(Adam(), tiny_model())
    with pytest.raises(CorruptFileError, match="does not fit"):
        restore_optimizer(optimizer, {"not-a-number.exp_avg": torch.zeros(1)})
