"""The application: routes, errors and middleware around the served models."""

from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI

from recurlm.serving.context import Context
from recurlm.serving.errors import add_error_handlers
from recurlm.serving.metrics import Metrics
from recurlm.serving.middleware import FullQueueMiddleware, Key, KeyMiddleware, RecordMiddleware
from recurlm.serving.models import ServedModel
from recurlm.serving.options import ServerOptions
from recurlm.serving.routes import completions, inspection, models, scores, sessions, stateless, status, tokens
from recurlm.serving.sessions.sessions import Sessions
from recurlm.version import CODE_VERSION

ROUTERS = (
    status.router,
    models.router,
    completions.router,
    tokens.router,
    scores.router,
    inspection.router,
    sessions.router,
    stateless.router,
)
DESCRIPTION = "Recurrent language models: texts, scores and states. Every path but /health needs the server's key."


def create_app(served: Mapping[str, ServedModel], options: ServerOptions, *, grows: bool = False) -> FastAPI:
    """The application that serves these models; its caller closes them. grows: whether further models may join them."""
    app = FastAPI(
        title="recurlm",
        version=CODE_VERSION,
        description=DESCRIPTION,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,  # the address to go to would come from the request's own header
    )
    held = Sessions(served, options.sessions, options.session_limits, options.state_secret)
    context = Context(served, options, Metrics(served, held.store), held)
    app.state.context = context
    for router in ROUTERS:
        app.include_router(router)
    add_error_handlers(app)
    key = Key(options.key)
    app.add_middleware(KeyMiddleware, key=key)
    app.add_middleware(RecordMiddleware, metrics=context.metrics)
    if not grows:  # a model that is yet to come has room
        app.add_middleware(FullQueueMiddleware, models=tuple(served.values()), key=key, metrics=context.metrics)
    app.openapi = lambda: _description(app)  # type: ignore[method-assign]
    return app


def _description(app: FastAPI) -> dict[str, Any]:
    """FastAPI's OpenAPI description, without the status 422 that this application never gives."""
    if app.openapi_schema is None:
        schema = FastAPI.openapi(app)
        for path in schema["paths"].values():
            for operation in path.values():
                operation["responses"].pop("422", None)
        for name in ("HTTPValidationError", "ValidationError"):
            schema["components"]["schemas"].pop(name, None)
    assert app.openapi_schema is not None
    return app.openapi_schema
