import json

import pytest
import torch

from recurlm import capacity
from recurlm.config import Recipe
from recurlm.errors import InputError
from recurlm.models.language_model import LanguageModel
from recurlm.models.memory_estimate import (
    check_model_fits,
    check_training_fits,
    estimate_memory,
    estimate_step_memory,
    estimate_training_memory,
    model_shapes,
)
from recurlm.recipe_files import load_recipe, recipe_names


def recipe(**sections: object) -> Recipe:
    return Recipe.model_validate_json(json.dumps(sections))


def test_the_weights_of_a_small_lstm_are_counted_as_by_hand() -> None:
    # embedding 7 x 3, LSTM 4 (4 x 3 + 4 x 4) + 2 biases of 16, decoder 7 x 4 + 7: 21 + 144 + 35 = 200 numbers
    options = recipe(model={"embedding_size": 3, "hidden_sizes": [4]}).model
    assert estimate_memory(options, 7) == 4 * 200


def test_training_keeps_weights_gradients_and_two_copies_for_adam_beside_one_step() -> None:
    values = recipe(model={"embedding_size": 3, "hidden_sizes": [4]}, batches={"kind": "stream", "batch_size": 2})
    # 10 tokens in 2 columns of 5 steps: 10 positions of 3 + 2 x 4 numbers
    assert estimate_step_memory(values, tokens=10) == 4 * 10 * 11
    assert estimate_training_memory(values, 7, tokens=10) == 4 * (4 * 200 + 110)


def test_processes_on_one_machine_each_keep_their_copies_and_a_message_and_share_the_step() -> None:
    values = recipe(
        model={"embedding_size": 3, "hidden_sizes": [4]}, batches={"kind": "stream", "batch_size": 2, "bptt": 5}
    )
    assert estimate_training_memory(values, 7, tokens=10, processes=3) == 4 * (3 * 5 * 200 + 110)


@pytest.mark.parametrize(("optimizer", "copies"), [("sgd", 2), ("adam", 4), ("rmsprop", 3)])
def test_each_optimizer_has_its_copies(optimizer: str, copies: int) -> None:
    values = recipe(model={"embedding_size": 3, "hidden_sizes": [4]}, optimizer={"kind": optimizer})
    assert estimate_training_memory(values, 7, tokens=0) == 4 * copies * 200


@pytest.mark.parametrize(
    ("optimizer", "average", "copies"),
    [
        ({"kind": "sgd", "momentum": 0.9}, "none", 3),
        ({"kind": "rmsprop", "momentum": 0.9}, "none", 4),
        ({"kind": "adamw"}, "none", 4),
        ({"kind": "muon"}, "none", 3),
        ({"kind": "sgd"}, "tail", 3),
    ],
)
def test_momentum_and_an_average_are_copies_too(optimizer: dict[str, object], average: str, copies: int) -> None:
    model = {"embedding_size": 3, "hidden_sizes": [4]}
    values = recipe(model=model, optimizer=optimizer, average={"kind": average})
    assert estimate_training_memory(values, 7, tokens=0) == 4 * copies * 200


@pytest.mark.parametrize(
    ("batches", "tokens", "positions"),
    [
        ({"kind": "stream", "batch_size": 4, "bptt": 5}, 1000, 20),
        ({"kind": "stream", "batch_size": 4, "bptt": 5}, 13, 16),
        ({"kind": "sentences", "batch_size": 4, "buckets": [10, 20]}, 1000, 40),
        ({"kind": "sentences", "batch_size": 4, "buckets": [10, 20]}, 13, 13),
        ({"kind": "sentences", "batch_size": 4, "buckets": "auto"}, 1000, 4),
        ({"kind": "sentences", "batch_size": 4, "buckets": "auto"}, 3, 3),
    ],
)
def test_a_step_has_the_positions_that_a_batch_has_at_least(
    batches: dict[str, object], tokens: int, positions: int
) -> None:
    values = recipe(model={"embedding_size": 3, "hidden_sizes": [4, 5]}, batches=batches)
    assert estimate_step_memory(values, tokens) == 4 * positions * (3 + 2 * 9)


