"""Proofs of an int8 file: faults are planted in a sound file; kernels are compared with the runtimes' own answers."""

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter, OpResolverType
from support import tiny_model

from edgekit.errors import EdgekitError
from edgekit.preprocess import quantization_table, to_int8
from edgekit.runtime import Kernels, Network
from edgekit_quantize import kernel_parity as parity
from edgekit_quantize.graph import Graph, name_of, pack, unpack
from edgekit_quantize.proof import prove, prove_contents

SPEC = tiny_model.input_spec()
CLASSES = 5


def tensor(model, name):
    return next(t for t in model.subgraphs[0].tensors if name_of(t) == name)


def per_channel(model):
    """The tiny model has one scale for its matrix; the same scale for each row computes the same."""
    for name in ("matrix", "offset"):
        quantization = tensor(model, name).quantization
        quantization.scale, quantization.zeroPoint = [quantization.scale[0]] * CLASSES, [0] * CLASSES


def sound(change=lambda model: None, hard_swish=False) -> bytes:
    model = unpack(tiny_model.flatbuffer(SPEC, CLASSES, hard_swish=hard_swish))
    per_channel(model)
    change(model)
    return pack(model)


def put_in(model, builtin, scale=4.0 / 255.0, constants=()):
    """An operator with one input between the convolution and what follows it."""
    graph = model.subgraphs[0]
    code = schema.OperatorCodeT()
    code.builtinCode = code.deprecatedBuiltinCode = builtin
    code.version = 2
    model.operatorCodes.append(code)
    features = graph.operators[0].outputs[0]
    copy = schema.TensorT()
    copy.name, copy.shape, copy.type = b"copy", graph.tensors[features].shape, schema.TensorType.INT8
    copy.quantization = schema.QuantizationParametersT()
    copy.quantization.scale, copy.quantization.zeroPoint = [scale], [0]
    graph.tensors.append(copy)
    operator = schema.OperatorT()
    operator.opcodeIndex, operator.outputs = len(model.operatorCodes) - 1, [len(graph.tensors) - 1]
    operator.inputs = [features]
    for values in constants:
        buffer, constant = schema.BufferT(), schema.TensorT()
        buffer.data = np.frombuffer(np.asarray(values, np.int32).tobytes(), np.uint8)
        model.buffers.append(buffer)
        constant.name, constant.shape, constant.type = b"constant", [len(values)], schema.TensorType.INT32
        constant.buffer = len(model.buffers) - 1
        graph.tensors.append(constant)
        operator.inputs.append(len(graph.tensors) - 1)
    graph.operators[1].inputs = [operator.outputs[0], *graph.operators[1].inputs[1:]]
    graph.operators.insert(1, operator)


def transpose(model):
    put_in(model, schema.BuiltinOperator.TRANSPOSE, constants=([0, 2, 1, 3],))


def requantize(model):
    put_in(model, schema.BuiltinOperator.QUANTIZE, scale=5.0 / 255.0)


@pytest.fixture(scope="module")
def pixels():
    return np.stack([tiny_model.noise(seed, 32, 32) for seed in range(20)])


def test_a_sound_file():
    contents = prove_contents(sound())
    assert (contents.operators, contents.per_channel, contents.requantizations, contents.transposes) == (3, 2, 0, 0)


def set_type(name, kind):
    return lambda model: setattr(tensor(model, name), "type", getattr(schema.TensorType, kind))


def set_quantization(name, **values):
    return lambda model: [setattr(tensor(model, name).quantization, key, value) for key, value in values.items()]


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        (set_type("features", "FLOAT32"), r"CONV_2D \(FLOAT32\), MEAN \(FLOAT32\)"),
        (set_type("pooled", "INT16"), r"FULLY_CONNECTED \(INT16\), MEAN \(INT16\)"),
        (set_type("image", "UINT8"), r"CONV_2D \(UINT8\)"),
        (set_type("logits", "FLOAT32"), r"FULLY_CONNECTED \(FLOAT32\)"),
        (set_type("logits", "INT32"), "Input and output must be int8, got INT32 at logits"),
        (set_quantization("matrix", scale=[0.1], zeroPoint=[0]), "scale per channel, got another for matrix"),
        (set_quantization("kernel", scale=[0.1], zeroPoint=[0]), "got another for kernel"),
        (set_quantization("kernel", zeroPoint=[0] * 7 + [1]), "symmetric .* got another for kernel"),
        (set_quantization("kernel", quantizedDimension=3), "got another for kernel"),
    ],
)
def test_a_planted_fault_is_named(fault, said):
    with pytest.raises(EdgekitError, match=said):
        prove_contents(sound(fault))


