import pytest
import torch
from torch import Tensor

from recurlm.config import ModelOptions, UniformInitialisation
from recurlm.errors import UsageError
from recurlm.generation.beam_search import BeamOptions, beam_search, check_beam_fits
from recurlm.models.initialisation import initialise
from recurlm.models.language_model import LanguageModel
from recurlm.scoring.scorer import score_lines
from recurlm.text.codec import Codec
from recurlm.text.tokenization import Words
from recurlm.text.vocabulary import Vocabulary

CODEC = Codec(Words(), Vocabulary(("<eos>", "a", "b", "c")))
TOKENS = 4
ALL = 121  # 1 + 3 + 9 + 27 that end with <eos>, 81 that are cut off


def made(**options) -> LanguageModel:
    torch.manual_seed(2)
    model = LanguageModel(ModelOptions(embedding_size=6, hidden_sizes=(7, 6), **options), 4)
    initialise(model, UniformInitialisation(scale=1.2))
    return model.eval()


@pytest.fixture(scope="module", params=["lstm", "gru", "tanh"])
def model(request: pytest.FixtureRequest) -> LanguageModel:
    return made(cell=request.param)


@torch.no_grad()
def next_logprobs(model: LanguageModel, read: list[int]) -> list[float]:
    logits, _ = model(torch.tensor([0, *read])[:, None], model.initial_state(1))
    logprobs: list[float] = logits[-1, 0].double().log_softmax(-1).tolist()
    return logprobs


def everything(model: LanguageModel, prompt: list[int], ids: tuple[int, ...] = ()) -> dict[tuple[int, ...], float]:
    """Log-probability of every continuation to <eos> or of four tokens, the text read anew for each token."""
    found: dict[tuple[int, ...], float] = {}
    for token, logprob in enumerate(next_logprobs(model, [*prompt, *ids])):
        longer = (*ids, token)
        if token == 0 or len(longer) == TOKENS:
            found[longer] = logprob
        else:
            rest = everything(model, prompt, longer)
            found |= {each: logprob + below for each, below in rest.items()}
    return found


def naive_beam(model: LanguageModel, width: int, tokens: int) -> list[tuple[int, ...]]:
    """Without batches, states or an early end: what is finished, best first."""
    live, finished = {(): 0.0}, {}
    for length in range(1, tokens + 1):
        longer = {
            (*ids, token): total + logprob
            for ids, total in live.items()
            for token, logprob in enumerate(next_logprobs(model, list(ids)))
        }
        finished |= {ids: total for ids, total in longer.items() if ids[-1] == 0}
        going = sorted((ids for ids in longer if ids[-1] != 0), key=lambda ids: -longer[ids])[:width]
        live = {ids: longer[ids] for ids in going}
        if length == tokens:
            finished |= live
    return sorted(finished, key=lambda ids: -finished[ids])[:width]


@pytest.mark.parametrize("penalty", [0.0, 0.7, 2.0])
@pytest.mark.parametrize("prompt", [[], [1, 3]])
def test_a_beam_wide_enough_is_an_exhaustive_search(model, prompt, penalty):
    expected = everything(model, prompt)
    assert len(expected) == ALL
    scores = {ids: logprob / ((5 + len(ids)) / 6) ** penalty for ids, logprob in expected.items()}
    found = beam_search(model, prompt, BeamOptions(ALL, penalty), tokens=TOKENS, count=ALL)
    assert [each.ids for each in found] == sorted(expected, key=lambda ids: -scores[ids])
    for each in found:
        assert each.logprob == pytest.approx(expected[each.ids], abs=1e-5)
        assert each.score == pytest.approx(scores[each.ids], abs=1e-5)


def test_a_length_penalty_changes_the_order(model):
    short, long = (beam_search(model, [], BeamOptions(ALL, penalty), tokens=TOKENS, count=20) for penalty in (0.0, 3.0))
    assert sum(len(each.ids) for each in short) < sum(len(each.ids) for each in long)


@pytest.mark.parametrize("width", [1, 2, 3, 5])
def test_a_narrow_beam_is_a_loop_over_lists(model, width):
    found = beam_search(model, [], BeamOptions(width), tokens=7, count=width)
    assert [each.ids for each in found] == naive_beam(model, width, 7)


