"""uvicorn's HTTP/1.1, with limits of time: a connection that stands still is cut off."""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol


class BoundedProtocol(H11Protocol):
    """Closes a connection on which no request is complete, or no data can be sent, for `stall_seconds`.

    uvicorn itself waits for ever for the rest of a request's head, and for a viewer that has vanished from the network.
    """

    stall_seconds = 15.0
    _stalled: asyncio.TimerHandle | None = None
    _idle: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Start the clock."""
        super().connection_made(transport)
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
        """The viewer is slower than the stream: it has `stall_seconds` to take what is on its way."""
        super().pause_writing()
        self._stalled = self.loop.call_later(self.stall_seconds, self.transport.abort)

    def resume_writing(self) -> None:
        """It did."""
        super().resume_writing()
        if self._stalled is not None:
            self._stalled.cancel()
            self._stalled = None

    def _wait_for_request(self) -> None:
        if not self.transport.is_closing() and not self._is_answering() and self._idle is None:
            self._idle = self.loop.call_later(self.stall_seconds, self.transport.abort)

    def _is_answering(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete


def bounded(stall_seconds: float) -> type[BoundedProtocol]:
    """The protocol with this limit: uvicorn wants a class."""
    attributes: dict[str, Any] = {"stall_seconds": stall_seconds}
    return type("BoundedProtocol", (BoundedProtocol,), attributes)
