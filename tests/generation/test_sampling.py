import itertools
import math

import pytest
import torch
from torch import Tensor

from marks import needs_tiles
from recurlm.config import ModelOptions, UniformInitialisation
from recurlm.errors import UsageError
from recurlm.generation.sampling import (
    SamplingOptions,
    check_samples_fit,
    draw,
    drawn_probabilities,
    logprobs_after,
    prompt_logprob,
    sample,
    summed_logprobs,
)
from recurlm.models.initialisation import initialise
from recurlm.models.language_model import LanguageModel
from recurlm.scoring.scorer import score_lines
from recurlm.text.codec import Codec
from recurlm.text.tokenization import Words
from recurlm.text.vocabulary import Vocabulary

DRAWS = 100_000
PROBABILITIES = [0.4, 0.25, 0.15, 0.1, 0.06, 0.04]
CODEC = Codec(Words(), Vocabulary(("<eos>", *"abcdefghi")))


@pytest.fixture(scope="module")
def model() -> LanguageModel:
    torch.manual_seed(0)
    made = LanguageModel(ModelOptions(embedding_size=8, hidden_sizes=(9, 8)), 10)
    initialise(made, UniformInitialisation(scale=0.8))
    return made.eval()


def frequencies(options: SamplingOptions, probabilities: list[float] = PROBABILITIES, seed: int = 0) -> Tensor:
    logprobs = torch.tensor(probabilities).log().expand(DRAWS, -1)
    drawn = draw(logprobs, options, torch.Generator().manual_seed(seed))
    assert drawn.shape == (DRAWS,)
    return drawn.bincount(minlength=len(probabilities)).double()


def assert_follows(counts: Tensor, probabilities: list[float]) -> None:
    """Pearson's chi-square at one in a million, and nothing where there is no chance."""
    expected = torch.tensor(probabilities, dtype=torch.float64) * DRAWS
    possible = expected > 0
    assert not counts[~possible].any()
    distance = ((counts - expected)[possible] ** 2 / expected[possible]).sum()
    freedom = torch.tensor(int(possible.sum()) - 1.0, dtype=torch.float64)
    assert torch.special.gammaincc(freedom / 2, distance / 2) > 1e-6


def normalised(weights: list[float]) -> list[float]:
    return [weight / sum(weights) for weight in weights]


@pytest.mark.parametrize("seed", [0, 1])
def test_draws_follow_the_probabilities(seed):
    assert_follows(frequencies(SamplingOptions(), seed=seed), PROBABILITIES)


@pytest.mark.parametrize("temperature", [0.5, 0.8, 2.0])
def test_temperature_is_an_exponent_of_one_over_it(temperature):
    expected = normalised([p ** (1 / temperature) for p in PROBABILITIES])
    assert_follows(frequencies(SamplingOptions(temperature=temperature)), expected)


def test_a_high_temperature_forgets_and_a_low_one_insists():
    hot = frequencies(SamplingOptions(temperature=100.0)) / DRAWS
    cold = frequencies(SamplingOptions(temperature=0.05)) / DRAWS
    assert hot[-1] > 0.15
    assert cold[0] > 0.9998


def test_temperature_zero_takes_the_likeliest():
    assert frequencies(SamplingOptions(temperature=0)).tolist() == [DRAWS, 0, 0, 0, 0, 0]
    assert frequencies(SamplingOptions(temperature=0, top_k=3, top_p=0.1)).tolist() == [DRAWS, 0, 0, 0, 0, 0]


def test_top_k_keeps_the_k_likeliest_in_proportion():
    shuffled = [0.06, 0.25, 0.04, 0.4, 0.15, 0.1]
    counts = frequencies(SamplingOptions(top_k=3), shuffled)
    assert_follows(counts, normalised([0, 0.25, 0, 0.4, 0.15, 0]))
    assert_follows(frequencies(SamplingOptions(top_k=99)), PROBABILITIES)
    assert frequencies(SamplingOptions(top_k=1)).tolist() == [DRAWS, 0, 0, 0, 0, 0]


def test_top_k_keeps_no_more_than_k_where_tokens_are_equally_likely():
    counts = frequencies(SamplingOptions(top_k=2), [0.25] * 4)
    assert int((counts > 0).sum()) == 2


