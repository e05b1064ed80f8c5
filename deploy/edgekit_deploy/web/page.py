"""The page as the loop sees it: a context manager with `publish` and `threshold`."""

from __future__ import annotations

import importlib
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Self

from edgekit.errors import EdgekitError, InputError, MissingError
from edgekit_deploy.web.address import Address, Names, check_reach, checked_token
from edgekit_deploy.web.feeds import Bounds, Feeds, ReportBounds

if TYPE_CHECKING:
    from collections.abc import Awaitable
    from socket import socket

    from uvicorn import Server

    from edgekit_deploy.camera import Decision
    from edgekit_deploy.web.hub import Hub

START_SECONDS = 30.0
STOP_SECONDS = 2.0
MOST_HEAD_BYTES = 16 * 1024


class WebPage:
    """Serves the page from a thread of its own while the context is open.

    The loop calls `publish` after every frame and reads `threshold` when it likes; neither waits for anything.

    Args:
        address: Where to listen.
        model: Name of the model, for the title.
        labels: The model's classes.
        token: What viewers must know; None lets everybody in who can reach a loopback address.
        threshold: Where the slider starts, 0 to 1.
        feeds: Where measurements, temperature and status come from.
        reports: Folder and limits of the "wrong!" button; None hides it.
        hosts: More names under which the page may be opened (a reverse proxy's, say).
        bounds: What the page may cost.
        warn: Told of problems, a line each, from another thread; never of a token.

    Raises:
        InputError: An address beyond loopback without a token, a weak token, a threshold out of range, or a folder for
            reports that cannot be written.
        MissingError: starlette and uvicorn are not installed.
    """

    def __init__(
        self,
        address: Address,
        model: str,
        labels: tuple[str, ...],
        *,
        token: str | None = None,
        threshold: float = 0.0,
        feeds: Feeds | None = None,
        reports: ReportBounds | None = None,
        hosts: tuple[str, ...] = (),
        bounds: Bounds | None = None,
        warn: Callable[[str], None] | None = None,
    ) -> None:
        check_reach(address, token)
        if token is not None:
            checked_token(token)
        if not 0.0 <= threshold <= 1.0:
            raise InputError(f"The threshold must be 0 to 1, got {threshold}.")
        check_installed()
        from edgekit_deploy.web.hub import Hub
        from edgekit_deploy.web.reports import Reports

        self._address, self._model, self._token, self._hosts = address, model, token, hosts
        self._feeds, self._bounds = feeds or Feeds(), bounds or Bounds()
        self._warn = warn or (lambda line: None)
        self._reports = Reports(reports, model) if reports else None
        self._hub: Hub = Hub(labels, self._feeds, self._bounds, threshold, self._warn)
        self._server: Server | None = None
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        """Listen and answer.

        Raises:
            InputError: The address cannot be listened on.
        """
        listener = self._address.listen()
        self._address = Address(self._address.host, listener.getsockname()[1])
        self._server = self._make_server()
        self._thread = threading.Thread(target=self._run, args=(listener,), name="edgekit-web", daemon=True)
        self._thread.start()
        deadline = time.monotonic() + START_SECONDS
        while not self._server.started:
            if not self._thread.is_alive() or time.monotonic() > deadline:
                self.__exit__()
                raise EdgekitError(f"The web page on {self.url} did not start.")
            time.sleep(0.005)
        return self

    def __exit__(self, *exception: object) -> None:
        """Let the viewers go and stop listening; takes some tenths of a second, STOP_SECONDS at most."""
        if self._server is not None and self._thread is not None:
            self._server.should_exit = True
            self._thread.join(STOP_SECONDS)

    @property
    def url(self) -> str:
        """What to type into a browser."""
        return self._address.url

    @property
    def threshold(self) -> float:
        """What the slider says, 0 to 1."""
        return self._hub.threshold

    @property
    def viewers(self) -> int:
        """Live pictures that are being watched."""
        return self._hub.viewers

    @property
    def encoded(self) -> int:
        """Live pictures encoded so far."""
        return self._hub.encoded

    def publish(self, decision: Decision) -> None:
        """Offer the newest decision; from the loop's thread.

        Its image must stay as it is from now on, with nothing drawn on it: it is what "wrong!" and snapshot save.
        """
        self._hub.publish(decision)

    def _run(self, listener: socket) -> None:
        if self._server is None:
            return
        try:
            self._server.run([listener])
        except BaseException as error:  # the camera goes on without its page
            self._warn(f"The web page stopped: {type(error).__name__}: {error}.")
        finally:
            listener.close()
            self._hub.shut_threads()

    def _make_server(self) -> Server:
        import uvicorn

        from edgekit_deploy.web.protocol import bounded

        hub = self._hub

        class HubServer(uvicorn.Server):
            """Ends the streams before uvicorn waits for them."""

            async def shutdown(self, sockets: list[socket] | None = None) -> None:
                hub.close()
                await super().shutdown(sockets)
                for connection in list(self.server_state.connections):
                    if connection.transport is not None:
                        connection.transport.abort()

        config = uvicorn.Config(
            self._make_app(),
            loop="asyncio",
            http=bounded(self._bounds),
            ws="none",
            lifespan="off",
            # The camera's log is not a web server's; addresses and headers stay out of it.
            log_config=None,
            log_level="critical",
            access_log=False,
            # Without a proxy that is known, X-Forwarded-For is anybody's claim.
            proxy_headers=False,
            server_header=False,
            timeout_graceful_shutdown=1,
            h11_max_incomplete_event_size=MOST_HEAD_BYTES,
        )
        return HubServer(config)

    def _make_app(self) -> Callable[..., Awaitable[None]]:
        from edgekit_deploy.web.access import Access
        from edgekit_deploy.web.app import Parts, refuse, routes
        from edgekit_deploy.web.guard import Guard, Rules
        from edgekit_deploy.web.limits import RateLimit

        bounds = self._bounds
        rules = Rules(
            names=Names.of(self._address, self._hosts),
            access=Access(self._token),
            # Cookies do not tell ports apart: two cameras on one machine need two names.
            cookie=f"edgekit-{self._address.port}",
            requests=RateLimit(bounds.per_second, bounds.burst),
            logins=RateLimit(0.1, bounds.logins),
            body_bytes=bounds.body_bytes,
            refuse=refuse,
        )
        return Guard(
            routes(Parts(self._model, self._hub, self._feeds, bounds, rules, self._reports, self._warn)), rules
        )


def check_installed() -> None:
    """Import the server's packages.

    Raises:
        MissingError: They are not installed.
    """
    try:
        for name in ("starlette.routing", "uvicorn.protocols.http.h11_impl"):
            importlib.import_module(name)
    except ImportError as error:
        raise MissingError("The web page needs starlette and uvicorn.", 'Run: pip install "edgekit[web]"') from error
