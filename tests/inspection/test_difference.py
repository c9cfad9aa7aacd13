"""Distances of two memories against steps taken one by one."""

import numpy as np
import pytest
import torch

from recurlm.config import ModelOptions
from recurlm.errors import InputError
from recurlm.inspection.difference import divergence, remembrance
from recurlm.models.language_model import LanguageModel


def make_model(cell: str = "lstm") -> LanguageModel:
    torch.manual_seed(2)
    model = LanguageModel(ModelOptions(cell=cell, embedding_size=6, hidden_sizes=(5, 4)), 9).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_()
    return model


@torch.no_grad()
def states_along(model: LanguageModel, ids: list[int]) -> tuple[list[list[torch.Tensor]], list[torch.Tensor]]:
    """The state of each layer, and the prediction, after ``<eos>`` and each token."""
    state, states, predictions = model.initial_state(1), [], []
    for index in (0, *ids):
        logits, state = model.step(torch.tensor([index]), state)
        states.append([torch.cat(layer, -1)[0].double() for layer in state])
        predictions.append(logits[0].double().softmax(-1))
    return states, predictions


def distances(model: LanguageModel, first: list[int], second: list[int], back: int) -> list[float]:
    """The distances of the layers and of the predictions, `back` tokens before the end."""
    (one, p), (other, q) = states_along(model, first), states_along(model, second)
    pairs = zip(one[-1 - back], other[-1 - back], strict=True)
    layers = [float((a - b).norm() / ((a.norm() + b.norm()) / 2)) for a, b in pairs]
    return [*layers, float((p[-1 - back] - q[-1 - back]).abs().sum() / 2)]


def test_distances_are_those_of_two_readings():
    model = make_model()
    first, second = [3, 5, 1, 7, 7, 2], [3, 8, 8, 7, 7, 2]
    found = divergence(model, first, second)
    assert (found.first, found.second) == (3, 3)
    for step in range(4):
        np.testing.assert_allclose(found.distances[:, step], distances(model, first, second, 3 - step), atol=1e-4)


def test_texts_of_different_lengths_are_aligned_at_their_common_end():
    model = make_model("gru")
    first, second = [3, 5, 7, 2], [3, 7, 2]
    found = divergence(model, first, second)
    assert (found.first, found.second) == (2, 1)
    np.testing.assert_allclose(found.distances[:, -1], distances(model, first, second, 0), atol=1e-4)


@pytest.mark.parametrize(("first", "second"), [([1, 2], [1, 2]), ([1, 2], [1, 3])])
def test_equal_texts_and_texts_without_a_common_end_are_refused(first, second):
    with pytest.raises(InputError, match="the two texts must differ"):
        divergence(make_model(), first, second)


def test_remembrance_is_the_mean_over_replaced_words():
    model = make_model()
    ids = [3, 5, 3, 3, 5, 5]  # two kinds of tokens, so each has only one other
    expected = []
    for place in range(4):
        other = [*ids[:place], 8 - ids[place], *ids[place + 1 :]]
        expected.append([distances(model, ids[: place + 3], other[: place + 3], 2 - step) for step in range(3)])
    found = remembrance(model, ids, steps=2)
    np.testing.assert_allclose(found, np.mean(expected, 0).T, atol=1e-4)


@pytest.mark.parametrize(("ids", "steps"), [([3, 5], 2), ([3, 3, 3], 1)])
def test_a_text_too_short_or_without_another_word_is_refused(ids, steps):
    with pytest.raises(InputError, match="give a longer one"):
        remembrance(make_model(), ids, steps=steps)
