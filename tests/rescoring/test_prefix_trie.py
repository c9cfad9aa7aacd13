import pytest
import torch

from recurlm.config import AdaptiveOutput, MixtureOutput, ModelOptions, UniformInitialisation
from recurlm.models.initialisation import initialise
from recurlm.models.language_model import LanguageModel
from recurlm.models.memory import initial_state, state_after
from recurlm.rescoring.prefix_trie import levels, sequence_logprobs

SEQUENCES = [[2, 3, 4], [2, 3], [], [2, 3, 4], [5, 1, 1, 1, 6], [2, 3, 5], [2, 4, 4], [5, 1], []]


def made(**options) -> LanguageModel:
    torch.manual_seed(0)
    model = LanguageModel(ModelOptions(**{"embedding_size": 8, "hidden_sizes": (9, 8)} | options), 9)
    initialise(model, UniformInitialisation(scale=0.9))
    return model


@pytest.fixture(params=["lstm", "gru", "tanh"])
def model(request: pytest.FixtureRequest) -> LanguageModel:
    return made(cell=request.param)


@torch.no_grad()
def alone(model: LanguageModel, text: list[int], ids: list[int]) -> list[float]:
    """ln p of each id and of <eos> after a text, read from its beginning."""
    read = [0, *text, *ids]
    logits, _ = model(torch.tensor(read)[:, None], model.initial_state(1))
    logprobs = logits[:, 0].double().log_softmax(-1)[len(text) :]
    return [logprobs[step, target].item() for step, target in enumerate([*ids, 0])]


def many() -> list[list[int]]:
    generator = torch.Generator().manual_seed(3)
    lengths = torch.randint(0, 9, (200,), generator=generator).tolist()
    return [torch.randint(1, 4, (length,), generator=generator).tolist() for length in lengths]


@pytest.mark.parametrize("sequences", [SEQUENCES, many()], ids=["few", "many"])
def test_each_sequence_has_the_scores_it_has_alone(model, sequences):
    for ids, found in zip(sequences, sequence_logprobs(model, sequences), strict=True):
        assert found.tolist() == pytest.approx(alone(model, [], ids), abs=1e-5)


def test_dropout_is_off_even_while_training():
    model = made(dropout={"input": 0.5, "output": 0.5, "between": 0.5}).train()
    found = sequence_logprobs(model, [[2, 3]], state_after(model, [4, 0], initial_state(model, "")).layers)
    assert model.training
    assert found[0].tolist() == pytest.approx(alone(model.eval(), [4, 0], [2, 3]), abs=1e-5)


def test_a_decoder_without_bias():
    model = made(decoder_bias=False)
    for ids, found in zip(SEQUENCES, sequence_logprobs(model, SEQUENCES), strict=True):
        assert found.tolist() == pytest.approx(alone(model, [], ids), abs=1e-5)


@pytest.mark.parametrize("output", [MixtureOutput(experts=3, dropout=0.5), AdaptiveOutput(cutoffs=(3, 5))])
def test_other_output_layers(output):
    model = made(output=output).train()
    for ids, found in zip(SEQUENCES, sequence_logprobs(model, SEQUENCES), strict=True):
        assert found.tolist() == pytest.approx(alone(model, [], ids), abs=1e-5)


def test_residual_layers_are_read_alike():
    model = made(hidden_sizes=(8, 8), residual=True)
    for ids, found in zip(SEQUENCES, sequence_logprobs(model, SEQUENCES), strict=True):
        assert found.tolist() == pytest.approx(alone(model, [], ids), abs=1e-5)


@pytest.mark.parametrize("rows", [1, 3, 1024])
def test_the_limit_of_rows_does_not_change_the_result(monkeypatch, model, rows):
    expected = [alone(model, [], ids) for ids in SEQUENCES]
    monkeypatch.setattr("recurlm.rescoring.prefix_trie.SEQUENCES_AT_ONCE", rows)
    for found, row in zip(sequence_logprobs(model, SEQUENCES), expected, strict=True):
        assert found.tolist() == pytest.approx(row, abs=1e-5)


def test_a_state_is_that_of_the_text_before(model):
    state = state_after(model, [3, 1, 0], initial_state(model, ""))
    state = state_after(model, [4, 0], state)
    for ids, found in zip(SEQUENCES, sequence_logprobs(model, SEQUENCES, state.layers), strict=True):
        assert found.tolist() == pytest.approx(alone(model, [3, 1, 0, 4, 0], ids), abs=1e-5)


def test_each_distinct_prefix_is_read_once(monkeypatch, model):
    read = []
    step = model.stack.step

    def counted(input, state):
        read.append(len(input))
        return step(input, state)

    monkeypatch.setattr(model.stack, "step", counted)
    sequences = many()
    sequence_logprobs(model, sequences)
    prefixes = {tuple(ids[:length]) for ids in sequences for length in range(len(ids) + 1)}
    assert sum(read) == len(prefixes)
    assert read == [sum(len(prefix) == length for prefix in prefixes) for length in range(len(read))]


def test_levels_by_hand():
    first, second, third = levels([[2, 0], [2, 3, 0], [2, 3, 0], [4, 3, 0]])
    assert (first.parents.tolist(), first.tokens.tolist()) == ([0, 0], [2, 4])
    assert (second.parents.tolist(), second.tokens.tolist()) == ([0, 0, 1], [0, 3, 3])
    assert (third.parents.tolist(), third.tokens.tolist()) == ([0, 1], [0, 0])
    assert (second.rows.tolist(), second.nodes.tolist()) == ([0, 1, 2, 3], [0, 1, 1, 2])
    assert (third.rows.tolist(), third.nodes.tolist()) == ([1, 2, 3], [0, 0, 1])


def test_nothing_has_no_scores(model):
    assert sequence_logprobs(model, []) == []
