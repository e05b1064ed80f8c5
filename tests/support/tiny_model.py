"""Tiny but real int8 models, built byte by byte in milliseconds: no torch, no TensorFlow, no converter.

CONV_2D (3×3, stride 2, per-channel scales) → MEAN → FULLY_CONNECTED. The first three classes are red, green and blue:
the network answers with the dominant colour of a picture. Other channels and classes carry seeded random weights.
"""

from __future__ import annotations

import hashlib
from dataclasses import replace
from functools import cache

import cv2
import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema

from edgekit import bundle, quant
from edgekit.card import Architecture, Card, GoldenSample, InputSpec, OutputSpec, Provenance, Quantization
from edgekit.preprocess import crop_and_resize, quantization_table, to_int8
from edgekit.runtime import Kernels, Network

COLOURS = ("red", "green", "blue")
# BGR, as frames are; not fully saturated, so that lossy video codecs keep them apart.
BGR = {"red": (40, 40, 220), "green": (40, 200, 40), "blue": (220, 60, 40)}
CHANNELS = 8


def labels(classes: int) -> tuple[str, ...]:
    return (COLOURS + tuple(f"other {i}" for i in range(3, classes)))[:classes]


def input_spec(height=32, width=32, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5), crop_fraction=1.0) -> InputSpec:
    low = min((0.0 - m) / s for m, s in zip(mean, std, strict=True))
    high = max((1.0 - m) / s for m, s in zip(mean, std, strict=True))
    scale = float(np.float32((high - low) / 255.0))
    zero_point = int(np.clip(np.round(-128 - low / scale - 1e-3), -128, 127))
    return InputSpec(height, width, mean, std, crop_fraction, quantization=Quantization(scale, zero_point))


@cache
def flatbuffer(spec: InputSpec, classes: int = 5, seed: int = 0, hard_swish: bool = False) -> bytes:
    """The .tflite without a tail. The output has scale 12/255 and zero point 0.

    With `hard_swish` behind the convolution, which XNNPACK leaves to the builtin kernels in int8.
    """
    rng = np.random.default_rng(seed)
    kernel = rng.normal(0.0, 0.1, (CHANNELS, 3, 3, 3))
    kernel[:3] = np.eye(3)[:, None, None, :] / 9.0
    head = rng.normal(0.0, 0.5, (classes, CHANNELS))
    head[:3] = 6.0 * np.eye(3, CHANNELS)[: min(3, classes)] if classes >= 3 else head[:3]
    head[3:, :3] = 0.0
    return _Builder().build(spec, kernel, head, hard_swish)


