"""Which Python this is and what is installed for it; imports nothing but the standard library."""

from __future__ import annotations

import struct
import sys
from collections.abc import Iterable
from importlib import metadata


def installed_versions(names: Iterable[str], path: list[str] | None = None) -> dict[str, str]:
    """Versions of those of `names` that are installed in `path`; default: where this Python looks."""
    found: dict[str, str] = {}
    for name in names:
        for distribution in metadata.distributions(name=name, path=sys.path if path is None else path):
            found.setdefault(name, distribution.version)
    return found


def python_bits() -> int:
    """32 or 64."""
    return 8 * struct.calcsize("P")
