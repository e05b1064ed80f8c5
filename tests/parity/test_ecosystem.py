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
from scipy.special import softmax
from support.photos import CLASSES, picture, tinted

from edgekit import bundle
from edgekit.card import InputSpec, Quantization
from edgekit.cli import run
from edgekit.errors import EdgekitError, InputError
from edgekit.images import labelled_folder
from edgekit.preprocess import crop_and_resize, normalize, quantization_table, to_int8
from edgekit.quant import dequantize
from edgekit.runtime import Network
from edgekit.train.loop import train
from edgekit.train.options import Options
from edgekit_quantize.mediapipe_file import for_mediapipe, linear_codes
from edgekit_quantize.quantizer import input_quantization

ROOT = Path(__file__).parents[2]
IMAGES, SIDE = 20, 32


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
    return codes_of(model, photos_of_input_size)


def codes_of(model, photos):
    network, table = Network(model.data, 1), quantization_table(model.card.input)
    return np.stack([network.run(to_int8(crop_and_resize(photo, model.card.input), table)) for photo in photos])


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
        ((0.5,) * 3, (0.5,) * 3, 1 / 127.5, -1),
        ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225), 0.0186584, -14),
        ((0.0,) * 3, (1.0,) * 3, 1 / 255, -128),
    ],
)
def test_the_linear_function_gives_every_code(mean, std, scale, zero_point):
    spec = InputSpec(8, 8, mean, std, quantization=Quantization(scale, zero_point))
    gain, offset = linear_codes(spec)
    # In the arithmetic of the kernels, both with and without a fused multiplication.
    pixels = np.arange(256, dtype=np.float32)[:, None]
    inverse = np.float32(1) / np.float32(scale)
    for real in (pixels * gain + offset, (pixels.astype(np.float64) * gain + offset).astype(np.float32)):
        for codes in (real / np.float32(scale), real * inverse):
            found = np.clip(np.round(codes) + zero_point, -128, 127)
            assert np.array_equal(found, quantization_table(spec))


def test_any_normalization_has_such_a_function():
    """A few hundred that nobody has chosen; raises where there is none."""
    rng = np.random.default_rng(3)
    for _ in range(300):
        mean, std = rng.uniform(0.3, 0.6, 3), rng.uniform(0.15, 0.35, 3)
        plain = InputSpec(8, 8, tuple(mean.tolist()), tuple(std.tolist()))
        linear_codes(replace(plain, quantization=input_quantization(plain)))


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
        probabilities = softmax(dequantize(expected, found.scale, found.zero_point))
        np.testing.assert_allclose(interpreter.get_tensor(after["index"])[0], probabilities, atol=1e-5)


def test_a_float_model_has_no_such_file(model):
    with pytest.raises(InputError, match="must be made from an int8 model"):
        for_mediapipe(replace(model, card=replace(model.card, input=replace(model.card.input, quantization=None))))


TASK = """
import json, sys
import mediapipe as mp
from mediapipe.tasks import python as tasks
from mediapipe.tasks.python import vision

options = vision.ImageClassifierOptions(base_options=tasks.BaseOptions(model_asset_path=sys.argv[1]))
with vision.ImageClassifier.create_from_options(options) as classifier:
    found = [classifier.classify(mp.Image.create_from_file(path)) for path in sys.argv[2:]]
scores = [answer.classifications[0].categories for answer in found]
print(json.dumps([{each.category_name: each.score for each in answer} for answer in scores]))
"""


@pytest.fixture(scope="module")
def trained(tmp_path_factory, photos):
    """Two networks with their files for MediaPipe, sure of classes that have a colour each."""
    folder = tmp_path_factory.mktemp("trained")
    for path in sorted(photos.rglob("*.png")):
        target = folder / "photos" / path.relative_to(photos)
        target.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(target), tinted(cv2.imread(str(path)), CLASSES.index(path.parent.name))[:, :, ::-1])
    photos = folder / "photos"
    # With 12 epochs one seed of five took pictures for another class; with 30 logits are 1.7 apart or more.
    options = Options(width=0.25, size=SIDE, stem_stride=1, epochs=30, batch=10, lr=5e-3, head_lr=5e-3)
    train(options, labelled_folder(photos), out=folder / "m.pt")
    (folder / "names.txt").write_text("".join(f"{name}\n" for name in sorted(CLASSES)))
    onnx_file = ["--onnx", folder / "m.onnx"]
    # The same network as a foreign one, with its own mean and standard deviation for each channel.
    foreign = ["--mean", "0.485,0.456,0.406", "--std", "0.229,0.224,0.225", "--labels", folder / "names.txt"]
    for name, source, more in (("own", "m.pt", onnx_file), ("foreign", "m.onnx", foreign)):
        words = ["convert", folder / source, "--calibration", photos, "--out", folder / f"{name}.tflite", *more]
        words += ["--recipe", "int8-minmax", "--mediapipe", folder / f"{name}.task.tflite"]
        assert run([str(word) for word in words]) == 0
    return folder


def tinted_pictures(seed, size):
    """RGB, of all classes in turn."""
    rng, kinds = np.random.default_rng(seed), [CLASSES[index % len(CLASSES)] for index in range(IMAGES)]
    return [tinted(picture(kind, rng, size), CLASSES.index(kind)) for kind in kinds]


def tasks_scores(folder, task, shown):
    """What MediaPipe Tasks says of RGB pictures: probabilities by label."""
    python, paths = ROOT / ".venv-mediapipe" / "bin" / "python", []
    if not python.exists():
        pytest.fail(".venv-mediapipe must be there, got nothing. Run: make test-debian")
    for number, photo in enumerate(shown):
        paths.append(folder / f"{number:02}.png")
        cv2.imwrite(str(paths[-1]), cv2.cvtColor(photo, cv2.COLOR_RGB2BGR))
    done = subprocess.run([python, "-c", TASK, task, *paths], capture_output=True, text=True, timeout=200, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.debian
@pytest.mark.parametrize("name", ["own", "foreign"])
def test_mediapipe_tasks_gives_the_same_probabilities(tmp_path, trained, name):
    """Labels and normalization from the metadata, as `edgekit convert --mediapipe` writes it."""
    model, shown = bundle.read(trained / f"{name}.tflite"), tinted_pictures(9, SIDE)
    scores = tasks_scores(tmp_path, trained / f"{name}.task.tflite", shown)
    found, labels = model.card.output.quantization, model.card.labels
    for answer, expected in zip(scores, codes_of(model, shown), strict=True):
        assert answer[max(answer, key=answer.get)] == answer[labels[expected.argmax()]]
        probabilities = softmax(dequantize(expected, found.scale, found.zero_point))
        np.testing.assert_allclose([answer[label] for label in labels], probabilities, atol=1e-5)
    assert np.ptp([answer[CLASSES[0]] for answer in scores]) > 0.1


@pytest.mark.debian
def test_mediapipe_tasks_classifies_photos_of_another_size(tmp_path, trained):
    """It scales in its own way, so that probabilities differ a little, but the class is ours on every photo."""
    model, shown = bundle.read(trained / "own.tflite"), tinted_pictures(10, 3 * SIDE)
    scores = tasks_scores(tmp_path, trained / "own.task.tflite", shown)
    ours = [model.card.labels[codes.argmax()] for codes in codes_of(model, shown)]
    assert [max(answer, key=answer.get) for answer in scores] == ours
    assert ours == [CLASSES[index % len(CLASSES)] for index in range(IMAGES)]
