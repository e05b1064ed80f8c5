"""Reading and editing TFLite flatbuffers through the schema's own object API. No TensorFlow."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema
from numpy.typing import NDArray

# Operators that carry weights: index of the weight's output-channel axis (TFLite specification, quantized operators).
CHANNEL_AXIS = {"CONV_2D": 0, "DEPTHWISE_CONV_2D": 3, "FULLY_CONNECTED": 0}
_NUMPY_TYPE = {
    schema.TensorType.FLOAT32: np.float32,
    schema.TensorType.INT8: np.int8,
    schema.TensorType.INT32: np.int32,
    schema.TensorType.INT64: np.int64,
}
ACTIVATION_NAME = {v: k for k, v in vars(schema.ActivationFunctionType).items() if not k.startswith("_")}
_OPERATOR_NAME = {value: name for name, value in vars(schema.BuiltinOperator).items() if not name.startswith("_")}
_TYPE_NAME = {value: name for name, value in vars(schema.TensorType).items() if not name.startswith("_")}


def name_of(tensor: Any) -> str:
    """A tensor's name as text."""
    return tensor.name.decode() if isinstance(tensor.name, bytes) else str(tensor.name)


def unpack(flatbuffer: bytes) -> Any:
    """The mutable object tree (`ModelT`) of a TFLite flatbuffer."""
    return schema.ModelT.InitFromPackedBuf(flatbuffer, 0)


def pack(model: Any) -> bytes:
    """The flatbuffer of an object tree, without the data of buffers that nothing refers to any more."""
    used = {tensor.buffer for subgraph in model.subgraphs for tensor in subgraph.tensors}
    used |= {entry.buffer for entry in model.metadata or []}
    for index, buffer in enumerate(model.buffers):
        if index not in used:
            buffer.data = None
    builder = _SharingBuilder(1 << 20)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


class _SharingBuilder(flatbuffers.Builder):  # type: ignore[misc]
    """Writes equal vectors once: flatbuffers may refer to one from many places.

    Most are the zero points of weights and biases: 8 bytes for each channel, and all of them 0.
    """

    def __init__(self, size: int) -> None:
        super().__init__(size)
        self._written: dict[tuple[str, bytes], int] = {}

    def CreateNumpyVector(self, x: NDArray[Any]) -> int:
        """Where the vector is."""
        key = (x.dtype.str, x.tobytes())
        if key not in self._written:
            self._written[key] = super().CreateNumpyVector(x)
        return self._written[key]


def set_values(model: Any, tensor: Any, values: NDArray[Any]) -> None:
    """Other values for one constant. Its buffer is left alone: other tensors may share it."""
    buffer = schema.BufferT()
    buffer.data = np.frombuffer(values.tobytes(), np.uint8)
    model.buffers.append(buffer)
    tensor.buffer = len(model.buffers) - 1


def with_constants(flatbuffer: bytes, constants: Mapping[str, NDArray[np.float32]]) -> bytes:
    """The flatbuffer with other values (float32, same shapes) in the constant tensors named."""
    model = unpack(flatbuffer)
    for tensor in model.subgraphs[0].tensors:
        values = constants.get(name_of(tensor))
        if values is not None:
            set_values(model, tensor, np.asarray(values, np.float32))
    return pack(model)


def with_biases(flatbuffer: bytes) -> bytes:
    """The float flatbuffer with a bias of zeros in each fully connected operator that has none.

    TensorFlow leaves out a bias that is zero, and tflite-runtime 2.14.0 crashes without one on arm64.
    """
    model = unpack(flatbuffer)
    subgraph = model.subgraphs[0]
    for operator in subgraph.operators:
        code = model.operatorCodes[operator.opcodeIndex].builtinCode
        if code != schema.BuiltinOperator.FULLY_CONNECTED or (len(operator.inputs) == 3 and operator.inputs[2] >= 0):
            continue
        data, weights = (int(place) for place in operator.inputs[:2])
        bias = schema.TensorT()
        bias.name = f"{name_of(subgraph.tensors[int(operator.outputs[0])])}/bias"
        bias.type, bias.shape = schema.TensorType.FLOAT32, [int(subgraph.tensors[weights].shape[0])]
        set_values(model, bias, np.zeros(bias.shape, np.float32))
        subgraph.tensors.append(bias)
        operator.inputs = [data, weights, len(subgraph.tensors) - 1]
    return pack(model)


