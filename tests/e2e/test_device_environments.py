"""tests/device in environments that hold the device side only: LiteRT on each Python, tflite-runtime on 3.11."""

import os
import subprocess
from pathlib import Path

import numpy as np
import pytest
from support import device_fixtures

from edgekit import bundle
from edgekit.images import Prepared, unlabelled_folder
from edgekit.preprocess import quantization_table, to_int8
from edgekit.runtime import Kernels, Network

ROOT = Path(__file__).parents[2]
RUNTIMES = {
    ".venv-litert": "ai-edge-litert",
    ".venv-tflite-runtime": "tflite-runtime",
    ".venv-litert-3.12": "ai-edge-litert",
    ".venv-litert-3.13": "ai-edge-litert",
}
# Those of later Pythons are made by another target, from the wheel.
ENVIRONMENTS = [pytest.param(name, marks=pytest.mark.pythons) if "-3." in name else name for name in RUNTIMES]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return device_fixtures.make(tmp_path_factory.mktemp("device"))


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_device_side_alone(environment, folder):
    python = ROOT / environment / "bin" / "python"
    if not python.exists():
        pytest.fail(f"{environment} must be there, got nothing. Run: make setup test-pythons")
    settings = {"EDGEKIT_DEVICE_FIXTURES": str(folder), "EDGEKIT_DEVICE_RUNTIME": RUNTIMES[environment]}
    # tests/conftest.py belongs to the host; the cache folder would be shared with the host's pytest.
    command = [
        python,
        "-P",
        "-m",
        "pytest",
        "tests/device",
        "-q",
        "--confcutdir=tests/device",
        "-p",
        "no:cacheprovider",
    ]
    clean = {key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "PYTEST", "COV"))}
    done = subprocess.run(
        command, cwd=ROOT, env=clean | settings, capture_output=True, text=True, timeout=240, check=False
    )
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    assert "skipped" not in done.stdout


REPLAY = """
import sys
import numpy as np
from edgekit import bundle
from edgekit.images import Prepared, unlabelled_folder
from edgekit.preprocess import quantization_table, to_int8
from edgekit.runtime import Network
model = bundle.read(sys.argv[1])
network, table = Network(model.data), quantization_table(model.card.input)
images = Prepared(unlabelled_folder(sys.argv[2]), model.card.input)
np.save(sys.argv[3], np.stack([network.run(to_int8(crop, table)) for _, crop in images]))
"""


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_a_converted_model_gives_the_hosts_bits(environment, converted, photos, tmp_path):
    """The host has ai-edge-litert 2.1.0, the device 2.3.0 or tflite-runtime: exact for equal kernels (on x86)."""
    python, out = ROOT / environment / "bin" / "python", tmp_path / "codes.npy"
    subprocess.run(
        [python, "-P", "-c", REPLAY, converted.model, photos, out], check=True, capture_output=True, timeout=120
    )
    model = bundle.read(converted.model)
    kernels = Kernels.BUILTIN if environment == ".venv-tflite-runtime" else Kernels.XNNPACK
    network, table = Network(model.data, kernels=kernels), quantization_table(model.card.input)
    images = Prepared(unlabelled_folder(photos), model.card.input)
    expected = np.stack([network.run(to_int8(crop, table)) for _, crop in images])
    assert len(expected) == 120
    assert np.array_equal(np.load(out), expected)


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_doctor_replays_the_golden_samples(environment, converted):
    command = [ROOT / environment / "bin" / "edgekit", "doctor", str(converted.model)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
