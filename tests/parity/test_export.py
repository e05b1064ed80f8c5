"""Both networks through the exporter, against onnxruntime; and a network with unusual operators all the way."""

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import nn

from edgekit.card import InputSpec
from edgekit.images import Prepared, unlabelled_folder
from edgekit.models import create
from edgekit.preprocess import normalize, quantization_table, to_int8
from edgekit.quant import dequantize, sqnr_db
from edgekit.runtime import Network
from edgekit_quantize.calibrate import Extremes, collect
from edgekit_quantize.export import export_onnx, torch_logits
from edgekit_quantize.graph import Graph
from edgekit_quantize.plan import plan_for
from edgekit_quantize.quantizer import input_quantization, quantize
from edgekit_quantize.tflite import convert_onnx, tflite_logits

FLOAT_ATOL = 1e-4


@pytest.mark.parametrize("size", [32, 64])
@pytest.mark.parametrize("name", ["mobilenet_v1", "mobilenet_v2"])
def test_export_gives_a_valid_graph_with_the_same_logits(name, size, tmp_path):
    torch.manual_seed(size)
    network, spec, path = create(name, classes=7, width=0.25).eval(), InputSpec(size, size), tmp_path / "m.onnx"
    export_onnx(network, spec, path)
    model = onnx.load(str(path))
    onnx.checker.check_model(model, full_check=True)
    # Batch normalization is folded into the convolutions.
    assert "BatchNormalization" not in {node.op_type for node in model.graph.node}
    images = np.random.default_rng(0).uniform(-1, 1, (3, size, size, 3)).astype(np.float32)
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    got = np.concatenate([session.run(None, {"image": i.transpose(2, 0, 1)[None]})[0] for i in images])
    np.testing.assert_allclose(got, torch_logits(network, images), atol=FLOAT_ATOL, rtol=0)


class SqueezeExcite(nn.Module):
    """Hard-swish, squeeze-and-excite with a choice of gate, a residual sum and a pooled head, as in MobileNetV3."""

    def __init__(self, gate):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 16, 3, 2, 1, bias=False), nn.BatchNorm2d(16), nn.Hardswish())
        self.gate = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(16, 8, 1), nn.ReLU(), nn.Conv2d(8, 16, 1), gate)
        self.body = nn.Sequential(nn.Conv2d(16, 16, 5, 1, 2, groups=16), nn.MaxPool2d(2), nn.Conv2d(16, 16, 1))
        self.head = nn.Linear(16, 5)

    def forward(self, images):
        features = self.stem(images)
        features = self.body(features * self.gate(features)) + nn.functional.avg_pool2d(features, 2)
        return self.head(features.mean((2, 3)))


def test_a_foreign_network_becomes_fully_int8(tmp_path, photos):
    torch.manual_seed(4)
    network, spec, path = SqueezeExcite(nn.Sigmoid()).eval(), InputSpec(48, 64, crop_fraction=0.9), tmp_path / "se.onnx"
    export_onnx(network, spec, path)
    pixels = np.stack([crop for _, crop in Prepared(unlabelled_folder(photos), spec)])
    images = normalize(pixels, spec)
    expected = torch_logits(network, images)
    float_model = convert_onnx(path, pixels)
    np.testing.assert_allclose(tflite_logits(float_model, images[:9], 1), expected[:9], atol=FLOAT_ATOL, rtol=0)
    graph = Graph(float_model)
    histograms = collect(float_model, images, Extremes)
    ranges = {n: h.range() for n, h in histograms.items() if n != graph.input}
    quantization = input_quantization(spec)
    sealed = Network(quantize(float_model, plan_for(graph, ranges, quantization)))
    table, output = quantization_table(spec, quantization), sealed.output_quantization
    logits = np.stack([dequantize(sealed.run(to_int8(p, table)), output.scale, output.zero_point) for p in pixels])
    # Random weights and hard-sigmoid products: measured 27 dB; a wrong scale anywhere gives below 10 dB.
    assert sqnr_db(expected, logits) > 18.0
