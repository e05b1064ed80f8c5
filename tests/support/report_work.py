"""Work for the report's processes that needs neither torch nor TensorFlow, so that they start quickly."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import report_samples as samples

from edgekit.images import ImageSet
from edgekit_quantize.report.models import TfliteModel
from edgekit_quantize.report.store import Store
from edgekit_quantize.report.worker import Asked, Task, Worker


def make_worker(folder: Path, cache: Path | None = None) -> Worker:
    """The colour network as float and as int8 file."""
    float_path, int8_path = folder / "float.tflite", folder / "int8.tflite"
    float_path.write_bytes(samples.float_flatbuffer())
    int8_path.write_bytes(samples.int8_flatbuffer())
    asked = (
        Asked("float", TfliteModel(float_path, samples.spec()), "float"),
        Asked("int8", TfliteModel(int8_path, samples.spec(samples.INPUT)), "int8"),
    )
    return Worker(asked, samples.spec(), len(samples.LABELS), Store(cache))


def make_task(images: ImageSet) -> Task:
    return Task(images, np.asarray(images.targets, np.int64))
