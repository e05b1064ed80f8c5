"""A second file for MediaPipe Tasks' `ImageClassifier`, which takes no int8 input: float pixels in, probabilities out.

The int8 network is left as it is, bit for bit. Before it a multiplication, an addition and a QUANTIZE turn pixels
(0 … 255) into the very codes that the int8 file is given; behind it a DEQUANTIZE and a SOFTMAX. Metadata and labels are
standard, so that the task knows how to feed it.
"""

from __future__ import annotations

import io
import math
import zipfile
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from numpy.typing import NDArray

from edgekit.bundle import LABELS_NAME, Bundle, labels_text
from edgekit.card import InputSpec, Quantization
from edgekit.errors import EdgekitError, InputError
from edgekit.preprocess import quantization_table
from edgekit.quant import INT8_MAX, INT8_MIN
from edgekit_quantize.graph import pack, set_values, unpack
from edgekit_quantize.metadata import attach

_PIXELS = np.arange(256, dtype=np.float32)
_DATE = (1980, 1, 1, 0, 0, 0)
# In codes: pixels must not come closer to where rounding turns than kernels that compute in float32 can be off, some
# hundred-thousandths. The offset is moved as little as that takes.
_LEAST_MARGIN, _WISHED_MARGIN = 4e-5, 5e-4


def for_mediapipe(model: Bundle) -> bytes:
    """The file's bytes.

    Args:
        model: An int8 model file.

    Raises:
        InputError: The model is not int8.
        EdgekitError: Its codes are no linear function of the pixels.
    """
    if model.card.input.quantization is None:
        raise InputError("A file for MediaPipe must be made from an int8 model, got a float one.", "Use --recipe int8.")
    plain = InputSpec(model.card.input.height, model.card.input.width, mean=(0.0,) * 3, std=(1.0 / 255.0,) * 3)
    wrapped = _wrap(model.data, model.card.input)
    described = attach(wrapped, model.card.name, f"{model.card.name} for MediaPipe Tasks.", plain)
    buffer = io.BytesIO()
    buffer.write(described)
    with zipfile.ZipFile(buffer, "a", zipfile.ZIP_STORED) as archive:
        archive.writestr(zipfile.ZipInfo(LABELS_NAME, _DATE), labels_text(model.card.labels))
    return buffer.getvalue()


def linear_codes(spec: InputSpec) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Gain and offset, (3,) each: QUANTIZE of gain * pixel + offset gives the codes of the model's own table.

    Raises:
        EdgekitError: None does, for one of the 256 values of a channel.
    """
    table, found = quantization_table(spec), spec.quantization
    assert found is not None  # noqa: S101 - the caller has looked
    std, mean = np.asarray(spec.std, np.float64), np.asarray(spec.mean, np.float64)
    gain, offset = (1.0 / (255.0 * std)).astype(np.float32), (-mean / std).astype(np.float64)
    nudged = [_offset(gain[channel], offset[channel], found, table[:, channel]) for channel in range(len(gain))]
    return gain, np.asarray(nudged, np.float32)


def _offset(gain: np.float32, offset: float, found: Quantization, table: NDArray[np.int8]) -> np.float32:
    """Of one channel, whose codes are (256,)."""
    steps = (_PIXELS * gain).astype(np.float64) / found.scale + offset / found.scale + found.zero_point
    # How far all steps may be moved, in codes, until one is rounded to another; clipped ones may go on.
    low = float(np.max((table - 0.5 - steps)[table > INT8_MIN], initial=-math.inf))
    high = float(np.min((table + 0.5 - steps)[table < INT8_MAX], initial=math.inf))
    margin = min(_WISHED_MARGIN, (high - low) / 2.0)
    if margin < _LEAST_MARGIN:
        raise EdgekitError("The model's codes must be a linear function of the pixels, got another table.")
    return np.float32(offset + min(max(0.0, low + margin), high - margin) * found.scale)


def _wrap(data: bytes, spec: InputSpec) -> bytes:
    model = unpack(data)
    graph = _Graph(model)
    gain, offset = linear_codes(spec)
    subgraph = model.subgraphs[0]
    before, after = int(subgraph.inputs[0]), int(subgraph.outputs[0])
    shape = [1, spec.height, spec.width, 3]
    pixels = graph.activation("pixels", shape)
    scaled, shifted = graph.activation("pixels/scaled", shape), graph.activation("pixels/normalized", shape)
    logits = graph.activation("logits/real", subgraph.tensors[after].shape)
    probabilities = graph.activation("probabilities", subgraph.tensors[after].shape)
    code, options = schema.BuiltinOperator, schema.BuiltinOptions
    softmax = schema.SoftmaxOptionsT()
    softmax.beta = 1.0
    times, plus = graph.constant("gain", gain), graph.constant("offset", offset)
    head = [
        graph.operator(code.MUL, [pixels, times], scaled, options.MulOptions, schema.MulOptionsT()),
        graph.operator(code.ADD, [scaled, plus], shifted, options.AddOptions, schema.AddOptionsT()),
        graph.operator(code.QUANTIZE, [shifted], before, options.QuantizeOptions, schema.QuantizeOptionsT()),
    ]
    tail = [
        graph.operator(code.DEQUANTIZE, [after], logits, options.DequantizeOptions, schema.DequantizeOptionsT()),
        graph.operator(code.SOFTMAX, [logits], probabilities, options.SoftmaxOptions, softmax),
    ]
    subgraph.operators = [*head, *subgraph.operators, *tail]
    subgraph.inputs, subgraph.outputs = [pixels], [probabilities]
    model.signatureDefs = None
    return pack(model)


class _Graph:
    """Adds to a model's first subgraph."""

    def __init__(self, model: Any) -> None:
        self.model = model
        self.tensors = model.subgraphs[0].tensors

    def activation(self, name: str, shape: Any) -> int:
        """A float32 tensor; its index."""
        tensor = schema.TensorT()
        tensor.name, tensor.type, tensor.shape = name, schema.TensorType.FLOAT32, [int(side) for side in shape]
        self.tensors.append(tensor)
        return len(self.tensors) - 1

    def constant(self, name: str, values: NDArray[np.float32]) -> int:
        """Likewise, with values."""
        index = self.activation(name, values.shape)
        set_values(self.model, self.tensors[index], values)
        return index

    def operator(self, code: int, inputs: list[int], output: int, kind: int, options: Any) -> Any:
        """An operator; its code is added if it is new."""
        operator = schema.OperatorT()
        operator.opcodeIndex = self._code(code)
        operator.inputs, operator.outputs = inputs, [output]
        operator.builtinOptionsType, operator.builtinOptions = kind, options
        return operator

    def _code(self, code: int) -> int:
        for index, known in enumerate(self.model.operatorCodes):
            if known.builtinCode == code:
                return index
        new = schema.OperatorCodeT()
        new.builtinCode = new.deprecatedBuiltinCode = code
        new.version = 1
        self.model.operatorCodes.append(new)
        return len(self.model.operatorCodes) - 1
