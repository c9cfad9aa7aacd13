"""Whether the server lives, whether it is ready, and its figures."""

from fastapi import APIRouter, Response
from prometheus_client import CONTENT_TYPE_LATEST

from recurlm.serving.bodies.status import Status
from recurlm.serving.context import Served
from recurlm.serving.errors import RequestError
from recurlm.serving.requests import BoundedRoute
from recurlm.serving.routes.answers import READS, errors

router = APIRouter(route_class=BoundedRoute, tags=["status"])


@router.get("/health")
async def health() -> Status:
    """Answers while the process lives; needs no key."""
    return Status(status="ok")


@router.get("/ready", responses=errors((401, 503)))
async def ready(context: Served) -> Status:
    """Answers 200 while every engine takes requests, otherwise 503."""
    if not all(served.is_open for served in context.models.values()):
        raise RequestError(503, "the server is stopping", code="stopping")
    return Status(status="ok")


@router.get(
    "/metrics",
    response_class=Response,
    responses=errors(READS, {"content": {"text/plain": {}}, "description": "Figures in Prometheus' text form."}),
)
async def metrics(context: Served) -> Response:
    """Requests, tokens, queues, time to the first token, time between tokens, memory, for Prometheus."""
    return Response(context.metrics.text(), headers={"Content-Type": CONTENT_TYPE_LATEST})
