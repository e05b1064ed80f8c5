"""Where an MQTT broker is, and how to greet it."""

from __future__ import annotations

import os
import re
import socket
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote, urlsplit

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
            InputError: Another URL. The message does not repeat it, for it may hold a password.
        """
        try:
            parts = urlsplit(url)
            host, port = parts.hostname, parts.port
            # What paho's thread would stumble over.
            (host or "").encode("idna")
        except ValueError:
            parts, host, port = urlsplit(""), None, None
        base = unquote(parts.path).strip("/") or "edgekit"
        if parts.scheme not in PORTS or not host or port == 0 or parts.query or parts.fragment:
            raise InputError(
                "--mqtt must be mqtt://host, mqtts://host, or longer: mqtt://user@host:1883/base; got another text.",
                f"Characters such as / or @ in a name must be percent-encoded; the password is best in {PASSWORD}.",
            )
        for topic in (base, discovery):
            if FORBIDDEN.search(topic) or not topic:
                raise InputError(f"An MQTT topic must hold no +, # or control characters, got {topic!r}.")
        user = unquote(parts.username) if parts.username else environment.get(USER) or None
        password = unquote(parts.password) if parts.password else environment.get(PASSWORD) or None
        if password is not None and user is None:
            raise InputError("The MQTT broker's password must come with a user, got none.", f"Set {USER}.")
        is_encrypted = parts.scheme == "mqtts"
        return cls(host, port or PORTS[parts.scheme], is_encrypted, user, password, base, discovery, authority)

    def tls_context(self) -> ssl.SSLContext:
        """What to trust.

        Raises:
            InputError: The authority's file cannot be read.
        """
        try:
            return ssl.create_default_context(cafile=self.authority)
        except (OSError, ssl.SSLError) as error:
            raise InputError(f"{self.authority} must hold certificates (PEM), got: {error}.") from error


def topic_name(name: str = "") -> str:
    """`name`, or this machine's, with letters, digits, - and _ only, as Home Assistant wants it; never empty."""
    return re.sub(r"[^A-Za-z0-9_-]+", "_", name or socket.gethostname()).strip("_") or "camera"
