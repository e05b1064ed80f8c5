"""The formats beside int8 against PyTorch, under both interpreters, and what they are made of."""

from pathlib import Path

import numpy as np
import pytest
import torch
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter

from edgekit import bundle
from edgekit.card import Architecture, InputSpec
from edgekit.cli import run
from edgekit.errors import EdgekitError, InputError
from edgekit.files import sha256
from edgekit.images import Prepared, unlabelled_folder
from edgekit.preprocess import normalize
from edgekit.quant import sqnr_db
from edgekit.runtime import Kernels, Network, check_card
from edgekit.train.checkpoint import load
from edgekit_quantize.calibrate import Extremes, Range, collect
from edgekit_quantize.calibration_images import CalibrationImages
from edgekit_quantize.candidate import Candidate
from edgekit_quantize.formats import format_of, make
from edgekit_quantize.graph import Graph, name_of, pack, unpack
from edgekit_quantize.inference import PixelNetwork
from edgekit_quantize.recipe import Format, load_recipe
from edgekit_quantize.seal import seal
from edgekit_quantize.source import Source
from edgekit_quantize.tflite import convert_onnx, tflite_logits
from edgekit_quantize.verify import verify

OTHERS = [Format.INT16X8, Format.DYNAMIC, Format.FP16, Format.FP32]
# Of the logits against PyTorch, in dB. Measured 31, 31, 81 and 123; a wrong scale, bias or axis gives below 10.
LEAST_SQNR_DB = {Format.INT16X8: 25.0, Format.DYNAMIC: 25.0, Format.FP16: 60.0, Format.FP32: 100.0}
# Images enough for ranges and comparison; the int16 kernels are slow.
IMAGES = 24


