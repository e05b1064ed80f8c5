"""From a float TFLite network and activation ranges to a fully-int8 one, through ai-edge-quantizer.

Its own calibrator is a moving average that depends on the order of the images, hence the ranges are injected.
"""

from __future__ import annotations

import tempfile
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from ai_edge_quantizer import quantizer as aeq
from ai_edge_quantizer import recipe as aeq_recipe
from numpy.typing import NDArray

from edgekit.card import InputSpec, Quantization
from edgekit.errors import InputError
from edgekit.preprocess import normalized_range
from edgekit.runtime import quiet_stderr
from edgekit_quantize.calibrate import Range
from edgekit_quantize.graph import Graph, Layer

# A quantized bias is bias / (input scale · weight scale) in int32. Beyond 24 bits the quantizer, which checks its
# rounding in float32, refuses it; 22 bits are far more than the 8 bits of the result need.
_BIAS_LIMIT = 2.0**22


def input_quantization(spec: InputSpec) -> Quantization:
    """Scale and zero point of the image input: every pixel value gets a code of its own as far as 256 codes allow.

    With one mean and std the codes are the pixels themselves: int8 = pixel - 128 (zero point -1 for mean = std = 0.5,
    where the true zero lies half-way between two codes).
    """
    lows, highs = normalized_range(spec)
    low, high = min(min(lows), 0.0), max(max(highs), 0.0)
    scale = (high - low) / 255.0
    # round() of the exact half goes to even; a hair less makes it the lower zero point on every machine.
    return Quantization(scale=scale, zero_point=round(-128.0 - low / scale - 1e-6))


def quantize(float_model: bytes, ranges: dict[str, Range], input_range: Quantization) -> bytes:
    """Fully-int8 flatbuffer of a float one.

    Args:
        float_model: A float TFLite flatbuffer.
        ranges: Of every activation but the input.
        input_range: Of the image input.

    Returns:
        A flatbuffer without metadata.

    Raises:
        InputError: The network holds something that cannot be quantized; it is named.
    """
    graph = Graph(float_model)
    first = _span(input_range)
    spans = {name: _tensor_span(r, graph.rank(name)) for name, r in (ranges | {graph.input: first}).items()}
    for layer in graph.layers():
        spans[layer.weight] = _weight_span(graph, layer, _scale(spans[layer.inputs]))
    with tempfile.TemporaryDirectory(prefix="edgekit-") as scratch:
        path = Path(scratch) / "float.tflite"
        path.write_bytes(float_model)
        try:
            with quiet_stderr(), warnings.catch_warnings():
                # It keeps all tensors of an interpreter to look at them, and warns of itself.
                warnings.simplefilter("ignore", UserWarning)
                engine = aeq.Quantizer(str(path), aeq_recipe.static_wi8_ai8())
                result = bytes(engine.quantize(spans).quantized_model)
        except (ValueError, RuntimeError, KeyError) as error:
            raise InputError(f"The network must be quantizable to int8, got: {' '.join(str(error).split())}") from error
    check_fully_int8(result)
    return result


def check_fully_int8(flatbuffer: bytes) -> None:
    """Prove that no floating-point tensor is left.

    Raises:
        InputError: Names the operators that the quantizer left in float.
    """
    operators = Graph(flatbuffer).float_operators()
    if operators:
        raise InputError(
            f"Every operator must have an int8 form, got {', '.join(sorted(operators))} left in float.",
            "Replace it in the network, such as hard-sigmoid by sigmoid.",
        )


def _span(quantization: Quantization) -> Range:
    """The range from which (low, high, 256 codes) gives back exactly this scale and zero point."""
    scale, zero_point = quantization.scale, quantization.zero_point
    return Range((-128 - zero_point) * scale, (127 - zero_point) * scale)


def _tensor_span(span: Range, rank: int) -> dict[str, NDArray[np.float32]]:
    shape = (1,) * rank
    return {"min": np.full(shape, span.low, np.float32), "max": np.full(shape, span.high, np.float32)}


def _scale(span: dict[str, NDArray[np.float32]]) -> float:
    return float(span["max"].max() - span["min"].min()) / 255.0


def _weight_span(graph: Graph, layer: Layer, input_scale: float) -> dict[str, NDArray[Any]]:
    """Symmetric per-channel range of a weight, floored for channels whose bias would overflow int32.

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
    largest = np.maximum(largest, 1e-9).astype(np.float32)
    return {"min": -largest, "max": largest}
