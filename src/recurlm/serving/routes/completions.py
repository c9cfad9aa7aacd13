"""Texts in OpenAI's form, in one piece or as a stream."""

import secrets
import time
from collections.abc import AsyncIterator, Sequence
from typing import Any

from fastapi import APIRouter, Request, Response

from recurlm.documents import json_text
from recurlm.serving.bodies.completions import Completion, CompletionRequest
from recurlm.serving.completion import Plan, plan
from recurlm.serving.context import Context, Served
from recurlm.serving.delivery import Jobs
from recurlm.serving.jobs import Draw, Outcome
from recurlm.serving.logprobs import LogprobsWriter
from recurlm.serving.metrics import TokenTimes
from recurlm.serving.middleware import note
from recurlm.serving.models import ServedModel
from recurlm.serving.requests import BoundedRoute, awaited
from recurlm.serving.routes.answers import COMPUTES, errors
from recurlm.serving.scoring import ScoredToken, in_scoring_thread, scored_prompt
from recurlm.serving.streaming import EventStream, event
from recurlm.serving.texts import TextWriter, finish_reason, kept, text_after

router = APIRouter(prefix="/v1", route_class=BoundedRoute, tags=["texts"])
Scores = list[list[ScoredToken]]
NO_USAGE = '"usage": null'


@router.post(
    "/completions",
    response_model=Completion,
    responses=errors(COMPUTES, {"content": {"text/event-stream": {"schema": {"type": "string"}}}}),
)
async def completions(body: CompletionRequest, request: Request, context: Served) -> Response:
    """Draws texts that continue prompts; with `stream` they arrive as server-sent events that end with `[DONE]`."""
    served = context.model(body.model)
    asked = plan(body, served, context.options)
    note(request.scope, model=served.name, texts=len(asked.jobs), prompt_tokens=asked.prompt_tokens)
    if context.options.log_texts:
        note(request.scope, prompts=list(map(str, body.prompt)))
    answer = Answer(served, asked, context)
    if body.stream:
        return await answer.stream(request, usage=bool(body.stream_options and body.stream_options.include_usage))
    content = await awaited(request, answer.whole(), context.options.seconds)
    note(request.scope, drawn_tokens=content["usage"]["completion_tokens"])
    return Response(json_text(content), media_type="application/json")


