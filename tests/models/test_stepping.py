import pytest
import torch

from marks import needs_tiles
from recurlm.config import ModelOptions, UniformInitialisation
from recurlm.kernels.linear import draw_native
from recurlm.models.initialisation import initialise
from recurlm.models.language_model import LanguageModel
from recurlm.models.stepping import PlainStepper, TileStepper, open_stepper


def made(**options) -> LanguageModel:
    torch.manual_seed(0)
    model = LanguageModel(ModelOptions(embedding_size=12, hidden_sizes=(40, 12), **options), 23)
    initialise(model, UniformInitialisation(scale=0.5))
    return model.eval()


@needs_tiles
@pytest.mark.parametrize("batch", [1, 7, 40])
@pytest.mark.parametrize("options", [{}, {"tied": True}, {"decoder_bias": False}])
@torch.no_grad()
def test_tiles_step_as_the_equations_do(batch, options):
    model = made(**options)
    _, state = model(torch.randint(23, (3, batch)), model.initial_state(batch))
    fast, plain = TileStepper(model, state), PlainStepper(model, state)
    for _ in range(12):
        tokens = torch.randint(23, (batch,))
        torch.testing.assert_close(fast.step(tokens), plain.step(tokens), rtol=0.03, atol=0.03)


@needs_tiles
@pytest.mark.parametrize("batch", [1, 5, 33])
@torch.no_grad()
def test_ids_that_all_rows_read_are_read_as_by_single_steps(batch):
    model = made()
    _, one = model(torch.randint(23, (3, 1)), model.initial_state(1))
    state = tuple((hidden.repeat(batch, 1), cell.repeat(batch, 1)) for hidden, cell in one)
    together, single = TileStepper(model, state), TileStepper(model, state)
    ids = torch.randint(23, (7,)).tolist()
    together.read(ids)
    for index in ids:
        single.step(torch.full((batch,), index))
    tokens = torch.randint(23, (batch,))
    assert torch.equal(together.step(tokens), single.step(tokens))


@needs_tiles
@pytest.mark.parametrize("batch", [1, 5, 33])
@torch.no_grad()
def test_draws_in_one_call_are_those_of_single_steps(batch):
    model = made()
    _, state = model(torch.randint(23, (3, batch)), model.initial_state(batch))
    at_once, single = TileStepper(model, state), TileStepper(model, state)
    shares = torch.rand(14, batch, dtype=torch.float64)
    tokens = torch.randint(23, (batch,))
    drawn = at_once.draw(tokens, 0.8, shares[:9])
    drawn = torch.cat([drawn, at_once.draw(drawn[-1], 0.8, shares[9:])])
    for row, expected in zip(shares, drawn, strict=True):
        tokens = draw_native(single.step(tokens), 0.8, row)
        assert torch.equal(tokens, expected)


@needs_tiles
@torch.no_grad()
def test_tokens_that_are_banned_are_never_drawn_and_the_others_keep_their_logits():
    model = made()
    state = model.initial_state(9)
    banning, plain = TileStepper(model, state), TileStepper(model, state)
    banning.ban([0, 3, 22])
    tokens = torch.randint(23, (9,))
    logits, expected = banning.step(tokens).clone(), plain.step(tokens)
    expected[:, [0, 3, 22]] = -torch.inf
    assert torch.equal(logits, expected)
    drawn = banning.draw(tokens, 1.0, torch.rand(200, 9, dtype=torch.float64))
    assert set(drawn.flatten().tolist()) == set(range(23)) - {0, 3, 22}


KIN = [("lstm", "capped"), ("lstm", "coupled"), ("mogrifier", "free"), ("layer-norm-lstm", "free")]


@pytest.mark.parametrize(("cell", "input_gate"), [*KIN, ("gru", "free"), (("lstm", "qrnn"), "free")])
def test_tiles_refuse_cells_that_are_not_plain_lstms(cell, input_gate):
    model = made(cell=cell, input_gate=input_gate)
    with pytest.raises(ValueError, match="plain LSTM layers only"):
        TileStepper(model, model.initial_state(2))


@needs_tiles
def test_lstm_stacks_take_the_fast_way_and_others_the_plain_one():
    model = made()
    assert isinstance(open_stepper(model, model.initial_state(2)), TileStepper)
    kin = [made(cell=cell, input_gate=gate) for cell, gate in KIN]
    skipping = LanguageModel(ModelOptions(embedding_size=12, hidden_sizes=(12, 12), skip=True), 23)
    for other in (made(cell="gru"), made(cell=("lstm", "tanh")), made().double(), *kin, skipping):
        assert isinstance(open_stepper(other, other.initial_state(2)), PlainStepper)


@torch.no_grad()
def test_a_plain_stepper_is_the_model_unrolled():
    model = made(cell=("gru", "lstm"))
    tokens = torch.randint(23, (6, 3))
    expected, _ = model(tokens, model.initial_state(3))
    stepper = PlainStepper(model, model.initial_state(3))
    for step, ids in enumerate(tokens):
        torch.testing.assert_close(stepper.step(ids), expected[step], rtol=1e-5, atol=1e-5)
