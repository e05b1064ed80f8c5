"""Each stage of a real conversion against an independent runtime or formula."""

import io
import json
import zipfile

import cv2
import flatbuffers
import numpy as np
import onnxruntime
import pytest
import torch
from ai_edge_litert.interpreter import Interpreter, OpResolverType

from edgekit import bundle
from edgekit.images import Prepared, unlabelled_folder
from edgekit.preprocess import crop_and_resize, normalize, quantization_table, to_int8
from edgekit.quant import dequantize, sqnr_db
from edgekit.runtime import Kernels, Network
from edgekit.train.checkpoint import load
from edgekit_quantize.calibrate import Extremes, Range, collect
from edgekit_quantize.export import export_onnx
from edgekit_quantize.graph import Graph, pack, unpack
from edgekit_quantize.plan import plan_for
from edgekit_quantize.quantizer import input_quantization, quantize
from edgekit_quantize.tflite import convert_onnx

# Float runtimes add in another order: measured 1e-6 on this network, whose logits are of the order of one.
FLOAT_ATOL = 1e-4
# Measured 33 dB; a wrong zero point, range or layout gives below 10 dB.
MIN_SQNR_DB = 25.0
REQUESTABLE = [Kernels.XNNPACK, Kernels.BUILTIN]


@pytest.fixture(scope="module")
def sealed(converted):
    return bundle.read(converted.model)


@pytest.fixture(scope="module")
def pixels(photos, sealed):
    return np.stack([pixels for _, pixels in Prepared(unlabelled_folder(photos), sealed.card.input)])


@pytest.fixture(scope="module")
def reference(converted, sealed, pixels):
    images = normalize(pixels, sealed.card.input).transpose(0, 3, 1, 2)
    with torch.inference_mode():
        return load(converted.checkpoint).network()(torch.from_numpy(images)).numpy()


def int8_logits(sealed, pixels, kernels=Kernels.XNNPACK):
    network = Network(sealed.data, 1, kernels)
    table, output = quantization_table(sealed.card.input), sealed.card.output.quantization
    codes = np.stack([network.run(to_int8(image, table)) for image in pixels])
    return dequantize(codes, output.scale, output.zero_point)


def test_the_kept_onnx_gives_torchs_logits(converted, sealed, pixels, reference):
    session = onnxruntime.InferenceSession(str(converted.onnx), providers=["CPUExecutionProvider"])
    images = normalize(pixels[:8], sealed.card.input).transpose(0, 3, 1, 2)
    logits = np.concatenate([session.run(["logits"], {"image": image[None]})[0] for image in images])
    np.testing.assert_allclose(logits, reference[:8], atol=FLOAT_ATOL, rtol=0)


@pytest.mark.parametrize("kernels", REQUESTABLE)
def test_int8_is_close_to_torch(sealed, pixels, reference, kernels):
    assert sqnr_db(reference, int8_logits(sealed, pixels, kernels)) > MIN_SQNR_DB


def test_it_runs_on_xnnpack(sealed):
    assert Network(sealed.data).kernels is Kernels.XNNPACK
    assert Network(sealed.data, kernels=Kernels.BUILTIN).kernels is Kernels.BUILTIN


def test_the_reference_kernels_agree_with_the_builtin_ones(sealed, pixels):
    """Another implementation of the same arithmetic: TFLite's plain reference kernels."""
    interpreter = Interpreter(model_content=sealed.data, experimental_op_resolver_type=OpResolverType.BUILTIN_REF)
    interpreter.allocate_tensors()
    builtin = Network(sealed.data, kernels=Kernels.BUILTIN)
    table = quantization_table(sealed.card.input)
    worst = 0
    for image in pixels[:10]:
        codes = to_int8(image, table)
        interpreter.set_tensor(interpreter.get_input_details()[0]["index"], codes[None])
        interpreter.invoke()
        plain = interpreter.get_tensor(interpreter.get_output_details()[0]["index"])[0].astype(int)
        worst = max(worst, int(np.abs(plain - builtin.run(codes)).max()))
    assert worst <= sealed.card.builtin_bound


def test_every_tensor_is_an_integer(sealed):
    interpreter = Interpreter(model_content=sealed.data)
    kinds = {np.dtype(detail["dtype"]).name for detail in interpreter.get_tensor_details()}
    assert kinds <= {"int8", "int32"}


def test_weights_are_per_channel_and_symmetric(sealed):
    interpreter = Interpreter(model_content=sealed.data)
    scales = [d["quantization_parameters"] for d in interpreter.get_tensor_details() if len(d["shape"]) == 4]
    per_channel = [p for p in scales if len(p["scales"]) > 1]
    assert len(per_channel) > 50
    assert all((p["zero_points"] == 0).all() for p in per_channel)


def test_equal_vectors_are_written_once(sealed, pixels):
    model, builder = unpack(sealed.data), flatbuffers.Builder(1 << 20)
    builder.Finish(model.Pack(builder), b"TFL3")
    plain, shared = bytes(builder.Output()), pack(model)
    points = [t.quantization.zeroPoint for t in model.subgraphs[0].tensors if t.quantization]
    lengths = [len(zeros) for zeros in points if zeros is not None and not np.any(zeros)]
    assert sum(lengths) > 2 * sum(set(lengths))
    # 8 bytes each; lengths and padding of the vectors come on top.
    assert len(plain) - len(shared) >= 8 * (sum(lengths) - sum(set(lengths)))
    # Who reads it sees no difference: every tensor as before, and the same codes.
    both = [Interpreter(model_content=flatbuffer, num_threads=1) for flatbuffer in (plain, shared)]
    first, second = (interpreter.get_tensor_details() for interpreter in both)
    for before, after in zip(first, second, strict=True):
        np.testing.assert_equal(after, before)
    network, again = Network(plain, 1), Network(shared, 1)
    table = quantization_table(sealed.card.input)
    for image in pixels[:8]:
        codes = to_int8(image, table)
        np.testing.assert_array_equal(again.run(codes).copy(), network.run(codes))


