"""Golden samples: images inside the model file whose exact output is known, replayed on this machine."""

from __future__ import annotations

import platform
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from edgekit import bundle as bundle_file
from edgekit.bundle import Bundle
from edgekit.card import GoldenSample
from edgekit.errors import EdgekitError, InputError
from edgekit.preprocess import Image, crop_and_resize, quantization_table, to_int8
from edgekit.runtime import Kernels, Network
from edgekit_deploy.classifier import Classifier, slow_kernels
from edgekit_deploy.doctor import Check, Verdict

X86 = frozenset({"x86_64", "amd64", "i386", "i686"})


def check_model(path: str | Path, threads: int = 1) -> Iterator[Check]:
    """The checks of one model file: it is whole, it runs, on which kernels, and its golden samples hold.

    Raises:
        InputError: The file is no model of ours.
    """
    model = bundle_file.read(path)
    card = model.card
    shape = f"{card.input.width}×{card.input.height}, {card.output.classes} classes"
    yield Check("model", Verdict.OK, f"{card.name} ({shape}), hash as in its card")
    try:
        network = Network(model.data, threads)
    except EdgekitError as error:
        yield Check("interpreter", Verdict.BROKEN, error.message, error.remedy)
        return
    yield check_kernels(network)
    yield check_golden(model, network, platform.machine())
    yield check_fast_path(model, network, threads)


def check_kernels(network: Network) -> Check:
    """XNNPACK proved from the execution plan, not assumed."""
    if network.kernels is Kernels.XNNPACK:
        return Check("kernels", Verdict.OK, f"XNNPACK ({network.runtime})")
    if not slow_kernels(network):
        return Check("kernels", Verdict.NOTE, f"builtin kernels ({network.runtime} has no XNNPACK for int8)")
    remedy = "pip install --force-reinstall ai-edge-litert; is /sys mounted?"
    return Check("kernels", Verdict.BROKEN, f"builtin kernels although {network.runtime} has XNNPACK", remedy)


def check_golden(model: Bundle, network: Network, machine: str) -> Check:
    """Replay every golden sample: exact, or within the card's bound for builtin kernels of another version or CPU."""
    samples = model.card.golden
    if not samples:
        return Check("golden samples", Verdict.NOTE, "the model carries none", "Convert it again.")
    is_known = machine.lower() in X86 and network.runtime == model.card.builtin_runtime
    is_exact = network.kernels is Kernels.XNNPACK or is_known
    bound = 0 if is_exact else model.card.builtin_bound
    try:
        worst = [_distance(sample, model, network) for sample in samples]
    except InputError as error:
        return Check("golden samples", Verdict.BROKEN, error.message, error.remedy)
    wrong = sum(distance > bound for distance in worst)
    kind = "bit for bit" if bound == 0 else f"within {bound} codes"
    against = f"{network.kernels} expectation"
    if wrong:
        found = f"{wrong} of {len(samples)} are not {kind} as the {against}, worst off by {max(worst)} codes"
        return Check("golden samples", Verdict.BROKEN, found, "Copy the model again; try another runtime version.")
    return Check("golden samples", Verdict.OK, f"{len(samples)} of {len(samples)} {kind} as the {against}")


def check_fast_path(model: Bundle, network: Network, threads: int) -> Check:
    """The camera's own path gives the bits of the plain definition."""
    classifier = Classifier(model, threads, kernels=network.kernels)
    table = quantization_table(model.card.input)
    for sample in model.card.golden:
        rgb = _decode(sample, model)
        classifier.classify(np.ascontiguousarray(rgb[:, :, ::-1]))
        expected = network.run(to_int8(crop_and_resize(rgb, model.card.input), table))
        if not np.array_equal(classifier.output_codes(), expected):
            found = f"{sample.image} gives other bits through the camera's path"
            return Check("camera path", Verdict.BROKEN, found, "Report this as a defect of edgekit.")
    return Check("camera path", Verdict.OK, "same bits as the plain preprocessing")


def replay(sample: GoldenSample, model: Bundle, network: Network) -> NDArray[np.int8]:
    """Output codes (classes,) of one golden sample by the plain definition.

    Raises:
        InputError: The sample's image is missing or cannot be decoded.
    """
    pixels = crop_and_resize(_decode(sample, model), model.card.input)
    return np.asarray(network.run(to_int8(pixels, quantization_table(model.card.input))), np.int8)


def _distance(sample: GoldenSample, model: Bundle, network: Network) -> int:
    expected = sample.xnnpack if network.kernels is Kernels.XNNPACK else sample.builtin
    if len(expected) != model.card.output.classes:
        raise InputError(f"{sample.image} must expect {model.card.output.classes} codes, got {len(expected)}.")
    got = replay(sample, model, network).astype(np.int32)
    return int(np.abs(got - np.asarray(expected, np.int32)).max())


def _decode(sample: GoldenSample, model: Bundle) -> Image:
    """RGB uint8 (H, W, 3)."""
    png = model.images.get(sample.image, b"")
    bgr = cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_COLOR) if png else None
    if bgr is None:
        raise InputError(f"The model must hold the image {sample.image}, got {len(png)} bytes.", "Convert it again.")
    return np.asarray(cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB), np.uint8)
