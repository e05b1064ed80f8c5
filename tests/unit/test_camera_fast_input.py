"""Camera frames into the input tensor: the fast ways give the plain definition's codes, bit for bit."""

import numpy as np
import pytest
from support import tiny_model

from edgekit.errors import InputError
from edgekit.preprocess import crop_and_resize, quantization_table, to_int8
from edgekit_deploy.fast_input import IDENTITY, FastInput, line_of

SIZE = (48, 40)


def plain(frame, spec):
    rgb = np.ascontiguousarray(frame[:, :, ::-1])
    return to_int8(crop_and_resize(rgb, spec), quantization_table(spec))


def written(frame, spec, fast=None):
    tensor = np.zeros((*SIZE, 3), np.int8)
    (fast or FastInput(spec)).write(frame, tensor)
    return tensor


def gains(spec):
    return [1.0 / (255.0 * std * spec.quantization.scale) for std in spec.std]


@pytest.mark.parametrize("size", [(480, 640), (480, 400), (97, 1013), (31, 33), (1, 1), (1, 300), (300, 1)])
@pytest.mark.parametrize("seed", range(6))
def test_any_normalization_any_size(seed, size):
    random = np.random.default_rng(seed)
    mean, std = (tuple(random.uniform(low, high, 3).tolist()) for low, high in ((0.0, 0.9), (0.05, 1.0)))
    spec = tiny_model.input_spec(*SIZE, mean, std, float(random.uniform(0.3, 1.0)))
    frame = tiny_model.noise(seed, *size)
    np.testing.assert_array_equal(written(frame, spec), plain(frame, spec))


@pytest.mark.parametrize("seed", range(100))
def test_a_line_gives_the_whole_table(seed):
    random = np.random.default_rng(seed)
    mean, std = (tuple(random.uniform(low, high, 3).tolist()) for low, high in ((0.0, 0.9), (0.05, 1.0)))
    spec = tiny_model.input_spec(*SIZE, mean, std)
    table = quantization_table(spec)
    for channel, gain in enumerate(gains(spec)):
        line = line_of(table[:, channel], gain)
        if line is not None:
            # Half of what the margin promises; float32 on values up to 255 errs by less than a tenth of it.
            for error in (-2e-4, 2e-4):
                codes = np.clip(np.rint(line.gain * np.arange(256) + line.offset + error), 0, 255) - 128
                np.testing.assert_array_equal(codes, table[:, channel])


def test_the_usual_normalizations_have_lines():
    imagenet = tiny_model.input_spec(*SIZE, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    table = quantization_table(imagenet)
    assert all(line_of(table[:, channel], gain) is not None for channel, gain in enumerate(gains(imagenet)))
    half = tiny_model.input_spec(*SIZE, (0.5,) * 3, (0.5,) * 3)
    assert line_of(quantization_table(half)[:, 0], gains(half)[0]) == IDENTITY


def test_without_a_line_the_table_is_looked_up():
    # One code off the line: no line gives this table.
    spec = tiny_model.input_spec(*SIZE, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    bent = quantization_table(spec)[:, 1].copy()
    bent[100] += 3
    assert line_of(bent, gains(spec)[1]) is None
    fast = FastInput(spec)
    fast._lines = []
    frame = tiny_model.noise(3, 200, 300)
    np.testing.assert_array_equal(written(frame, spec, fast), plain(frame, spec))


def test_one_grey_table_is_a_constant():
    # Every value clipped to the same code: nothing to draw a line through, and still right.
    codes = np.full(256, 127, np.int8)
    assert line_of(codes, 1.0) is None


def test_frames_of_changing_size_and_views():
    spec = tiny_model.input_spec(*SIZE)
    fast = FastInput(spec)
    for seed, size in enumerate([(480, 640), (100, 90), (480, 640), (45, 45)]):
        frame = tiny_model.noise(seed, *size)
        np.testing.assert_array_equal(written(frame, spec, fast), plain(frame, spec))
        view = frame[1:-1, 2:-3]
        np.testing.assert_array_equal(written(view, spec, fast), plain(np.ascontiguousarray(view), spec))


@pytest.mark.parametrize("bad", [np.zeros((48, 40, 3), np.float32), np.zeros((48, 40), np.uint8)])
def test_a_bad_frame_after_a_good_one_is_refused(bad):
    spec = tiny_model.input_spec(*SIZE)
    fast = FastInput(spec)
    written(tiny_model.noise(0, 48, 40), spec, fast)
    with pytest.raises(InputError, match="uint8"):
        written(bad, spec, fast)
