"""What the page asks the rest of the camera for, and the bounds it keeps."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from edgekit_deploy.stats import CameraStats


def _nothing() -> None:
    return None


@dataclass(frozen=True, slots=True)
class Feeds:
    """Callables, each called in the page's own threads a few times a second at most; they must not block for long.

    Attributes:
        stats: The measurements so far, for /metrics.
        temperature: Of the processor, in degrees Celsius; None where it is unknown.
        status: One line that viewers must see ("camera lost, trying again"), or "".
    """

    stats: Callable[[], CameraStats | None] = _nothing
    temperature: Callable[[], float | None] = _nothing
    status: Callable[[], str] = str


@dataclass(frozen=True, slots=True)
class Bounds:
    """What one page may cost.

    Attributes:
        streams: Live viewers at a time.
        connections: Open at a time, of all clients.
        client_connections: Of one client (see `client_key`); a browser opens up to 6, a page of streams a few more.
        fps: Pictures encoded per second.
        side: Longest side of a live picture in pixels.
        quality: JPEG quality of a live picture, 0 to 100.
        share: Largest share of the encoder's time, 0 to 1: on a slow machine it rests longer instead.
        niceness: By how much the encoder's thread steps back, 0 to 19 (Linux).
        body_bytes: Largest request body.
        per_second: Requests a client may make in the long run.
        burst: Requests a client may make at once.
        logins: Wrong tokens a client may give at once; one more every ten seconds.
        stall_seconds: A viewer that takes no data, or sends no request, for so long is cut off; a request's body must
            be there within that time, too.
        recent_bytes: Memory for the frames just shown, so that "wrong!" saves the one that was seen.
    """

    streams: int = 8
    connections: int = 64
    client_connections: int = 12
    fps: float = 15.0
    side: int = 960
    quality: int = 75
    share: float = 0.25
    niceness: int = 10
    body_bytes: int = 4096
    per_second: float = 10.0
    burst: int = 60
    logins: int = 5
    stall_seconds: float = 15.0
    recent_bytes: int = 48 * 2**20


@dataclass(frozen=True, slots=True)
class ReportBounds:
    """How much the "wrong!" button may fill.

    Attributes:
        folder: Where the pictures go.
        files: Pictures in it at most.
        total_bytes: Their size at most, predictions included.
        free_bytes: What stays free on the disk.
    """

    folder: Path
    files: int = 2000
    total_bytes: int = 500 * 2**20
    free_bytes: int = 64 * 2**20
