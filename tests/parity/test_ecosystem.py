"""What edgekit writes opens elsewhere, and gives the same answers there."""

import json
import subprocess
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import onnx
import onnxruntime
import pytest
from support.photos import CLASSES, picture

from edgekit import bundle
from edgekit.card import InputSpec, Quantization
from edgekit.cli import run
from edgekit.errors import EdgekitError, InputError
from edgekit.preprocess import crop_and_resize, normalize, quantization_table, to_int8
from edgekit.quant import dequantize, quantize
from edgekit.runtime import Network
from edgekit_quantize.mediapipe_file import for_mediapipe, linear_codes

ROOT = Path(__file__).parents[2]
IMAGES = 20


@pytest.fixture(scope="module")
def model(converted):
    return bundle.read(converted.model)


@pytest.fixture(scope="module")
def photos_of_input_size(model):
    """Whoever scales them has nothing to do: scaling is each tool's own."""
    rng, side = np.random.default_rng(9), model.card.input.height
    return [picture(CLASSES[index % len(CLASSES)], rng, side) for index in range(IMAGES)]


@pytest.fixture(scope="module")
def codes(model, photos_of_input_size):
    """Ours: (N, classes) int8."""
    network, table = Network(model.data, 1), quantization_table(model.card.input)
    prepared = [crop_and_resize(photo, model.card.input) for photo in photos_of_input_size]
    return np.stack([network.run(to_int8(image, table)) for image in prepared])


def test_tensorflows_own_interpreter_gives_the_same_codes(model, photos_of_input_size, codes):
    """Exact, because TensorFlow 2.19 has XNNPACK too."""
    import tensorflow as tf

    interpreter = tf.lite.Interpreter(model_content=model.data, num_threads=1)
    interpreter.allocate_tensors()
    before, after = interpreter.get_input_details()[0]["index"], interpreter.get_output_details()[0]["index"]
    table = quantization_table(model.card.input)
    for photo, expected in zip(photos_of_input_size, codes, strict=True):
        interpreter.set_tensor(before, to_int8(crop_and_resize(photo, model.card.input), table)[None])
        interpreter.invoke()
        assert np.array_equal(interpreter.get_tensor(after)[0], expected)


def test_the_onnx_file_opens_in_onnx_runtime_and_in_opencv(converted, model, photos_of_input_size):
    onnx.checker.check_model(onnx.load(converted.onnx), full_check=True)
    session = onnxruntime.InferenceSession(str(converted.onnx))
    opencv = cv2.dnn.readNetFromONNX(str(converted.onnx))
    for photo in photos_of_input_size:
        image = normalize(photo, model.card.input).transpose(2, 0, 1)[None]
        expected = session.run(None, {session.get_inputs()[0].name: image})[0]
        opencv.setInput(image)
        np.testing.assert_allclose(opencv.forward(), expected, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(
    ("mean", "std", "scale", "zero_point"),
    [
        ((0.5,) * 3, (0.5,) * 3, 1 / 127.5, 0),
        ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225), 0.0186584, -14),
        ((0.0,) * 3, (1.0,) * 3, 1 / 255, -128),
    ],
)
def test_the_linear_function_gives_every_code(mean, std, scale, zero_point):
    spec = InputSpec(8, 8, mean, std, quantization=Quantization(scale, zero_point))
    gain, offset = linear_codes(spec)
    pixels = np.arange(256, dtype=np.float32)[:, None]
    found = quantize((pixels * gain + offset).astype(np.float64), scale, zero_point)
    assert np.array_equal(found, quantization_table(spec))


def test_a_table_that_is_no_line_is_refused(monkeypatch):
    spec = InputSpec(8, 8, quantization=Quantization(1 / 127.5, 0))
    bent = quantization_table(spec).copy()
    bent[100] += 3
    monkeypatch.setattr("edgekit_quantize.mediapipe_file.quantization_table", lambda _spec: bent)
    with pytest.raises(EdgekitError, match="linear function"):
        linear_codes(spec)


def test_the_file_for_mediapipe_has_the_networks_very_answers(model, photos_of_input_size, codes):
    """Under LiteRT: float pixels in, the softmax of the int8 file's logits out."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_content=for_mediapipe(model), num_threads=1)
    interpreter.allocate_tensors()
    before, after = interpreter.get_input_details()[0], interpreter.get_output_details()[0]
    assert before["dtype"] == after["dtype"] == np.float32
    found = model.card.output.quantization
    for photo, expected in zip(photos_of_input_size, codes, strict=True):
        interpreter.set_tensor(before["index"], photo[None].astype(np.float32))
        interpreter.invoke()
        logits = dequantize(expected, found.scale, found.zero_point).astype(np.float64)
        exponents = np.exp(logits - logits.max())
        np.testing.assert_allclose(interpreter.get_tensor(after["index"])[0], exponents / exponents.sum(), atol=2e-3)


def test_a_float_model_has_no_such_file(model):
    with pytest.raises(InputError, match="must be made from an int8 model"):
        for_mediapipe(replace(model, card=replace(model.card, input=replace(model.card.input, quantization=None))))


TASK = """
import json, sys
import mediapipe as mp
from mediapipe.tasks import python as tasks
from mediapipe.tasks.python import vision

options = vision.ImageClassifierOptions(base_options=tasks.BaseOptions(model_asset_path=sys.argv[1]), max_results=1)
with vision.ImageClassifier.create_from_options(options) as classifier:
    found = [classifier.classify(mp.Image.create_from_file(path)) for path in sys.argv[2:]]
print(json.dumps([answer.classifications[0].categories[0].category_name for answer in found]))
"""


def test_mediapipe_tasks_gives_the_same_labels(tmp_path, photos, checkpoint_file, model, photos_of_input_size, codes):
    """Labels and normalization from the metadata, as `edgekit convert --mediapipe` writes it."""
    python = ROOT / ".venv-mediapipe" / "bin" / "python"
    if not python.exists():
        pytest.fail(".venv-mediapipe must be there, got nothing. Run: make setup")
    out, task = tmp_path / "tiny.tflite", tmp_path / "task.tflite"
    words = ["convert", str(checkpoint_file), "--calibration", str(photos), "--out", str(out)]
    assert run([*words, "--mediapipe", str(task)]) == 0
    assert out.read_bytes() == model.data
    paths = []
    for number, photo in enumerate(photos_of_input_size):
        paths.append(tmp_path / f"{number:02}.png")
        cv2.imwrite(str(paths[-1]), cv2.cvtColor(photo, cv2.COLOR_RGB2BGR))
    done = subprocess.run([python, "-c", TASK, task, *paths], capture_output=True, text=True, timeout=200, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    labels = json.loads(done.stdout.splitlines()[-1])
    assert labels == [model.card.labels[index] for index in codes.argmax(1)]
    assert len(set(labels)) > 1
