"""Who may use the page: the token of the first address becomes a cookie, since event streams send no headers."""

import hmac
from http.cookies import CookieError, SimpleCookie
from urllib.parse import parse_qs

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import HTMLResponse, PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

HEADERS = {
    "Content-Security-Policy": "default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
"""What every answer says: nothing comes from elsewhere, and no other page may read or frame it."""
ENTRANCE = (
    '<!doctype html><title>recurlm studio</title><link rel="icon" href="/page/icon.svg" type="image/svg+xml">'
    '<meta http-equiv="refresh" content="0; url=/">\n'
)
"""Answers the first address. A redirection would not do: a browser that came from a file, which counts as a foreign
page, sends the new cookie only when a page of this origin leads on."""
NO_COOKIE = "recurlm studio: this browser has no access; open the address with the token that the terminal shows\n"


class CookieMiddleware:
    """Sets the cookie for an address with the token, and lets requests with the cookie pass as if they had the key.

    A request that a page of another origin caused, as the browser says, gets nothing for its cookie: another program on
    this machine may serve pages of the same site at another port.
    """

    def __init__(self, app: ASGIApp, token: str) -> None:
        self._app, self._token = app, token

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes a request on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(HEADERS)
            await send(message)

        await self._answerer(scope)(scope, receive, guarded)

    def _answerer(self, scope: Scope) -> ASGIApp:
        name = f"recurlm-studio-{scope['server'][1]}"  # cookies of one host are shared by all its ports
        if scope["path"] == "/" and self._has_token(scope):
            answer = HTMLResponse(ENTRANCE, headers={"Cache-Control": "no-store"})
            answer.set_cookie(name, self._token, httponly=True, samesite="strict")
            return answer
        headers = Headers(scope=scope)
        if self._is_own(headers) and self._is_equal(_cookie(headers, name)):
            others = [(key, value) for key, value in scope["headers"] if key != b"authorization"]
            scope["headers"] = [*others, (b"authorization", f"Bearer {self._token}".encode())]
        elif scope["path"] == "/" and "authorization" not in headers:
            return PlainTextResponse(NO_COOKIE, 401)
        return self._app

    def _has_token(self, scope: Scope) -> bool:
        given = parse_qs(scope["query_string"].decode("latin-1")).get("token", [""])[0]
        return self._is_equal(given)

    def _is_equal(self, given: str) -> bool:
        return hmac.compare_digest(given.encode("utf-8", "surrogateescape"), self._token.encode())

    @staticmethod
    def _is_own(headers: Headers) -> bool:
        """Whether the browser does not say that a page of another origin caused the request."""
        origin, host = headers.get("origin"), headers.get("host", "")
        return origin in (None, f"http://{host}") and headers.get("sec-fetch-site") in (None, "none", "same-origin")


def _cookie(headers: Headers, name: str) -> str:
    try:
        found = SimpleCookie(headers.get("cookie", "")).get(name)
    except CookieError:
        return ""
    return "" if found is None else found.value