class Answer:
    """The answer to one request for texts."""

    def __init__(self, served: ServedModel, asked: Plan, context: Context) -> None:
        self._served, self._plan, self._context = served, asked, context
        self._codec = served.model.codec
        self._times = TokenTimes(context.metrics)
        self._head = {
            "id": f"cmpl-{secrets.token_hex(12)}",
            "object": "text_completion",
            "created": int(time.time()),
            "model": served.name,
        }
        self._opening = json_text(self._head).removesuffix("}")

    async def whole(self) -> dict[str, Any]:
        """The answer in one piece."""
        count = len(self._plan.jobs)
        draws: list[list[Draw]] = [[] for _ in range(count)]
        outcomes: list[Outcome | None] = [None] * count
        with Jobs(self._served.engine, self._context.delivery, streams=False) as jobs:
            jobs.submit(self._plan.jobs)
            scores = await self._scores()
            async for number, news in jobs.news():
                draws[number] += news.draws
                outcomes[number] = news.outcome
        ended = [outcome for outcome in outcomes if outcome is not None]
        choices = [
            self._choice(number, drawn, outcome, scores)
            for number, (drawn, outcome) in enumerate(zip(draws, ended, strict=True))
        ]
        return {**self._head, "choices": choices, "usage": self._usage(sum(len(outcome.ids) for outcome in ended))}

    async def stream(self, request: Request, *, usage: bool) -> Response:
        """The answer as a stream; errors that are known before the first event are ordinary answers."""
        jobs = Jobs(self._served.engine, self._context.delivery, streams=True)
        jobs.submit(self._plan.jobs)
        try:
            scores = await awaited(request, self._scores(), self._context.options.seconds)
        except BaseException:
            jobs.close()
            raise
        return EventStream(self._events(request, jobs, scores, usage), jobs, self._context)

    async def _scores(self) -> Scores | None:
        """The scores of the prompts, where they are wanted."""
        if not self._plan.scores_prompts:
            return None
        served, asked = self._served, self._plan
        scores = await in_scoring_thread(
            served,
            self._context.options.queue,
            lambda patience: [
                scored_prompt(served, prompt, asked.logprobs or 0) for prompt in patience.watch(asked.prompts)
            ],
        )
        self._context.metrics.scored_tokens.labels(served.name).inc(sum(map(len, scores)))
        return scores

    def _choice(self, number: int, draws: Sequence[Draw], outcome: Outcome, scores: Scores | None) -> dict[str, Any]:
        prompt = self._plan.prompt(number)
        ids = outcome.ids[: kept(outcome)]
        echoed = self._codec.decode(prompt.whole) if self._plan.echo else ""
        text = echoed + text_after(self._codec, prompt.whole, ids)
        logprobs = None
        if self._plan.logprobs is not None:
            writer = LogprobsWriter(self._codec, prompt)
            if scores is not None:
                writer.echo(scores[number // self._plan.per_prompt])
            texts = TextWriter(self._codec, prompt.whole, self._plan.ending)
            writer.add(texts.pieces([*texts.add(draws), *texts.end(outcome)]))
            logprobs = writer.take()
        return _choice(number, text, logprobs, finish_reason(outcome))

    async def _events(self, request: Request, jobs: Jobs, scores: Scores | None, usage: bool) -> AsyncIterator[bytes]:
        drawn = 0
        for number in range(len(self._plan.jobs)):
            if self._plan.echo:
                yield self._event(self._echo(number, scores), usage)
        writers = [
            (TextWriter(self._codec, prompt.whole, self._plan.ending), LogprobsWriter(self._codec, prompt))
            for prompt in map(self._plan.prompt, range(len(self._plan.jobs)))
        ]
        async for number, (draws, outcome) in jobs.news():
            self._times.drew(number, len(draws))
            texts, logprobs = writers[number]
            certain, reason = texts.add(draws), None
            if outcome is not None:
                certain += texts.end(outcome)
                drawn += len(outcome.ids)
                note(request.scope, drawn_tokens=drawn)
                reason = finish_reason(outcome)
            if not certain and reason is None:
                continue
            text, told = self._told(texts, logprobs, certain)
            text += texts.rest() if outcome is not None else ""
            yield self._event(_choice(number, text, told, reason), usage)
        if usage:
            yield event({**self._head, "choices": [], "usage": self._usage(drawn)})

    def _told(
        self, texts: TextWriter, logprobs: LogprobsWriter, draws: Sequence[Draw]
    ) -> tuple[str, dict[str, Any] | None]:
        """The text of draws, and what is told of their log-probabilities."""
        if self._plan.logprobs is None:
            return texts.text(draws), None
        pieces = texts.pieces(draws)
        logprobs.add(pieces)
        return "".join(piece.text for piece in pieces), logprobs.take()

    def _echo(self, number: int, scores: Scores | None) -> dict[str, Any]:
        """The event with the prompt itself."""
        prompt, logprobs = self._plan.prompt(number), None
        if scores is not None:
            writer = LogprobsWriter(self._codec, prompt)
            writer.echo(scores[number // self._plan.per_prompt])
            logprobs = writer.take()
        return _choice(number, self._codec.decode(prompt.whole), logprobs, None)

    def _event(self, choice: dict[str, Any], usage: bool) -> bytes:
        # a stream has thousands of events with one head
        return (
            f'data: {self._opening}, "choices": [{json_text(choice)}]{", " + NO_USAGE if usage else ""}}}\n\n'.encode()
        )

    def _usage(self, drawn: int) -> dict[str, int]:
        read = self._plan.prompt_tokens
        return {"prompt_tokens": read, "completion_tokens": drawn, "total_tokens": read + drawn}


def _choice(number: int, text: str, logprobs: dict[str, Any] | None, reason: str | None) -> dict[str, Any]:
    return {"text": text, "index": number, "logprobs": logprobs, "finish_reason": reason}
