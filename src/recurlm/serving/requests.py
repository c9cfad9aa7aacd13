"""Requests from strangers: bounded bodies, strict JSON, clients that go away, and limited time."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from fastapi import Request, Response
from fastapi.routing import APIRoute
from starlette.types import Receive

from recurlm.documents import parse_json
from recurlm.errors import InputError
from recurlm.serving.engine import BusyError
from recurlm.serving.errors import RequestError, as_request_error

CLIENT_GONE = 499
"""The status in logs and figures of a request whose client went away; nobody receives it."""

_Result = TypeVar("_Result")


class BoundedRequest(Request):
    """Reads a body up to the server's limits, as strict JSON."""

    held = 0

    async def body(self) -> bytes:
        """The body. Raises RequestError: 413 where it is too large, 408 where it is slow, 429 where many are large."""
        if not hasattr(self, "_body"):
            options = self.app.state.context.options
            try:
                async with asyncio.timeout(options.seconds):
                    self._body = await self._bounded(options.body_bytes)
            except TimeoutError:
                raise RequestError(408, f"the body did not arrive in {options.seconds:g} seconds") from None
        return self._body

    async def _bounded(self, most: int) -> bytes:
        parts = []
        context = self.app.state.context
        async for part in self.stream():
            self.held += len(part)
            context.held += len(part)
            if context.held > context.options.bodies_bytes:
                raise as_request_error(BusyError("too many large bodies arrive at once; try again later"))
            if self.held > most:
                message = f"the body has more than {most:,} bytes; send less in one request"
                raise RequestError(413, message, code="body_too_large", headers={"Connection": "close"})
            parts.append(part)
        return b"".join(parts)

    async def json(self) -> Any:
        """The body as strict JSON: not too deep, without numbers that are not finite. Raises RequestError."""
        try:
            return parse_json(await self.body(), "the body", error=InputError)
        except InputError as error:
            raise as_request_error(error) from error


class BoundedRoute(APIRoute):
    """A route that reads its request as `BoundedRequest`."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """The handler of the route."""
        handler = super().get_route_handler()

        async def bounded(given: Request) -> Response:
            request = BoundedRequest(given.scope, given.receive)
            try:
                return await handler(request)
            finally:
                request.app.state.context.held -= request.held

        return bounded


async def gone(receive: Receive) -> None:
    """Returns when the client has gone."""
    while (await receive())["type"] != "http.disconnect":
        pass


async def awaited(request: Request, work: Coroutine[Any, Any, _Result], seconds: float) -> _Result:
    """The result of some work, which ends early where nobody waits for it any longer.

    Raises RequestError: 499 where the client has gone, 408 after `seconds`.
    """
    working, leaving = asyncio.ensure_future(work), asyncio.ensure_future(gone(request.receive))
    try:
        await asyncio.wait((working, leaving), timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            return working.result()
        if leaving.done():
            raise RequestError(CLIENT_GONE, "the client has gone")
        raise RequestError(408, f"not done after {seconds:g} seconds; ask for less", code="timeout")
    finally:
        working.cancel()
        leaving.cancel()
        await asyncio.gather(working, leaving, return_exceptions=True)
