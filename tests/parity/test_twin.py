"""Every operator of the PyTorch twin against LiteRT's own kernel."""

import flatbuffers
import numpy as np
import pytest
import torch
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter, OpResolverType

from edgekit_quantize.graph import Graph
from edgekit_quantize.twin import Twin
from edgekit_quantize.twin_operators import OPERATORS

# Both sum in float32, in other orders: measured 2e-6 on values of the order of one.
ATOL = 1e-5
NONE, RELU, RELU6 = 0, 1, 3
SAME, VALID = 0, 1


def options(kind, **values):
    made = getattr(schema, f"{kind}T")()
    for name, value in values.items():
        assert hasattr(made, name), name
        setattr(made, name, value)
    return made


def pool(**values):
    return options("Pool2DOptions", **values)


def conv(kind="Conv2DOptions", **values):
    return options(kind, **({"dilationHFactor": 1, "dilationWFactor": 1, "strideH": 1, "strideW": 1} | values))


def one_operator(name, op_options, image, constants):
    """A flatbuffer with one operator on an input of shape `image`; `constants` are its further inputs."""
    model, graph = schema.ModelT(), schema.SubGraphT()
    model.version, model.subgraphs, model.buffers = 3, [graph], [schema.BufferT()]
    code = schema.OperatorCodeT()
    code.builtinCode = getattr(schema.BuiltinOperator, name)
    code.deprecatedBuiltinCode = min(code.builtinCode, 127)
    code.version = 1
    model.operatorCodes = [code]
    graph.tensors, graph.operators = [], [schema.OperatorT()]

    def tensor(label, shape, values=None):
        made = schema.TensorT()
        made.name, made.shape, made.buffer = label, list(shape), 0
        made.type = schema.TensorType.FLOAT32
        if values is not None:
            made.type = schema.TensorType.INT32 if values.dtype == np.int32 else schema.TensorType.FLOAT32
            model.buffers.append(schema.BufferT())
            model.buffers[-1].data = np.frombuffer(values.tobytes(), np.uint8)
            made.buffer = len(model.buffers) - 1
        graph.tensors.append(made)
        return len(graph.tensors) - 1

    operator = graph.operators[0]
    graph.inputs = [tensor("x", image)]
    operator.inputs = graph.inputs + [
        graph.inputs[0] if c is TWICE else tensor(f"c{i}", c.shape, c) for i, c in enumerate(constants)
    ]
    # The interpreter works the rest of the shape out.
    operator.outputs = graph.outputs = [tensor("y", (1,))]
    if op_options is not None:
        operator.builtinOptions = op_options
        kind = type(op_options).__name__[:-1]
        operator.builtinOptionsType = getattr(schema.BuiltinOptions, kind)
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def real(*shape):
    return np.random.default_rng(5).normal(size=shape).astype(np.float32)


def whole(*values):
    return np.asarray(values, np.int32)