@pytest.mark.parametrize(
    ("top_p", "kept"),
    [
        # running sums 0.4, 0.65, 0.8, 0.9, 0.96, 1
        (0.3, 1),
        (0.41, 2),
        (0.64, 2),
        (0.66, 3),
        (0.85, 4),
        (0.97, 6),
        (1.0, 6),
    ],
)
def test_top_p_keeps_the_fewest_tokens_that_reach_the_probability(top_p, kept):
    order = [3, 0, 5, 1, 4, 2]
    shuffled = [PROBABILITIES[place] for place in order]
    counts = frequencies(SamplingOptions(top_p=top_p), shuffled)
    expected = normalised([PROBABILITIES[place] if place < kept else 0.0 for place in order])
    assert set(counts.nonzero().flatten().tolist()) == {i for i, p in enumerate(expected) if p}
    if kept > 1:
        assert_follows(counts, expected)


@pytest.mark.parametrize(
    ("options", "weights"),
    [
        (SamplingOptions(), PROBABILITIES),
        (SamplingOptions(temperature=0), [1, 0, 0, 0, 0, 0]),
        (SamplingOptions(temperature=0.5, top_k=2), [0.16, 0.0625, 0, 0, 0, 0]),
        (SamplingOptions(banned=(0,), top_p=0.6), [0, 0.25, 0.15, 0, 0, 0]),
        (SamplingOptions(min_p=0.3), [0.4, 0.25, 0.15, 0, 0, 0]),
        # the entropy is 1.529 nats: surprisals 1.386 and 1.897 are nearest
        (SamplingOptions(typical=0.3), [0, 0.25, 0.15, 0, 0, 0]),
        # logits are negative: the square of the probability of the token seen
        (SamplingOptions(repetition_penalty=2), [0.16, 0.25, 0.15, 0.1, 0.06, 0.04]),
    ],
)
def test_the_probabilities_of_a_draw_are_told_and_followed(options, weights):
    logits = torch.tensor(PROBABILITIES).log().expand(DRAWS, -1)
    seen = torch.zeros(logits.shape, dtype=torch.bool)
    seen[:, 0] = options.repetition_penalty != 1
    told = drawn_probabilities(logits[:2], options, seen[:2])
    assert told.tolist() == [pytest.approx(normalised(weights), rel=1e-5)] * 2
    drawn = draw(logits, options, torch.Generator().manual_seed(5), seen)
    counts = drawn.bincount(minlength=len(PROBABILITIES)).double()
    if options.temperature:
        assert_follows(counts, told[0].tolist())
    else:
        assert counts[0] == DRAWS


def test_top_p_of_one_cuts_no_tail_off():
    """The running sum of float32 probabilities reaches 1 before the last of many tokens."""
    probabilities = torch.cat([torch.full((10_000,), 0.9999 / 10_000), torch.full((10_000,), 0.0001 / 10_000)])
    logprobs = probabilities.log().expand(2_000, -1)
    one, other = (
        draw(logprobs, SamplingOptions(top_p=top_p), torch.Generator().manual_seed(3)) for top_p in (1.0, None)
    )
    assert torch.equal(one, other)


def test_top_k_and_top_p_together():
    # of the three likeliest, 0.5, 0.3125 and 0.1875, two reach 0.6
    counts = frequencies(SamplingOptions(top_k=3, top_p=0.6))
    assert_follows(counts, normalised([0.4, 0.25, 0, 0, 0, 0]))


@pytest.mark.parametrize(
    ("min_p", "kept"),
    # shares of the likeliest: 1, 0.625, 0.375, 0.25, 0.15, 0.1
    [(0.05, 6), (0.11, 5), (0.2, 4), (0.3, 3), (0.6, 2), (0.99, 1), (1.0, 1)],
)
def test_min_p_keeps_what_is_at_least_that_share_as_likely_as_the_likeliest(min_p, kept):
    order = [3, 0, 5, 1, 4, 2]
    counts = frequencies(SamplingOptions(min_p=min_p), [PROBABILITIES[place] for place in order])
    expected = normalised([PROBABILITIES[place] if place < kept else 0.0 for place in order])
    assert set(counts.nonzero().flatten().tolist()) == {i for i, p in enumerate(expected) if p}
    if kept > 1:
        assert_follows(counts, expected)


