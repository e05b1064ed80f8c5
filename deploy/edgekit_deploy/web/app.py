"""The routes of the page."""

from __future__ import annotations

import asyncio
import contextlib
import math
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from importlib import resources
from urllib.parse import parse_qs

from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, PlainTextResponse, RedirectResponse, Response
from starlette.routing import Route, Router

from edgekit.errors import EdgekitError
from edgekit_deploy.camera import Decision
from edgekit_deploy.web import metrics
from edgekit_deploy.web.access import SESSION_SECONDS
from edgekit_deploy.web.feeds import Bounds, Feeds
from edgekit_deploy.web.guard import Rules, check_token, read_body
from edgekit_deploy.web.hub import Hub
from edgekit_deploy.web.pictures import snapshot_jpeg
from edgekit_deploy.web.reports import FullError, Reports
from edgekit_deploy.web.stream import LiveResponse

STATIC = {
    "/": ("index.html", "text/html"),
    "/app.js": ("app.js", "text/javascript"),
    "/chart.js": ("chart.js", "text/javascript"),
    "/style.css": ("style.css", "text/css"),
    "/icon.svg": ("icon.svg", "image/svg+xml"),
    # Browsers ask for it beside an answer that is no page.
    "/favicon.ico": ("icon.svg", "image/svg+xml"),
}
METRICS_SECONDS = 1.0
MESSAGE = "<!--message-->"
Endpoint = Callable[[Request], Awaitable[Response]]


@dataclass(frozen=True, slots=True)
class Parts:
    """What the routes work on.

    Attributes:
        model: Name of the model.
        hub: Decisions and viewers.
        feeds: For /metrics.
        bounds: For streams and bodies.
        rules: For the login.
        reports: Where wrong answers go; None if nobody gave a folder.
        warn: Told of errors that are not the viewer's, once of each kind.
    """

    model: str
    hub: Hub
    feeds: Feeds
    bounds: Bounds
    rules: Rules
    reports: Reports | None
    warn: Callable[[str], None]


def routes(parts: Parts) -> Router:
    """The application; put a `Guard` in front."""
    log = _Once(parts.warn)
    pages = _Pages(parts, log)
    files = [Route(path, _static(name, kind), methods=["GET"]) for path, (name, kind) in STATIC.items()]
    reads = {
        "/config.json": pages.config,
        "/live": pages.live,
        "/stream.mjpeg": pages.multipart,
        "/snapshot.jpg": pages.snapshot,
        "/metrics": pages.metrics,
        "/login": pages.show_login,
    }
    writes = {"/login": pages.login, "/logout": pages.logout, "/threshold": pages.threshold, "/wrong": pages.wrong}
    writes["/hold"] = pages.hold
    return Router(
        [
            *files,
            *(Route(path, _safely(endpoint, log), methods=["GET"]) for path, endpoint in reads.items()),
            *(Route(path, _safely(endpoint, log), methods=["POST"]) for path, endpoint in writes.items()),
        ],
        redirect_slashes=False,
    )


def refuse(request: Request) -> Response:
    """401: the form to log in for somebody who opens the page, a line for everything else."""
    if request.scope["path"] == "/":
        return login_page("", 401)
    return PlainTextResponse("Log in first.\n", 401, {"WWW-Authenticate": "Bearer"})


def login_page(message: str, status: int) -> Response:
    """The form, with a line (ours, not the user's) above it."""
    html = _read("login.html").replace(MESSAGE, message)
    return Response(html, status, {"WWW-Authenticate": "Bearer"} if status == 401 else None, "text/html")


