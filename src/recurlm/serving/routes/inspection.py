"""What a memory holds over a text, as `recurlm inspect --json` tells it."""

from functools import partial

from fastapi import APIRouter, Request, Response

from recurlm.serving.bodies.inspection import HeldBody, InspectRequest, MemoryBody, RemembranceBody, ReplacementBody
from recurlm.serving.completion import check_most
from recurlm.serving.context import Context, Served
from recurlm.serving.inspecting import check_question, remembrance_told
from recurlm.serving.middleware import note
from recurlm.serving.requests import BoundedRoute, awaited
from recurlm.serving.routes.answers import COMPUTES, errors
from recurlm.serving.scoring import in_scoring_thread

router = APIRouter(route_class=BoundedRoute, tags=["inspection"])
InspectAnswers = MemoryBody | HeldBody | ReplacementBody | RemembranceBody


@router.post("/inspect", response_model=InspectAnswers, responses=errors(COMPUTES))
async def inspect(body: InspectRequest, request: Request, context: Served) -> Response:
    """What a memory holds over a text.

    Tells states or gates after each token, the units that hold a span, how far one other word moves the memory, or how
    long words are remembered.
    """
    question = check_question(body)
    check_most(body.remembered or 0, context.options.remembered, "remembered", "tokens")
    check_most(1 + len(body.others), context.options.inspected_models, "with", "models")
    served = context.model(body.model)
    note(request.scope, model=served.name, question=question or "memory")
    if context.options.log_texts:
        note(request.scope, texts=[body.text])
    work = _remembered(body, context) if question == "remembered" else _answered(body, context)
    return Response(await awaited(request, work, context.options.seconds), media_type="application/json")


async def _answered(body: InspectRequest, context: Context) -> str:
    served, inspector = context.model(body.model), context.inspector
    return await in_scoring_thread(
        served, context.options.queue, lambda patience: inspector.answer(body, served, patience)
    )


async def _remembered(body: InspectRequest, context: Context) -> str:
    """One model after another, each in the thread that scores with it."""
    first, inspector, queue = context.model(body.model), context.inspector, context.options.queue
    found = []
    for name in (first.name, *body.others):
        served = context.model(name)
        found.append(await in_scoring_thread(served, queue, partial(inspector.remembered, body, served)))
    return await in_scoring_thread(first, queue, lambda _: remembrance_told(body, first, found))