@pytest.mark.parametrize(
    ("typical", "kept"),
    # entropy 1.526 nats; surprisals are 0.609, 0.139, 0.372, 0.777, 1.288 and 1.693 away from it
    [
        (0.2, [1]),
        (0.26, [1, 2]),
        (0.39, [1, 2]),
        (0.41, [1, 2, 0]),
        (0.81, [1, 2, 0, 3]),
        (0.95, [1, 2, 0, 3, 4]),
        (1.0, [0, 1, 2, 3, 4, 5]),
    ],
)
def test_typical_keeps_the_tokens_nearest_to_the_expected_surprisal(typical, kept):
    counts = frequencies(SamplingOptions(typical=typical))
    assert set(counts.nonzero().flatten().tolist()) == set(kept)
    if len(kept) > 1:
        assert_follows(counts, normalised([p if place in kept else 0.0 for place, p in enumerate(PROBABILITIES)]))


def test_banned_tokens_are_gone_before_the_filters_look():
    assert_follows(frequencies(SamplingOptions(banned=(0, 3))), normalised([0, 0.25, 0.15, 0, 0.06, 0.04]))
    assert_follows(frequencies(SamplingOptions(banned=(0,), top_k=2)), normalised([0, 0.25, 0.15, 0, 0, 0]))
    assert frequencies(SamplingOptions(banned=(0,), temperature=0)).tolist() == [0, DRAWS, 0, 0, 0, 0]


def test_filters_follow_one_another():
    # at temperature 0.5 the weights are 0.16, 0.0625, 0.0225, 0.01, ...; a seventh of the likeliest is 0.0229
    options = SamplingOptions(temperature=0.5, top_k=4, min_p=1 / 7)
    assert_follows(frequencies(options), normalised([0.16, 0.0625, 0, 0, 0, 0]))


def test_a_repetition_penalty_divides_positive_logits_and_multiplies_negative_ones():
    logits = torch.tensor([2.0, 1.0, 0.5, -1.0, -0.5]).expand(DRAWS, -1)
    seen = torch.tensor([True, False, False, True, False]).expand(DRAWS, -1)
    drawn = draw(logits, SamplingOptions(repetition_penalty=2.0), torch.Generator().manual_seed(0), seen)
    expected = normalised([math.exp(x) for x in (1.0, 1.0, 0.5, -2.0, -0.5)])
    assert_follows(drawn.bincount(minlength=5).double(), expected)


@pytest.mark.parametrize("prompt", [[], [3, 1, 3]])
def test_a_penalised_sample_is_a_loop_over_what_prompt_and_sample_hold(model, prompt):
    """By temperature 0, which a loop can follow: the likeliest after the penalty for all that has occurred."""
    steps = itertools.islice(sample(model, prompt, SamplingOptions(temperature=0, repetition_penalty=1.8)), 25)
    held, state, expected = set(prompt), model.initial_state(1), []
    with torch.no_grad():
        logits, state = model(torch.tensor([[0, *prompt]]).t(), state)
        for _ in range(25):
            adjusted = [
                (x / 1.8 if x > 0 else x * 1.8) if index in held else x
                for index, x in enumerate(logits[-1, 0].tolist())
            ]
            expected.append(max(range(10), key=adjusted.__getitem__))
            held.add(expected[-1])
            logits, state = model(torch.tensor([[expected[-1]]]), state)
    assert [int(ids) for ids in steps] == expected
    assert len(set(expected)) > 1


def test_banned_tokens_are_never_drawn_from_a_model(model):
    ids, _ = generated(model, [3], count=50, tokens=30, banned=(0, 4, 5))
    assert not {0, 4, 5} & set(ids.flatten().tolist())


