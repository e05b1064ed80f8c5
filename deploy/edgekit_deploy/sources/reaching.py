"""Why a server cannot be reached, in words."""

from __future__ import annotations

import socket
import ssl
import urllib.error
from urllib.parse import urlsplit

from edgekit_deploy.sources.network import HINT

# Where somebody must be listening.
PORTS = {"rtsp": 554, "rtsps": 322, "http": 80, "https": 443, "rtmp": 1935, "rtmps": 443}
LOOK_SECONDS = 0.9
# "Too slow" and "too often": the same again may well help.
PASSING_REFUSALS = (408, 429)
REMEDY_OF_PATH = "Check path, user and password, and play it with ffplay."


def check(url: str) -> None:
    """Find what no network could mend, before it is asked.

    Raises:
        ValueError: No host where there must be one, or no port from 1 to 65535.
    """
    parts = urlsplit(url)
    if parts.port == 0 or (not parts.hostname and parts.scheme.lower() in PORTS):
        raise ValueError


def knock(url: str) -> None:
    """Find out why FFmpeg, which does not tell, could not open a stream.

    Raises:
        OSError: Nobody is there, or somebody who sends no video.
        ValueError: The URL is torn.
    """
    parts = urlsplit(url)
    host, port, scheme = parts.hostname, parts.port, parts.scheme.lower()
    port = port or PORTS.get(scheme, 0)
    if host and port and scheme not in ("udp", "rtp"):
        socket.create_connection((host, port), LOOK_SECONDS).close()
        raise OSError(f"no video, though {host}:{port} answers")
    raise OSError("nothing")


def is_refusal(error: Exception) -> bool:
    """The URL is wrong, or the server says so (most of HTTP 400 to 499): the same again would not help."""
    if isinstance(error, urllib.error.HTTPError):
        return 400 <= error.code < 500 and error.code not in PASSING_REFUSALS
    return isinstance(error, ValueError)


def explain(error: Exception) -> tuple[str, str]:
    """What is wrong, and what to do about it."""
    reason = getattr(error, "reason", error)
    if isinstance(error, urllib.error.HTTPError):
        return f"HTTP {error.code} {error.reason}", REMEDY_OF_PATH
    if isinstance(reason, ssl.SSLError):
        return str(reason), "Use a certificate that this machine trusts (SSL_CERT_FILE names further ones), or http://."
    if isinstance(reason, socket.gaierror):
        return "a host name without an address", "Check the name and the network."
    if isinstance(reason, TimeoutError):
        return "no answer in time", HINT
    if isinstance(error, ValueError):
        return (
            "no usable host, port or path",
            "In a password, write @ as %40, / as %2F, : as %3A, # as %23 and ? as %3F; a space is %20 everywhere.",
        )
    text = (getattr(reason, "strerror", None) or str(reason)).lower()
    return text, REMEDY_OF_PATH if "answers" in text else HINT
