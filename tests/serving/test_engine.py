"""The engine: jobs in any company give the bits that they give alone, and states continue exactly."""

import random
import threading
from collections.abc import Iterator, Sequence
from dataclasses import replace

import pytest
import torch

from marks import needs_tiles
from recurlm.config import ModelOptions
from recurlm.errors import InputError
from recurlm.generation.endings import Ending
from recurlm.generation.sampling import SamplingOptions, sample
from recurlm.models.language_model import LanguageModel
from recurlm.models.memory import State, initial_state, model_digest
from recurlm.models.state import map_state
from recurlm.serving.engine import BusyError, ClosedError, Engine
from recurlm.serving.jobs import Draw, Job, Outcome
from recurlm.serving.running import RunningJob
from recurlm.text.codec import Codec
from recurlm.text.tokenization import Words
from recurlm.text.vocabulary import Vocabulary

WORDS = ["<eos>", "<unk>", *(f"w{number}" for number in range(98))]
SECONDS = 60


class Heard:
    """A listener that remembers."""

    at_once = 4

    def __init__(self) -> None:
        self.draws: list[Draw] = []
        self.outcome: Outcome | None = None
        self.error: Exception | None = None
        self.done, self.began = threading.Event(), threading.Event()

    def drew(self, draws: Sequence[Draw]) -> None:
        self.draws += draws
        self.began.set()

    def ended(self, outcome: Outcome) -> None:
        self.outcome = outcome
        self.done.set()

    def failed(self, error: Exception) -> None:
        self.error = error
        self.done.set()

    def wait(self) -> Outcome:
        assert self.done.wait(SECONDS)
        assert self.outcome is not None, self.error
        return self.outcome


def make_codec() -> Codec:
    return Codec(Words(), Vocabulary(WORDS))


def make_model(cell: str) -> LanguageModel:
    torch.manual_seed(1)
    return with_weights(LanguageModel(ModelOptions(cell=cell, embedding_size=24, hidden_sizes=(40, 24)), len(WORDS)))


def with_weights(model: LanguageModel) -> LanguageModel:
    """Normal weights, large enough that memories matter; a new model has zeros in its cells."""
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(std=0.6)
    return model.eval()


@pytest.fixture(params=["lstm", "gru"])
def engine(request: pytest.FixtureRequest) -> Iterator[Engine]:
    model = make_model(request.param)
    codec = make_codec()
    engine = Engine(model, codec, model_digest(model, codec.vocabulary), slots=5, queue=400)
    yield engine
    assert engine.close(SECONDS)


def some_job(draw: random.Random, engine: Engine) -> Job:
    options = draw.choice(
        [
            SamplingOptions(temperature=draw.choice([0.5, 1.0, 1.3]), banned=(1,)),
            SamplingOptions(temperature=draw.choice([0.5, 1.0]), top_k=7, banned=(1,)),
            SamplingOptions(temperature=0, banned=(1,)),
            SamplingOptions(repetition_penalty=1.5, top_p=0.9),
        ]
    )
    return Job(
        initial_state(engine.model, engine.digest),
        tuple(draw.randrange(len(WORDS)) for _ in range(draw.randrange(8))),
        tokens=draw.randrange(20),
        options=options,
        ending=draw.choice([Ending(), Ending(at_eos=True), Ending(stops=("w1", "w7"))]),
        seed=draw.randrange(1000),
        alternatives=draw.choice([None, None, 0, 3]),
        kept=draw.choice([None, None, 0, 4]),
    )


def run_alone(engine: Engine, job: Job) -> Heard:
    heard = Heard()
    engine.submit(job, heard)
    heard.wait()
    return heard


def test_a_job_in_company_gives_the_bits_that_it_gives_alone(engine: Engine) -> None:
    draw = random.Random(1)
    jobs = [some_job(draw, engine) for _ in range(60)]
    alone = [run_alone(engine, job) for job in jobs]

    together = [Heard() for _ in jobs]
    for job, heard in zip(jobs, together, strict=True):
        engine.submit(job, heard)

    for first, second in zip(alone, together, strict=True):
        assert second.wait() == first.wait()
        assert second.draws == first.draws