@pytest.mark.parametrize("native", [False, pytest.param(True, marks=needs_tiles)])
@pytest.mark.parametrize(
    ("options", "adjusted"),
    [
        ({}, lambda p: p),
        ({"temperature": 0.7}, lambda p: p ** (1 / 0.7)),
        ({"top_k": 4}, lambda p: p * (p >= p.sort(descending=True).values[..., 3:4])),
        # at a share that no token is near to, for tiles round to bfloat16
        ({"min_p": 0.55}, lambda p: p * (p >= p.amax(-1, keepdim=True) * 0.55)),
        ({"banned": (1, 0)}, lambda p: p * torch.tensor([0, 0] + [1] * 8)),
    ],
)
def test_pairs_of_tokens_follow_the_models_own_distribution(monkeypatch, model, native, options, adjusted):
    """100,000 draws of two tokens, all hundred pairs against the product of two conditional probabilities."""
    monkeypatch.setattr("recurlm.models.stepping.has_tiles", lambda: native)
    first, second = itertools.islice(sample(model, [3], SamplingOptions(**options), count=DRAWS, seed=5), 2)
    expected = []
    with torch.no_grad():
        logits, state = model(torch.tensor([[0], [3]]), model.initial_state(1))
        before = adjusted(logits[-1, 0].double().softmax(-1))
        for token in range(10):
            logits, _ = model(torch.tensor([[token]]), state)
            after = adjusted(logits[-1, 0].double().softmax(-1))
            expected += (before[token] / before.sum() * after / after.sum()).tolist()
    assert_follows((10 * first + second).bincount(minlength=100).double(), expected)


def test_each_row_is_drawn_from_its_own_distribution():
    logprobs = torch.full((3, 4), -torch.inf)
    logprobs[0, 2] = logprobs[1, 0] = logprobs[2, 3] = 0.0
    for options in (SamplingOptions(), SamplingOptions(top_k=2), SamplingOptions(top_p=0.5)):
        assert draw(logprobs, options, torch.Generator()).tolist() == [2, 0, 3]


@pytest.mark.parametrize(
    "values",
    [
        {"temperature": -0.1},
        {"temperature": math.nan},
        {"temperature": math.inf},
        {"temperature": 1e-40},
        {"top_k": 0},
        {"top_p": 0.0},
        {"top_p": 1.01},
        {"min_p": 0.0},
        {"min_p": 1.5},
        {"typical": -1.0},
        {"typical": math.nan},
        {"repetition_penalty": 0.0},
        {"repetition_penalty": math.inf},
    ],
)
def test_impossible_options_are_refused(values):
    with pytest.raises(UsageError, match="must be"):
        SamplingOptions(**values)


@pytest.mark.parametrize(
    ("name", "allowed", "beyond"),
    [
        ("temperature", [0, 1e-6, 1e6], [9.9e-7, 1000001.0, -5e-324]),
        ("top_k", [None, 1], [0]),
        ("top_p", [None, 5e-324, 1.0], [0.0, 1.0000001]),
        ("min_p", [None, 5e-324, 1.0], [0.0, 1.0000001]),
        ("typical", [None, 5e-324, 1.0], [0.0, 1.0000001]),
        ("repetition_penalty", [5e-324, 1e300], [0.0]),
    ],
)
def test_an_option_may_be_its_first_and_its_last_value_and_nothing_beyond(name, allowed, beyond):
    for value in allowed:
        SamplingOptions(**{name: value})
    for value in beyond:
        with pytest.raises(UsageError, match="must be"):
            SamplingOptions(**{name: value})


@pytest.mark.parametrize("banned", [tuple(range(10)), (10,), (-1,)])
def test_bans_that_leave_nothing_or_name_no_token_are_refused(model, banned):
    with pytest.raises(UsageError, match="banned"):
        next(sample(model, [1], SamplingOptions(banned=banned)))


def generated(model: LanguageModel, prompt: list[int], count: int = 1, seed: int = 0, tokens: int = 40, **options):
    steps = list(itertools.islice(sample(model, prompt, SamplingOptions(**options), count=count, seed=seed), tokens))
    ids = torch.stack(steps)
    return ids.t(), logprobs_after(model, prompt, ids).t()


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"temperature": 0.7, "top_k": 4},
        {"temperature": 0},
        {"min_p": 0.3, "repetition_penalty": 1.5},
        {"typical": 0.5, "banned": (2,)},
    ],
)
@pytest.mark.parametrize("prompt", ["", "c a b"])
def test_logprobs_are_those_that_score_gives(model, prompt, options):
    prompt_ids = CODEC.line(prompt)[0]
    ids, logprobs = generated(model, prompt_ids, count=5, **options)
    for row, row_logprobs in zip(ids.tolist(), logprobs.tolist(), strict=True):
        sentence = row[: row.index(0)] if 0 in row else row
        (score,) = score_lines(model, CODEC, [CODEC.decode([*prompt_ids, *sentence])])
        theirs = [token.logprob for token in score.tokens]
        compared = min(len(sentence) + 1, len(row))
        assert row_logprobs[:compared] == pytest.approx(theirs[len(prompt_ids) :][:compared], abs=1e-5)
        assert prompt_logprob(model, prompt_ids) == pytest.approx(sum(theirs[: len(prompt_ids)]), abs=1e-5)


