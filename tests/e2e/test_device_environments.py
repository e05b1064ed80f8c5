"""tests/device in environments that hold the device side only: once with LiteRT, once with tflite-runtime."""

import os
import subprocess
from pathlib import Path

import pytest
from support import device_fixtures

ROOT = Path(__file__).parents[2]
RUNTIMES = {".venv-litert": "ai-edge-litert", ".venv-tflite-runtime": "tflite-runtime"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return device_fixtures.make(tmp_path_factory.mktemp("device"))


@pytest.mark.parametrize("environment", RUNTIMES)
def test_device_side_alone(environment, folder):
    python = ROOT / environment / "bin" / "python"
    if not python.exists():
        pytest.fail(f"{environment} must be there, got nothing. Run: make setup")
    settings = {"EDGEKIT_DEVICE_FIXTURES": str(folder), "EDGEKIT_DEVICE_RUNTIME": RUNTIMES[environment]}
    # tests/conftest.py belongs to the host; the cache folder would be shared with the host's pytest.
    command = [python, "-m", "pytest", "tests/device", "-q", "--confcutdir=tests/device", "-p", "no:cacheprovider"]
    clean = {key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "PYTEST", "COV"))}
    done = subprocess.run(
        command, cwd=ROOT, env=clean | settings, capture_output=True, text=True, timeout=240, check=False
    )
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    assert "skipped" not in done.stdout