class _Pages:
    """The endpoints that do something."""

    def __init__(self, parts: Parts, log: _Once) -> None:
        self._parts, self._hub, self._log = parts, parts.hub, log
        self._metrics_text, self._metrics_time = "", -math.inf

    async def config(self, request: Request) -> Response:
        parts = self._parts
        access = parts.rules.access
        plain = {"model": parts.model, "has_reports": parts.reports is not None, "has_login": not access.is_open}
        return JSONResponse(plain | {"threshold": self._hub.threshold})

    async def live(self, request: Request) -> Response:
        return self._stream(is_multipart=False)

    async def multipart(self, request: Request) -> Response:
        return self._stream(is_multipart=True)

    def _stream(self, is_multipart: bool) -> Response:
        # The answer is sent without another await in between: two viewers cannot take the same last place.
        if self._hub.viewers >= self._parts.bounds.streams:
            return PlainTextResponse("Too many viewers.\n", 503, {"Retry-After": "5"})
        return LiveResponse(self._hub, is_multipart)

    async def snapshot(self, request: Request) -> Response:
        decision = self._asked_for(request.query_params.get("frame"))
        if isinstance(decision, Response):
            return decision
        jpeg = await self._hub.encode(snapshot_jpeg, decision)
        name = f'attachment; filename="edgekit-{decision.frame.index}.jpg"'
        return Response(jpeg, 200, {"Content-Disposition": name}, "image/jpeg")

    async def metrics(self, request: Request) -> Response:
        # Percentiles take a while, and a scraper in a loop must not slow the camera.
        if time.monotonic() - self._metrics_time > METRICS_SECONDS:
            hub, parts = self._hub, self._parts
            self._metrics_text = await hub.work(
                metrics.render, parts.model, parts.feeds, hub.latest, hub.viewers, hub.threshold
            )
            self._metrics_time = time.monotonic()
        return Response(self._metrics_text, media_type=metrics.CONTENT_TYPE)

    async def show_login(self, request: Request) -> Response:
        return login_page("", 200)

    async def login(self, request: Request) -> Response:
        form = await self._form(request)
        if isinstance(form, Response):
            return form
        rules = self._parts.rules
        problem = check_token(rules, request, form.get("token", "").strip())
        if problem is not None:
            text = "Wrong token." if problem.status_code == 401 else "Too many wrong tokens. Wait a little."
            page = login_page(text, problem.status_code)
            if "Retry-After" in problem.headers:
                page.headers["Retry-After"] = problem.headers["Retry-After"]
            return page
        answer = RedirectResponse("/", 303)
        if not rules.access.is_open:
            value = rules.access.make_cookie()
            answer.set_cookie(
                rules.cookie, value, max_age=SESSION_SECONDS, httponly=True, samesite="strict", secure=_is_tls(request)
            )
        return answer

    async def logout(self, request: Request) -> Response:
        answer = RedirectResponse("/login", 303)
        answer.delete_cookie(self._parts.rules.cookie, httponly=True, samesite="strict")
        return answer

    async def threshold(self, request: Request) -> Response:
        form = await self._form(request)
        if isinstance(form, Response):
            return form
        value = math.nan
        with contextlib.suppress(ValueError):
            value = float(form.get("value", ""))
        if not 0.0 <= value <= 1.0:
            return PlainTextResponse("The threshold must be a number from 0 to 1.\n", 400)
        self._hub.threshold = value
        return JSONResponse({"threshold": value})

    async def hold(self, request: Request) -> Response:
        form = await self._form(request)
        if isinstance(form, Response):
            return form
        decision = self._asked_for(form.get("frame"))
        if isinstance(decision, Response):
            return decision
        self._hub.hold(decision)
        return JSONResponse({"held": decision.frame.index})

    async def wrong(self, request: Request) -> Response:
        form = await self._form(request)
        if isinstance(form, Response):
            return form
        if self._parts.reports is None:
            return PlainTextResponse("The camera was started without a folder for reports.\n", 404)
        decision = self._asked_for(form.get("frame"))
        if isinstance(decision, Response):
            return decision
        try:
            name = await self._hub.work(self._parts.reports.save, decision)
        except EdgekitError as error:
            self._log.tell("/wrong", error, str(error))
            return PlainTextResponse(f"{error}\n", 507 if isinstance(error, FullError) else 500)
        return JSONResponse({"saved": name}, 201)

    def _asked_for(self, frame: str | None) -> Decision | Response:
        """The decision on a frame, by its number; the newest if none is given."""
        if self._hub.latest is None:
            return PlainTextResponse("There is no frame yet.\n", 404)
        if frame is None:
            return self._hub.latest
        if not (frame.isascii() and frame.isdigit() and len(frame) <= 18):
            return PlainTextResponse("The frame must be a number.\n", 400)
        return self._hub.shown(int(frame)) or PlainTextResponse("That frame is gone already.\n", 410)

    async def _form(self, request: Request) -> dict[str, str] | Response:
        """The fields of a form, or the refusal of what is none."""
        if request.headers.get("content-type", "").partition(";")[0] != "application/x-www-form-urlencoded":
            return PlainTextResponse("The body must be application/x-www-form-urlencoded.\n", 415)
        most = self._parts.bounds.body_bytes
        try:
            # Anybody may send a form to /login: one that never ends must not keep its place.
            async with asyncio.timeout(self._parts.bounds.stall_seconds):
                body = await read_body(request, most)
        except TimeoutError:
            return PlainTextResponse("The body must come sooner.\n", 408, {"Connection": "close"})
        if body is None:
            return PlainTextResponse(f"The body must have at most {most} bytes.\n", 413, {"Connection": "close"})
        try:
            fields = parse_qs(body.decode(), keep_blank_values=True, max_num_fields=16)
        except ValueError:
            return PlainTextResponse("The body must be a form.\n", 400)
        return {name: values[0] for name, values in fields.items()}


class _Once:
    """Tells the log of one failure of each kind: a viewer can bring on the same one again and again."""

    def __init__(self, warn: Callable[[str], None]) -> None:
        self._warn = warn
        self._told: set[tuple[str, type]] = set()

    def tell(self, path: str, error: Exception, line: str) -> None:
        """`line`, unless an error of this type was told of this path (one of the routes) before."""
        kind = path, type(error)
        if kind not in self._told:
            self._told.add(kind)
            self._warn(line)


def _safely(endpoint: Endpoint, log: _Once) -> Endpoint:
    """`endpoint`, whose bugs and broken feeds become 500 and a line in the log."""

    async def answer(request: Request) -> Response:
        try:
            return await endpoint(request)
        except ClientDisconnect:
            return Response(status_code=400)  # nobody is there to read it
        except Exception as error:  # the camera must survive whatever a feed does
            path = request.scope["path"]
            log.tell(path, error, f"Web page: {path} failed: {type(error).__name__}: {error}.")
            return PlainTextResponse("This did not work; see the log of the camera.\n", 500)

    return answer


def _static(name: str, kind: str) -> Endpoint:
    content = _read(name)

    async def answer(request: Request) -> Response:
        return Response(content, media_type=kind)

    return answer


def _read(name: str) -> str:
    return resources.files("edgekit_deploy.web").joinpath("static", name).read_text("utf-8")


def _is_tls(request: Request) -> bool:
    """Behind a proxy that speaks TLS the browser says so in the origin of the form."""
    return request.headers.get("origin", "").startswith("https:")
