"""The device's own tests: they need edgekit, its device requirements and pytest, and nothing of the host.

EDGEKIT_DEVICE_FIXTURES names the folder that the host made (support.device_fixtures). Without it, the tests play host
themselves, which works where LiteRT's schema is installed.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

collect_ignore = [] if "EDGEKIT_DEVICE_FIXTURES" in os.environ else ["test_alone.py"]


@pytest.fixture(scope="session")
def fixtures(tmp_path_factory) -> Path:
    given = os.environ.get("EDGEKIT_DEVICE_FIXTURES")
    if given:
        return Path(given)
    from support import device_fixtures

    return device_fixtures.make(tmp_path_factory.mktemp("device"))


@pytest.fixture(scope="session")
def expected(fixtures) -> dict:
    return json.loads((fixtures / "expected.json").read_text())
