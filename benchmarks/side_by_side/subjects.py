"""The networks that everyone converts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

FOREIGN = Path(".peers/networks")
OWN = Path(__file__).parents[1] / "shipped"
HALF, LITE = ("0.5,0.5,0.5",) * 2, ("0.498039,0.498039,0.498039", "0.501961,0.501961,0.501961")


@dataclass(frozen=True)
class Subject:
    """A network.

    Attributes:
        title: On the page.
        source: A checkpoint, mobilenet_v2:imagenet, or an .onnx with the same network as a .pt2 beside it.
        options: Of `edgekit convert` for an .onnx.
        is_imagenet: It is judged on the user's two folders; else on CIFAR-10.
    """

    title: str
    source: str
    options: Sequence[str] = ()
    is_imagenet: bool = True


def _foreign(title: str, name: str, mean: str, std: str) -> Subject:
    return Subject(title, str(FOREIGN / f"{name}.onnx"), ("--mean", mean, "--std", std, "--crop", "0.875"))


def _own(title: str, name: str) -> Subject:
    return Subject(title, str(OWN / f"{name}.pt"), is_imagenet=False)


SUBJECTS = {
    "mobilenet_v2-imagenet": Subject("MobileNetV2 1.0, ImageNet (torchvision's weights)", "mobilenet_v2:imagenet"),
    "mobilenet_v1-imagenet": _foreign("MobileNetV1 1.0, ImageNet (TensorFlow's weights)", "mobilenet_v1", *HALF),
    "efficientnet-lite0-imagenet": _foreign("EfficientNet-Lite0, ImageNet", "efficientnet-lite0", *LITE),
    "mobilenet_v2-cifar10": _own("Our MobileNetV2 0.5, CIFAR-10 at 96 px", "cifar10_mobilenet_v2_050"),
    "mobilenet_v1-cifar10": _own("Our MobileNetV1 0.5, CIFAR-10 at 96 px", "cifar10_mobilenet_v1_050"),
}
# Whose files the emulated cores run: counts do not depend on what a network has learned.
COUNTED = "mobilenet_v2-imagenet"
