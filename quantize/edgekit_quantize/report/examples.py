"""The flipped images: which they are, and small pictures of them."""

from __future__ import annotations

import base64
from collections.abc import Callable, Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from edgekit.card import InputSpec
from edgekit.errors import InputError
from edgekit.images import ImageSet
from edgekit.preprocess import Image, crop_and_resize
from edgekit_quantize.report.analysis import right
from edgekit_quantize.report.answers import Answers
from edgekit_quantize.report.facts import Flip, Guess

MOST = 24
_LARGEST = 160
# JPEG smears pictures of CIFAR's size; PNG is small enough for them.
_LOSSLESS_UP_TO = 64


def find_flips(
    ours: Answers, theirs: Answers, targets: NDArray[np.int64], names: Sequence[str], labels: Sequence[str]
) -> tuple[tuple[Flip, ...], NDArray[np.int64]]:
    """The images on which exactly one network is right, at most 24: lost ones first, each by the largest shift.

    Returns:
        The flips, and their rows.
    """
    shift, before, after = ours.truth - theirs.truth, right(ours), right(theirs)
    lost, gained = np.flatnonzero(before & ~after), np.flatnonzero(~before & after)
    # Stable sorting: equal shifts stay in the order of the images.
    ordered = [lost[np.argsort(-shift[lost], kind="stable")], gained[np.argsort(shift[gained], kind="stable")]]
    rows = np.concatenate(ordered)[:MOST].astype(np.int64)
    flips = tuple(
        Flip(
            image=names[int(row)],
            truth=labels[int(targets[row])],
            is_lost=bool(before[row]),
            shift=100.0 * float(shift[row]),
            float_guesses=_guesses(ours, int(row), labels),
            model_guesses=_guesses(theirs, int(row), labels),
        )
        for row in rows
    )
    return flips, rows


def pictures_of(images: ImageSet, places: NDArray[np.int64], spec: InputSpec) -> Callable[[int], Image]:
    """The pixels of compared rows, cropped as the networks saw them; `places` (N,) are the rows' places in `images`."""
    return lambda row: crop_and_resize(images.image(int(places[row])), spec)


def data_uri(pixels: Image) -> str:
    """An RGB image as the networks see it, at most 160 pixels on a side, as a data URI.

    Raises:
        InputError: It cannot be encoded.
    """
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


def _guesses(answers: Answers, row: int, labels: Sequence[str]) -> tuple[Guess, ...]:
    best = zip(answers.top[row, :3], answers.probabilities[row, :3], strict=True)
    return tuple(Guess(labels[int(index)], 100.0 * float(chance)) for index, chance in best)
