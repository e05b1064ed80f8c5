"""Who may see the page: a token once, then a signed cookie. Neither is stored, logged or put into an address."""

from __future__ import annotations

import hashlib
import hmac
import time
from collections.abc import Callable

SESSION_SECONDS = 30 * 24 * 3600


class Access:
    """Checks tokens and cookies; None as token lets everybody in.

    A cookie is its time of expiry and a MAC of it under the token: it survives a restart of the camera, and a new
    token ends it.

    Args:
        token: The secret.
        clock: Seconds since 1970.
    """

    def __init__(self, token: str | None, clock: Callable[[], float] = time.time) -> None:
        self._key = None if token is None else hashlib.sha256(token.encode()).digest()
        self._clock = clock

    @property
    def is_open(self) -> bool:
        """No token is needed."""
        return self._key is None

    def is_token(self, given: str) -> bool:
        """Compare with the token, in a time that tells nothing about it."""
        # Digests, because compare_digest tells the length of what it compares.
        return self._key is None or hmac.compare_digest(
            hashlib.sha256(given.encode("utf-8", "replace")).digest(), self._key
        )

    def make_cookie(self) -> str:
        """The value of a cookie that `is_cookie` will accept for SESSION_SECONDS."""
        expiry = str(int(self._clock()) + SESSION_SECONDS)
        return f"{expiry}.{self._mac(expiry)}"

    def is_cookie(self, given: str) -> bool:
        """Whether `make_cookie` made it under this token, and it has not expired."""
        if self._key is None:
            return True
        expiry, _, mac = given.partition(".")
        if not hmac.compare_digest(mac.encode("utf-8", "replace"), self._mac(expiry).encode()):
            return False
        return int(expiry) > self._clock()

    def _mac(self, expiry: str) -> str:
        message = b"edgekit session until " + expiry.encode("utf-8", "replace")
        return hmac.new(self._key or b"", message, hashlib.sha256).hexdigest()
