"""What several tests share: generated pictures, a tiny trained-looking checkpoint, and its real conversion."""

from __future__ import annotations

import atexit
import os
import shutil
import signal
import tempfile
from dataclasses import dataclass
from pathlib import Path

import pytest
from support.photos import CLASSES, write_folder

SIZE = 32

# As `edgekit.cli` does it, before any test imports torch: spinning threads crawl on a machine that is shared.
os.environ.setdefault("GOMP_SPINCOUNT", "1000")
# A job in the background of a shell ignores Ctrl-C, one under nohup its terminal's end, and so would all that the tests
# start and interrupt.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)


def pytest_configure():
    """A cache of the tests' own, with what has been fetched already; what they prepare is gone with them."""
    import platformdirs

    real = Path(os.environ.get("EDGEKIT_CACHE") or platformdirs.user_cache_dir("edgekit"))
    ours = Path(tempfile.mkdtemp(prefix="edgekit-cache-"))
    atexit.register(shutil.rmtree, ours, ignore_errors=True)
    for path in real.iterdir() if real.is_dir() else ():
        if path.is_file():
            (ours / path.name).symlink_to(path)
    os.environ["EDGEKIT_CACHE"] = str(ours)


@pytest.fixture(scope="session")
def photos(tmp_path_factory) -> Path:
    """Forty generated pictures in each of three classes."""
    return write_folder(tmp_path_factory.mktemp("data") / "photos", per_class=40, seed=7)


@pytest.fixture(scope="session")
def checkpoint_file(tmp_path_factory) -> Path:
    """MobileNetV2 of width 0.25 at 32×32 with seeded weights and batch statistics as after training."""
    import torch

    from edgekit.card import Architecture, InputSpec
    from edgekit.models import create
    from edgekit.train.checkpoint import Checkpoint, save

    with torch.random.fork_rng():
        torch.manual_seed(3)
        network = create("mobilenet_v2", classes=len(CLASSES), width=0.25, stem_stride=1)
        network.train()
        with torch.no_grad():
            for _ in range(3):
                network(torch.rand(16, 3, SIZE, SIZE) * 2 - 1)
            network.classifier[1].weight.normal_(0.0, 0.2)
    path = tmp_path_factory.mktemp("checkpoint") / "tiny.pt"
    spec = InputSpec(height=SIZE, width=SIZE)
    architecture = Architecture("mobilenet_v2", 0.25)
    save(path, Checkpoint(architecture, spec, CLASSES, network.state_dict(), stem_stride=1))
    return path


@dataclass(frozen=True)
class Converted:
    """A conversion by the command line: its files, exit code and what it printed."""

    model: Path
    onnx: Path
    checkpoint: Path
    explained: Path


@pytest.fixture(scope="session")
def converted(tmp_path_factory, photos, checkpoint_file) -> Converted:
    """The tiny checkpoint after the real `edgekit convert`."""
    from edgekit.cli import run

    folder = tmp_path_factory.mktemp("converted")
    model, onnx, explained = (folder / f"tiny.{suffix}" for suffix in ("tflite", "onnx", "html"))
    arguments = ["convert", checkpoint_file, "--calibration", photos, "--out", model, "--onnx", onnx]
    assert run([*map(str, arguments), "--explain", str(explained)]) == 0
    return Converted(model, onnx, checkpoint_file, explained)


@pytest.fixture(scope="session")
def float_model(converted, photos) -> bytes:
    """The float TFLite flatbuffer behind `converted`."""
    import numpy as np

    from edgekit import bundle
    from edgekit.images import Prepared, unlabelled_folder
    from edgekit_quantize.tflite import convert_onnx

    spec = bundle.read(converted.model).card.input
    return convert_onnx(converted.onnx, np.stack([crop for _, crop in Prepared(unlabelled_folder(photos), spec)]))