def test_a_first_token_that_a_reader_waits_for_leaves_while_the_others_are_drawn(engine: Engine) -> None:
    happened: list[tuple[str, int]] = []

    class Told(Heard):
        def __init__(self, name: str, at_once: int) -> None:
            super().__init__()
            self.name, self.at_once = name, at_once

        def drew(self, draws: Sequence[Draw]) -> None:
            happened.append((self.name, len(draws)))
            self.at_once = 4
            super().drew(draws)

    engine.round_ends.add(lambda: happened.append(("told", 0)))
    job = Job(initial_state(engine.model, engine.digest), (5, 9), tokens=9, seed=3)
    patient, prompt = Told("patient", 4), Told("prompt", 1)
    running = engine.submit(replace(job, tokens=10**9), patient)
    assert patient.began.wait(SECONDS)
    engine.submit(job, prompt)
    prompt.wait()
    engine.cancel(running)

    first = happened.index(("prompt", 1))
    assert happened[first + 1 : first + 4] == [("told", 0), ("patient", 4), ("told", 0)]
    assert [count for name, count in happened if name == "prompt"] == [1, 4, 4]


def test_a_state_that_no_text_leads_to_changes_no_other_job(engine: Engine) -> None:
    """Sizes that are no multiple of a tile's depth: a tile reads past a row into the next one."""
    start = initial_state(engine.model, engine.digest)
    honest = Job(start, (5, 9), tokens=30, seed=3, alternatives=2)
    alone = run_alone(engine, honest)
    for value in (float("nan"), float("inf"), 3e38, -1e30):
        layers = map_state(lambda tensor, value=value: torch.full_like(tensor, value), start.layers)
        strange = [Heard() for _ in range(12)]
        for number, heard in enumerate(strange):
            engine.submit(Job(State(layers, 5, engine.digest), tokens=20, seed=number), heard)
        beside = [run_alone(engine, honest) for _ in range(2)]
        for heard in strange:
            assert heard.done.wait(SECONDS)
        for found in (*beside, run_alone(engine, honest)):
            assert found.draws == alone.draws


def test_states_continue_as_if_the_text_had_not_been_interrupted(engine: Engine) -> None:
    ids = (5, 9, 13, 2, 77, 40)
    start = initial_state(engine.model, engine.digest)
    whole = run_alone(engine, Job(start, ids, kept=len(ids))).wait().states

    assert len(whole) == len(ids) + 1
    assert whole[0] == start
    for position in range(len(ids)):
        rest = run_alone(engine, Job(whole[position], ids[position:], kept=0)).wait().states
        assert rest == whole[-1:]


def test_tokens_drawn_in_two_jobs_are_those_drawn_in_one_where_the_model_always_takes_the_likeliest(
    engine: Engine,
) -> None:
    greedy = SamplingOptions(temperature=0)
    job = Job(initial_state(engine.model, engine.digest), (5,), tokens=10, options=greedy, kept=0)
    first = run_alone(engine, replace(job, tokens=4)).wait()
    second = run_alone(engine, replace(job, start=first.states[-1], ids=(), tokens=6)).wait()

    assert first.ids + second.ids == run_alone(engine, job).wait().ids


def test_the_final_state_is_the_one_after_the_tokens_that_a_stop_text_left(engine: Engine) -> None:
    start = initial_state(engine.model, engine.digest)
    job = Job(start, (5, 6), tokens=60, ending=Ending(stops=("w1",)), seed=3, kept=0)
    outcome = run_alone(engine, job).wait()

    assert outcome.end == "stop"
    read = run_alone(engine, Job(start, (5, 6, *outcome.ids), kept=0)).wait()
    assert outcome.states == read.states


def test_log_probabilities_are_those_of_the_model(engine: Engine) -> None:
    start = initial_state(engine.model, engine.digest)
    heard = run_alone(engine, Job(start, (5, 9), tokens=3, seed=4, alternatives=len(WORDS)))
    ids = [0, 5, 9, *(draw.id for draw in heard.draws)]
    with torch.no_grad():
        logits, _ = engine.model(torch.tensor(ids)[:, None], engine.model.initial_state(1))
    expected = logits[2:-1, 0].double().log_softmax(-1)

    for draw, row in zip(heard.draws, expected, strict=True):
        assert draw.logprob == pytest.approx(float(row[draw.id]), abs=0.05)  # tiles round products to bfloat16
        assert dict(draw.alternatives)[draw.id] == draw.logprob
        assert sum(math_exp(value) for _, value in draw.alternatives) == pytest.approx(1)


