"""Preprocessing: bit-equal to slow numpy references, and to pixel − 128 where that is promised."""

import os
import struct
import subprocess
import sys
import zlib

import cv2
import numpy as np
import pytest
from PIL import Image
from support import tiny_model

from edgekit.card import InputSpec, Quantization
from edgekit.errors import InputError
from edgekit.preprocess import crop_and_resize, crop_box, normalize, quantization_table, read_image, to_int8


def slow_average(image: np.ndarray, factor: int) -> np.ndarray:
    """Mean over factor×factor pixels. OpenCV rounds halves up for 2×2, to even (in float32) for the rest."""
    height, width = image.shape[0] // factor, image.shape[1] // factor
    result = np.empty((height, width, 3), np.uint8)
    for y in range(height):
        for x in range(width):
            block = image[y * factor : (y + 1) * factor, x * factor : (x + 1) * factor].reshape(-1, 3)
            total = block.astype(np.int64).sum(axis=0)
            if factor == 2:
                result[y, x] = (total + 2) >> 2
            else:
                result[y, x] = np.rint(total.astype(np.float32) * np.float32(1.0 / factor**2))
    return result


@pytest.mark.parametrize("factor", [1, 2, 3, 4, 5, 6, 8])
def test_integer_factors_are_the_plain_mean(factor):
    image = tiny_model.noise(factor, 16 * factor, 24 * factor)
    got = crop_and_resize(image, InputSpec(16, 24))
    np.testing.assert_array_equal(got, slow_average(image, factor))


@pytest.mark.parametrize("factor", [2, 3, 4])
def test_centre_is_cut_out_first(factor):
    image = tiny_model.noise(9, 16 * factor, 40 * factor)
    box = np.ascontiguousarray(image[:, 12 * factor : 28 * factor])
    np.testing.assert_array_equal(crop_and_resize(image, InputSpec(16, 16)), slow_average(box, factor))


def slow_linear(image: np.ndarray, height: int, width: int) -> np.ndarray:
    """Bilinear interpolation, half-pixel centres, in float64."""
    rows = np.clip((np.arange(height) + 0.5) * image.shape[0] / height - 0.5, 0, image.shape[0] - 1)
    columns = np.clip((np.arange(width) + 0.5) * image.shape[1] / width - 0.5, 0, image.shape[1] - 1)
    top, left = np.floor(rows).astype(int), np.floor(columns).astype(int)
    bottom, right = np.minimum(top + 1, image.shape[0] - 1), np.minimum(left + 1, image.shape[1] - 1)
    down, across = (rows - top)[:, None, None], (columns - left)[None, :, None]
    real = image.astype(np.float64)
    upper = real[top][:, left] * (1 - across) + real[top][:, right] * across
    lower = real[bottom][:, left] * (1 - across) + real[bottom][:, right] * across
    return upper * (1 - down) + lower * down


@pytest.mark.parametrize(("height", "width"), [(30, 30), (33, 47), (17, 19), (7, 5), (1, 1), (250, 130)])
def test_other_factors_are_bilinear(height, width):
    # Fixed point has 8 fractional bits per axis: never more than one level from the real value.
    tolerance = 1.0
    spec = InputSpec(24, 24)
    image = tiny_model.noise(3, height, width)
    top, left, box_height, box_width, factor = crop_box(height, width, spec)
    box = np.ascontiguousarray(image[top : top + box_height, left : left + box_width])
    expected = slow_linear(slow_average(box, factor) if factor > 1 else box, 24, 24)
    assert np.abs(crop_and_resize(image, spec) - expected).max() <= tolerance


def test_box_stays_inside_for_every_size():
    rng = np.random.default_rng(5)
    for _ in range(2000):
        height, width = (int(n) for n in rng.integers(1, 700, 2))
        spec = InputSpec(int(rng.integers(1, 260)), int(rng.integers(1, 260)), crop_fraction=float(rng.uniform(0.1, 1)))
        top, left, box_height, box_width, factor = crop_box(height, width, spec)
        assert factor >= 1
        assert top >= 0 and left >= 0 and top + box_height <= height and left + box_width <= width
        assert box_height >= 1 and box_width >= 1
        assert box_height % factor == 0 and box_width % factor == 0


@pytest.mark.parametrize("size", [(5, 300), (300, 5), (1, 1), (2, 1), (31, 33), (480, 640), (1081, 1919)])
def test_any_size_works(size):
    assert crop_and_resize(tiny_model.noise(4, *size), InputSpec(32, 32)).shape == (32, 32, 3)


def test_table_of_mid_grey_models_is_pixel_minus_128():
    spec = InputSpec(8, 8, quantization=Quantization(1.0 / 127.5, -1))
    expected = np.arange(256, dtype=np.int16) - 128
    for scale in (1.0 / 127.5, float(np.float32(1.0 / 127.5)), 0.007843137718737125):
        table = quantization_table(spec, Quantization(scale, -1))
        assert table.dtype == np.int8
        for channel in range(3):
            np.testing.assert_array_equal(table[:, channel], expected)
    pixels = tiny_model.noise(0, 8, 8)
    np.testing.assert_array_equal(to_int8(pixels, quantization_table(spec)), (pixels.astype(np.int16) - 128))


