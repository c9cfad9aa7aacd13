"""What stands before every route, as plain ASGI: the key, and a record of each request."""

import asyncio
import hmac
import json
import logging
import re
import secrets
import time
from collections.abc import Collection, Mapping

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from recurlm.serving.engine import FULL, BusyError
from recurlm.serving.errors import RequestError, as_request_error, error_response
from recurlm.serving.metrics import Metrics
from recurlm.serving.models import ServedModel
from recurlm.serving.requests import CLIENT_GONE

OPEN = {"/health"}
"""The paths that need no key."""
LOCAL_HOST = re.compile(r"(localhost|127\.0\.0\.1|\[::1\])(:[0-9]*)?", re.IGNORECASE)
TEXTS = "/v1/completions"
METHODS = {"DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT"}
"""The methods that figures tell apart; a client may send any word."""
LONGEST_PATH = 200
"""Characters of a path that the log shows."""
TELL_SECONDS = 1.0
"""After how many seconds the log tells of refusals for want of room."""
log = logging.getLogger("recurlm.serving")


class Key:
    """What a request must carry.

    Where there is no key, requests to another name than this machine's own are refused: a page of the web whose name
    leads to 127.0.0.1 (DNS rebinding) could otherwise read answers.
    """

    def __init__(self, key: str | None) -> None:
        self._expected = None if key is None else f"Bearer {key}".encode()

    def allows(self, scope: Scope) -> bool:
        """Whether a request carries the key, or needs none."""
        if scope.get("path") in OPEN:
            return True
        if self._expected is None:
            return LOCAL_HOST.fullmatch(Headers(scope=scope).get("host", "")) is not None
        given = Headers(scope=scope).get("authorization", "").strip(" \t").encode("latin-1")
        return hmac.compare_digest(given, self._expected)

    def refusal(self) -> RequestError:
        """Why a request is refused."""
        if self._expected is None:
            message = (
                "a server without a key serves requests to localhost or 127.0.0.1 alone; start it with --api-key KEY"
            )
            return RequestError(403, message, code="unknown_host")
        message = "wrong or missing key; send the header Authorization: Bearer KEY"
        return RequestError(401, message, code="invalid_api_key", headers={"WWW-Authenticate": "Bearer"})


class KeyMiddleware:
    """Refuses every request without the key, except for the paths in `OPEN`."""

    def __init__(self, app: ASGIApp, key: Key) -> None:
        self._app, self._key = app, key

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes an allowed request on."""
        if scope["type"] == "lifespan" or self._key.allows(scope):
            await self._app(scope, receive, send)
        else:
            await error_response(self._key.refusal())(scope, receive, send)


class FullQueueMiddleware:
    """Refuses requests for texts while the queues of all models are full, before anything else is done for them.

    Under many times the load that a server can carry, reading what is then refused would leave no time to compute, and
    so would a line of the log for each. One line a second tells how many were refused.
    """

    def __init__(self, app: ASGIApp, models: Collection[ServedModel], key: Key, metrics: Metrics) -> None:
        self._app, self._models, self._key, self._metrics = app, models, key, metrics
        self._answer = error_response(as_request_error(BusyError(FULL)))
        self._untold = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes a request on that may find room."""
        is_text = scope.get("path") == TEXTS and scope.get("method") == "POST"
        if is_text and all(served.engine.is_full for served in self._models) and self._key.allows(scope):
            began = time.monotonic()
            await self._answer(scope, receive, send)
            self._record(time.monotonic() - began)
        else:
            await self._app(scope, receive, send)

    def _record(self, seconds: float) -> None:
        self._metrics.answered(TEXTS, "POST", 429, seconds)
        if not self._untold:
            asyncio.get_running_loop().call_later(TELL_SECONDS, self._tell)
        self._untold += 1

    def _tell(self) -> None:
        log.info("queue full", extra={"fields": {"path": TEXTS, "status": 429, "requests": self._untold}})
        self._untold = 0


class RecordMiddleware:
    """Counts, times and logs each request, and gives it a number that stands in the log and in the answer."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app, self._metrics = app, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes a request on and records how it ended."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began, status = time.monotonic(), CLIENT_GONE
        identity = secrets.token_hex(8)
        notes: dict[str, object] = {}
        scope.setdefault("state", {})["log"] = notes

        async def numbered(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                MutableHeaders(scope=message)["X-Request-Id"] = identity
            await send(message)

        try:
            await self._app(scope, receive, numbered)
        except Exception:
            status = 500
            raise
        finally:
            self._record(scope, status, time.monotonic() - began, {"request": identity, **notes})

    def _record(self, scope: Scope, status: int, seconds: float, notes: Mapping[str, object]) -> None:
        route = getattr(scope.get("route"), "path", "unknown")
        method = scope["method"] if scope["method"] in METHODS else "other"
        self._metrics.answered(route, method, status, seconds)
        log.info(
            "request",
            extra={
                "fields": {
                    "method": method,
                    "path": scope["path"][:LONGEST_PATH],
                    "status": status,
                    "seconds": round(seconds, 6),
                    **notes,
                }
            },
        )


def note(scope: Scope, **fields: object) -> None:
    """Adds fields to the line that the log will have for a request."""
    scope["state"]["log"].update(fields)


class JSONFormatter(logging.Formatter):
    """One JSON object a line: time, level, event, and the fields of the event."""

    def format(self, record: logging.LogRecord) -> str:
        """The line of a record."""
        line = {
            "time": f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(record.created))}.{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "event": record.getMessage(),
            **getattr(record, "fields", {}),
        }
        if record.exc_info:
            line["error"] = self.formatException(record.exc_info)
        return json.dumps(line)
