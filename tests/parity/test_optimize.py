"""Equalization and tuning on a real network: the function is kept, the plan reaches the file, the error falls."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from edgekit import bundle
from edgekit.images import Prepared, unlabelled_folder
from edgekit.preprocess import normalize, quantization_table, to_int8
from edgekit.quant import dequantize, sqnr_db
from edgekit.runtime import Network
from edgekit_quantize.equalize import channel_maxima, equalize
from edgekit_quantize.graph import Graph, with_constants
from edgekit_quantize.optimize import Calibration, optimize
from edgekit_quantize.quantizer import quantize
from edgekit_quantize.recipe import Tuning, load_recipe
from edgekit_quantize.tflite import tflite_logits
from edgekit_quantize.tune import Student
from edgekit_quantize.twin import Twin

# The same sums in another order, on logits of the order of one.
FLOAT_ATOL = 2e-4
# XNNPACK rounds some sums on the border between two codes the other way, and later layers carry that on: measured at
# most 3 of 256 codes on the logits. A wrong scale, bias or rounding anywhere gives dozens.
MOST_CODES = 5


@pytest.fixture(scope="module")
def spec(converted):
    return bundle.read(converted.model).card.input


@pytest.fixture(scope="module")
def pixels(photos, spec):
    return np.stack([crop for _, crop in Prepared(unlabelled_folder(photos), spec)])


@pytest.fixture(scope="module")
def calibration(pixels, spec):
    return Calibration(pixels[::2], spec, seed=0, threads=1)


@pytest.fixture(scope="module")
def tuned(float_model, calibration):
    recipe = replace(load_recipe("int8"), tuning=Tuning(steps=60))
    return optimize(float_model, calibration, recipe)


def test_the_twin_is_the_float_network(float_model, pixels, spec):
    images = normalize(pixels[:12], spec)
    twin = Twin(float_model)
    assert not twin.unknown
    with torch.inference_mode():
        logits = twin(torch.from_numpy(images))[twin.graph.output].numpy()
    np.testing.assert_allclose(logits, tflite_logits(float_model, images, 1), atol=FLOAT_ATOL, rtol=0)


@pytest.mark.parametrize("strength", [0.5, 1.0])
def test_equalization_keeps_the_function_and_evens_the_channels(float_model, calibration, strength):
    images = torch.from_numpy(calibration.exact(calibration.pixels))
    twin = Twin(float_model)
    before = channel_maxima(twin, [images])
    model = with_constants(float_model, equalize(twin, before, strength))
    assert model != float_model
    got, expected = (tflite_logits(m, images.numpy()[:12], 1) for m in (model, float_model))
    np.testing.assert_allclose(got, expected, atol=FLOAT_ATOL, rtol=0)
    after = channel_maxima(Twin(model), [images])
    spread = [np.mean([float((m.max() / m.clamp_min(1e-6)).log().mean()) for m in x.values()]) for x in (before, after)]
    assert spread[1] < spread[0]


def test_no_equalization_changes_nothing(float_model, calibration):
    images = torch.from_numpy(calibration.exact(calibration.pixels[:4]))
    twin = Twin(float_model)
    for name, values in equalize(twin, channel_maxima(twin, [images]), 0.0).items():
        assert np.array_equal(values, twin.constants[name].numpy())


def test_the_tuned_weights_reach_the_file_bit_by_bit(tuned):
    float_model, plan = tuned
    file = Graph(quantize(float_model, plan))
    assert len(plan.weight_limits) > 50
    for name, limits in plan.weight_limits.items():
        codes = np.round(plan.constants[name] / (limits / np.float32(127)))
        assert np.array_equal(file.constant(name), codes.astype(np.int8)), name


def test_the_file_computes_what_was_tuned(tuned, pixels, spec, calibration):
    float_model, plan = tuned
    network = Network(quantize(float_model, plan))
    output, table = network.output_quantization, quantization_table(spec)
    codes = np.stack([network.run(to_int8(image, table)) for image in pixels[:24]])
    student = Student(Twin(float_model), plan)
    with torch.inference_mode():
        (simulated,) = student(torch.from_numpy(calibration.rounded(pixels[:24]))).values()
    difference = np.abs(simulated.numpy() / output.scale + output.zero_point - codes)
    assert difference.max() <= MOST_CODES


def test_tuning_lowers_the_error_on_images_it_has_not_seen(float_model, tuned, pixels, spec, calibration):
    untuned = optimize(float_model, calibration, replace(load_recipe("int8"), tuning=None))
    unseen = pixels[1::2]
    reference = tflite_logits(float_model, normalize(unseen, spec), 1)

    def sqnr(model, plan):
        network = Network(quantize(model, plan))
        output, table = network.output_quantization, quantization_table(spec)
        codes = np.stack([network.run(to_int8(image, table)) for image in unseen])
        return sqnr_db(reference, dequantize(codes, output.scale, output.zero_point))

    assert sqnr(*tuned) > sqnr(*untuned) + 1.0