def test_state_is_carried_beyond_the_first_sentence(model):
    ids, logprobs = generated(model, [3], tokens=60)
    inputs = torch.tensor([0, 3, *ids[0].tolist()[:-1]])[:, None]
    with torch.no_grad():
        logits, _ = model(inputs, model.initial_state(1))
    expected = logits[1:, 0].log_softmax(-1).gather(1, ids[0][:, None])[:, 0]
    assert 0 in ids[0, :-1].tolist()
    torch.testing.assert_close(logprobs[0].float(), expected, rtol=0, atol=1e-5)


def test_a_seed_repeats_and_another_differs(model):
    one, same, other = (generated(model, [1, 2], count=3, seed=seed) for seed in (7, 7, 8))
    assert torch.equal(one[0], same[0])
    assert torch.equal(one[1], same[1])
    assert not torch.equal(one[0], other[0])


def test_a_seed_needs_not_the_global_generator(model):
    torch.manual_seed(1)
    one = generated(model, [1])[0]
    torch.manual_seed(2)
    before = torch.get_rng_state()
    assert torch.equal(generated(model, [1])[0], one)
    assert torch.equal(torch.get_rng_state(), before)


def test_continuations_of_any_lengths_have_the_log_probabilities_of_each_alone(model):
    rows = [[1, 2, 3], [], [4], [5, 0, 6, 7]]
    together = summed_logprobs(model, [3], rows)
    alone = [float(logprobs_after(model, [3], torch.tensor(row)[:, None]).sum()) for row in rows if row]
    assert together[1] == 0.0
    assert [together[0], *together[2:]] == pytest.approx(alone, abs=1e-6)
    assert summed_logprobs(model, [3], [[], []]) == [0.0, 0.0]


def test_several_samples_of_one_prompt_differ(model):
    ids, _ = generated(model, [1], count=8)
    assert len({tuple(row) for row in ids.tolist()}) > 1


def test_gradients_stay_on_between_two_tokens(model):
    tokens = sample(model, [1], SamplingOptions())
    next(tokens)
    assert torch.is_grad_enabled()
    assert not logprobs_after(model, [1], torch.ones(3, 1, dtype=torch.int64)).requires_grad


def test_an_empty_prompt_has_probability_one(model):
    assert prompt_logprob(model, []) == 0.0


def test_samples_that_cannot_fit_are_refused_with_the_memory_they_would_take(monkeypatch):
    monkeypatch.setattr("recurlm.capacity.machine_memory", lambda: 10**9)
    check_samples_fit(1000, 1000, vocabulary_size=10_000)
    with pytest.raises(UsageError, match=r"1,000,000 samples of 50 tokens would take at least 161 GB"):
        check_samples_fit(10**6, 50, vocabulary_size=10_000)
    with pytest.raises(UsageError, match=r"10 samples of 100,000,000 tokens would take at least 16.0 GB"):
        check_samples_fit(10, 10**8, vocabulary_size=2)


def test_samples_are_refused_from_the_first_byte_that_is_missing(monkeypatch):
    needed = 3 * (10 * 16 + 7 * 16)
    monkeypatch.setattr("recurlm.capacity.machine_memory", lambda: needed)
    check_samples_fit(3, 7, vocabulary_size=10)
    monkeypatch.setattr("recurlm.capacity.machine_memory", lambda: needed - 1)
    with pytest.raises(UsageError, match="ask for less with --count or --tokens"):
        check_samples_fit(3, 7, vocabulary_size=10)
