"""The formats beside int8: float32 input and output, made from the float TFLite network for comparison.

What decides the details is that LiteRT hands the whole network to XNNPACK wherever it can, and that tflite-runtime
2.14.0 gives the same answers.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from ai_edge_quantizer import quantizer as aeq
from ai_edge_quantizer.algorithm_manager import AlgorithmName
from ai_edge_quantizer.qtyping import QuantGranularity
from ai_edge_quantizer.qtyping import TFLOperationName as Operation
from ai_edge_quantizer.recipe_manager import RecipeManager
from numpy.typing import NDArray

from edgekit.errors import InputError
from edgekit.runtime import quiet_stderr
from edgekit_quantize.calibrate import Range
from edgekit_quantize.graph import Graph, Layer, name_of, pack, set_values, unpack
from edgekit_quantize.plan import weight_limits
from edgekit_quantize.recipe import Format

_EVERYWHERE = ".*"
_INT16_MAX = 32767
# The int64 bias of an int16x8 layer enters kernels that are exact up to 2**47; 2**40 leaves room for the sum.
_BIAS_LIMIT = 2.0**40
_CONVERSIONS = {"QUANTIZE", "DEQUANTIZE"}


def make(float_model: bytes, file_format: Format, ranges: Mapping[str, Range]) -> bytes:
    """The network in a format with float32 input and output.

    Args:
        float_model: A float TFLite flatbuffer.
        file_format: Any but INT8, which `quantizer.quantize` makes.
        ranges: Of every activation, the input included; looked at for INT16X8 only.

    Returns:
        A flatbuffer without metadata.

    Raises:
        InputError: The network holds something that has no such form; it is named.
    """
    if file_format is Format.FP32:
        return float_model
    if file_format is Format.FP16:
        return _half_precision(float_model)
    if file_format is Format.DYNAMIC:
        return _dynamic(float_model)
    if file_format is Format.INT16X8:
        return _int16x8(float_model, ranges)
    raise ValueError(f"The format must have float32 input and output, got {file_format}.")


def format_of(flatbuffer: bytes) -> Format:
    """What a model file holds, read off the types of its tensors; a zip tail does not matter."""
    subgraph = unpack(flatbuffer).subgraphs[0]
    types = {tensor.type for tensor in subgraph.tensors}
    if subgraph.tensors[subgraph.inputs[0]].type == schema.TensorType.INT8:
        return Format.INT8
    signs = (
        (schema.TensorType.INT16, Format.INT16X8),
        (schema.TensorType.FLOAT16, Format.FP16),
        (schema.TensorType.INT8, Format.DYNAMIC),
    )
    return next((found for kind, found in signs if kind in types), Format.FP32)


def _dynamic(float_model: bytes) -> bytes:
    recipe = RecipeManager()
    recipe.add_dynamic_config(_EVERYWHERE, Operation.CONV_2D, num_bits=8)
    # One scale for the whole matrix: tflite-runtime 2.14.0 takes scales per channel and computes nonsense.
    recipe.add_dynamic_config(
        _EVERYWHERE, Operation.FULLY_CONNECTED, num_bits=8, granularity=QuantGranularity.TENSORWISE
    )
    # Depthwise convolutions stay in float. XNNPACK has no dynamic form of them: the network would fall into eighteen
    # parts and MobileNetV2 take seven times as long, for 3 % of the size and a worse answer.
    return _quantize(float_model, recipe, None)


def _int16x8(float_model: bytes, ranges: Mapping[str, Range]) -> bytes:
    recipe = RecipeManager()
    recipe.add_static_config(_EVERYWHERE, Operation.ALL_SUPPORTED, activation_num_bits=16, weight_num_bits=8)
    for end in (Operation.INPUT, Operation.OUTPUT):
        recipe.add_quantization_config(_EVERYWHERE, end, algorithm_key=AlgorithmName.NO_QUANTIZE)
    graph = Graph(float_model)
    layers = list(graph.layers())
    spans = {name: _span(np.full((1,) * len(graph.shape(name)), r.low), r.high) for name, r in ranges.items()}
    for layer in layers:
        largest = _largest_weights(graph, layer, ranges[layer.inputs])
        spans[layer.weight] = _span(-largest, largest)
    # The quantizer rounds biases to int32 first and refuses those that do not fit. The file has int64, where all do.
    biases = {layer.bias: graph.constant(layer.bias) for layer in layers if layer.bias is not None}
    without = _with_biases(float_model, {name: np.zeros_like(bias) for name, bias in biases.items()})
    result = _with_biases(_quantize(without, recipe, spans), biases)
    if operators := Graph(result).float_operators() - _CONVERSIONS:
        raise InputError(
            f"Every operator must have an int16 form, got {', '.join(sorted(operators))} left in float.",
            "Convert with --recipe fp16.",
        )
    return result


def _quantize(
    float_model: bytes, recipe: RecipeManager, spans: Mapping[str, Mapping[str, NDArray[np.float32]]] | None
) -> bytes:
    try:
        with quiet_stderr(), warnings.catch_warnings():
            # It keeps all tensors of an interpreter to look at them, and warns of itself.
            warnings.simplefilter("ignore", UserWarning)
            engine = aeq.Quantizer(float_model, recipe.get_quantization_recipe())
            return bytes(engine.quantize(spans).quantized_model)
    except (ValueError, RuntimeError, KeyError) as error:
        raise InputError(f"The network must be quantizable, got: {' '.join(str(error).split())}") from error


def _span(low: NDArray[Any], high: NDArray[Any] | float) -> dict[str, NDArray[np.float32]]:
    return {"min": low.astype(np.float32), "max": np.broadcast_to(high, low.shape).astype(np.float32)}


def _largest_weights(graph: Graph, layer: Layer, inputs: Range) -> NDArray[np.float32]:
    biases = None if layer.bias is None else np.abs(graph.constant(layer.bias))
    return weight_limits(graph, layer, biases, max(-inputs.low, inputs.high) / _INT16_MAX * _BIAS_LIMIT)


def _with_biases(flatbuffer: bytes, biases: Mapping[str, NDArray[np.float32]]) -> bytes:
    """The flatbuffer with other biases: (channels,) real values, quantized where the tensor is int64."""
    model = unpack(flatbuffer)
    for tensor in model.subgraphs[0].tensors:
        values = biases.get(name_of(tensor))
        if values is None:
            continue
        if tensor.type == schema.TensorType.INT64:
            values = np.round(values.astype(np.float64) / tensor.quantization.scale).astype(np.int64)
        set_values(model, tensor, values)
    return pack(model)


def _half_precision(float_model: bytes) -> bytes:
    """Weights and biases as float16 with a DEQUANTIZE each, the way TFLiteConverter writes them.

    ai-edge-quantizer would cast the weights alone; XNNPACK then leaves every convolution to the builtin kernels, which
    takes MobileNetV2 five times as long.
    """
    model, graph = unpack(float_model), Graph(float_model)
    subgraph = model.subgraphs[0]
    names = {name for layer in graph.layers() for name in (layer.weight, layer.bias) if name is not None}
    halved = {index: name_of(t) for index, t in enumerate(subgraph.tensors) if name_of(t) in names}
    widened = {index: len(subgraph.tensors) + place for place, index in enumerate(halved)}
    for index, name in halved.items():
        tensor = subgraph.tensors[index]
        subgraph.tensors.append(_computed(tensor, f"{name}_dequantized"))
        set_values(model, tensor, _as_half(graph.constant(name), name))
        tensor.type = schema.TensorType.FLOAT16
    for operator in subgraph.operators:
        operator.inputs = [widened.get(int(i), int(i)) for i in operator.inputs]
    model.operatorCodes.append(_dequantize_code())
    code = len(model.operatorCodes) - 1
    subgraph.operators = [_dequantize(code, *pair) for pair in widened.items()] + list(subgraph.operators)
    return pack(model)


def _computed(constant: Any, name: str) -> Any:
    """A tensor of the same shape and type without values of its own."""
    tensor = copy.copy(constant)
    tensor.name, tensor.buffer = name.encode(), 0
    return tensor


def _as_half(values: NDArray[np.float32], name: str) -> NDArray[np.float16]:
    largest = float(np.abs(values).max())
    if not largest <= np.finfo(np.float16).max:
        raise InputError(f"Weights must be within float16's ±65504, got {largest:.3g} in {name}.", "Use --recipe fp32.")
    return values.astype(np.float16)


def _dequantize_code() -> Any:
    code = schema.OperatorCodeT()
    code.builtinCode = code.deprecatedBuiltinCode = schema.BuiltinOperator.DEQUANTIZE
    code.version = 3  # the first that takes float16
    return code


def _dequantize(code: int, source: int, target: int) -> Any:
    operator = schema.OperatorT()
    operator.opcodeIndex, operator.inputs, operator.outputs = code, [source], [target]
    operator.builtinOptionsType = schema.BuiltinOptions.DequantizeOptions
    operator.builtinOptions = schema.DequantizeOptionsT()
    return operator
