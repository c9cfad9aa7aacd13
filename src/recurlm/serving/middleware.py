"""What stands before every route, as plain ASGI: the key, and a record of each request."""

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
log = logging.getLogger("recurlm.serving")


class KeyMiddleware:
    """Refuses every request without the key, except for the paths in `OPEN`.

    Where there is no key, it refuses requests to another name than this machine's own: a page of the web whose name
    leads to 127.0.0.1 (DNS rebinding) could otherwise read answers.
    """

    def __init__(self, app: ASGIApp, key: str | None) -> None:
        self._app = app
        self._expected = None if key is None else f"Bearer {key}".encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes an allowed request on."""
        if scope["type"] == "lifespan" or scope.get("path") in OPEN or self._is_allowed(scope):
            await self._app(scope, receive, send)
            return
        await error_response(self._refusal())(scope, receive, send)

    def _refusal(self) -> RequestError:
        if self._expected is None:
            message = (
                "a server without a key serves requests to localhost or 127.0.0.1 alone; start it with --api-key KEY"
            )
            return RequestError(403, message, code="unknown_host")
        message = "wrong or missing key; send the header Authorization: Bearer KEY"
        return RequestError(401, message, code="invalid_api_key", headers={"WWW-Authenticate": "Bearer"})

    def _is_allowed(self, scope: Scope) -> bool:
        if self._expected is None:
            return LOCAL_HOST.fullmatch(Headers(scope=scope).get("host", "")) is not None
        given = Headers(scope=scope).get("authorization", "").strip(" \t").encode("latin-1")
        return hmac.compare_digest(given, self._expected)


class FullQueueMiddleware:
    """Refuses requests for texts while the queues of all models are full, before it reads them.

    Under many times the load that a server can carry, reading what is then refused would leave no time to compute.
    """

    def __init__(self, app: ASGIApp, models: Collection[ServedModel]) -> None:
        self._app, self._models = app, models

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes a request on that may find room."""
        is_text = scope.get("path") == TEXTS and scope.get("method") == "POST"
        if is_text and all(served.engine.is_full for served in self._models):
            await error_response(as_request_error(BusyError(FULL)))(scope, receive, send)
            return
        await self._app(scope, receive, send)


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
        self._metrics.requests.labels(route, method, str(status)).inc()
        self._metrics.request_seconds.labels(route).observe(seconds)
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
