"""The device side on three Raspberry Pi cores: Debian's arm64 userland and the pinned wheels, emulated."""

from pathlib import Path

import numpy as np
import pytest
from support import device_fixtures
from support.virtual_pi import CORES, ROOT

from edgekit import bundle
from edgekit.images import Prepared, unlabelled_folder
from edgekit.preprocess import quantization_table, to_int8
from edgekit.runtime import Kernels, Network

# Emulation takes what the others leave of the processors.
PATIENCE = 1200.0
pytestmark = [pytest.mark.pi, pytest.mark.timeout(1500)]
RUNTIMES = {"litert": "ai-edge-litert", "tflite-runtime": "tflite-runtime"}
# Emulated, a photo takes seconds.
PHOTOS = 6
REPLAY = """
import sys
import numpy as np
from edgekit import bundle
from edgekit.images import Prepared, unlabelled_folder
from edgekit.preprocess import quantization_table, to_int8
from edgekit.runtime import Network
model = bundle.read("/lab/model.tflite")
network, table = Network(model.data), quantization_table(model.card.input)
images = Prepared(unlabelled_folder("/lab/photos"), model.card.input)
np.save("/lab/codes.npy", np.stack([network.run(to_int8(crop, table)) for _, crop in images]))
"""


@pytest.fixture(scope="module")
def pi(raspberry, tmp_path_factory):
    """With the device's own tests."""
    raspberry.put(device_fixtures.make(tmp_path_factory.mktemp("fixtures")), "/lab/fixtures")
    for name in ("device", "support"):
        raspberry.put(ROOT / "tests" / name, f"/lab/tests/{name}")
    raspberry.put(ROOT / "pyproject.toml", "/lab/pyproject.toml")
    return raspberry


@pytest.fixture(scope="module")
def real(pi, converted, photos):
    """A MobileNetV2 of 32×32 and photos, here and there: the model file, and the folder here."""
    pi.put(converted.model, "/lab/model.tflite")
    chosen = pi.root / "lab" / "photos"
    chosen.mkdir()
    for path in sorted(Path(photos).rglob("*.png"))[:PHOTOS]:
        pi.put(path, f"/lab/photos/{path.parent.name}-{path.name}")
    return converted.model, chosen


@pytest.mark.parametrize("core", CORES)
@pytest.mark.parametrize("environment", RUNTIMES)
def test_the_devices_own_tests(pi, core, environment):
    """Among them: golden samples, doctor, camera on a video file and over HTTP. See tests/device."""
    settings = {
        "EDGEKIT_DEVICE_FIXTURES": "/lab/fixtures",
        "EDGEKIT_DEVICE_RUNTIME": RUNTIMES[environment],
    }
    command = 'cd /lab && exec "$0" -P -m pytest tests/device -q --confcutdir=tests/device -p no:cacheprovider'
    python = f"/opt/{environment}/bin/python"
    done = pi.run(core, "sh", "-c", command, python, env=settings, timeout=PATIENCE)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    assert "skipped" not in done.stdout


@pytest.mark.parametrize("core", CORES)
@pytest.mark.parametrize("environment", RUNTIMES)
def test_a_converted_mobilenet_gives_the_bits_of_this_machine(pi, real, core, environment):
    file, photos = real
    done = pi.run(core, f"/opt/{environment}/bin/python", "-P", "-c", REPLAY, timeout=PATIENCE)
    assert done.returncode == 0, done.stderr[-2000:]
    model = bundle.read(file)
    kernels = Kernels.XNNPACK if environment == "litert" else Kernels.BUILTIN
    network, table = Network(model.data, kernels=kernels), quantization_table(model.card.input)
    images = Prepared(unlabelled_folder(photos), model.card.input)
    expected = np.stack([network.run(to_int8(crop, table)) for _, crop in images])
    got = np.load(pi.root / "lab" / "codes.npy")
    assert got.shape == expected.shape == (PHOTOS, len(model.card.labels))
    distance = int(np.abs(got.astype(int) - expected).max())
    assert distance <= (0 if kernels is Kernels.XNNPACK else model.card.builtin_bound)


@pytest.mark.parametrize("core", CORES)
@pytest.mark.parametrize("environment", RUNTIMES)
def test_doctor_replays_its_golden_samples(pi, real, core, environment):
    done = pi.run(core, f"/opt/{environment}/bin/edgekit", "doctor", "/lab/model.tflite", timeout=PATIENCE)
    assert done.returncode == 0, done.stdout + done.stderr
