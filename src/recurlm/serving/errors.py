"""Errors of the server in OpenAI's form, with the plain messages that the other parts of the program give."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from recurlm.documents import json_text
from recurlm.errors import InputError, RecurlmError, UsageError
from recurlm.serving.engine import BusyError, ClosedError
from recurlm.serving.sessions.errors import (
    DamagedSessionError,
    SessionConflictError,
    SessionMissingError,
    SessionsFullError,
)

RETRY_SECONDS = 1
"""What `Retry-After` says where the queue is full."""
KINDS = {401: "authentication_error", 429: "rate_limit_error", 500: "server_error", 503: "server_error"}
"""OpenAI's `type` of each status; every other status is an invalid_request_error."""
SESSION_ERRORS: dict[type[RecurlmError], tuple[int, str]] = {
    SessionMissingError: (404, "session_not_found"),
    SessionConflictError: (409, "conflict"),
    SessionsFullError: (429, "too_many_sessions"),
    DamagedSessionError: (500, "session_damaged"),
}
"""Status and code of each."""
PLAIN = {
    "string_type": "must be a text",
    "int_type": "must be a whole number",
    "int_parsing": "must be a whole number",
    "int_from_float": "must be a whole number",
    "float_type": "must be a number",
    "float_parsing": "must be a number",
    "finite_number": "must be a finite number",
    "bool_type": "must be true or false",
    "bool_parsing": "must be true or false",
    "list_type": "must be a list",
    "dict_type": "must be an object",
    "model_type": "must be an object",
    "model_attributes_type": "must be an object",
    "literal_error": "must be {expected}",
    "greater_than": "must be more than {gt}",
    "greater_than_equal": "must be at least {ge}",
    "less_than": "must be less than {lt}",
    "less_than_equal": "must be at most {le}",
    "string_too_short": "must have at least {min_length} characters",
    "string_too_long": "must have at most {max_length} characters",
    "too_short": "must have at least {min_length} entries",
    "too_long": "must have at most {max_length} entries",
}
"""What is said of each of pydantic's kinds of errors, with the words that pydantic's context has."""
FORM = re.compile(r"str|int|float|bool|list\[.*\]|tuple\[.*\]")
EMPTY = "must not be empty"
BROKEN = "the server failed; its log says more"


class RequestError(HTTPException):
    """A request is refused: the status, a message as for `RecurlmError`, and the field that is wrong, if it is one."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        param: str | None = None,
        code: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(status, str(RecurlmError(message)), headers)
        self.param, self.code = param, code


def error_body(status: int, message: str, *, param: str | None = None, code: str | None = None) -> dict[str, Any]:
    """The object that tells an error."""
    kind = KINDS.get(status, "invalid_request_error")
    return {"error": {"message": message, "type": kind, "param": param, "code": code}}


def error_response(error: HTTPException) -> JSONResponse:
    """The answer that tells an error."""
    param, code = getattr(error, "param", None), getattr(error, "code", None)
    body = error_body(error.status_code, str(error.detail), param=param, code=code)
    return JSONResponse(body, error.status_code, error.headers)


def as_request_error(error: RecurlmError) -> RequestError:
    """The status of an error of another part of the program."""
    if isinstance(error, BusyError):
        return RequestError(429, str(error), code="queue_full", headers={"Retry-After": str(RETRY_SECONDS)})
    if isinstance(error, ClosedError):
        return RequestError(503, str(error), code="stopping", headers={"Retry-After": str(RETRY_SECONDS)})
    if isinstance(error, InputError | UsageError):
        return RequestError(400, str(error))
    if (found := next((kind for kind in SESSION_ERRORS if isinstance(error, kind)), None)) is not None:
        status, code = SESSION_ERRORS[found]
        return RequestError(status, str(error), code=code)
    return RequestError(500, BROKEN)


def json_answer(value: Any) -> str:
    """A value as JSON. Raises RequestError where it holds a number that JSON lacks, such as a sum that overflowed."""
    try:
        return json_text(value)
    except ValueError:
        raise RequestError(400, "a result is beyond the range of numbers; give smaller scores and scales") from None


def add_error_handlers(app: FastAPI) -> None:
    """Makes every error of the application answer in one form."""

    @app.exception_handler(HTTPException)
    async def refused(request: Request, error: HTTPException) -> JSONResponse:
        if not isinstance(error, RequestError):
            error = RequestError(error.status_code, _about_path(request, error.status_code), headers=error.headers)
        return error_response(error)

    @app.exception_handler(RecurlmError)
    async def failed(_: Request, error: RecurlmError) -> JSONResponse:
        return error_response(as_request_error(error))

    @app.exception_handler(Exception)
    async def broken(_: Request, error: Exception) -> JSONResponse:
        return error_response(RequestError(500, BROKEN))

    @app.exception_handler(RequestValidationError)
    async def invalid(_: Request, error: RequestValidationError) -> JSONResponse:
        return error_response(_as_refusal(error.errors()))


def _about_path(request: Request, status: int) -> str:
    """What is wrong where no route takes the request."""
    wrong = "takes no requests by this method" if status == 405 else "is no path of this server"
    return f"{request.method} {request.url.path}: {wrong}; GET /openapi.json lists the paths"


def _as_refusal(errors: Sequence[Mapping[str, Any]]) -> RequestError:
    """What the first problem of a body or of the address is, in plain words."""
    found, place = errors[0], _place(errors[0])
    name = ".".join(place) or None
    if not place and found["type"] != "value_error":
        return RequestError(400, "the body must be a JSON object, sent with the header content-type: application/json")
    if found["type"] == "extra_forbidden":
        return RequestError(400, f"{name}: no such field; GET /openapi.json lists the fields", param=name)
    if found["type"] == "missing":
        return RequestError(400, f"{name}: missing", param=name)
    # a field that may have several forms has an error for each form
    text = " or ".join(dict.fromkeys(_plain(each) for each in errors if _place(each) == place))
    return RequestError(400, text if name is None else f"{name}: {text}", param=name)


def _place(found: Mapping[str, Any]) -> list[str]:
    """The field of an error, without the form that pydantic names after a field of several forms."""
    parts = [str(part) for part in found["loc"][1:]]
    return [part for part in parts if not FORM.fullmatch(part)]


def _plain(found: Mapping[str, Any]) -> str:
    """An error of pydantic in plain words."""
    context = found.get("ctx", {})
    if found["type"] in ("string_too_short", "too_short") and context.get("min_length") == 1:
        return EMPTY
    if found["type"] in PLAIN:
        return PLAIN[found["type"]].format(**context)
    return str(found["msg"]).removeprefix("Value error, ").removeprefix("Assertion failed, ")