def test_a_bias_of_zeros_is_kept(float_model, sealed):
    """tflite-runtime 2.14.0 crashes on arm64 without one (tests/e2e/test_virtual_pi.py runs this very model there)."""
    for flatbuffer in (float_model, sealed.data):
        nodes = [node for node in Graph(flatbuffer).nodes() if node.operator == "FULLY_CONNECTED"]
        assert len(nodes) == 1 and nodes[0].inputs[2] is not None
    graph = Graph(float_model)
    bias = next(node.inputs[2] for node in graph.nodes() if node.operator == "FULLY_CONNECTED")
    assert not graph.constant(bias).any()


def test_injected_ranges_reach_the_file_exactly(float_model, sealed, pixels):
    graph = Graph(float_model)
    inputs = (normalize(image, sealed.card.input) for image in pixels[:4])
    names = [name for name in collect(float_model, inputs, Extremes) if name != graph.input]
    ranges = {name: Range(-1.0 - i, 4.1 + i) for i, name in enumerate(names)}
    model = quantize(float_model, plan_for(graph, ranges, input_quantization(sealed.card.input)))
    details = {d["name"]: d for d in Interpreter(model_content=model).get_tensor_details()}
    # Operators that only move or average values share the scale of their input, by TFLite's specification.
    exact = [n for n in names if n in details and "mean" not in n.lower() and "pad" not in n.lower()]
    hits = 0
    for name in exact:
        scale = details[name]["quantization"][0]
        hits += np.isclose(scale, (ranges[name].high - ranges[name].low) / 255.0, rtol=1e-6)
    assert hits >= 0.9 * len(exact) > 40


def test_the_input_code_is_the_pixel_minus_128(sealed):
    table = quantization_table(sealed.card.input)
    assert np.array_equal(table, np.repeat(np.arange(-128, 128, dtype=np.int8)[:, None], 3, axis=1))


def test_the_signature_names_image_and_logits(sealed, pixels):
    interpreter = Interpreter(model_content=sealed.data)
    codes = to_int8(pixels[0], quantization_table(sealed.card.input))
    answer = interpreter.get_signature_runner("serving_default")(image=codes[None])
    assert np.array_equal(answer["logits"][0], Network(sealed.data).run(codes))


@pytest.mark.parametrize("kernels", REQUESTABLE)
def test_golden_samples_are_what_the_model_gives(sealed, kernels):
    assert len(sealed.card.golden) == 4
    network, table = Network(sealed.data, kernels=kernels), quantization_table(sealed.card.input)
    assert network.runtime == sealed.card.builtin_runtime or kernels is Kernels.XNNPACK
    for sample in sealed.card.golden:
        bgr = cv2.imdecode(np.frombuffer(sealed.images[sample.image], np.uint8), cv2.IMREAD_COLOR)
        pixels = crop_and_resize(np.ascontiguousarray(bgr[:, :, ::-1]), sealed.card.input)
        expected = sample.xnnpack if kernels is Kernels.XNNPACK else sample.builtin
        assert network.run(to_int8(pixels, table)).tobytes() == expected


def test_the_tail_is_a_plain_zip_with_card_and_labels(converted):
    with zipfile.ZipFile(io.BytesIO(converted.model.read_bytes())) as archive:
        assert archive.testzip() is None
        assert archive.read("labels.txt").decode().split() == ["blobs", "gradients", "stripes"]
        card = json.loads(archive.read("edgekit.json"))
    assert card["input"]["mean"] == [0.5, 0.5, 0.5]
    assert card["provenance"]["recipe"] == "int8"


def test_dead_channels_do_not_stop_the_quantizer(tmp_path, photos):
    """A channel with no weight and a huge bias, as batch-norm folding leaves it: its bias would overflow int32."""
    torch.manual_seed(0)
    conv = torch.nn.Conv2d(3, 8, 3, stride=2, padding=1)
    with torch.no_grad():
        conv.weight[2] *= 1e-12
        conv.bias[2] = 900.0
    pooling = [torch.nn.ReLU(), torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten(), torch.nn.Linear(8, 4)]
    network = torch.nn.Sequential(conv, *pooling).eval()
    from edgekit.card import InputSpec

    spec = InputSpec(32, 32)
    path = tmp_path / "dead.onnx"
    export_onnx(network, spec, path)
    images = np.stack([crop for _, crop in Prepared(unlabelled_folder(photos), spec)][:20])
    float_model = convert_onnx(path, images)
    inputs = list(normalize(images, spec))
    graph = Graph(float_model)
    histograms = collect(float_model, inputs, Extremes)
    ranges = {n: Range(h.low, max(h.high, 1e-3)) for n, h in histograms.items() if n != graph.input}
    quantization = input_quantization(spec)
    sealed = Network(quantize(float_model, plan_for(graph, ranges, quantization)))
    with torch.inference_mode():
        expected = network(torch.from_numpy(np.stack(inputs).transpose(0, 3, 1, 2))).numpy()
    output = sealed.output_quantization
    codes = np.stack([sealed.run(to_int8(i, quantization_table(spec, quantization))) for i in images])
    assert sqnr_db(expected, dequantize(codes, output.scale, output.zero_point)) > MIN_SQNR_DB