@pytest.mark.parametrize("options", [SamplingOptions(), SamplingOptions(temperature=0.8, top_k=500)])
@needs_tiles
def test_tiles_draw_what_generate_draws(options: SamplingOptions) -> None:
    torch.manual_seed(1)
    words = ["<eos>", "<unk>", *(f"w{number}" for number in range(2998))]  # many, so that a small difference shows
    model = with_weights(LanguageModel(ModelOptions(embedding_size=24, hidden_sizes=(40, 24)), len(words)))
    engine = Engine(model, Codec(Words(), Vocabulary(words)), "digest")
    ids = tuple(range(2, 32))
    for seed in range(10):
        heard = run_alone(engine, Job(initial_state(model, engine.digest), ids, 50, options, seed=seed))
        drawn = sample(model, ids, options, seed=seed)
        assert [draw.id for draw in heard.draws] == [int(next(drawn)) for _ in range(50)]
    assert engine.close(SECONDS)


def test_a_cancelled_job_hears_nothing_more_and_leaves_its_slot(engine: Engine) -> None:
    heard = Heard()
    running = engine.submit(Job(initial_state(engine.model, engine.digest), tokens=10**9), heard)
    assert heard.began.wait(SECONDS)
    engine.cancel(running)
    run_alone(engine, Job(initial_state(engine.model, engine.digest), (5,), tokens=1))

    assert engine.load == (0, 0)
    assert engine.counts.cancelled == 1
    assert not heard.done.is_set()


def test_a_full_queue_refuses() -> None:
    model, codec = make_model("lstm"), make_codec()
    engine = Engine(model, codec, "", slots=1, queue=2)
    endless = Job(initial_state(model, ""), tokens=10**9)
    first = Heard()
    runs = [engine.submit(endless, first)]
    assert first.began.wait(SECONDS)
    runs += [engine.submit(endless, Heard()) for _ in range(2)]
    with pytest.raises(BusyError, match="try again later"):
        engine.submit(endless, Heard())
    for running in runs:
        engine.cancel(running)
    assert engine.close(SECONDS)
    with pytest.raises(ClosedError):
        engine.submit(endless, Heard())


class Broken(Heard):
    """A listener one of whose methods fails."""

    def __init__(self, method: str) -> None:
        super().__init__()
        self.method = method

    def drew(self, draws: Sequence[Draw]) -> None:
        self.fail("drew")
        super().drew(draws)

    def ended(self, outcome: Outcome) -> None:
        self.fail("ended")
        super().ended(outcome)

    def failed(self, error: Exception) -> None:
        super().failed(error)
        self.fail("failed")

    def fail(self, method: str) -> None:
        if method == self.method or self.method == "all":
            raise RuntimeError(f"{method} is broken")


def in_company(engine: Engine, job: Job, heard: Heard) -> None:
    """Runs a job beside two others, which must give the bits that they give alone."""
    start = initial_state(engine.model, engine.digest)
    others = [Job(start, (5,), tokens=30, seed=1), Job(start, (9, 2), tokens=30, seed=2, alternatives=2, kept=1)]
    alone = [run_alone(engine, each) for each in others]
    beside = [Heard() for _ in others]
    for other, listener in zip(others, beside, strict=True):
        engine.submit(other, listener)
    engine.submit(job, heard)
    assert heard.done.wait(SECONDS)
    for first, second in zip(alone, beside, strict=True):
        assert (second.wait(), second.draws) == (first.wait(), first.draws)
    run_alone(engine, job)
    assert engine.load == (0, 0)


@pytest.mark.parametrize("method", ["drew", "ended", "all"])
def test_a_listener_that_fails_ends_its_own_job_alone(engine: Engine, method: str) -> None:
    job = Job(initial_state(engine.model, engine.digest), (5, 7), tokens=8)
    heard = Broken(method)
    in_company(engine, job, heard)
    assert "is broken" in str(heard.error)
    assert engine.counts.failed == 1


