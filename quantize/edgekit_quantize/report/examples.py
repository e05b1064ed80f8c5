"""The flipped images: which they are, and small pictures of them."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from edgekit.card import InputSpec
from edgekit.errors import InputError
from edgekit.images import ImageSet
from edgekit.preprocess import Image, crop_and_resize
from edgekit.quant import softmax, top_k
from edgekit_quantize.report.analysis import Judged
from edgekit_quantize.report.document import Flip, Guess
from edgekit_quantize.report.predict import Predictions

MOST = 24
_LARGEST = 160
# JPEG smears pictures of CIFAR's size; PNG is small enough for them.
_LOSSLESS_UP_TO = 64


def find_flips(
    predictions: Predictions,
    ours: Judged,
    theirs: Judged,
    targets: NDArray[np.int64],
    names: Sequence[str],
    labels: tuple[str, ...],
) -> tuple[tuple[Flip, ...], NDArray[np.int64]]:
    """The images on which exactly one model is right, at most 24: lost ones first, each by the largest shift.

    Returns:
        The flips, and their rows in the predictions.
    """
    shift = ours.truth - theirs.truth
    lost = np.flatnonzero(ours.right & ~theirs.right)
    gained = np.flatnonzero(~ours.right & theirs.right)
    # Stable sorting: equal shifts stay in the order of the images.
    ordered = [lost[np.argsort(-shift[lost], kind="stable")], gained[np.argsort(shift[gained], kind="stable")]]
    rows = np.concatenate(ordered)[:MOST].astype(np.int64)
    flips = tuple(
        Flip(
            image=_short(names[int(predictions.indices[row])]),
            truth=labels[int(targets[row])],
            is_lost=bool(ours.right[row]),
            shift=100.0 * float(shift[row]),
            float_guesses=_guesses(predictions.reference[row], labels),
            model_guesses=_guesses(predictions.model[row], labels),
        )
        for row in rows
    )
    return flips, rows


def thumbnails(images: ImageSet, indices: NDArray[np.int64], spec: InputSpec) -> tuple[str, ...]:
    """The images as the models see them, at most 160 pixels on a side, as data URIs."""
    return tuple(_data_uri(crop_and_resize(images.image(int(index)), spec)) for index in indices)


def _short(name: str) -> str:
    """The last two parts of a path: class and file, wherever the folder lies."""
    return "/".join(Path(name).parts[-2:])


def _guesses(logits: NDArray[np.float32], labels: tuple[str, ...]) -> tuple[Guess, ...]:
    chances = softmax(logits)
    return tuple(Guess(labels[int(i)], 100.0 * float(chances[i])) for i in top_k(logits, 3))


def _data_uri(pixels: Image) -> str:
    height, width = pixels.shape[:2]
    scale = _LARGEST / max(height, width)
    if scale < 1:
        size = (max(1, round(width * scale)), max(1, round(height * scale)))
        pixels = np.asarray(cv2.resize(pixels, size, interpolation=cv2.INTER_AREA), np.uint8)
    kind = "png" if max(height, width) <= _LOSSLESS_UP_TO else "jpeg"
    is_encoded, data = cv2.imencode(f".{kind}", cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR))
    if not is_encoded:
        raise InputError(f"An example must be encodable as {kind}, got {width}×{height} pixels that are not.")
    return f"data:image/{kind};base64,{base64.b64encode(data.tobytes()).decode()}"
