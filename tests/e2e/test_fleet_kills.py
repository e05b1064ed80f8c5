"""A push that is killed at 200 random points: see support.fleet_kills."""

import pytest
from support.fleet_kills import kill_all

pytestmark = [pytest.mark.deploy, pytest.mark.timeout(900)]


def test_killed_at_random_points(tmp_path):
    assert kill_all(tmp_path) > 100
