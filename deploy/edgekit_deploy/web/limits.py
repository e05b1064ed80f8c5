"""How often a client may ask: token buckets in bounded memory."""

from __future__ import annotations

import ipaddress
import time
from collections import OrderedDict
from collections.abc import Callable

MOST_CLIENTS = 256


class RateLimit:
    """`burst` at once, then `per_second`, for each client. The least recent of MOST_CLIENTS clients is forgotten.

    Args:
        per_second: Steady rate.
        burst: What may come at once, at least 1.
        clock: Seconds that never jump.
    """

    def __init__(self, per_second: float, burst: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._per_second, self._burst, self._clock = per_second, float(burst), clock
        self._clients: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def wait(self, client: str) -> float:
        """Seconds until `client` may ask again; 0 if it may now. Costs nothing."""
        return max(0.0, (1.0 - self._left(client)) / self._per_second)

    def spend(self, client: str) -> bool:
        """Count one request; False if it is one too many (which is not counted)."""
        left = self._left(client)
        if left < 1.0:
            return False
        self._clients[client] = (left - 1.0, self._clock())
        self._clients.move_to_end(client)
        if len(self._clients) > MOST_CLIENTS:
            self._clients.popitem(last=False)
        return True

    def _left(self, client: str) -> float:
        left, since = self._clients.get(client, (self._burst, self._clock()))
        return min(self._burst, left + (self._clock() - since) * self._per_second)


def client_key(host: str) -> str:
    """What counts as one client: an IPv4 address, or the /64 network that one IPv6 subscriber owns."""
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return host
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is not None:
            return str(address.ipv4_mapped)
        return str(ipaddress.ip_network((address, 64), strict=False))
    return str(address)
