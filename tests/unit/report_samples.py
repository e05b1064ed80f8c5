"""Real models and images for the report's tests: a colour classifier as PyTorch network and as int8 TFLite file.

Both compute: class score = weights · mean colour. The int8 file is put together here by hand, operator by operator, so
that no part of the converter is needed, and the right answer is known from the colours alone.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import cv2
import flatbuffers
import numpy as np
import torch
from ai_edge_litert import schema_py_generated as schema
from torch import nn

from edgekit import bundle
from edgekit.card import Architecture, Card, InputSpec, Measurement, OutputSpec, Provenance, Quantization
from edgekit.images import ArraySet
from edgekit.train.checkpoint import Checkpoint

LABELS = ("red", "green", "blue")
SIZE = 16
COLOURS = np.eye(3, dtype=np.float32)
INPUT = Quantization(1 / 127.5, 0)
WEIGHT_SCALE = 1 / 32
OUTPUT = Quantization(8 / 127, 0)
# Score of a class: four times (its channel minus half of the others).
WEIGHTS = (4.0 * (1.5 * COLOURS - 0.5)).astype(np.float32)


class ColourNet(nn.Module):
    """Mean colour, then a linear layer; to be registered in `edgekit.models.MODELS`."""

    def __init__(self, classes: int, width: float = 1.0, stem_stride: int = 2) -> None:
        super().__init__()
        self.head = nn.Linear(3, classes)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.head(images.mean((2, 3)))


def spec(quantization: Quantization | None = None, size: int = SIZE) -> InputSpec:
    return InputSpec(height=size, width=size, quantization=quantization)


def make_checkpoint(weights: np.ndarray = WEIGHTS, labels: tuple[str, ...] = LABELS, size: int = SIZE) -> Checkpoint:
    state = {"head.weight": torch.from_numpy(weights.copy()), "head.bias": torch.zeros(len(weights))}
    return Checkpoint(Architecture("colour", 1.0), spec(size=size), labels, state)


def make_card(labels: tuple[str, ...] = LABELS, reference: str = "", *, is_float: bool = False) -> Card:
    none = hashlib.sha256(b"none").hexdigest()
    provenance = Provenance({"edgekit": "0"}, "hand-made", none, False, 0, reference, none, 10)
    measurement = Measurement("logits SQNR, int8 against float TFLite", 40.0, "dB", 10)
    return Card(
        name="colours",
        architecture=Architecture("colour", 1.0),
        input=spec(None if is_float else INPUT),
        output=OutputSpec(len(labels), None if is_float else OUTPUT),
        labels=labels,
        provenance=provenance,
        measurements=(measurement,),
    )


def make_bundle(
    weights: np.ndarray = WEIGHTS, labels: tuple[str, ...] = LABELS, *, is_float: bool = False, reference: str = ""
) -> bundle.Bundle:
    flatbuffer = float_flatbuffer(weights) if is_float else int8_flatbuffer(weights)
    return bundle.parse(bundle.seal(flatbuffer, make_card(labels, reference, is_float=is_float), {}))


def colour_images(count: int, seed: int, noise: float = 60.0) -> ArraySet:
    """Noisy pictures (24, 20) whose brightest channel is, mostly, their class."""
    random = np.random.default_rng(seed)
    targets = np.arange(count, dtype=np.int64) % 3
    base = 110.0 + 30.0 * COLOURS[targets] + random.normal(0, noise / 2, (count, 3))
    pixels = base[:, None, None, :] + random.normal(0, noise, (count, 24, 20, 3))
    return ArraySet(np.clip(pixels, 0, 255).astype(np.uint8), targets, LABELS, "colours")


def write_folder(folder: Path, images: ArraySet) -> Path:
    """`folder/<class>/<index>.png`."""
    for index in range(len(images.targets)):
        place = folder / images.labels[int(images.targets[index])] / f"{index:03}.png"
        place.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(place), cv2.cvtColor(images.image(index), cv2.COLOR_RGB2BGR))
    return folder


def mean_colour_logits(pixels: np.ndarray, weights: np.ndarray = WEIGHTS) -> np.ndarray:
    """The scores in plain float64: (N, classes) of cropped pixels (N, H, W, 3) uint8."""
    return (pixels.astype(np.float64) / 127.5 - 1.0).mean((1, 2)) @ weights.T.astype(np.float64)


def int8_flatbuffer(weights: np.ndarray = WEIGHTS) -> bytes:
    """MEAN over height and width, then FULLY_CONNECTED, all int8."""
    classes = len(weights)
    codes = np.clip(np.round(weights / WEIGHT_SCALE), -127, 127).astype(np.int8)
    int8, int32 = schema.TensorType.INT8, schema.TensorType.INT32
    tensors = [
        ("image", (1, SIZE, SIZE, 3), int8, (INPUT.scale, INPUT.zero_point), None),
        ("axes", (2,), int32, None, np.asarray([1, 2], np.int32)),
        ("mean", (1, 3), int8, (INPUT.scale, INPUT.zero_point), None),
        ("weights", (classes, 3), int8, (WEIGHT_SCALE, 0), codes),
        ("bias", (classes,), int32, (INPUT.scale * WEIGHT_SCALE, 0), np.zeros(classes, np.int32)),
        ("logits", (1, classes), int8, (OUTPUT.scale, OUTPUT.zero_point), None),
    ]
    return _pack(tensors)


def float_flatbuffer(weights: np.ndarray = WEIGHTS) -> bytes:
    """The same in float32."""
    classes = len(weights)
    real, int32 = schema.TensorType.FLOAT32, schema.TensorType.INT32
    tensors = [
        ("image", (1, SIZE, SIZE, 3), real, None, None),
        ("axes", (2,), int32, None, np.asarray([1, 2], np.int32)),
        ("mean", (1, 3), real, None, None),
        ("weights", (classes, 3), real, None, weights),
        ("bias", (classes,), real, None, np.zeros(classes, np.float32)),
        ("logits", (1, classes), real, None, None),
    ]
    return _pack(tensors)


def _pack(tensors: list) -> bytes:
    graph = schema.SubGraphT()
    graph.tensors, graph.inputs, graph.outputs = [], [0], [5]
    model = schema.ModelT()
    model.version, model.subgraphs, model.buffers = 3, [graph], [schema.BufferT()]
    for name, shape, kind, quantization, data in tensors:
        tensor = schema.TensorT()
        tensor.name, tensor.shape, tensor.type, tensor.buffer = name, list(shape), kind, 0
        if quantization is not None:
            tensor.quantization = schema.QuantizationParametersT()
            tensor.quantization.scale, tensor.quantization.zeroPoint = [quantization[0]], [quantization[1]]
        if data is not None:
            buffer = schema.BufferT()
            buffer.data = np.frombuffer(data.tobytes(), np.uint8)
            model.buffers.append(buffer)
            tensor.buffer = len(model.buffers) - 1
        graph.tensors.append(tensor)
    mean, connected = schema.ReducerOptionsT(), schema.FullyConnectedOptionsT()
    mean.keepDims = False
    operators = [
        (schema.BuiltinOperator.MEAN, [0, 1], [2], schema.BuiltinOptions.ReducerOptions, mean),
        (
            schema.BuiltinOperator.FULLY_CONNECTED,
            [2, 3, 4],
            [5],
            schema.BuiltinOptions.FullyConnectedOptions,
            connected,
        ),
    ]
    graph.operators, model.operatorCodes = [], []
    for index, (code, inputs, outputs, kind, options) in enumerate(operators):
        entry, operator = schema.OperatorCodeT(), schema.OperatorT()
        entry.builtinCode, entry.deprecatedBuiltinCode, entry.version = code, code, 4 if index else 2
        operator.opcodeIndex, operator.inputs, operator.outputs = index, inputs, outputs
        operator.builtinOptionsType, operator.builtinOptions = kind, options
        model.operatorCodes.append(entry)
        graph.operators.append(operator)
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())