def test_score_confirms_the_log_probability_of_every_sentence(model):
    prompt = CODEC.line("b a")[0]
    found = beam_search(model, prompt, BeamOptions(40), tokens=12, count=40)
    sentences = [each for each in found if each.ids[-1] == 0]
    assert len(sentences) > 10
    for each in sentences:
        (score,) = score_lines(model, CODEC, [CODEC.decode([*prompt, *each.ids[:-1]])])
        assert each.logprob == pytest.approx(sum(token.logprob for token in score.tokens[2:]), abs=1e-5)


def test_banned_tokens_do_not_occur_and_log_probabilities_stay_the_models(model):
    every = everything(model, [])
    allowed = {ids: logprob for ids, logprob in every.items() if 2 not in ids}
    found = beam_search(model, [], BeamOptions(ALL, banned=(2,)), tokens=TOKENS, count=ALL)
    assert [each.ids for each in found] == sorted(allowed, key=lambda ids: -allowed[ids])
    unfinished = beam_search(model, [], BeamOptions(ALL, banned=(0,)), tokens=TOKENS, count=ALL)
    assert {each.ids for each in unfinished} == {ids for ids in every if 0 not in ids}


def test_nothing_is_random(model):
    state = torch.get_rng_state()
    one, same = (beam_search(model, [1], BeamOptions(3), tokens=9, count=3) for _ in range(2))
    assert one == same
    assert torch.equal(torch.get_rng_state(), state)


def test_the_search_ends_as_soon_as_nothing_better_can_come(monkeypatch):
    model = made()
    with torch.no_grad():
        assert isinstance(model.decoder.bias, Tensor)
        model.decoder.bias[0] = 20.0  # <eos> is all but certain
    steps = []
    step = LanguageModel.step
    monkeypatch.setattr(LanguageModel, "step", lambda *arguments: steps.append(1) or step(*arguments))
    (best,) = beam_search(model, [], BeamOptions(1), tokens=1000)
    assert best.ids == (0,)
    assert len(steps) < 5


def test_no_tokens_are_an_empty_continuation(model):
    (only,) = beam_search(model, [1], BeamOptions(3), tokens=0)
    assert (only.ids, only.logprob) == ((), 0.0)


@pytest.mark.parametrize("values", [{"width": 0}, {"width": 2, "length_penalty": -0.1}])
def test_impossible_options_are_refused(values):
    with pytest.raises(UsageError, match="must be"):
        BeamOptions(**values)


def test_more_than_the_beam_holds_and_a_ban_on_everything_are_refused(model):
    with pytest.raises(UsageError, match="widen the beam"):
        beam_search(model, [], BeamOptions(2), tokens=3, count=3)
    with pytest.raises(UsageError, match="every token"):
        beam_search(model, [], BeamOptions(2, banned=(0, 1, 2, 3)), tokens=3)


def test_a_beam_that_cannot_fit_is_refused_with_the_memory_it_would_take(monkeypatch):
    monkeypatch.setattr("recurlm.capacity.machine_memory", lambda: 10**9)
    check_beam_fits(10**6, 5, tokens=1)  # one token: no more than five continuations
    check_beam_fits(100_000, 5, tokens=6)  # of the first five tokens there are 3,125
    with pytest.raises(UsageError, match=r"a beam of 1,000,000 would take at least 24.0 GB of memory.*1.0 GB"):
        check_beam_fits(10**6, 2000, tokens=50)
    with pytest.raises(UsageError, match="a narrower one with --beam"):
        check_beam_fits(10**6, 2000, tokens=10**8)


@pytest.mark.parametrize(
    ("width", "vocabulary_size", "tokens", "scores"),
    # after two of three tokens there are at most 25 continuations, each with 5 scores of 12 bytes
    [(100, 5, 3, 25 * 5), (24, 5, 3, 24 * 5), (100, 5, 1, 5), (100, 1, 9, 1), (100, 2, 9, 100 * 2)],
)
def test_a_beam_is_refused_from_the_first_byte_that_is_missing(monkeypatch, width, vocabulary_size, tokens, scores):
    monkeypatch.setattr("recurlm.capacity.machine_memory", lambda: 12 * scores)
    check_beam_fits(width, vocabulary_size, tokens)
    monkeypatch.setattr("recurlm.capacity.machine_memory", lambda: 12 * scores - 1)
    with pytest.raises(UsageError, match="a narrower one with --beam"):
        check_beam_fits(width, vocabulary_size, tokens)
