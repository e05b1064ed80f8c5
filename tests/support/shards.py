"""WebDataset's tar shards, written sample by sample."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np


def write_shard(path: Path, images: Sequence[np.ndarray], targets: Sequence[int], first: int = 0) -> None:
    """RGB uint8 images, as PNG and class number, numbered from `first`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as tar:
        for number, (image, target) in enumerate(zip(images, targets, strict=True), first):
            encoded = cv2.imencode(".png", cv2.cvtColor(image, cv2.COLOR_RGB2BGR))[1].tobytes()
            for suffix, data in (("png", encoded), ("cls", str(target).encode())):
                info = tarfile.TarInfo(f"{number:06}.{suffix}")
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))
