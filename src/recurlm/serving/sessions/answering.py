"""The answers to requests that go on from a state, whoever holds it."""

import secrets
from collections.abc import AsyncIterator, Coroutine, Sequence
from typing import Any

from fastapi import Request, Response

from recurlm.scoring.scorer import ScoringOptions
from recurlm.serving.bodies.sessions import (
    ChooseRequest,
    GenerateRequest,
    ReadRequest,
    RescoreAfterRequest,
    ScoreAfterRequest,
    TextOrIds,
)
from recurlm.serving.completion import SEEDS, USUAL_TOKENS, check_most, check_told, ending_of, sampling_of
from recurlm.serving.context import Context
from recurlm.serving.delivery import Jobs
from recurlm.serving.errors import RequestError, json_answer
from recurlm.serving.jobs import Draw, Job, Outcome
from recurlm.serving.metrics import TokenTimes
from recurlm.serving.middleware import note
from recurlm.serving.models import ServedModel
from recurlm.serving.prompts import check_ids, text_ids
from recurlm.serving.requests import awaited
from recurlm.serving.rescoring import rescored
from recurlm.serving.scoring import in_scoring_thread
from recurlm.serving.sessions.continuing import Start, drawn_pieces, read, sentence_ids
from recurlm.serving.sessions.holders import Holder
from recurlm.serving.streaming import EventStream, event
from recurlm.serving.texts import TextWriter, finish_reason, kept, text_after
from recurlm.text.codec import Codec
from recurlm.text.lines import words_of

Told = dict[str, Any]


class Answers:
    """The answers to one request."""

    def __init__(self, request: Request, context: Context, holder: Holder) -> None:
        self._request, self._context, self._holder = request, context, holder
        self._start: Start = holder.start
        self._served: ServedModel = holder.start.served
        self._codec: Codec = self._served.model.codec
        note(request.scope, model=self._served.name)

    async def read(self, body: ReadRequest) -> Response:
        """What the model reads, appended."""
        ids, unknown = given_ids(body, self._served, self._context)
        return await self._response(self._read(ids, {"read": len(ids), "unknown": unknown}))

    async def choose(self, body: ChooseRequest) -> Response:
        """The hypothesis that won, appended."""
        if "\n" in body.text:
            raise RequestError(400, "text: contains a line feed; a hypothesis is one line", param="text")
        ids = sentence_ids(self._served, " ".join(words_of(body.text)), body.oov)
        return await self._response(self._read(ids, {"read": len(ids), "unknown": []}))

    async def score(self, body: ScoreAfterRequest) -> Response:
        """Log-probabilities of a text, which is appended if asked for."""
        options = self._context.options
        ids, unknown = given_ids(body, self._served, self._context)
        check_most(body.likeliest, options.logprobs, "likeliest")
        check_most(len(ids), options.line_tokens, "text", "tokens")
        check_told(len(ids), body.likeliest, options, "likeliest")

        async def work() -> Told:
            tokens = await in_scoring_thread(self._served, options.queue, lambda _: self._scored(ids, body.likeliest))
            told = {"logprob": sum(each["logprob"] for each in tokens), "scores": tokens, "unknown": unknown}
            return await self._read(ids, told) if body.commit else self._holder.unchanged() | told

        return await self._response(work())

    async def rescore(self, body: RescoreAfterRequest) -> Response:
        """An n-best list in its new order; the best hypothesis is appended if asked for."""
        options = self._context.options
        check_most(len(body.hypotheses), options.hypotheses, "hypotheses")

        async def work() -> Told:
            ranking = await in_scoring_thread(
                self._served, options.queue, lambda _: rescored(body, self._served, options, self._start.state)
            )
            json_answer(ranking)  # what cannot be told is refused before anything is committed
            told = {**ranking, "chosen": None}
            if not body.choose_best:
                return told | self._holder.unchanged()
            told["chosen"] = told["hypotheses"][0]["text"]
            return await self._read(sentence_ids(self._served, told["chosen"], body.oov), told)

        return await self._response(work())

    async def generate(self, body: GenerateRequest) -> Response:
        """A text that goes on, appended when it is complete, in one piece or as a stream."""
        drawing = Drawing(body, self._start, self._holder, self._context)
        if body.stream:
            return drawing.stream()
        return await self._response(drawing.whole())

    async def _read(self, ids: Sequence[int], told: Told) -> Told:
        if not ids:
            return told | self._holder.unchanged()
        context = self._context
        check_length(self._start, len(ids), context)
        pieces = await read(self._start, ids, context.delivery, context.sessions.store.limits)
        return told | await self._holder.append(pieces)

    async def _response(self, work: Coroutine[Any, Any, Told]) -> Response:
        told = await awaited(self._request, work, self._context.options.seconds)
        return Response(json_answer(told), media_type="application/json")

    def _scored(self, ids: Sequence[int], likeliest: int) -> list[Told]:
        asked = ScoringOptions(predictions=likeliest > 0, alternatives=likeliest)
        scorer = self._served.model.scorer(state=self._start.state, options=asked)
        logprobs, predictions = scorer.sequence(ids)
        self._context.metrics.scored_tokens.labels(self._served.name).inc(len(ids))
        tops = [
            [(index, logprob + more) for index, more in prediction.likeliest]
            for logprob, prediction in zip(logprobs, predictions, strict=bool(predictions))
        ]
        return [
            token(self._codec, index, logprob, tops[place] if tops else None)
            for place, (index, logprob) in enumerate(zip(ids, logprobs, strict=True))
        ]


