"""What an int8 file shall hold. Techniques change the plan, the quantizer carries it out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.cluster.hierarchy import DisjointSet

from edgekit.card import Quantization
from edgekit_quantize.calibrate import Range
from edgekit_quantize.graph import Graph, Layer

# Tuning may narrow a range to this part of what calibration saw, no further.
MOST_SHRINKING = 8.0
# A quantized bias is bias / (input scale · weight scale) in int32, and the quantizer, which checks its rounding in
# float32, refuses one that has more than 24 bits. Tuning may make the input's scale smaller.
_BIAS_LIMIT = 2.0**24 / MOST_SHRINKING
# Outputs that hold values of their input, and so its scale.
SAME_AS_INPUT = frozenset({"PAD", "RESHAPE", "SQUEEZE", "TRANSPOSE", "MAX_POOL_2D", "AVERAGE_POOL_2D"})
# Outputs that hold values of several inputs: all get one scale, or each input would be rounded once more.
SAME_AS_OUTPUT = frozenset({"CONCATENATION", "MAXIMUM", "PADV2"})
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
        ranges: Of every activation.
        image: Quantization of the input.
    """
    ranges = {**ranges, graph.input: span(image)}
    fixed = fixed_quantizations(graph)
    for group in shared_scales(graph):
        known = [span(fixed[name]) for name in group if name in fixed] + [span(image)] * (graph.input in group)
        members = known[:1] or [ranges[name] for name in group]
        common = Range(min(member.low for member in members), max(member.high for member in members))
        ranges |= dict.fromkeys(group, common)
    return Plan({}, ranges, {layer.weight: _weight_limits(graph, layer, ranges) for layer in graph.layers()})


def shared_scales(graph: Graph) -> list[set[str]]:
    """The activations, in sets that must have one scale; most are alone in theirs."""
    sets, fixed = DisjointSet(graph.activations()), fixed_quantizations(graph)
    for node in graph.nodes():
        output = node.outputs[0]
        if node.operator in SAME_AS_INPUT and node.inputs[0] in sets and output in sets:
            sets.merge(node.inputs[0], output)
        if node.operator in SAME_AS_OUTPUT and output in sets:
            for name in node.inputs:
                if name in sets and name != graph.input and name not in fixed:
                    sets.merge(name, output)
    return list(sets.subsets())


def fixed_quantizations(graph: Graph) -> dict[str, Quantization]:
    """Outputs whose quantization is not ours to choose."""
    return {node.outputs[0]: FIXED_OUTPUT[node.operator] for node in graph.nodes() if node.operator in FIXED_OUTPUT}


def bias_unit(bias: NDArray[np.float32], output: Range) -> float:
    """By what a layer's biases are measured: their mean magnitude, or a code of the output if that is more."""
    return max(float(np.abs(bias).mean()), quantization_of(output).scale)


def span(quantization: Quantization) -> Range:
    """The range from which (low, high, 256 codes) gives back exactly this scale and zero point."""
    scale, zero_point = quantization.scale, quantization.zero_point
    return Range((-128 - zero_point) * scale, (127 - zero_point) * scale)


def quantization_of(values: Range) -> Quantization:
    """Scale of the 255 steps of a range, and the code of zero: the inverse of `span`."""
    scale = (values.high - values.low) / 255.0
    return Quantization(scale, int(np.clip(round(-128 - values.low / scale), -128, 127)))


def weight_limits(graph: Graph, layer: Layer, biases: NDArray[np.float32] | None, room: float) -> NDArray[np.float32]:
    """The largest weight of each channel, floored for channels whose bias would overflow.

    Folding batch normalization leaves channels with next to no weight and a large bias; at their own tiny scale the
    bias does not fit. A wider range costs nothing there: such weights are noise beside the bias.

    Args:
        graph: The float network.
        layer: One of its layers.
        biases: Magnitudes of the biases, (channels,); None if the layer has none.
        room: The input's scale times the largest code of a bias.

    Returns:
        One per output channel, with the weight's rank.
    """
    weight = graph.constant(layer.weight)
    axes = tuple(axis for axis in range(weight.ndim) if axis != layer.channel_axis)
    largest = np.abs(weight).max(axis=axes, keepdims=True)
    if biases is not None:
        largest = np.maximum(largest, 127.0 * biases.reshape(largest.shape) / room)
    # A channel of zeros still needs a scale.
    return np.asarray(np.maximum(largest, 1e-9), np.float32)


def _weight_limits(graph: Graph, layer: Layer, ranges: Mapping[str, Range]) -> NDArray[np.float32]:
    reach = None
    if layer.bias is not None:
        bias = graph.constant(layer.bias)
        # Tuning may move a bias by up to its unit.
        reach = np.abs(bias) + bias_unit(bias, ranges[layer.output])
    return weight_limits(graph, layer, reach, quantization_of(ranges[layer.inputs]).scale * _BIAS_LIMIT)