@pytest.mark.parametrize("method", ["draw", "take", "outcome"])
@pytest.mark.parametrize("options", [SamplingOptions(top_k=3), SamplingOptions(temperature=0)], ids=str)
def test_an_error_in_one_job_s_own_work_ends_that_job_alone(
    engine: Engine, monkeypatch: pytest.MonkeyPatch, method: str, options: SamplingOptions
) -> None:
    job = Job(initial_state(engine.model, engine.digest), (5, 7), tokens=8, options=options, seed=77)
    heard = Heard()
    work = getattr(RunningJob, method)

    def fails(running: RunningJob, *given: object) -> object:
        if running.listener is heard:
            raise ValueError("of this job")
        return work(running, *given)

    monkeypatch.setattr(RunningJob, method, fails)
    in_company(engine, job, heard)
    assert str(heard.error) == "of this job"


def test_a_state_that_does_not_fit_ends_its_own_job_alone(engine: Engine) -> None:
    start = initial_state(engine.model, engine.digest)
    wrong = replace(start, layers=tuple(tuple(tensor[:, :-1] for tensor in layer) for layer in start.layers))
    heard = Heard()
    engine.submit(endless := Job(start, tokens=10**9), other := Heard())
    engine.submit(Job(wrong, (5,), tokens=3), heard)
    assert heard.done.wait(SECONDS)
    assert heard.error is not None
    assert other.began.wait(SECONDS)
    assert not other.done.is_set()
    assert run_alone(engine, replace(endless, tokens=2)).wait().end == "tokens"
    engine.cancel(next(iter(engine._running.values())))


@pytest.mark.parametrize("options", [SamplingOptions(), SamplingOptions(top_k=3), SamplingOptions(temperature=0)])
@pytest.mark.parametrize("value", [3e38, -3e38, torch.nan])
def test_a_state_beyond_the_range_of_numbers_is_the_fault_of_its_own_job(
    engine: Engine, options: SamplingOptions, value: float
) -> None:
    start = initial_state(engine.model, engine.digest)
    layers = tuple(tuple(torch.full_like(tensor, value) for tensor in layer) for layer in start.layers)
    heard = Heard()
    engine.submit(Job(replace(start, layers=layers), (5, 7), tokens=8, options=options, kept=2), heard)
    run_alone(engine, Job(start, (5,), tokens=30))
    assert heard.done.wait(SECONDS)
    if heard.error is None:
        assert heard.outcome is not None
        assert all(tensor.isfinite().all() for layer in heard.outcome.states[-1].layers for tensor in layer)
    else:
        assert isinstance(heard.error, InputError)


def test_a_step_that_fails_ends_all_that_share_it_and_no_later_job(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    endless = Job(initial_state(engine.model, engine.digest), tokens=10**9)
    heard = [Heard(), Heard()]
    for each in heard:
        engine.submit(endless, each)
        assert each.began.wait(SECONDS)
    with monkeypatch.context() as changed:
        changed.setattr(type(engine._slots), "burst", lambda *_: 1 / 0)
        for each in heard:
            assert each.done.wait(SECONDS)
            assert isinstance(each.error, ZeroDivisionError)
    assert run_alone(engine, replace(endless, tokens=5)).wait().end == "tokens"
    assert engine.counts.failed == 2


@pytest.mark.parametrize("index", [-1, len(WORDS), 10**18])
def test_ids_that_the_model_lacks_are_refused_before_they_join(engine: Engine, index: int) -> None:
    start = initial_state(engine.model, engine.digest)
    for job in (Job(start, (5, index)), Job(replace(start, last=index)), Job(start, options=with_banned(index))):
        with pytest.raises(InputError, match=f"id {index} is not in the vocabulary"):
            engine.submit(job, Heard())


def with_banned(index: int) -> SamplingOptions:
    return SamplingOptions(banned=(index,))


def math_exp(value: float) -> float:
    return float(torch.tensor(value, dtype=torch.float64).exp())
