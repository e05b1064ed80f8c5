"""The virtual Pi, shared by the tests that need it."""

import os
import subprocess
import sys

import pytest
from support import virtual_pi, virtual_pi_boot
from support.virtual_pi import ROOT, VirtualPi


@pytest.fixture(scope="session")
def raspberry(request, tmp_path_factory) -> VirtualPi:
    """With the wheel of this working tree installed. Skipped where it cannot be had; in CI that is a failure."""
    is_booted = "pi_v4l2" in request.config.getoption("markexpr")
    if complaint := (virtual_pi_boot if is_booted else virtual_pi).missing():
        (pytest.fail if os.environ.get("CI") else pytest.skip)(complaint)
    folder = tmp_path_factory.mktemp("pi")
    build = [sys.executable, "-m", "build", "--wheel", "--outdir", str(folder / "dist"), str(ROOT)]
    subprocess.run(build, check=True, capture_output=True)
    board = VirtualPi(folder / "root")
    board.install(next((folder / "dist").glob("*.whl")))
    return board