def test_table_is_normalize_then_quantize():
    spec = tiny_model.input_spec(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
    pixels = np.repeat(np.arange(256, dtype=np.uint8)[:, None], 3, axis=1)[None]
    real = normalize(pixels, spec)
    quantization = spec.quantization
    codes = to_int8(pixels, quantization_table(spec))
    # Normalization is float32, the table float64: they differ where a value lies half-way between codes.
    again = np.clip(np.round(real / quantization.scale) + quantization.zero_point, -128, 127)
    assert np.abs(codes - again).max() <= 1
    assert (codes == again).mean() > 0.99


def test_float_model_has_no_table():
    with pytest.raises(InputError, match="int8"):
        quantization_table(InputSpec(8, 8))


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((4, 4), np.uint8),
        np.zeros((4, 4, 1), np.uint8),
        np.zeros((4, 4, 4), np.uint8),
        np.zeros((0, 4, 3), np.uint8),
        np.zeros((4, 4, 3), np.float32),
    ],
    ids=["grey", "one channel", "alpha", "empty", "float"],
)
def test_other_arrays_are_refused(image):
    with pytest.raises(InputError, match="uint8"):
        crop_and_resize(image, InputSpec(8, 8))


def test_read_image_gives_rgb_and_refuses_rubbish(tmp_path):
    picture = tmp_path / "red.png"
    cv2.imwrite(str(picture), np.full((4, 6, 3), (0, 0, 255), np.uint8))
    assert read_image(picture)[0, 0].tolist() == [255, 0, 0]
    cv2.imwrite(str(picture), np.full((4, 6), 7, np.uint8))
    assert read_image(picture).shape == (4, 6, 3)
    for content in (b"", b"no image"):
        picture.write_bytes(content)
        with pytest.raises(InputError, match="image"):
            read_image(picture)
    with pytest.raises(InputError):
        read_image(tmp_path / "nothing.png")


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def test_a_picture_that_would_fill_the_memory_is_refused_by_its_header(tmp_path):
    """A hundred million pixels in a hundred bytes. In a process of its own: OpenCV asks for the limit when it loads."""
    header = struct.pack(">IIBBBBB", 10_000, 10_000, 8, 2, 0, 0, 0)
    picture = tmp_path / "vast.png"
    picture.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b"") + chunk(b"IEND", b""))
    code = "import sys; from edgekit.preprocess import read_image; read_image(sys.argv[1])"
    environment = {name: value for name, value in os.environ.items() if name != "OPENCV_IO_MAX_IMAGE_PIXELS"}
    done = subprocess.run([sys.executable, "-c", code, str(picture)], capture_output=True, text=True, env=environment)
    assert "vast.png must have at most 89478485 pixels, got more. Shrink it, or set OPENCV_IO" in done.stderr


def test_whatever_the_format_it_is_the_same_colour(tmp_path):
    """Pillow writes what OpenCV has to understand: red at the left, blue at the right."""
    photo = Image.new("RGB", (40, 30), (220, 20, 20))
    photo.paste((20, 20, 220), (20, 0, 40, 30))
    exif = photo.getexif()
    exif[0x112] = 6  # to be turned by 90 degrees clockwise
    photo.convert("CMYK").save(tmp_path / "cmyk.jpg", quality=95)
    photo.save(tmp_path / "turned.jpg", quality=95, exif=exif)
    photo.convert("RGBA").save(tmp_path / "alpha.png")
    photo.convert("P", palette=Image.Palette.ADAPTIVE).save(tmp_path / "palette.png")
    photo.save(tmp_path / "plain.webp", quality=95)
    cv2.imwrite(str(tmp_path / "deep.png"), np.asarray(photo, np.uint16)[:, :, ::-1] * 257)
    for path in sorted(tmp_path.iterdir()):
        found = read_image(path)
        found = np.rot90(found) if path.name == "turned.jpg" else found
        assert found.shape == (30, 40, 3), path
        for column, expected in ((4, (220, 20, 20)), (36, (20, 20, 220))):
            np.testing.assert_allclose(found[15, column], expected, atol=6, err_msg=path.name)
    Image.new("L", (7, 5), 77).save(tmp_path / "grey.png")
    assert np.unique(read_image(tmp_path / "grey.png")).tolist() == [77]
    Image.new("RGB", (1, 1), (9, 8, 7)).save(tmp_path / "one.png")
    assert crop_and_resize(read_image(tmp_path / "one.png"), InputSpec(32, 32)).reshape(-1, 3).mean(0).tolist() == [
        9,
        8,
        7,
    ]
