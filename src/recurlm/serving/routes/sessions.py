"""Sessions: texts that a model has read, held by the server."""

import base64
import binascii
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Request, Response

from recurlm.errors import CorruptFileError
from recurlm.models.memory import State
from recurlm.serving.bodies.sessions import (
    ChooseRequest,
    CreateRequest,
    ForkRequest,
    GenerateAnswer,
    GenerateRequest,
    NewSession,
    ReadAnswer,
    ReadRequest,
    RescoreAfterAnswer,
    RescoreAfterRequest,
    RollbackRequest,
    ScoreAfterAnswer,
    ScoreAfterRequest,
    SessionBody,
)
from recurlm.serving.context import Context, Served
from recurlm.serving.errors import RequestError
from recurlm.serving.middleware import note
from recurlm.serving.requests import BoundedRoute, awaited
from recurlm.serving.routes.answers import CHANGES, FINDS, errors
from recurlm.serving.sessions.answering import Answers, check_length, given_ids
from recurlm.serving.sessions.continuing import Start, nothing_read
from recurlm.serving.sessions.holders import SessionHolder
from recurlm.serving.sessions.store import Session

router = APIRouter(prefix="/sessions", route_class=BoundedRoute, tags=["sessions"])
Id = Annotated[str, Path(description="Id of a session.")]
At = Annotated[str | None, Query(description="Id of the state that the session must be in.")]
BINARY: dict[str, Any] = {"content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}}
EVENTS = {"content": {"text/event-stream": {"schema": {"type": "string"}}}}
ANY_STATE = ForkRequest()
FILE = "application/octet-stream"


@router.post("", responses=errors(CHANGES))
async def create(body: CreateRequest, request: Request, context: Served) -> NewSession:
    """Makes a session from nothing, from a text, from the file of a state, or from another session."""
    if body.parent is not None:
        if body.model_dump(exclude={"parent"}, exclude_none=True):
            raise RequestError(400, "parent: a fork is in the state of its parent; leave out the rest", param="parent")
        return _new(await context.sessions.fork(body.parent), context, [])
    start = _first(body, context)
    ids, unknown = given_ids(body, start.served, context)
    check_length(start, len(ids), context)
    note(request.scope, model=start.served.name, read_tokens=len(ids), unknown=len(unknown))
    work = context.sessions.create(start, ids, context.delivery)
    return _new(await awaited(request, work, context.options.seconds), context, unknown)


@router.get("/{session}", responses=errors(FINDS))
async def describe(session: Id, context: Served) -> SessionBody:
    """Describes a session."""
    return _body(await context.sessions.get(session), context)


@router.delete("/{session}", status_code=204, responses=errors(FINDS))
async def delete(session: Id, context: Served) -> None:
    """Removes a session; its forks stay."""
    await context.sessions.delete(session)


@router.post("/{session}/read", response_model=ReadAnswer, responses=errors(CHANGES))
async def read(session: Id, body: ReadRequest, request: Request, context: Served) -> Response:
    """Appends a text that the model reads."""
    return await (await _answers(session, body.state, request, context)).read(body)


@router.post("/{session}/generate", response_model=GenerateAnswer, responses=errors(CHANGES, EVENTS))
async def generate(session: Id, body: GenerateRequest, request: Request, context: Served) -> Response:
    """Appends a text that the model draws, when it is complete. The last event of a stream says that it was."""
    return await (await _answers(session, body.state, request, context)).generate(body)


@router.post("/{session}/score", response_model=ScoreAfterAnswer, responses=errors(CHANGES))
async def score(session: Id, body: ScoreAfterRequest, request: Request, context: Served) -> Response:
    """Scores a text after the session, which stays as it is unless the request says `commit`."""
    return await (await _answers(session, body.state, request, context)).score(body)


@router.post("/{session}/rescore", response_model=RescoreAfterAnswer, responses=errors(CHANGES))
async def rescore(session: Id, body: RescoreAfterRequest, request: Request, context: Served) -> Response:
    """Ranks an n-best list after the session, which stays as it is unless the request says `choose_best`."""
    return await (await _answers(session, body.state, request, context)).rescore(body)


@router.post("/{session}/choose", response_model=ReadAnswer, responses=errors(CHANGES))
async def choose(session: Id, body: ChooseRequest, request: Request, context: Served) -> Response:
    """Appends the hypothesis that won, and an `<eos>`."""
    return await (await _answers(session, body.state, request, context)).choose(body)


@router.post("/{session}/fork", responses=errors(CHANGES))
async def fork(session: Id, context: Served, body: ForkRequest = ANY_STATE) -> SessionBody:
    """Makes a session in the same state; both go on apart."""
    return _body(await context.sessions.fork(session, body.state), context)


@router.post("/{session}/rollback", responses=errors(CHANGES))
async def rollback(session: Id, body: RollbackRequest, request: Request, context: Served) -> SessionBody:
    """Goes back to the state after the session's first tokens."""
    work = context.sessions.rollback(session, body.tokens, context.delivery, body.state)
    return _body(await awaited(request, work, context.options.seconds), context)


@router.get("/{session}/state", response_class=Response, responses=errors((*FINDS, 409, 500), BINARY))
async def export(session: Id, context: Served, state: At = None) -> Response:
    """The state as a file that `--state-in` reads. The header `X-State` has its id."""
    found, start = await context.sessions.start(session, state)
    return Response(start.state.to_bytes(), media_type=FILE, headers={"X-State": found.state})


@router.put("/{session}/state", responses=errors(CHANGES), openapi_extra={"requestBody": BINARY | {"required": True}})
async def replace(session: Id, request: Request, context: Served, state: At = None) -> SessionBody:
    """Puts the session into the state of a file of `--state-out`; the tokens before it are gone."""
    given = _state(await request.body())
    return _body(await context.sessions.replace(session, given, state), context)


async def _answers(session: str, at: str | None, request: Request, context: Context) -> Answers:
    found, start = await context.sessions.start(session, at)
    return Answers(request, context, SessionHolder(context.sessions, found, start))


def _first(body: CreateRequest, context: Context) -> Start:
    """Where a new session starts."""
    if body.state_file is None:
        return nothing_read(context.model(body.model))
    try:
        state = _state(base64.b64decode(body.state_file, validate=True))
    except (binascii.Error, ValueError) as error:
        raise RequestError(400, "state_file: not base64", param="state_file") from error
    served = context.sessions.model(state.model) if body.model is None else context.model(body.model)
    return context.sessions.checked(served, state)


def _state(content: bytes) -> State:
    """The state in a file that a client sent."""
    try:
        return State.from_bytes(content, "the file")
    except CorruptFileError as error:
        raise RequestError(400, str(error), code="state_damaged") from error


def _body(session: Session, context: Context) -> SessionBody:
    return SessionBody(
        session=session.id,
        model=context.sessions.model(session.model).name,
        state=session.state,
        tokens=session.tokens,
        created=int(session.created),
        used=int(session.used),
    )


def _new(session: Session, context: Context, unknown: list[str]) -> NewSession:
    return NewSession(**_body(session, context).model_dump(), unknown=unknown)
