"""What an int8 file shall hold. Techniques change the plan, the quantizer carries it out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgekit.card import Quantization
from edgekit_quantize.calibrate import Range
from edgekit_quantize.graph import Graph, Layer

# Tuning may narrow a range to this part of what calibration saw, no further.
MOST_SHRINKING = 8.0
# A quantized bias is bias / (input scale · weight scale) in int32. Beyond 24 bits the quantizer, which checks its
# rounding in float32, refuses it. Tuning may make it larger: the input's scale shrinks, and a bit for the bias itself.
_BIAS_LIMIT = 2.0**23 / MOST_SHRINKING
# Outputs that hold their input's codes, so that the file gives both one range.
SAME_AS_INPUT = frozenset({"PAD", "RESHAPE", "SQUEEZE", "TRANSPOSE", "MAX_POOL_2D", "AVERAGE_POOL_2D"})
# Outputs whose quantization the TFLite specification fixes.
FIXED_OUTPUT = {
    "SOFTMAX": Quantization(1.0 / 256.0, -128),
    "LOGISTIC": Quantization(1.0 / 256.0, -128),
    "TANH": Quantization(1.0 / 128.0, 0),
}


@dataclass(frozen=True)
class Plan:
    """How a float network becomes int8.

    Attributes:
        constants: float32 values by tensor name, instead of the network's own weights and biases.
        ranges: Of every activation, the input among them.
        weight_limits: Largest magnitude that the codes of a weight span, float32, with the weight's rank; one per
            output channel.
    """

    constants: dict[str, NDArray[np.float32]]
    ranges: dict[str, Range]
    weight_limits: dict[str, NDArray[np.float32]]


def plan_for(graph: Graph, ranges: Mapping[str, Range], image: Quantization) -> Plan:
    """The plan that leaves the network's own weights as they are.

    Args:
        graph: The float network.
        ranges: Of every activation but the input.
        image: Quantization of the input.
    """
    ranges = {**ranges, graph.input: span(image)}
    for node in graph.nodes():
        source = node.inputs[0]
        if node.operator in SAME_AS_INPUT and source in ranges:
            ranges[node.outputs[0]] = ranges[source]
    limits = {
        layer.weight: _weight_limits(graph, layer, quantization_of(ranges[layer.inputs]).scale)
        for layer in graph.layers()
    }
    return Plan({}, ranges, limits)


def span(quantization: Quantization) -> Range:
    """The range from which (low, high, 256 codes) gives back exactly this scale and zero point."""
    scale, zero_point = quantization.scale, quantization.zero_point
    return Range((-128 - zero_point) * scale, (127 - zero_point) * scale)


def quantization_of(values: Range) -> Quantization:
    """Scale of the 255 steps of a range, and the code of zero: the inverse of `span`."""
    scale = (values.high - values.low) / 255.0
    return Quantization(scale, int(np.clip(round(-128 - values.low / scale), -128, 127)))


def _weight_limits(graph: Graph, layer: Layer, input_scale: float) -> NDArray[np.float32]:
    """The largest weight of each channel, floored for channels whose bias would overflow int32.

    Folding batch normalization leaves channels with next to no weight and a large bias; at their own tiny scale the
    bias does not fit. A wider range costs nothing there: such weights are noise beside the bias.
    """
    weight = graph.constant(layer.weight)
    axes = tuple(axis for axis in range(weight.ndim) if axis != layer.channel_axis)
    largest = np.abs(weight).max(axis=axes, keepdims=True)
    if layer.bias is not None:
        bias = np.abs(graph.constant(layer.bias)).reshape(largest.shape)
        largest = np.maximum(largest, 127.0 * bias / (input_scale * _BIAS_LIMIT))
    # A channel of zeros still needs a scale.
    return np.asarray(np.maximum(largest, 1e-9), np.float32)
