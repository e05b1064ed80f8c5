"""The report's stages on a real conversion: PyTorch, ONNX, float TFLite, int8, each made as `edgekit convert` does."""

import numpy as np
import pytest

from edgekit import bundle
from edgekit.errors import InputError
from edgekit_quantize.report.compare import compare
from edgekit_quantize.report.cost import cost_of
from edgekit_quantize.report.data import open_images
from edgekit_quantize.report.models import OnnxModel, TfliteModel, TorchModel
from edgekit_quantize.report.reference import open_reference

# Float stages compute the same in another order.
FLOAT_DB = 80.0
INT8_DB = 10.0


def _decibels(answers) -> float:
    return 10.0 * np.log10(answers.signal.sum() / answers.noise.sum())


@pytest.fixture(scope="module")
def model(converted):
    return bundle.read(converted.model)


@pytest.fixture(scope="module")
def images(photos, model):
    return open_images(str(photos), model.card.labels)


def test_every_stage_from_the_checkpoint(converted, model, images, tmp_path):
    got = compare(model, open_reference(str(converted.checkpoint)), images, processes=2, cache=tmp_path)
    assert [run.role for run in got.runs] == ["reference", "onnx", "float-tflite", "model", "builtin"]
    assert [run.name for run in got.runs][:4] == ["float", "ONNX", "float TFLite", "int8"]
    for run in got.runs[1:]:
        print(run.name, f"{_decibels(run.answers):.1f} dB")
    assert all(_decibels(run.answers) > FLOAT_DB for run in got.runs[1:3])
    assert all(INT8_DB < _decibels(run.answers) < FLOAT_DB for run in got.runs[3:])
    # Three independent counts: PyTorch's own, one over ONNX, one over the flatbuffer.
    assert len({run.cost.macs for run in got.runs}) == 1
    assert all(run.cost.p50_ms > 0 for run in got.runs)
    assert got.layers is not None
    layers = {layer.operator for layer in got.layers}
    assert layers == {"CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED"}
    assert sum(layer.macs for layer in got.layers) == got.runs[3].cost.macs
    # The tiny network is equalized: without the factors taken out, layers would lie far below zero.
    assert min(layer.sqnr_db for layer in got.layers) > 5.0
    again = compare(model, open_reference(str(converted.checkpoint)), images, processes=1, cache=tmp_path)
    assert [a.sha256 for a in again.runs] == [a.sha256 for a in got.runs]
    for a, b in zip(got.runs, again.runs, strict=True):
        assert all(values.tobytes() == getattr(b.answers, name).tobytes() for name, values in vars(a.answers).items())


def test_an_onnx_file_as_the_reference(converted, model, images):
    few = images.subset(np.arange(0, 120, 10))
    got = compare(model, open_reference(str(converted.onnx)), few, measure_cost=False, builtin=False)
    assert [run.role for run in got.runs] == ["reference", "float-tflite", "model"]
    assert got.runs[0].name == "ONNX"
    assert _decibels(got.runs[1].answers) > FLOAT_DB
    assert got.layers is not None


def test_networks_of_another_kind_are_refused(converted, images, tmp_path):
    import onnx
    from onnx import helper

    node = helper.make_node("GlobalAveragePool", ["image"], ["mean"])
    flat = helper.make_node("Flatten", ["mean"], ["logits"])
    image = helper.make_tensor_value_info("image", onnx.TensorProto.FLOAT, (1, 3, 48, 48))
    logits = helper.make_tensor_value_info("logits", onnx.TensorProto.FLOAT, (1, 3))
    graph = helper.make_graph([node, flat], "other", [image], [logits])
    path = tmp_path / "other.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9), str(path))
    with pytest.raises(InputError, match="input must be the model's, 32×32, got 48×48"):
        compare(bundle.read(converted.model), open_reference(str(path)), images)


def test_a_measuring_process_that_fails_is_one_clear_error(converted, model, tmp_path):
    from edgekit.errors import EdgekitError

    broken = tmp_path / "broken"
    broken.write_bytes(b"no model")
    for kind in (TorchModel, OnnxModel, TfliteModel):
        with pytest.raises(EdgekitError) as caught:
            cost_of(kind(broken, model.card.input))
        assert "\n" not in str(caught.value)
