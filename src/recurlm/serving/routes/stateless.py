"""Texts whose state the client holds: every answer hands it over, signed, and the server keeps nothing."""

from typing import Protocol

from fastapi import APIRouter, Request, Response

from recurlm.serving.bodies.sessions import (
    GenerateAnswer,
    ReadAnswer,
    RescoreAfterAnswer,
    ScoreAfterAnswer,
    StatelessChooseRequest,
    StatelessGenerateRequest,
    StatelessReadRequest,
    StatelessRescoreRequest,
    StatelessScoreRequest,
)
from recurlm.serving.context import Context, Served
from recurlm.serving.errors import RequestError
from recurlm.serving.requests import BoundedRoute
from recurlm.serving.routes.answers import COMPUTES, errors
from recurlm.serving.routes.sessions import EVENTS
from recurlm.serving.sessions.answering import Answers
from recurlm.serving.sessions.continuing import nothing_read
from recurlm.serving.sessions.holders import ClientHolder

router = APIRouter(prefix="/stateless", route_class=BoundedRoute, tags=["stateless"])


class _Held(Protocol):
    """A request with the state that the client holds, or for a text without one."""

    @property
    def state(self) -> str | None: ...

    @property
    def model(self) -> str | None: ...


@router.post("/read", response_model=ReadAnswer, responses=errors(COMPUTES))
async def read(body: StatelessReadRequest, request: Request, context: Served) -> Response:
    """The state after a text."""
    return await _answers(body, request, context).read(body)


@router.post("/generate", response_model=GenerateAnswer, responses=errors(COMPUTES, EVENTS))
async def generate(body: StatelessGenerateRequest, request: Request, context: Served) -> Response:
    """A text that goes on, and the state after it. The last event of a stream has the state."""
    return await _answers(body, request, context).generate(body)


@router.post("/score", response_model=ScoreAfterAnswer, responses=errors(COMPUTES))
async def score(body: StatelessScoreRequest, request: Request, context: Served) -> Response:
    """Scores a text after a state; with `commit` the answer has the state after the text."""
    return await _answers(body, request, context).score(body)


@router.post("/rescore", response_model=RescoreAfterAnswer, responses=errors(COMPUTES))
async def rescore(body: StatelessRescoreRequest, request: Request, context: Served) -> Response:
    """Ranks an n-best list after a state; with `choose_best` the answer has the state after the best hypothesis."""
    return await _answers(body, request, context).rescore(body)


@router.post("/choose", response_model=ReadAnswer, responses=errors(COMPUTES))
async def choose(body: StatelessChooseRequest, request: Request, context: Served) -> Response:
    """The state after the hypothesis that won, and an `<eos>`."""
    return await _answers(body, request, context).choose(body)


def _answers(body: _Held, request: Request, context: Context) -> Answers:
    if body.state is None:
        start = nothing_read(context.model(body.model))
    else:
        start = context.sessions.held(body.state)
        if body.model is not None and context.model(body.model) is not start.served:
            raise RequestError(400, f"model: the state belongs to {start.served.name}; leave it out", param="model")
    return Answers(request, context, ClientHolder(context.sessions, start))
