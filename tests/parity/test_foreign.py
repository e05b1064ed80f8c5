"""Networks in the manner of other people's, all the way to int8, against onnxruntime and PyTorch."""

import numpy as np
import onnx
import pytest
import torch
from support import foreign_networks
from support.photos import CLASSES, picture
from torch import nn

from edgekit.card import InputSpec
from edgekit.errors import InputError
from edgekit.preprocess import normalize, quantization_table, to_int8
from edgekit.quant import dequantize, sqnr_db
from edgekit.runtime import Kernels, Network
from edgekit_quantize.calibrate import Extremes, collect
from edgekit_quantize.export import export_onnx, import_onnx, onnx_logits, torch_logits
from edgekit_quantize.graph import Graph
from edgekit_quantize.plan import plan_for
from edgekit_quantize.quantizer import input_quantization, quantize
from edgekit_quantize.tflite import convert_onnx, tflite_logits
from edgekit_quantize.unsupported import naming_nodes

SPEC = InputSpec(foreign_networks.SIZE, foreign_networks.SIZE)
# Another order of additions, on logits up to 30.
FLOAT_ATOL = 1e-4
# Plain minimum and maximum as ranges; measured 26 (efficientnet) to 35 dB. A wrong scale gives below 10 dB.
MIN_SQNR_DB = 20.0
# Networks with a last operator that gives no logits, and what is said about it.
NOTES = {"resnet": "The final Softmax was left out", "inception": "The final LogSoftmax was left out"}


@pytest.fixture(scope="module")
def pixels():
    rng = np.random.default_rng(5)
    return np.stack([picture(kind, rng, foreign_networks.SIZE) for _ in range(20) for kind in CLASSES])


def int8_logits(model, pixels):
    network, quantization = Network(model), input_quantization(SPEC)
    table, output = quantization_table(SPEC, quantization), network.output_quantization
    codes = np.stack([network.run(to_int8(image, table)) for image in pixels])
    return dequantize(codes, output.scale, output.zero_point)


def quantized(float_model, images):
    graph = Graph(float_model)
    histograms = collect(float_model, images, Extremes)
    ranges = {n: h.range() for n, h in histograms.items() if n != graph.input}
    return quantize(float_model, plan_for(graph, ranges, input_quantization(SPEC)))


def logits_of(network):
    """The network without a final softmax."""
    is_softmax = isinstance(network, nn.Sequential) and isinstance(network[-1], nn.Softmax)
    return network[:-1] if is_softmax else network


@pytest.mark.parametrize("name", foreign_networks.NETWORKS)
def test_it_becomes_int8_on_xnnpack_as_a_whole(name, tmp_path, pixels):
    images = normalize(pixels, SPEC)
    network = foreign_networks.create(name, torch.from_numpy(np.ascontiguousarray(images.transpose(0, 3, 1, 2))))
    raw, path = tmp_path / "raw.onnx", tmp_path / "network.onnx"
    export_onnx(network, SPEC, raw)
    imported = import_onnx(raw, path)
    assert (imported.note or "").startswith(NOTES.get(name, ""))
    assert bool(imported.note) == (name in NOTES)
    expected = torch_logits(logits_of(network), images).reshape(len(images), foreign_networks.CLASSES)
    from_onnx = onnx_logits(path, images)
    if name == "inception":
        # Without the logarithm of the softmax, which differs by a constant per image.
        from_onnx = from_onnx - np.log(np.exp(from_onnx).sum(1, keepdims=True))
    np.testing.assert_allclose(from_onnx, expected, atol=FLOAT_ATOL, rtol=0)
    float_model = convert_onnx(path, pixels)
    reference = onnx_logits(path, images)
    np.testing.assert_allclose(tflite_logits(float_model, images[:9], 1), reference[:9], atol=FLOAT_ATOL, rtol=0)
    assert "TRANSPOSE" not in Graph(float_model).operators()
    model = quantized(float_model, images)
    assert Network(model).kernels is Kernels.XNNPACK
    assert sqnr_db(reference, int8_logits(model, pixels)) > MIN_SQNR_DB


class Middle(nn.Module):
    """A convolution, any function, and a head."""

    def __init__(self, function):
        super().__init__()
        self.function = function
        self.stem, self.head = nn.Conv2d(3, 8, 3, 4, 1), nn.Linear(8, 4)

    def forward(self, x):
        return self.head(self.function(self.stem(x)).mean((2, 3)))


def test_an_operator_that_stays_in_float_is_named_with_its_node(tmp_path, pixels):
    path, images = tmp_path / "cos.onnx", normalize(pixels[:4], SPEC)
    export_onnx(Middle(torch.cos).eval(), SPEC, path)
    (node,) = (node for node in onnx.load(str(path)).graph.node if node.op_type == "Cos")
    float_model = convert_onnx(path, pixels)
    with pytest.raises(InputError, match=rf"COS left in float.*Cos \(node '{node.name}'\)"), naming_nodes(path):
        quantized(float_model, images)


def test_an_operator_that_tensorflow_lite_lacks_is_named_with_its_node(tmp_path, pixels):
    path = tmp_path / "gelu.onnx"
    export_onnx(Middle(nn.GELU()).eval(), SPEC, path)
    (node,) = (node for node in onnx.load(str(path)).graph.node if node.op_type == "Erf")
    with pytest.raises(InputError, match=rf"got: tf\.Erf, .*Erf \(node '{node.name}'\)"):
        convert_onnx(path, pixels)