@pytest.fixture(scope="module")
def pixels(photos):
    spec = InputSpec(height=32, width=32)
    return np.stack([crop for _, crop in Prepared(unlabelled_folder(photos), spec)])[:: 120 // IMAGES]


@pytest.fixture(scope="module")
def spec(checkpoint_file):
    return load(checkpoint_file).input


@pytest.fixture(scope="module")
def reference(checkpoint_file, spec, pixels):
    images = normalize(pixels, spec).transpose(0, 3, 1, 2)
    with torch.inference_mode():
        return load(checkpoint_file).network()(torch.from_numpy(images)).numpy()


@pytest.fixture(scope="module")
def float_model(converted, pixels):
    return convert_onnx(converted.onnx, pixels)


def ranges_of(float_model, spec, pixels):
    histograms = collect(float_model, normalize(pixels, spec), Extremes)
    return {name: Range(histogram.low, histogram.high) for name, histogram in histograms.items()}


@pytest.fixture(scope="module")
def models(float_model, spec, pixels):
    ranges = ranges_of(float_model, spec, pixels)
    return {kind: make(float_model, kind, ranges) for kind in OTHERS}


def logits_of(model, spec, pixels, kernels=Kernels.XNNPACK):
    network = PixelNetwork(Network(model, 1, kernels), spec)
    return np.stack([network.logits(image) for image in pixels])


@pytest.mark.parametrize("kernels", [Kernels.XNNPACK, Kernels.BUILTIN])
@pytest.mark.parametrize("kind", OTHERS)
def test_the_logits_are_those_of_torch_under_both_interpreters(models, spec, pixels, reference, kind, kernels):
    sqnr = sqnr_db(reference, logits_of(models[kind], spec, pixels, kernels))
    print(kind, kernels, sqnr)
    assert sqnr > LEAST_SQNR_DB[kind]


@pytest.mark.parametrize("kind", OTHERS)
def test_the_ends_are_float32_and_the_format_is_read_off_the_file(models, kind):
    network = Network(models[kind])
    assert (network.input_dtype, network.output_dtype) == (np.float32, np.float32)
    assert (network.input_quantization, network.output_quantization) == (None, None)
    assert format_of(models[kind]) is kind


def test_int8_is_read_off_a_sealed_file(converted):
    assert format_of(converted.model.read_bytes()) is Format.INT8


@pytest.mark.parametrize("kind", [Format.DYNAMIC, Format.FP16, Format.FP32])
def test_xnnpack_takes_the_whole_network(models, kind):
    assert Network(models[kind]).kernels is Kernels.XNNPACK


def test_the_files_are_as_small_as_their_weights(models):
    sizes = {kind: len(model) for kind, model in models.items()}
    graph = Graph(models[Format.FP32])
    weights = sum(graph.constant(layer.weight).size for layer in graph.layers())
    # Two bytes of four are saved by float16, three by int8; a tenth goes to scales and wider biases, or stays float.
    for kind, saved in ((Format.FP16, 2), (Format.INT16X8, 3), (Format.DYNAMIC, 3)):
        share = (sizes[Format.FP32] - sizes[kind]) / (saved * weights)
        assert 0.75 < share < 1.05, kind


def details(model):
    return {d["name"]: d for d in Interpreter(model_content=model).get_tensor_details()}


def test_int16x8_has_int16_activations_int8_weights_and_the_right_biases(models, float_model):
    model, plain = models[Format.INT16X8], Graph(float_model)
    assert Graph(model).float_operators() == {"QUANTIZE", "DEQUANTIZE"}
    found = details(model)
    for layer in Graph(model).layers():
        inputs, weight = found[layer.inputs], found[layer.weight]
        assert (inputs["dtype"], weight["dtype"]) == (np.int16, np.int8)
        weights = weight["quantization_parameters"]
        assert len(weights["scales"]) == weight["shape"][layer.channel_axis]
        assert not weights["zero_points"].any() and inputs["quantization"][1] == 0
        if layer.bias is None:
            continue
        assert found[layer.bias]["dtype"] == np.int64
        expected = plain.constant(layer.bias) / (weights["scales"].astype(np.float64) * inputs["quantization"][0])
        # Scales are float32: seven digits of a code.
        np.testing.assert_allclose(Graph(model).constant(layer.bias), expected, atol=0.51, rtol=1e-6)


def test_fp16_holds_numpys_cast_of_the_weights(models, float_model):
    subgraph, plain = unpack(models[Format.FP16]), Graph(float_model)
    halves = {name_of(t): t for t in subgraph.subgraphs[0].tensors if t.type == schema.TensorType.FLOAT16}
    layers = list(plain.layers())
    assert set(halves) == {name for layer in layers for name in (layer.weight, layer.bias) if name}
    for name, tensor in halves.items():
        stored = np.asarray(subgraph.buffers[tensor.buffer].data, np.uint8).view(np.float16)
        assert np.array_equal(stored, plain.constant(name).astype(np.float16).ravel())


def test_dynamic_keeps_depthwise_in_float_and_the_matrix_at_one_scale(models):
    found = details(models[Format.DYNAMIC])
    for layer in Graph(models[Format.DYNAMIC]).layers():
        weight = found[layer.weight]
        scales = {"CONV_2D": weight["shape"][0], "DEPTHWISE_CONV_2D": 0, "FULLY_CONNECTED": 1}[layer.operator]
        assert weight["dtype"] == (np.int8 if scales else np.float32)
        assert len(weight["quantization_parameters"]["scales"]) == scales


def planted(float_model, weight_factor, bias_value):
    """The network with one channel of its first layer changed."""
    model = unpack(float_model)
    layer = next(Graph(float_model).layers())
    for name, change in ((layer.weight, "weight"), (layer.bias, "bias")):
        tensor = next(t for t in model.subgraphs[0].tensors if name_of(t) == name)
        values = Graph(float_model).constant(name).copy()
        if change == "weight":
            values[2] *= weight_factor
        else:
            values[2] = bias_value
        model.buffers.append(schema.BufferT())
        model.buffers[-1].data = np.frombuffer(values.tobytes(), np.uint8)
        tensor.buffer = len(model.buffers) - 1
    return pack(model)


def test_a_dead_channel_with_a_large_bias_passes_int16x8(float_model, spec, pixels):
    """As batch-norm folding leaves them: at its own scale the bias takes 10**20 codes; the quantizer alone refuses."""
    dead = planted(float_model, 1e-12, 900.0)
    model = make(dead, Format.INT16X8, ranges_of(dead, spec, pixels))
    expected = tflite_logits(dead, normalize(pixels, spec), 1)
    assert sqnr_db(expected, logits_of(model, spec, pixels)) > LEAST_SQNR_DB[Format.INT16X8]


def test_a_weight_beyond_float16_is_refused(float_model):
    with pytest.raises(InputError, match=r"±65504, got 1e\+05.*--recipe fp32"):
        make(planted(float_model, 1.0, 1e5), Format.FP16, {})


def with_hard_swish(float_model):
    """The network with an operator behind the logits that has no int16 form."""
    model = unpack(float_model)
    subgraph, code, operator, logits = model.subgraphs[0], schema.OperatorCodeT(), schema.OperatorT(), schema.TensorT()
    code.builtinCode = code.deprecatedBuiltinCode = schema.BuiltinOperator.HARD_SWISH
    code.version = 1
    model.operatorCodes.append(code)
    last = subgraph.tensors[subgraph.outputs[0]]
    logits.name, logits.shape, logits.type, logits.buffer = b"swished", last.shape, last.type, 0
    subgraph.tensors.append(logits)
    operator.opcodeIndex, operator.inputs = len(model.operatorCodes) - 1, [subgraph.outputs[0]]
    operator.outputs = subgraph.outputs = [len(subgraph.tensors) - 1]
    operator.builtinOptionsType, operator.builtinOptions = (
        schema.BuiltinOptions.HardSwishOptions,
        schema.HardSwishOptionsT(),
    )
    subgraph.operators.append(operator)
    return pack(model)


def test_an_operator_without_an_int16_form_is_named(float_model, spec, pixels):
    swished = with_hard_swish(float_model)
    with pytest.raises(InputError, match="int16 form, got HARD_SWISH"):
        make(swished, Format.INT16X8, ranges_of(swished, spec, pixels))


def test_making_is_repeatable(float_model, spec, pixels, models):
    ranges = ranges_of(float_model, spec, pixels)
    assert all(make(float_model, kind, ranges) == model for kind, model in models.items())


def test_verification_refuses_another_format_or_other_ends(models, converted, spec, pixels, reference):
    sealed = bundle.read(converted.model)
    with pytest.raises(EdgekitError, match="must hold fp32, got fp16"):
        verify(models[Format.FP16], Format.FP32, spec, pixels, reference, 1)
    with pytest.raises(EdgekitError, match="must have int8 input"):
        verify(models[Format.FP16], Format.FP16, sealed.card.input, pixels, reference, 1)
    with pytest.raises(EdgekitError, match="must have float32 input"):
        verify(sealed.data, Format.INT8, spec, pixels, reference, 1)


@pytest.fixture(scope="module")
def sealed_files(tmp_path_factory, models, spec, pixels, reference, converted, checkpoint_file) -> dict[Format, Path]:
    folder = tmp_path_factory.mktemp("formats")
    labels = load(checkpoint_file).labels
    source = Source(converted.onnx, None, Architecture("mobilenet_v2", 0.25), spec, labels, sha256(checkpoint_file))
    images = CalibrationImages(pixels, np.full(len(pixels), -1), pixels, (pixels[0],), (), len(pixels), "")
    files = {}
    for kind, model in models.items():
        check = verify(model, kind, spec, pixels, reference, 1)
        assert check.sqnr_db > LEAST_SQNR_DB[kind]
        files[kind] = folder / f"{kind}.tflite"
        candidate = Candidate(load_recipe(kind), model, check, 0.0)
        files[kind].write_bytes(
            seal(source, images, candidate, check.measurements(), images.originals, name="tiny", seed=0)
        )
    return files


@pytest.mark.parametrize("kind", OTHERS)
def test_the_sealed_file_describes_itself(sealed_files, kind):
    sealed = bundle.read(sealed_files[kind])
    card = sealed.card
    assert (card.input.quantization, card.output.quantization, card.golden, card.builtin_runtime) == (
        None,
        None,
        (),
        "",
    )
    assert card.provenance.recipe == kind
    assert f"classes, {load_recipe(kind).description}." in sealed.data.decode("latin-1")
    assert [m.name for m in card.measurements] == [
        f"{what}, {kind} against float TFLite" for what in ("logits SQNR", "same top-1")
    ]
    network = Network(sealed.data)
    check_card(network, card)
    signature = Interpreter(model_content=sealed.data).get_signature_list()["serving_default"]
    assert signature == {"inputs": ["image"], "outputs": ["logits"]}
    assert format_of(sealed.data) is kind


@pytest.mark.parametrize("command", ["camera", "bench", "doctor"])
def test_what_runs_on_the_device_refuses_it_in_one_line(sealed_files, photos, capsys, command):
    more = ["--source", str(photos), "--headless"] if command == "camera" else []
    assert run([command, str(sealed_files[Format.FP16]), *more]) == 2
    told = capsys.readouterr()
    lines = [line for line in (told.err + told.out).splitlines() if line.strip()]
    assert len(lines) == 1, lines
    assert "must be int8 from input to output, got float32" in lines[0] and "--recipe int8" in lines[0]


def test_the_report_takes_it_and_calls_it_by_its_name(sealed_files, checkpoint_file, photos, tmp_path, capsys):
    out = tmp_path / "r.html"
    arguments = ["report", sealed_files[Format.DYNAMIC], "--reference", checkpoint_file, "--data", photos, "--out", out]
    assert run([str(argument) for argument in arguments]) == 0
    assert "dynamic loses" in capsys.readouterr().out or "dynamic gains" in out.read_text("utf-8")
    assert "accuracy of dynamic against float" in out.read_text("utf-8")
