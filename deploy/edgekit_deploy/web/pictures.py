"""What viewers are sent: an annotated JPEG and the figures that belong to it."""

from __future__ import annotations

import json
import struct
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

from edgekit.errors import EdgekitError
from edgekit.preprocess import Image
from edgekit_deploy.camera import Decision
from edgekit_deploy.outputs.overlay import annotate

BOUNDARY = b"edgekit-frame"
SNAPSHOT_QUALITY = 95


@dataclass(frozen=True, slots=True)
class Picture:
    """One update for all viewers, made once.

    Attributes:
        record: For the page: two big-endian uint32 (length of the figures, of the JPEG), figures as JSON, JPEG.
        part: For multipart/x-mixed-replace; empty if there is no new picture.
    """

    record: bytes
    part: bytes

    @classmethod
    def pack(cls, figures: dict[str, Any], jpeg: bytes) -> Picture:
        """From the figures and a JPEG; an empty one says that only the figures changed."""
        text = json.dumps(figures, separators=(",", ":"), allow_nan=False).encode()
        head = b"--%b\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n" % (BOUNDARY, len(jpeg))
        record = struct.pack(">II", len(text), len(jpeg)) + text + jpeg
        return cls(record, head + jpeg + b"\r\n" if jpeg else b"")


def live_jpeg(decision: Decision, truth: str | None, side: int, quality: int) -> bytes:
    """The annotated picture of a decision; its own image stays as it is.

    Args:
        decision: What to show.
        truth: The right label, if known.
        side: Longest side in pixels; a larger picture is reduced before anything is drawn.
        quality: 0 to 100.
    """
    image = decision.frame.image
    longest = max(image.shape[:2])
    if longest > side:
        height, width = (max(1, round(length * side / longest)) for length in image.shape[:2])
        canvas = np.asarray(cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA), np.uint8)
    else:
        canvas = image.copy()
    return encode(annotate(canvas, decision.result, decision.hud, truth, verdict=decision.verdict), quality)


def snapshot_jpeg(decision: Decision) -> bytes:
    """The frame itself, in full size and without anything drawn on it."""
    return encode(decision.frame.image, SNAPSHOT_QUALITY)


def encode(image: Image, quality: int) -> bytes:
    """(H, W, 3) uint8 BGR as a JPEG.

    Raises:
        EdgekitError: OpenCV refuses.
    """
    is_fine, data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])
    if not is_fine:
        raise EdgekitError(f"A picture of shape {image.shape} could not be encoded.")
    return data.tobytes()


def figures(decision: Decision) -> dict[str, Any]:
    """What stands beside the picture; milliseconds, and probabilities from 0 to 1."""
    hud, result = decision.hud, decision.result
    return {
        "frame": decision.frame.index,
        "answer": decision.verdict.label,
        "probability": round(decision.verdict.probability, 4),
        "top": [[guess.label, round(guess.probability, 4)] for guess in result.top],
        "fps": round(hud.fps, 2),
        "age": round(hud.latency_ms, 2),
        "invoke": round(1e3 * result.timings.invoke, 3),
        "inferred": decision.inferred,
        "dropped": hud.dropped,
        "accuracy": decision.accuracy,
    }
