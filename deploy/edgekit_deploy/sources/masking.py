"""Passwords are for the camera only: what is shown, logged or written to a file has them masked."""

from __future__ import annotations

import re

MASK = "***"
_AUTHORITY = re.compile(r"(?<=://)[^\s/?#!\"']*")
# A password with a / ? or # that was not written as %2F, %3F or %23 reaches beyond what a URL calls its authority.
_TORN_PASSWORD = re.compile(r"(?<=://)[^\s/?#@!\"']*:[^\s!\"']*@")
# Cameras take passwords under any name there.
_QUERY = re.compile(r"(?<=://)[^\s\"']*\?[^\s\"'!]*")
_SECRET_VALUE = re.compile(
    r"(?i)\b([\w-]*(?:passw(?:or)?[dt]|user(?:name)?|login|key|passphrase|pass|pwd|pw|token|secret|api-?_?key|auth|sig(?:nature)?)\s*=\s*)"
    r"(\"[^\"]*\"|'[^']*'|[^\s&;,!\"']+)"
)


def masked(text: str) -> str:
    """`text` (a URL, a pipeline, an error message) without user names, passwords and tokens.

    >>> masked("rtsp://admin:1234@cam/live?token=abc")
    'rtsp://***@cam/live?token=***'
    """
    text = _AUTHORITY.sub(lambda found: re.sub(r".*@", f"{MASK}@", found[0]), text)
    text = _TORN_PASSWORD.sub(f"{MASK}@", text)
    text = _QUERY.sub(lambda found: re.sub(r"=[^&\s\"']*", f"={MASK}", found[0]), text)
    return _SECRET_VALUE.sub(rf"\1{MASK}", text)