TWICE = "the input once more"
KEEP = options("ReducerOptions", keepDims=True)
CASES = {
    "ADD": (options("AddOptions", fusedActivationFunction=RELU), (1, 5, 6, 3), [real(3)]),
    "AVERAGE_POOL_2D": (pool(filterHeight=3, filterWidth=2, strideH=2, strideW=1, padding=SAME), (1, 7, 6, 3), []),
    "CONCATENATION": (options("ConcatenationOptions", axis=3), (1, 4, 4, 3), [TWICE]),
    "CONV_2D": (conv(padding=SAME, strideH=2, strideW=2), (1, 8, 7, 3), [real(4, 3, 3, 3), real(4)]),
    "CONV_2D dilated": (
        conv(padding=VALID, dilationHFactor=2, dilationWFactor=2),
        (1, 8, 9, 3),
        [real(4, 3, 3, 3), real(4)],
    ),
    "CONV_2D pointwise": (conv(fusedActivationFunction=RELU6), (1, 5, 6, 3), [real(4, 1, 1, 3) * 5, real(4)]),
    "CONV_2D strided pointwise": (conv(strideH=2, strideW=2), (1, 5, 6, 3), [real(4, 1, 1, 3), real(4)]),
    "DEPTHWISE_CONV_2D": (
        conv("DepthwiseConv2DOptions", depthMultiplier=1, padding=SAME, strideH=2, strideW=2),
        (1, 8, 7, 3),
        [real(1, 3, 3, 3), real(3)],
    ),
    "DEPTHWISE_CONV_2D multiplied": (
        conv("DepthwiseConv2DOptions", depthMultiplier=2, padding=VALID),
        (1, 8, 7, 3),
        [real(1, 3, 3, 6), real(6)],
    ),
    "DIV": (options("DivOptions"), (1, 5, 6, 3), [np.abs(real(3)) + 1]),
    "FULLY_CONNECTED": (options("FullyConnectedOptions"), (1, 12), [real(5, 12), real(5)]),
    "HARD_SWISH": (None, (1, 4, 4, 3), []),
    "LEAKY_RELU": (options("LeakyReluOptions", alpha=0.2), (1, 4, 4, 3), []),
    "LOGISTIC": (None, (1, 4, 4, 3), []),
    "MAXIMUM": (options("MaximumMinimumOptions"), (1, 4, 4, 3), [real(3)]),
    "MAX_POOL_2D": (pool(filterHeight=3, filterWidth=3, strideH=2, strideW=2, padding=SAME), (1, 7, 8, 3), []),
    "MEAN": (KEEP, (1, 5, 6, 3), [whole(1, 2)]),
    "MINIMUM": (options("MaximumMinimumOptions"), (1, 4, 4, 3), [real(3)]),
    "MUL": (options("MulOptions"), (1, 5, 6, 3), [real(1, 1, 1, 3)]),
    "PAD": (options("PadOptions"), (1, 5, 6, 3), [np.asarray([[0, 0], [0, 1], [2, 1], [0, 0]], np.int32)]),
    "PADV2": (
        options("PadV2Options"),
        (1, 5, 6, 3),
        [np.asarray([[0, 0], [1, 1], [0, 2], [0, 0]], np.int32), np.asarray([-3.5], np.float32)],
    ),
    "RELU": (None, (1, 4, 4, 3), []),
    "RELU6": (None, (1, 4, 4, 3), []),
    "RELU_0_TO_1": (None, (1, 4, 4, 3), []),
    "RESHAPE": (options("ReshapeOptions"), (1, 2, 3, 4), [whole(1, 24)]),
    "SOFTMAX": (options("SoftmaxOptions", beta=1.0), (1, 12), []),
    "SQUEEZE": (options("SqueezeOptions", squeezeDims=[1, 2]), (1, 1, 1, 7), []),
    "SUB": (options("SubOptions"), (1, 5, 6, 3), [real(3)]),
    "TANH": (None, (1, 4, 4, 3), []),
}


def test_every_operator_has_a_case():
    assert {case.split()[0] for case in CASES} == set(OPERATORS)


@pytest.mark.parametrize("case", CASES)
def test_an_operator_computes_what_litert_computes(case):
    op_options, shape, constants = CASES[case]
    model = one_operator(case.split()[0], op_options, shape, constants)
    interpreter = Interpreter(
        model_content=model, experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    )
    interpreter.allocate_tensors()
    x = np.random.default_rng(9).normal(0.0, 3.0, shape).astype(np.float32)
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], x)
    interpreter.invoke()
    expected = interpreter.get_tensor(interpreter.get_output_details()[0]["index"])
    with torch.inference_mode():
        twice = Twin(model)(torch.from_numpy(np.concatenate([x, x[:, ::-1]])))["y"]
    np.testing.assert_allclose(twice[:1].numpy(), expected, atol=ATOL, rtol=1e-5)


def test_what_follows_an_unknown_operator_is_left_out():
    model = one_operator("COS", None, (1, 4), [])
    twin = Twin(model)
    assert [node.operator for node in twin.unknown] == ["COS"]
    assert twin.nodes == []
    assert Graph(model).operators() == ["COS"]