@dataclass(frozen=True)
class Node:
    """One operator, in execution order.

    Attributes:
        operator: Name as in the schema, such as "CONV_2D".
        options: The schema's options object of this operator; None where it has none.
        inputs: Tensor names; None for an optional input left out.
        outputs: Tensor names.
    """

    operator: str
    options: Any
    inputs: tuple[str | None, ...]
    outputs: tuple[str, ...]


@dataclass(frozen=True)
class Layer:
    """One operator with weights, in execution order.

    Attributes:
        operator: Name as in the schema, such as "CONV_2D".
        inputs: Name of its activation input.
        output: Name of its output tensor.
        weight: Name of the weight tensor.
        bias: Name of the bias tensor, or None.
        channel_axis: Axis of `weight` that counts output channels.
    """

    operator: str
    inputs: str
    output: str
    weight: str
    bias: str | None
    channel_axis: int


class Graph:
    """Read access to the main subgraph of a flatbuffer."""

    def __init__(self, flatbuffer: bytes) -> None:
        self._model = unpack(flatbuffer)
        self._subgraph = self._model.subgraphs[0]
        self._index = {name_of(tensor): i for i, tensor in enumerate(self._subgraph.tensors)}

    @property
    def input(self) -> str:
        """Name of the input tensor."""
        return self._name(self._subgraph.inputs[0])

    @property
    def output(self) -> str:
        """Name of the output tensor."""
        return self._name(self._subgraph.outputs[0])

    def operators(self) -> list[str]:
        """Operator names in execution order."""
        return [node.operator for node in self.nodes()]

    def activations(self) -> list[str]:
        """Names of the float tensors that are computed (constants left out), the input first."""
        produced = [self._subgraph.inputs[0]]
        for operator in self._subgraph.operators:
            produced += list(operator.outputs)
        float32 = schema.TensorType.FLOAT32
        return [self._name(i) for i in produced if self._subgraph.tensors[i].type == float32]

    def nodes(self) -> list[Node]:
        """The operators in execution order."""
        return [
            Node(
                operator=self._operator_name(operator),
                options=operator.builtinOptions,
                inputs=tuple(self._name(i) if i >= 0 else None for i in operator.inputs),
                outputs=tuple(self._name(i) for i in operator.outputs),
            )
            for operator in self._subgraph.operators
        ]

    def layers(self) -> Iterator[Layer]:
        """The operators with weights, as far as these are constants."""
        constants = self.constants()
        for node in self.nodes():
            axis = CHANNEL_AXIS.get(node.operator)
            if axis is None or node.inputs[1] not in constants:
                continue
            data, weight, bias = (*node.inputs, None)[:3]
            if data is None or weight is None:
                raise ValueError(f"{node.operator} must have an input and a weight, got {node.inputs}.")
            yield Layer(node.operator, data, node.outputs[0], weight, bias, axis)

    def constants(self) -> set[str]:
        """Names of the tensors whose values stand in the file."""
        tensors, buffers = self._subgraph.tensors, self._model.buffers
        return {name_of(t) for t in tensors if buffers[t.buffer].data is not None and len(buffers[t.buffer].data)}

    def shape(self, name: str) -> tuple[int, ...]:
        """Of a tensor."""
        return tuple(int(size) for size in self._subgraph.tensors[self._index[name]].shape)

    def constant(self, name: str) -> NDArray[Any]:
        """Values of a constant tensor, in its shape."""
        tensor = self._subgraph.tensors[self._index[name]]
        data = np.asarray(self._model.buffers[tensor.buffer].data, np.uint8)
        return data.view(_NUMPY_TYPE[tensor.type]).reshape(tensor.shape)

    def float_operators(self) -> set[str]:
        """Names of the operators that read or write floating-point values, but for conversions to and from them."""
        floats = {i for i, tensor in enumerate(self._subgraph.tensors) if "FLOAT" in _TYPE_NAME[tensor.type]}
        touching = {
            self._operator_name(operator)
            for operator in self._subgraph.operators
            if floats & {*operator.inputs, *operator.outputs}
        }
        return touching - {"QUANTIZE", "DEQUANTIZE"} or touching

    def _name(self, index: int) -> str:
        return name_of(self._subgraph.tensors[index])

    def _builtin_code(self, operator: Any) -> int:
        code = self._model.operatorCodes[operator.opcodeIndex]
        # Old writers fill the 8-bit field only (codes up to 127), new ones both.
        return max(int(code.builtinCode), int(code.deprecatedBuiltinCode))

    def _operator_name(self, operator: Any) -> str:
        return str(_OPERATOR_NAME[self._builtin_code(operator)])