class _Builder:
    def __init__(self):
        self.buffers = [schema.BufferT()]
        self.tensors = []

    def build(self, spec: InputSpec, kernel, head, hard_swish: bool) -> bytes:
        classes = len(head)
        middle = ((spec.height + 1) // 2, (spec.width + 1) // 2)
        source = spec.quantization
        weight_scales = np.abs(kernel).max(axis=(1, 2, 3)) / 127.0
        feature = Quantization(4.0 / 255.0, 0)
        head_scale = float(np.abs(head).max() / 127.0)
        image = self.tensor("image", (1, spec.height, spec.width, 3), "INT8", [source.scale], [source.zero_point])
        weights = self.constant("kernel", _codes(kernel, weight_scales[:, None, None, None]), weight_scales)
        bias = self.constant("bias", np.arange(CHANNELS, dtype=np.int32), weight_scales * source.scale)
        features = self.tensor("features", (1, *middle, CHANNELS), "INT8", [feature.scale], [feature.zero_point])
        active = features
        if hard_swish:
            active = self.tensor("active", (1, *middle, CHANNELS), "INT8", [feature.scale], [feature.zero_point])
        axes = self.constant("axes", np.array([1, 2], np.int32))
        pooled = self.tensor("pooled", (1, CHANNELS), "INT8", [feature.scale], [feature.zero_point])
        matrix = self.constant("matrix", _codes(head, head_scale), np.array([head_scale]))
        offset = self.constant("offset", np.zeros(classes, np.int32), np.array([head_scale * feature.scale]))
        logits = self.tensor("logits", (1, classes), "INT8", [12.0 / 255.0], [0])
        steps = [
            (schema.BuiltinOperator.CONV_2D, 3, [image, weights, bias], [features], _convolution()),
            (schema.BuiltinOperator.MEAN, 2, [active, axes], [pooled], _mean()),
            (schema.BuiltinOperator.FULLY_CONNECTED, 4, [pooled, matrix, offset], [logits], _dense()),
        ]
        if hard_swish:
            options = schema.BuiltinOptions.HardSwishOptions, schema.HardSwishOptionsT()
            steps.insert(1, (schema.BuiltinOperator.HARD_SWISH, 1, [features], [active], options))
        return self.pack(steps, image, logits)

    def tensor(self, name, shape, kind, scale=None, zero_point=None, buffer=0) -> int:
        tensor = schema.TensorT()
        tensor.name, tensor.shape, tensor.buffer = name.encode(), list(shape), buffer
        tensor.type = getattr(schema.TensorType, kind)
        if scale is not None:
            tensor.quantization = schema.QuantizationParametersT()
            tensor.quantization.scale = [float(s) for s in scale]
            tensor.quantization.zeroPoint = zero_point or [0] * len(scale)
        self.tensors.append(tensor)
        return len(self.tensors) - 1

    def constant(self, name, values, scale=None) -> int:
        buffer = schema.BufferT()
        buffer.data = np.frombuffer(values.tobytes(), np.uint8)
        self.buffers.append(buffer)
        kind = {"int8": "INT8", "int32": "INT32"}[values.dtype.name]
        return self.tensor(name, values.shape, kind, scale, buffer=len(self.buffers) - 1)

    def pack(self, steps, image: int, logits: int) -> bytes:
        graph = schema.SubGraphT()
        graph.tensors, graph.inputs, graph.outputs, graph.operators = self.tensors, [image], [logits], []
        model = schema.ModelT()
        model.version, model.buffers, model.subgraphs, model.operatorCodes = 3, self.buffers, [graph], []
        for index, (builtin, version, inputs, outputs, (options_type, options)) in enumerate(steps):
            code = schema.OperatorCodeT()
            code.builtinCode = code.deprecatedBuiltinCode = builtin
            code.version = version
            model.operatorCodes.append(code)
            operator = schema.OperatorT()
            operator.opcodeIndex, operator.inputs, operator.outputs = index, inputs, outputs
            operator.builtinOptionsType, operator.builtinOptions = options_type, options
            graph.operators.append(operator)
        builder = flatbuffers.Builder(4096)
        builder.Finish(model.Pack(builder), b"TFL3")
        return bytes(builder.Output())


def _codes(values, scale):
    return np.clip(np.round(values / scale), -127, 127).astype(np.int8)


def _convolution():
    options = schema.Conv2DOptionsT()
    options.padding, options.strideH, options.strideW = schema.Padding.SAME, 2, 2
    options.dilationHFactor = options.dilationWFactor = 1
    return schema.BuiltinOptions.Conv2DOptions, options


def _mean():
    options = schema.ReducerOptionsT()
    options.keepDims = False
    return schema.BuiltinOptions.ReducerOptions, options


def _dense():
    return schema.BuiltinOptions.FullyConnectedOptions, schema.FullyConnectedOptionsT()


def card_for(spec: InputSpec, classes: int = 5, **changes) -> Card:
    plain = Card(
        name="tiny colours",
        architecture=Architecture("onnx", 0.0),
        input=spec,
        output=OutputSpec(classes, Quantization(float(np.float32(12.0 / 255.0)), 0)),
        labels=labels(classes),
        provenance=Provenance({"edgekit": "test"}, "int8", "0" * 64, False, 0, "0" * 64, "0" * 64, 1),
    )
    return replace(plain, **changes)


def noise(seed: int, height: int, width: int) -> np.ndarray:
    """(height, width, 3) uint8: smooth gradients plus noise, so that resizing has something to get wrong."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (max(2, height // 8), max(2, width // 8), 3), dtype=np.uint8)
    picture = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC).reshape(height, width, 3)
    return np.clip(picture.astype(np.int16) + rng.integers(-30, 31, picture.shape), 0, 255).astype(np.uint8)


@cache
def sealed(spec: InputSpec | None = None, classes: int = 5, seed: int = 0, golden: int = 3) -> bytes:
    """The bytes of a whole model file, with golden samples for both kinds of kernels."""
    spec = spec or input_spec()
    front = flatbuffer(spec, classes, seed)
    networks = {kernels: Network(front, kernels=kernels) for kernels in (Kernels.XNNPACK, Kernels.BUILTIN)}
    assert networks[Kernels.XNNPACK].kernels is Kernels.XNNPACK
    samples, images = [], {}
    for number in range(golden):
        rgb = noise(1000 + seed + number, 50 + 7 * number, 64)
        name = f"golden/{number}.png"
        images[name] = cv2.imencode(".png", rgb[:, :, ::-1])[1].tobytes()
        codes = to_int8(crop_and_resize(rgb, spec), quantization_table(spec))
        outputs = {kernels: net.run(codes).tobytes() for kernels, net in networks.items()}
        samples.append(GoldenSample(name, outputs[Kernels.XNNPACK], outputs[Kernels.BUILTIN]))
    runtime = networks[Kernels.BUILTIN].runtime
    card = card_for(spec, classes, golden=tuple(samples), builtin_runtime=runtime, builtin_bound=3)
    return bundle.seal(front, card, images)


@cache
def parsed(spec: InputSpec | None = None, classes: int = 5, seed: int = 0) -> bundle.Bundle:
    return bundle.parse(sealed(spec, classes, seed))


def plain_answer(model: bundle.Bundle, bgr: np.ndarray, network: Network) -> np.ndarray:
    """Output codes by the plain definition: edgekit.preprocess, then Network.run."""
    spec = model.card.input
    rgb = np.ascontiguousarray(bgr[:, :, ::-1])
    return network.run(to_int8(crop_and_resize(rgb, spec), quantization_table(spec)))


def digest(array: np.ndarray) -> str:
    return hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()


__all__ = ["bundle", "card_for", "digest", "flatbuffer", "input_spec", "noise", "parsed", "quant", "sealed"]