@pytest.mark.parametrize(
    ("change", "field", "said"),
    [
        (transpose, "transposes", "1 TRANSPOSE operator left"),
        (requantize, "requantizations", "1 QUANTIZE operator inside"),
    ],
)
def test_what_is_legal_but_costs_is_counted_and_said(change, field, said, pixels):
    proof = prove(sound(change), SPEC, pixels[:4], 1)
    assert getattr(proof.contents, field) == 1
    assert [line for line in proof.warnings() if line.startswith(said)]
    counted = {m.name: m.value for m in proof.measurements()}
    assert sorted((counted["TRANSPOSE"], counted["QUANTIZE between int8 scales"])) == [0.0, 1.0]


def test_a_network_that_xnnpack_takes_in_part(pixels):
    proof = prove(sound(hard_swish=True), SPEC, pixels[:4], 1)
    assert proof.kernels is Kernels.MIXED
    assert [line for line in proof.warnings() if "only a part" in line]
    whole = prove(sound(), SPEC, pixels[:4], 1)
    assert whole.kernels is Kernels.XNNPACK
    assert list(whole.warnings()) == []


def reference_codes(model, codes):
    interpreter = Interpreter(model_content=model, experimental_op_resolver_type=OpResolverType.BUILTIN_REF)
    interpreter.allocate_tensors()
    answers = []
    for image in codes:
        interpreter.set_tensor(interpreter.get_input_details()[0]["index"], image[None])
        interpreter.invoke()
        answers.append(interpreter.get_tensor(interpreter.get_output_details()[0]["index"])[0])
    return np.stack(answers).astype(int)


@pytest.mark.parametrize("threads", [1, 3])
def test_parity_is_the_distance_between_the_runtimes_answers(pixels, threads):
    model = sound(requantize)
    codes = [to_int8(image, quantization_table(SPEC)) for image in pixels]
    exact, builtin = (
        np.stack([Network(model, 1, k).run(c) for c in codes]).astype(int) for k in (Kernels.XNNPACK, Kernels.BUILTIN)
    )
    measured = {p.kernels: p for p in parity.kernel_parity(model, SPEC, pixels, threads)}
    for name, codes_of in (("builtin", builtin), ("reference", reference_codes(model, codes))):
        difference = np.abs(codes_of - exact)
        assert measured[name].largest == difference.max()
        assert measured[name].mean == pytest.approx(difference.mean(), abs=1e-12)
        assert measured[name].other_answer == pytest.approx((codes_of.argmax(1) != exact.argmax(1)).mean())
        assert measured[name].images == len(pixels)
    assert measured["builtin"].runtime == Network(model, 1, Kernels.BUILTIN).runtime


def test_a_planted_difference_is_measured(pixels, monkeypatch):
    """Kernels that add 7 to the first code of every second image, and let class 4 win there."""
    model = sound()
    images = iter(range(len(pixels)))

    def wrong(data):
        network = Network(data)

        def run(image):
            codes = network.run(image)
            if next(images) % 2 == 0:
                codes = codes.astype(int)
                codes[0] += 7
                codes[4] = codes.max() + 1
            return codes

        return run

    exact = np.stack([Network(model).run(to_int8(i, quantization_table(SPEC))) for i in pixels]).astype(int)
    lift = [max(codes[0] + 7, *codes[1:]) + 1 - codes[4] for codes in exact[::2]]
    monkeypatch.setattr(parity, "_builtin", wrong)
    found = parity.kernel_parity(model, SPEC, pixels, 1)[0]
    assert found.largest == max(7, *lift)
    assert found.mean == pytest.approx((7 * len(lift) + sum(lift)) / exact.size)
    assert found.other_answer == (exact[::2].argmax(1) != 4).sum() / len(pixels)


def test_slow_kernels_see_as_many_images_as_their_work_allows(pixels, monkeypatch):
    work = parity.multiply_accumulates(Graph(sound()))
    # 16×16 positions of a 3×3 convolution from 3 to 8 channels; 8 features to 5 classes.
    assert work == 16 * 16 * 3 * 3 * 3 * 8 + 8 * 5
    monkeypatch.setattr(parity, "_BUILTIN_WORK", 11.5 * work)
    monkeypatch.setattr(parity, "_REFERENCE_WORK", 0.1 * work)
    assert [p.images for p in parity.kernel_parity(sound(), SPEC, pixels, 2)] == [11, 4]
