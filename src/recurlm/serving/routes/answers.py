"""What the OpenAPI description says of the errors of a route."""

from typing import Any

from recurlm.serving.bodies.base import ErrorBody

MEANINGS = {
    400: "The request is wrong.",
    401: "The key is wrong or missing.",
    404: "No such model or session.",
    409: "The session is in another state than the request says, or another request changed it meanwhile.",
    408: "The request took longer than the server allows.",
    413: "The body is larger than the server allows.",
    429: "Too many requests wait; `Retry-After` says when to try again.",
    500: "The server failed, or the stored session is damaged.",
    503: "The server is stopping.",
}
READS = (401,)
CHOOSES = (400, 401, 404)
READS_BODY = (400, 401, 404, 408, 413)
FINDS = (401, 404)
CHANGES = (400, 401, 404, 408, 409, 413, 429, 500, 503)
COMPUTES = (400, 401, 404, 408, 413, 429, 503)


Responses = dict[int | str, dict[str, Any]]


def errors(statuses: tuple[int, ...], ok: dict[str, Any] | None = None) -> Responses:
    """The part `responses` of a route that answers errors with these statuses; `ok` describes its other answer."""
    told: Responses = {status: {"model": ErrorBody, "description": MEANINGS[status]} for status in statuses}
    return told if ok is None else {**told, 200: ok}
