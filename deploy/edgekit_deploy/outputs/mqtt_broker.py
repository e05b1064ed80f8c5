"""Where an MQTT broker is, and how to greet it."""

from __future__ import annotations

import os
import re
import socket
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import SplitResult, unquote, urlsplit

from edgekit.errors import InputError

PORTS = {"mqtt": 1883, "mqtts": 8883}
USER, PASSWORD = "EDGEKIT_MQTT_USER", "EDGEKIT_MQTT_PASSWORD"
FORBIDDEN = re.compile(r"[+#\x00-\x1f\x7f]")


@dataclass(frozen=True, slots=True)
class Broker:
    """An MQTT broker. Shown as host and port: the password never stands in a message.

    Attributes:
        host: Name or address.
        port: TCP port.
        is_encrypted: TLS, with the host's certificate checked.
        user: None: nobody in particular.
        password: Of that user.
        base: First part of all topics.
        discovery: First part of Home Assistant's discovery topics.
        authority: Certificates (PEM) to trust instead of the system's.
    """

    host: str
    port: int
    is_encrypted: bool = False
    user: str | None = None
    password: str | None = field(default=None, repr=False)
    base: str = "edgekit"
    discovery: str = "homeassistant"
    authority: Path | None = None

    def __str__(self) -> str:
        """host:port."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @classmethod
    def parse(
        cls,
        url: str,
        *,
        discovery: str = "homeassistant",
        authority: Path | None = None,
        environment: Mapping[str, str] = os.environ,
    ) -> Broker:
        """Understand mqtt://[user[:password]@]host[:port][/base], or mqtts:// for TLS.

        User and password may be percent-encoded. What the URL lacks of them comes from EDGEKIT_MQTT_USER and
        EDGEKIT_MQTT_PASSWORD, which is better: a command line can be read by every user of the machine.

        Raises:
            InputError: Another URL. The message names the part that is wrong, but does not repeat it: it may hold a
                password.
        """
        parts, host, port = _split(url)
        base = unquote(parts.path).strip("/") or "edgekit"
        for topic in (base, discovery):
            if FORBIDDEN.search(topic) or not topic:
                raise InputError(f"An MQTT topic must hold no +, # or control characters, got {topic!r}.")
        user = unquote(parts.username) if parts.username else environment.get(USER) or None
        password = unquote(parts.password) if parts.password else environment.get(PASSWORD) or None
        if password is not None and user is None:
            raise InputError("The MQTT broker's password must come with a user, got none.", f"Set {USER}.")
        is_encrypted = parts.scheme == "mqtts"
        return cls(host, port, is_encrypted, user, password, base, discovery, authority)

    def tls_context(self) -> ssl.SSLContext:
        """What to trust.

        Raises:
            InputError: The authority's file cannot be read.
        """
        try:
            return ssl.create_default_context(cafile=self.authority)
        except (OSError, ssl.SSLError) as error:
            raise InputError(f"{self.authority} must hold certificates (PEM), got: {error}.") from error


def _split(url: str) -> tuple[SplitResult, str, int]:
    """The parts of the URL, its host and its port.

    Raises:
        InputError: Something else.
    """
    scheme, separator, _ = url.partition("://")
    if not separator or scheme.lower() not in PORTS:
        raise _wrong("begin with mqtt:// or mqtts://", "another beginning")
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
        # What paho's thread would stumble over.
        host.encode("idna")
    except ValueError:
        raise _wrong("name a host as DNS knows them, or [an IPv6 address]", "something else before the port") from None
    try:
        port = PORTS[parts.scheme] if parts.port is None else parts.port
    except ValueError:
        port = 0
    if not port:
        raise _wrong("have a port of 1 to 65535 or none", "something else after the host's colon")
    if not host:
        raise _wrong("name a host", "none")
    if parts.query or parts.fragment:
        raise _wrong("end with the first part of the topics", "a ? or # and more")
    return parts, host, port


def _wrong(what: str, got: str) -> InputError:
    return InputError(
        f"--mqtt must {what}, got {got}.",
        "The form is mqtt://user@host:1883/base; / @ : # ? in a name or password must be written %2F %40 %3A %23 %3F, "
        f"and the password is best in {PASSWORD}.",
    )


def topic_name(name: str = "") -> str:
    """`name`, or this machine's, with letters, digits, - and _ only, as Home Assistant wants it; never empty."""
    return re.sub(r"[^A-Za-z0-9_-]+", "_", name or socket.gethostname()).strip("_") or "camera"
