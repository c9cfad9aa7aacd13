"""What every route finds: the served models, the options, and the way from the engines to the event loop."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated

from fastapi import Depends, Request

from recurlm.serving.delivery import Delivery
from recurlm.serving.errors import RequestError
from recurlm.serving.inspecting import Inspector
from recurlm.serving.metrics import Metrics
from recurlm.serving.models import ServedModel
from recurlm.serving.options import ServerOptions
from recurlm.serving.sessions.sessions import Sessions


@dataclass
class Context:
    """The parts of one server; its event loop is the one in which the first request arrives.

    held: bytes of the bodies of running requests.
    """

    models: Mapping[str, ServedModel]
    options: ServerOptions
    metrics: Metrics
    sessions: Sessions
    held: int = 0

    @cached_property
    def inspector(self) -> Inspector:
        """Answers questions about memories."""
        return Inspector(self.options)

    @cached_property
    def delivery(self) -> Delivery:
        """Wakes the readers of this server's loop."""
        return Delivery(asyncio.get_running_loop())

    def model(self, name: str | None) -> ServedModel:
        """The model of this name; the only one where a request names none.

        Raises RequestError 404 for a name that is not served, 400 where there are several and none is named.
        """
        if name is None and len(self.models) == 1:
            return next(iter(self.models.values()))
        served = ", ".join(self.models)
        if name is None:
            raise RequestError(400, f"several models are served, so name one as `model`: {served}", param="model")
        if name not in self.models:
            message = f"no model named {name!r} is served; there are {served}"
            raise RequestError(404, message, param="model", code="model_not_found")
        return self.models[name]


def context_of(request: Request) -> Context:
    """The context of the application that a request reached."""
    context: Context = request.app.state.context
    return context


Served = Annotated[Context, Depends(context_of)]
