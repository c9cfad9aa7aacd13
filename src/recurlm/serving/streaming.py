"""Server-sent events of one request."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from typing import Any

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from recurlm.documents import json_text
from recurlm.errors import RecurlmError
from recurlm.serving.context import Context
from recurlm.serving.delivery import Jobs
from recurlm.serving.errors import BROKEN, as_request_error, error_body
from recurlm.serving.middleware import log, note
from recurlm.serving.requests import gone

UNREAD_SECONDS = 5.0
"""How long a client may take to read the end of a stream."""
DONE = b"data: [DONE]\n\n"


def event(value: Mapping[str, Any]) -> bytes:
    """One event with a JSON value."""
    return f"data: {json_text(value)}\n\n".encode()


class EventStream(Response):
    """Sends events and then `[DONE]`; cancels the jobs when the client goes or the time is over.

    A failure becomes an event with an error, since the status was sent before.
    """

    media_type = "text/event-stream"

    def __init__(self, events: AsyncIterator[bytes], jobs: Jobs, context: Context) -> None:
        super().__init__(headers={"Cache-Control": "no-cache", "X-Accel-Buffering": "no"})
        del self.headers["content-length"]
        self._events, self._jobs, self._context = events, jobs, context

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Sends the events; gives up a client that does not read them."""
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        sending = asyncio.ensure_future(self._send(send))
        leaving = asyncio.ensure_future(gone(receive))
        seconds = self._context.options.seconds
        try:
            await asyncio.wait((sending, leaving), timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
            if sending.done() or not leaving.done():
                last = _told(sending.exception()) if sending.done() else _late(seconds)
                sending.cancel()
                async with asyncio.timeout(UNREAD_SECONDS):
                    await send({"type": "http.response.body", "body": last + DONE})
        except TimeoutError:
            note(scope, unread=True)
        finally:
            sending.cancel()
            leaving.cancel()
            await asyncio.gather(sending, leaving, return_exceptions=True)
            self._jobs.close()

    async def _send(self, send: Send) -> None:
        async for each in self._events:
            await send({"type": "http.response.body", "body": each, "more_body": True})


def _late(seconds: float) -> bytes:
    return event(error_body(408, f"not done after {seconds:g} seconds; ask for less", code="timeout"))


def _told(error: BaseException | None) -> bytes:
    """The event that tells why a stream ended early; empty where it did not."""
    if error is None:
        return b""
    if isinstance(error, RecurlmError):
        told = as_request_error(error)
        return event(error_body(told.status_code, str(told.detail), param=told.param, code=told.code))
    log.error("failed", exc_info=error)
    return event(error_body(500, BROKEN))
