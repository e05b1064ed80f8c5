"""From a float TFLite network and activation ranges to a fully-int8 one, through ai-edge-quantizer.

Its own calibrator is a moving average that depends on the order of the images, hence the ranges are injected.
"""

from __future__ import annotations

import tempfile
import warnings
from pathlib import Path

import numpy as np
from ai_edge_quantizer import quantizer as aeq
from ai_edge_quantizer import recipe as aeq_recipe
from numpy.typing import NDArray

from edgekit.card import InputSpec, Quantization
from edgekit.errors import InputError
from edgekit.preprocess import normalized_range
from edgekit.runtime import quiet_stderr
from edgekit_quantize.calibrate import Range
from edgekit_quantize.graph import Graph, with_constants
from edgekit_quantize.plan import Plan


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


def quantize(float_model: bytes, plan: Plan) -> bytes:
    """Fully-int8 flatbuffer of a float one.

    Args:
        float_model: A float TFLite flatbuffer.
        plan: Weights, biases and ranges.

    Returns:
        A flatbuffer without metadata.

    Raises:
        InputError: The network holds something that cannot be quantized; it is named.
    """
    graph = Graph(float_model)
    spans = {name: _tensor_span(r, len(graph.shape(name))) for name, r in plan.ranges.items()}
    spans |= {name: {"min": -limits, "max": limits} for name, limits in plan.weight_limits.items()}
    float_model = with_constants(float_model, plan.constants)
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
            "Replace it in the network, or use --recipe fp32.",
        )


def _tensor_span(span: Range, rank: int) -> dict[str, NDArray[np.float32]]:
    shape = (1,) * rank
    return {"min": np.full(shape, span.low, np.float32), "max": np.full(shape, span.high, np.float32)}