class Drawing:
    """One text that goes on from a state."""

    def __init__(self, body: GenerateRequest, start: Start, holder: Holder, context: Context) -> None:
        options, served = context.options, start.served
        tokens = USUAL_TOKENS if body.max_tokens is None else body.max_tokens
        check_most(tokens, min(options.tokens, options.session_draws), "max_tokens")
        check_most(body.logprobs or 0, options.logprobs, "logprobs")
        check_told(tokens, body.logprobs or 0, options, "logprobs")
        check_length(start, tokens, context)
        ending = ending_of(body.stop, body.until_eos or False, options)
        seed = secrets.randbelow(SEEDS) if body.seed is None else body.seed % SEEDS
        sampling = sampling_of(body, served, ending)
        keeps = max(tokens - 1, 0)
        self._job = Job(start.state, (), tokens, sampling, ending, seed, body.logprobs, keeps)
        self._start, self._holder, self._context, self._codec = start, holder, context, served.model.codec

    async def whole(self) -> Told:
        """The answer in one piece."""
        draws: list[Draw] = []
        with self._jobs(streams=False) as jobs:
            async for _, news in jobs.news():
                draws += news.draws
                if news.outcome is not None:
                    return await self._end(draws, news.outcome)
        raise AssertionError("a job ends with an outcome")

    def stream(self) -> Response:
        """The answer as a stream of texts; the last event says where the text stands."""
        jobs = self._jobs(streams=True)
        return EventStream(self._events(jobs), jobs, self._context)

    def _jobs(self, *, streams: bool) -> Jobs:
        jobs = Jobs(self._start.served.engine, self._context.delivery, streams=streams)
        jobs.submit([self._job])
        return jobs

    async def _events(self, jobs: Jobs) -> AsyncIterator[bytes]:
        times = TokenTimes(self._context.metrics)
        texts, draws = TextWriter(self._codec, self._before, self._job.ending), list[Draw]()
        async for _, (drawn, outcome) in jobs.news():
            draws += drawn
            text = texts.text(texts.add(drawn))
            if outcome is not None:
                text += texts.text(texts.end(outcome)) + texts.rest()
            if text:
                yield event({"text": text})
            times.drew(0, len(drawn))
            if outcome is not None:
                yield event(await self._end(draws, outcome))

    async def _end(self, draws: Sequence[Draw], outcome: Outcome) -> Told:
        """Commits a complete text; returns the answer."""
        ids = outcome.ids
        told: Told = {
            "text": text_after(self._codec, self._before, ids[: kept(outcome)]),
            "ids": list(ids),
            "logprobs": self._logprobs(draws[: len(ids)]),
            "finish_reason": finish_reason(outcome),
        }
        if not ids:
            return told | self._holder.unchanged()
        pieces = drawn_pieces(outcome, self._start.tokens, self._context.sessions.store.limits)
        return told | await self._holder.append(pieces)

    def _logprobs(self, draws: Sequence[Draw]) -> list[Told] | None:
        if self._job.alternatives is None:
            return None
        return [token(self._codec, draw.id, draw.logprob, draw.alternatives) for draw in draws]

    @property
    def _before(self) -> tuple[int, ...]:
        """What stands before the text, on which a space may depend."""
        return (self._start.state.last,)


def given_ids(body: TextOrIds, served: ServedModel, context: Context) -> tuple[list[int], list[str]]:
    """The ids that a request gives, and the words of its text that count as `<unk>`. Raises RequestError."""
    codec = served.model.codec
    if body.ids is None:
        ids, unknown = text_ids(codec, body.text or "")
    else:
        ids, unknown = check_ids(codec, body.ids, "ids"), []
    check_most(len(ids), context.options.prompt_tokens, "text", "tokens")
    return ids, unknown


def check_length(start: Start, count: int, context: Context) -> None:
    """Raises RequestError where a session would have more tokens than the limit."""
    check_most(start.tokens + count, context.options.session_tokens, "the session", "tokens")


def token(codec: Codec, index: int, logprob: float | None, likeliest: Sequence[tuple[int, float]] | None) -> Told:
    """A token with its log-probability, and the likeliest ones in its place."""
    tokens = codec.vocabulary.tokens
    told: Told = {"token": tokens[index], "id": index, "logprob": logprob}
    if likeliest:
        told["likeliest"] = [{"token": tokens[each], "id": each, "logprob": value} for each, value in likeliest]
    return told
