"""What every request must pass before a route sees it, and the headers that every answer carries."""

from __future__ import annotations

import math
from collections.abc import Callable, MutableMapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from edgekit_deploy.web.access import Access
from edgekit_deploy.web.address import Names
from edgekit_deploy.web.limits import RateLimit, client_key

PUBLIC_PATHS = frozenset({"/login", "/style.css", "/icon.svg", "/favicon.ico"})
SAFE_METHODS = frozenset({"GET", "HEAD"})
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "manifest-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    # Not no-referrer: with that, browsers call the origin of a form "null".
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=()",
    "Cache-Control": "no-store",
}


@dataclass(frozen=True, slots=True)
class Rules:
    """What the guard checks by.

    Attributes:
        names: Host headers that are believed.
        access: Tokens and cookies.
        cookie: The cookie's name.
        requests: How often a client may ask.
        logins: How often it may be wrong about the token.
        body_bytes: Largest body.
        refuse: The answer to a client without a token.
    """

    names: Names
    access: Access
    cookie: str
    requests: RateLimit
    logins: RateLimit
    body_bytes: int
    refuse: Callable[[Request], Response]


class Guard:
    """An ASGI application around `app`."""

    def __init__(self, app: ASGIApp, rules: Rules) -> None:
        self._app, self._rules = app, rules

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let the request through to `app`, or answer it here."""
        if scope["type"] != "http":
            return

        async def send_with_headers(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        request = Request(scope)
        answer = self._objection(request) or self._unknown(request)
        await (answer or self._app)(scope, receive, send_with_headers)

    def _objection(self, request: Request) -> Response | None:
        """Why nobody may make this request, whoever it is."""
        rules, headers = self._rules, request.headers
        if not rules.requests.spend(client_of(request)):
            return too_often(rules.requests.wait(client_of(request)))
        if not rules.names.allow(headers.get("host", "")):
            return _close("This page has another name. Open it by its IP address, or name it with the camera.", 421)
        if not _is_own_origin(request):
            return _close("Another web site may not use this page.", 403)
        length = headers.get("content-length", "0")
        if not (length.isascii() and length.isdigit()) or int(length) > rules.body_bytes:
            return _close(f"The body must have at most {rules.body_bytes} bytes.", 413)
        return None

    def _unknown(self, request: Request) -> Response | None:
        """The answer to somebody who has not shown the token."""
        rules = self._rules
        if rules.access.is_open or request.scope["path"] in PUBLIC_PATHS:
            return None
        if rules.access.is_cookie(request.cookies.get(rules.cookie, "")):
            return None
        scheme, _, given = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer":
            answer = check_token(rules, request, given.strip())
            return answer if answer is None or answer.status_code == 429 else rules.refuse(request)
        return rules.refuse(request)


def check_token(rules: Rules, request: Request, given: str) -> Response | None:
    """None if the token is right; else the refusal, 429 after too many wrong ones."""
    client = client_of(request)
    if wait := rules.logins.wait(client):
        return too_often(wait)
    if rules.access.is_token(given):
        return None
    rules.logins.spend(client)
    return PlainTextResponse("Wrong token.", 401)


async def read_body(request: Request, most: int) -> bytes | None:
    """The body, or None if it has more than `most` bytes (it may come without a length)."""
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > most:
            return None
    return body


def too_often(seconds: float) -> Response:
    """429, and when to come back."""
    return PlainTextResponse("Too many requests.", 429, {"Retry-After": str(max(1, math.ceil(seconds)))})


def client_of(request: Request) -> str:
    """What counts as one client for rate limits."""
    return client_key(request.client.host if request.client else "")


def _is_own_origin(request: Request) -> bool:
    """Whether the browser says that our own page sent this; other programs say nothing and have no cookie to abuse."""
    headers: Headers = request.headers
    origin = headers.get("origin")
    if origin is not None and urlsplit(origin).netloc.lower() != headers.get("host", "").lower():
        return False
    is_foreign = headers.get("sec-fetch-site", "none") not in ("none", "same-origin")
    # A link on another page may lead here; nothing else may.
    is_visit = request.method in SAFE_METHODS and headers.get("sec-fetch-mode") == "navigate"
    return not is_foreign or (is_visit and headers.get("sec-fetch-dest") == "document")


def _close(text: str, status: int) -> Response:
    """A refusal after which the connection is closed, unread body and all."""
    return PlainTextResponse(text + "\n", status, {"Connection": "close"})