def test_a_mixture_of_softmaxes_keeps_an_embedding_for_each_expert() -> None:
    model = {"embedding_size": 3, "hidden_sizes": [4], "output": {"kind": "mixture", "experts": 5}}
    batches = {"kind": "stream", "batch_size": 1, "bptt": 2}
    assert estimate_step_memory(recipe(model=model, batches=batches), tokens=9) == 4 * 2 * (3 + 8 + 15)


def test_training_is_refused_from_the_first_byte_that_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    model = {"embedding_size": 3, "hidden_sizes": [4]}
    batches = {"kind": "stream", "batch_size": 1, "bptt": 1}
    values = recipe(model=model, batches=batches, optimizer={"kind": "sgd"}, validation={"columns": 1})
    monkeypatch.setattr(capacity, "machine_memory", lambda: 4 * (2 * 200 + 11))
    check_training_fits(values, 7, 1)
    monkeypatch.setattr(capacity, "machine_memory", lambda: 4 * (2 * 200 + 11) - 1)
    with pytest.raises(InputError, match=r"training a model of 200 parameters would take at least 1\.6 kB"):
        check_training_fits(values, 7, 1)


@pytest.mark.parametrize("name", recipe_names())
def test_the_shapes_are_those_of_the_model_itself(name: str) -> None:
    options = load_recipe(name).model
    small = options.model_copy(update={"embedding_size": 8, "hidden_sizes": (8,) * len(options.hidden_sizes)})
    weights = LanguageModel(small, 30_000 if options.output.kind == "adaptive" else 50).weights()
    vocabulary = len(weights["embedding.weight"])
    assert model_shapes(small, vocabulary) == {name: tuple(tensor.shape) for name, tensor in weights.items()}


def test_an_estimate_neither_allocates_nor_draws() -> None:
    before = torch.get_rng_state()
    options = recipe(model={"embedding_size": 65_536, "hidden_sizes": [65_536] * 100}).model
    assert estimate_memory(options, 2**31) > 2**50
    assert torch.equal(torch.get_rng_state(), before)


def test_what_cannot_fit_is_refused_with_the_memory_it_would_take(monkeypatch: pytest.MonkeyPatch) -> None:
    options = recipe(model={"embedding_size": 3, "hidden_sizes": [4]}).model
    monkeypatch.setattr(capacity, "machine_memory", lambda: 800)
    check_model_fits(options, 7, "runs/a")
    monkeypatch.setattr(capacity, "machine_memory", lambda: 799)
    with pytest.raises(InputError, match="runs/a: the model would take at least 800 bytes of memory"):
        check_model_fits(options, 7, "runs/a")


def test_a_batch_that_cannot_fit_is_refused_before_training() -> None:
    values = recipe(batches={"kind": "stream", "batch_size": 1_000_000, "bptt": 1_000_000})
    with pytest.raises(InputError, match="one training step would take at least 5 PB"):
        check_training_fits(values, 100, tokens=10**12)
    check_training_fits(values, 100, tokens=10_000)  # a small text fills only some columns of one step


def test_bytes_in_words() -> None:
    assert [capacity.in_words(size) for size in (12, 999, 1500, 250_000_000, 4_200_000_000, 10**17)] == [
        "12 bytes",
        "999 bytes",
        "1.5 kB",
        "250 MB",
        "4.2 GB",
        "100 PB",
    ]


def test_columns_of_a_validation_that_cannot_fit_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    values = recipe(model={"hidden_sizes": [1000]}, validation={"columns": 1_000_000})
    monkeypatch.setattr(capacity, "machine_memory", lambda: 7 * 10**9)
    with pytest.raises(InputError, match=r"validation would take at least 8.0 GB"):
        check_training_fits(values, 10, tokens=100)
