"""Golden samples: images inside the model file whose exact output is known, replayed on this machine."""

from __future__ import annotations

import platform
import warnings
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
from edgekit.runtime import Kernels, Network, check_agreement
from edgekit_deploy.checks import Check, Verdict
from edgekit_deploy.classifier import Classifier, SlowKernelsWarning, slow_kernels
from edgekit_deploy.noise import noise_frame

X86 = frozenset({"x86_64", "amd64", "i386", "i686"})


def check_model(path: str | Path, threads: int = 1) -> Iterator[Check]:
    """The checks of one model file: it is whole, it runs, on which kernels, and its golden samples hold.

    Raises:
        InputError: There is no such file, or it is a float model, as its card says.
    """
    try:
        model = bundle_file.read(path)
    except EdgekitError as error:
        if not Path(path).is_file():
            raise
        yield _broken("model", error)
        return
    card = model.card
    shape = f"{card.input.width}×{card.input.height}, {card.output.classes} classes"
    yield Check("model", Verdict.OK, f"{card.name} ({shape}), hash as in its card")
    try:
        network = Network(model.data, threads)
    except EdgekitError as error:
        yield _broken("interpreter", error)
        return
    try:
        check_agreement(network, card)
    except EdgekitError as error:
        if card.input.quantization is None:
            raise
        yield _broken("card", error)
        return
    yield check_kernels(network)
    yield check_golden(model, network, platform.machine())
    yield check_fast_path(model, network, threads)


def check_kernels(network: Network) -> Check:
    """XNNPACK proved from the execution plan, not assumed."""
    if network.kernels is Kernels.XNNPACK:
        return Check("kernels", Verdict.OK, f"XNNPACK ({network.runtime})")
    if network.kernels is Kernels.MIXED:
        found = f"XNNPACK for a part of the network, builtin kernels for the rest ({network.runtime})"
        remedy = "Slower, and other bits elsewhere: XNNPACK lacks one of its operators."
        return Check("kernels", Verdict.NOTE, found, remedy)
    if not slow_kernels(network):
        return Check("kernels", Verdict.NOTE, f"builtin kernels ({network.runtime} has no XNNPACK for int8)")
    remedy = "pip install --force-reinstall ai-edge-litert; is /sys mounted?"
    return Check("kernels", Verdict.BROKEN, f"builtin kernels although {network.runtime} has XNNPACK", remedy)


def check_golden(model: Bundle, network: Network, machine: str) -> Check:
    """Replay every golden sample: exact, or within the card's bound for builtin kernels of another version or CPU."""
    samples = model.card.golden
    if not samples:
        return Check("golden samples", Verdict.NOTE, "the model carries none", "Convert it again.")
    is_builtin = network.kernels is Kernels.BUILTIN
    is_known = is_builtin and machine.lower() in X86 and network.runtime == model.card.builtin_runtime
    is_exact = network.kernels is Kernels.XNNPACK or is_known
    bound = 0 if is_exact else model.card.builtin_bound
    try:
        worst = [_distance(sample, model, network) for sample in samples]
    except EdgekitError as error:
        return _broken("golden samples", error)
    wrong = sum(distance > bound for distance in worst)
    kind = "bit for bit" if bound == 0 else f"within {bound} codes"
    expected = {sample.xnnpack for sample in samples}
    against = f"{Kernels.XNNPACK if network.kernels is Kernels.XNNPACK else Kernels.BUILTIN} expectation"
    if wrong:
        found = f"{wrong} of {len(samples)} are not {kind} as the {against}, worst off by {max(worst)} codes"
        return Check("golden samples", Verdict.BROKEN, found, "Copy the model again; try another runtime version.")
    found = f"{len(samples)} of {len(samples)} {kind} as the {against}"
    if len(samples) > 1 and len(expected) == 1:
        remedy = "It tells no pictures apart: train it, or convert it with calibration images of all classes."
        return Check("golden samples", Verdict.NOTE, f"{found}, which is the same for all of them", remedy)
    return Check("golden samples", Verdict.OK, found)


def check_fast_path(model: Bundle, network: Network, threads: int) -> Check:
    """The camera's own path gives the bits of the plain definition, on the golden images or, without any, on noise."""
    try:
        pictures = {sample.image: _decode(sample, model) for sample in model.card.golden} or {"noise": noise_frame()}
        odd = _odd_pictures(pictures, _classifier(model, network, threads), network)
    except EdgekitError as error:
        return _broken("camera path", error)
    if odd:
        found = f"{odd[0]} gives other bits through the camera's path"
        return Check("camera path", Verdict.BROKEN, found, "Report this as a defect of edgekit.")
    on_noise = "" if model.card.golden else ", on noise"
    return Check("camera path", Verdict.OK, f"same bits as the plain preprocessing{on_noise}")


def replay(sample: GoldenSample, model: Bundle, network: Network) -> NDArray[np.int8]:
    """Output codes (classes,) of one golden sample by the plain definition.

    Raises:
        InputError: The sample's image is missing or cannot be decoded.
    """
    pixels = crop_and_resize(_decode(sample, model), model.card.input)
    return np.asarray(network.run(to_int8(pixels, quantization_table(model.card.input))), np.int8)


def _classifier(model: Bundle, network: Network, threads: int) -> Classifier:
    """On the kernels of `network`. That they are slow is a check of its own."""
    kernels = Kernels.BUILTIN if network.kernels is Kernels.BUILTIN else Kernels.XNNPACK
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SlowKernelsWarning)
        return Classifier(model, threads, kernels=kernels)


def _odd_pictures(pictures: dict[str, Image], classifier: Classifier, network: Network) -> list[str]:
    """Names of the RGB `pictures` whose output codes differ between the camera's path and the plain definition."""
    spec = classifier.card.input
    table = quantization_table(spec)
    odd = []
    for name, rgb in pictures.items():
        classifier.classify(np.ascontiguousarray(rgb[:, :, ::-1]))
        expected = network.run(to_int8(crop_and_resize(rgb, spec), table))
        if not np.array_equal(classifier.output_codes(), expected):
            odd.append(name)
    return odd


def _broken(name: str, error: EdgekitError) -> Check:
    return Check(name, Verdict.BROKEN, error.message, error.remedy)


def _distance(sample: GoldenSample, model: Bundle, network: Network) -> int:
    expected = sample.xnnpack if network.kernels is Kernels.XNNPACK else sample.builtin
    if len(expected) != model.card.output.classes:
        raise InputError(f"{sample.image} must expect {model.card.output.classes} codes, got {len(expected)}.")
    got = replay(sample, model, network).astype(np.int32)
    return int(np.abs(got - np.frombuffer(expected, np.int8)).max())


def _decode(sample: GoldenSample, model: Bundle) -> Image:
    """RGB uint8 (H, W, 3)."""
    png = model.images.get(sample.image, b"")
    bgr = cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_COLOR) if png else None
    if bgr is None:
        raise InputError(f"The model must hold the image {sample.image}, got {len(png)} bytes.", "Convert it again.")
    return np.asarray(cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB), np.uint8)
