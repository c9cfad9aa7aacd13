"""Server-sent events of one request."""

import asyncio
import time
from collections.abc import AsyncIterator, Mapping
from typing import Any

from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from recurlm.documents import json_text
from recurlm.errors import RecurlmError
from recurlm.serving.context import Context
from recurlm.serving.delivery import Jobs
from recurlm.serving.errors import BROKEN, as_request_error, error_body
from recurlm.serving.middleware import log, note

UNREAD_SECONDS = 5.0
"""How much longer than the answer may take a client has to read it."""
DONE = b"data: [DONE]\n\n"


def event(value: Mapping[str, Any]) -> bytes:
    """One event with a JSON value."""
    return f"data: {json_text(value)}\n\n".encode()


class EventStream(StreamingResponse):
    """Sends events and then `[DONE]`; cancels the jobs when the client goes or the time is over.

    A failure becomes an event with an error, since the status was sent before.
    """

    def __init__(self, events: AsyncIterator[bytes], jobs: Jobs, context: Context) -> None:
        headers = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}
        super().__init__(self._to_the_end(events), media_type="text/event-stream", headers=headers)
        self._jobs, self._context = jobs, context

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Sends the events; gives up a client that does not read them."""
        try:
            async with asyncio.timeout(self._context.options.seconds + UNREAD_SECONDS):
                await super().__call__(scope, receive, send)
        except TimeoutError:
            note(scope, unread=True)
        finally:
            self._jobs.close()

    async def _to_the_end(self, events: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        seconds = self._context.options.seconds
        deadline = time.monotonic() + seconds
        try:
            while True:
                async with asyncio.timeout(deadline - time.monotonic()):
                    found = await anext(events, None)
                if found is None:
                    break
                yield found
        except TimeoutError:
            yield event(error_body(408, f"not done after {seconds:g} seconds; ask for less", code="timeout"))
        except RecurlmError as error:
            told = as_request_error(error)
            yield event(error_body(told.status_code, str(told.detail), param=told.param, code=told.code))
        except Exception:
            log.exception("failed")
            yield event(error_body(500, BROKEN))
        yield DONE
