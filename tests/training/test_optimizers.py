import numpy as np
import pytest
import torch

from recurlm.config import SGD, Adam, ModelOptions, RMSProp
from recurlm.errors import CorruptFileError
from recurlm.models.language_model import LanguageModel
from recurlm.training.optimizers import build_optimizer, optimizer_tensors, restore_optimizer, set_rate

OPTIONS = [SGD(learning_rate=0.1), SGD(momentum=0.9), Adam(kind="adam"), Adam(kind="adamw"), RMSProp(momentum=0.5)]


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


@pytest.mark.parametrize("options", OPTIONS, ids=lambda options: f"{options.kind} {getattr(options, 'momentum', 0)}")
def test_a_restored_optimizer_takes_the_same_steps(options: SGD | Adam | RMSProp) -> None:
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
