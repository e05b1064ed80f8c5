"""Whether calibration images can be what the network will see: faults that the pixels themselves betray."""

from __future__ import annotations

from collections.abc import Iterator

import cv2
import numpy as np
from numpy.typing import NDArray

from edgekit.card import InputSpec
from edgekit.errors import InputError
from edgekit.preprocess import Image
from edgekit_quantize.calibration_images import CalibrationImages

_CHANNELS = ("red", "green", "blue")
# No network is trained on pixels beyond twice white; means and stds of 0…255 start at a few dozen.
_LARGEST_UNIT = 2.0
# Photos have normalized means within ±0.7 and deviations from 0.25 (pixels from 0 to 1) to 1.3 (ImageNet's mean and
# std); medical and night images lie lower, hence the distance.
_MEANS = (-2.0, 2.0)
_STDS = (0.1, 3.0)
# Mean brightness, 0 … 255, below or above which a picture shows next to nothing. Pixels scaled to 0…1 and then written
# as bytes look like this.
_DARK, _BRIGHT = 8.0, 247.0


def check_normalization(spec: InputSpec) -> None:
    """Refuse a mean or std that is meant for pixels from 0 to 255.

    Raises:
        InputError: One of them is beyond 2 times the full pixel range.
    """
    for name, values in (("mean", spec.mean), ("std", spec.std)):
        if max(np.abs(values)) > _LARGEST_UNIT:
            raise InputError(
                f"The {name} must be for pixels from 0 to 1, got {_list(values)}.",
                f"Divide mean and std by 255, such as --{name} {_list([value / 255.0 for value in values])}.",
            )


def sanity_warnings(images: CalibrationImages, spec: InputSpec) -> Iterator[str]:
    """One line, with the reason, for everything about the images that will spoil calibration.

    Args:
        images: What calibration sees.
        spec: The network's input.
    """
    if images.are_few:
        images_used = "1 calibration image" if images.count == 1 else f"{images.count} calibration images"
        yield (
            f"Only {images_used}: ranges are little more than guesses, and the check saw the same images; "
            "take 100 or more."
        )
    if images.duplicates:
        yield (
            f"{images.duplicates} calibration images show the same as another one: each was used once, "
            f"which leaves {images.count}."
        )
    means, stds = _statistics([*images.fitting] if images.are_few else [*images.fitting, *images.verification])
    flat = int((stds.max(axis=1) == 0.0).sum())
    if flat:
        yield f"{flat} of {len(stds)} calibration images are one colour: they show the network nothing."
    brightness = means.mean(axis=1)
    for name, extreme in (("black", brightness < _DARK), ("white", brightness > _BRIGHT)):
        if extreme.mean() > 0.5:
            yield (
                f"{int(extreme.sum())} of {len(extreme)} calibration images are almost {name}: "
                "were they scaled before they were saved?"
            )
    spread = np.sqrt((stds**2).mean(axis=0) + means.var(axis=0))
    for name, value, missing in zip(_CHANNELS, means.mean(axis=0), spread == 0.0, strict=True):
        if missing and spread.any():
            yield f"The {name} channel is {value:.0f} everywhere in all calibration images: was it lost?"
    yield from _normalization_warnings(means.mean(axis=0), spread, spec)


def _normalization_warnings(means: NDArray[np.float64], spread: NDArray[np.float64], spec: InputSpec) -> Iterator[str]:
    """Of pixels with these means and standard deviations (3,), 0 … 255."""
    if np.allclose(spec.std, 1.0 / 255.0, rtol=0.05):
        # A network that takes pixels from 0 to 255, or these less their mean. Nobody gives this std by mistake.
        return
    mean = float(((means / 255.0 - np.asarray(spec.mean)) / np.asarray(spec.std)).mean())
    std = float((spread / (255.0 * np.asarray(spec.std))).mean())
    if not (_MEANS[0] <= mean <= _MEANS[1] and _STDS[0] <= std <= _STDS[1]):
        yield (
            f"Normalized calibration pixels have mean {mean:.2g} and standard deviation {std:.2g}; networks are "
            f"trained near 0 and 1: check mean {_list(spec.mean)} and std {_list(spec.std)}, or the images."
        )


def _statistics(pixels: list[Image]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean and standard deviation of each channel of each image, (N, 3) each, 0 … 255."""
    pairs = [cv2.meanStdDev(image) for image in pixels]
    means, stds = (np.stack(column)[..., 0].astype(np.float64) for column in zip(*pairs, strict=True))
    return means, stds


def _list(values: object) -> str:
    return ",".join(f"{value:.4g}" for value in np.ravel(np.asarray(values)))
