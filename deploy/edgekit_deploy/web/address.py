"""Where the page listens, who may name it, and the token that every address but loopback needs."""

from __future__ import annotations

import errno
import ipaddress
import os
import re
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from edgekit.errors import InputError, MissingError

DEFAULT_PORT = 8080
TOKEN_VARIABLE = "EDGEKIT_WEB_TOKEN"  # noqa: S105 (a name)
LEAST_TOKEN_LENGTH, MOST_TOKEN_LENGTH = 16, 1024
MAKE_TOKEN = 'Make one: python3 -c "import secrets; print(secrets.token_urlsafe())"'  # noqa: S105 (how to make one)
# What waits in the kernel for a slow viewer is old by the time it is seen: about one picture, not a hundred.
SEND_BUFFER_BYTES = 64 * 1024
BACKLOG = 64


@dataclass(frozen=True, slots=True)
class Address:
    """Where to listen: a literal IP address and a port; port 0 lets the system choose."""

    host: str
    port: int

    @classmethod
    def parse(cls, text: str) -> Address:
        """From "8080", "127.0.0.1", "0.0.0.0:8080", "[::]:8080" or "localhost:8080"; the default is 127.0.0.1:8080.

        Raises:
            InputError: It is none of these.
        """
        host, port = _split(text.strip())
        try:
            literal = ipaddress.ip_address("127.0.0.1" if host in ("", "localhost") else host)
            number = int(port) if port.isascii() and port.isdigit() else -1
        except ValueError:
            number = -1
        if not 0 <= number <= 65535:
            raise InputError(
                f"The address of the web page must be IP:PORT, IP or PORT, got {text!r}.",
                "For this machine alone: 127.0.0.1:8080; for the whole network: 0.0.0.0:8080.",
            )
        return cls(str(literal), number)

    @property
    def is_loopback(self) -> bool:
        """Only this machine can reach it."""
        return ipaddress.ip_address(self.host).is_loopback

    @property
    def url(self) -> str:
        """What to type into a browser; for "every address" of this machine that is its name."""
        host = socket.gethostname() if ipaddress.ip_address(self.host).is_unspecified else self.host
        return f"http://{f'[{host}]' if ':' in host else host}:{self.port}/"

    def listen(self) -> socket.socket:
        """A listening socket.

        Raises:
            MissingError: The port is taken, or the address is not this machine's, or not yet, as at boot.
            InputError: The port needs more rights.
        """
        family = socket.AF_INET6 if ":" in self.host else socket.AF_INET
        listener = socket.socket(family, socket.SOCK_STREAM)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)
            listener.bind((self.host, self.port))
            listener.listen(BACKLOG)
        except OSError as error:
            listener.close()
            taken = error.errno == errno.EADDRINUSE
            remedy = "Is another camera running? Choose another port." if taken else "Choose another address or port."
            # What may pass: a service tries again after a MissingError.
            kind = MissingError if taken or error.errno == errno.EADDRNOTAVAIL else InputError
            raise kind(
                f"The web page must be able to listen on {self.host}:{self.port}, got: {error.strerror}.", remedy
            ) from error
        return listener


@dataclass(frozen=True, slots=True)
class Names:
    """The Host headers that are believed. A page under any other name is an attack by DNS rebinding.

    Attributes:
        named: Host names, lower case.
        is_any_ip: Literal IP addresses too: rebinding needs a name, so they are safe.
    """

    named: frozenset[str]
    is_any_ip: bool

    @classmethod
    def of(cls, address: Address, more: tuple[str, ...] = ()) -> Names:
        """Those of `address`: loopback names, and this machine's own where others can reach it."""
        named = {"localhost", "127.0.0.1", "[::1]", *(name.lower() for name in more)}
        if address.is_loopback:
            named.add(f"[{address.host}]" if ":" in address.host else address.host)
        else:
            own = socket.gethostname().lower()
            named |= {own, f"{own.split('.')[0]}.local"}
        return cls(frozenset(named), not address.is_loopback)

    def allow(self, host: str) -> bool:
        """Whether a Host header ("name", "name:port", "[::1]:port") is one of ours."""
        match = re.fullmatch(r"(?P<name>\[[0-9a-f:.]+\]|[^:\[\]/@]+)(?::\d{1,5})?", host.lower())
        if match is None:
            return False
        name = match["name"]
        return name in self.named or (self.is_any_ip and _is_ip(name.strip("[]")))


def read_token(file: Path | None = None, environment: Mapping[str, str] | None = None) -> str | None:
    """The token from `file`, else from the environment variable EDGEKIT_WEB_TOKEN; None if there is neither.

    Raises:
        InputError: The file cannot be read, or the token is too short to be safe.
    """
    variables = os.environ if environment is None else environment
    token, origin = variables.get(TOKEN_VARIABLE), TOKEN_VARIABLE
    if file is not None:
        try:
            token, origin = file.read_text(encoding="utf-8"), str(file)
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"The token file {file} must be readable text, got: {error}.", MAKE_TOKEN) from error
    return None if token is None else checked_token(token.strip(), origin)


def checked_token(token: str, origin: str = "The token") -> str:
    """`token` itself.

    Raises:
        InputError: It is too short to be safe, or too long for a form; the message does not repeat it.
    """
    if not LEAST_TOKEN_LENGTH <= len(token) <= MOST_TOKEN_LENGTH:
        raise InputError(
            f"{origin} must hold {LEAST_TOKEN_LENGTH} to {MOST_TOKEN_LENGTH} characters, got {len(token)}.", MAKE_TOKEN
        )
    return token


def check_reach(address: Address, token: str | None) -> None:
    """Refuse to show a camera to a network without a token.

    Raises:
        InputError: `address` is not loopback and there is no token.
    """
    if token is None and not address.is_loopback:
        raise InputError(
            f"A web page on {address.host} must have a token, got none.",
            f"Set {TOKEN_VARIABLE} or give a token file. {MAKE_TOKEN}",
        )


def _split(text: str) -> tuple[str, str]:
    """Host and port of "8080", "host", "host:8080", "[::]:8080" or "::"; the default port where there is none."""
    if text.isdigit():
        return "", text
    host, colon, port = text.rpartition(":")
    if colon and (":" not in host or host.endswith("]")):
        return _unbracketed(host), port
    return _unbracketed(text), str(DEFAULT_PORT)


def _unbracketed(host: str) -> str:
    return host[1:-1] if host.startswith("[") and host.endswith("]") else host


def _is_ip(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True
