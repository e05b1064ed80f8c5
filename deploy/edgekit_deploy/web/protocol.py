"""uvicorn's HTTP/1.1, with limits of time and number: no client holds a connection idle, or too many of them."""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol

from edgekit_deploy.web.feeds import Bounds
from edgekit_deploy.web.limits import client_key


class BoundedProtocol(H11Protocol):
    """Closes a connection on which no request is complete, or no data can be sent, for `stall_seconds` of its bounds.

    uvicorn itself waits for ever for the rest of a request's head, and for a viewer that has vanished from the network.
    It also accepts any number of connections. Here one beyond `connections`, or `client_connections` of one client, is
    reset at once: each holds a descriptor, and the camera needs some for itself.
    """

    bounds = Bounds()
    _stalled: asyncio.TimerHandle | None = None
    _idle: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Start the clock, or refuse."""
        super().connection_made(transport)
        if self._is_too_many():
            # Not counted from here on: the loop hears of the end only after others have come.
            self.connections.discard(self)
            transport.abort()
            return
        self._wait_for_request()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop both clocks."""
        super().connection_lost(exc)
        for timer in (self._idle, self._stalled):
            if timer is not None:
                timer.cancel()
        self._unset_keepalive_if_required()

    def handle_events(self) -> None:
        """As above; a complete head stops the clock."""
        super().handle_events()
        if self._is_answering() and self._idle is not None:
            self._idle.cancel()
            self._idle = None

    def on_response_complete(self) -> None:
        """As above, and start the clock for the next request."""
        super().on_response_complete()
        self._wait_for_request()

    def pause_writing(self) -> None:
        """The viewer is slower than the stream: it has `bounds.stall_seconds` to take what is on its way."""
        super().pause_writing()
        self._stalled = self.loop.call_later(self.bounds.stall_seconds, self.transport.abort)

    def resume_writing(self) -> None:
        """It did."""
        super().resume_writing()
        if self._stalled is not None:
            self._stalled.cancel()
            self._stalled = None

    def _is_too_many(self) -> bool:
        if len(self.connections) > self.bounds.connections:
            return True
        own = self._client_key()
        mine = sum(isinstance(one, BoundedProtocol) and one._client_key() == own for one in self.connections)
        return mine > self.bounds.client_connections

    def _client_key(self) -> str:
        return client_key(self.client[0] if self.client else "")

    def _wait_for_request(self) -> None:
        if not self.transport.is_closing() and not self._is_answering() and self._idle is None:
            self._idle = self.loop.call_later(self.bounds.stall_seconds, self.transport.abort)

    def _is_answering(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete


def bounded(bounds: Bounds) -> type[BoundedProtocol]:
    """The protocol with these limits: uvicorn wants a class."""
    attributes: dict[str, Any] = {"bounds": bounds}
    return type("BoundedProtocol", (BoundedProtocol,), attributes)
