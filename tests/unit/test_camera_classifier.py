"""The fast path is bit-equal to the plain one, on every kind of frame."""

import tracemalloc
import warnings

import numpy as np
import pytest
from support import tiny_model

from edgekit import bundle, quant
from edgekit.errors import InputError
from edgekit.preprocess import crop_and_resize, quantization_table, to_int8
from edgekit.runtime import Kernels, Network
from edgekit_deploy.classifier import Classifier, SlowKernelsWarning

SPECS = {
    "sign flip": tiny_model.input_spec(32, 32),
    "table per channel": tiny_model.input_spec(32, 32, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    "portrait input, crop": tiny_model.input_spec(40, 24, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0), 0.875),
}
SIZES = [
    (480, 640),
    (640, 480),
    (31, 33),
    (33, 31),
    (1, 1),
    (2, 3),
    (1, 200),
    (200, 1),
    (64, 64),
    (97, 1013),
    (721, 405),
]


@pytest.mark.parametrize("name", SPECS)
@pytest.mark.parametrize("kernels", [Kernels.XNNPACK, Kernels.BUILTIN])
def test_bit_equal_to_preprocess_and_run(name, kernels):
    model = tiny_model.parsed(SPECS[name], 7)
    classifier = Classifier(model, kernels=kernels)
    network = Network(model.data, kernels=kernels)
    table = quantization_table(SPECS[name])
    for seed, (height, width) in enumerate(SIZES * 2):
        frame = tiny_model.noise(seed, height, width)
        classifier.classify(frame)
        codes = to_int8(crop_and_resize(np.ascontiguousarray(frame[:, :, ::-1]), SPECS[name]), table)
        expected = network.run(codes)
        np.testing.assert_array_equal(classifier.output_codes(), expected, f"{height}×{width}")


@pytest.mark.parametrize("name", SPECS)
def test_input_tensor_holds_the_plain_codes(name):
    classifier = Classifier(tiny_model.parsed(SPECS[name], 7))
    table = quantization_table(SPECS[name])
    for seed, size in enumerate(SIZES):
        frame = tiny_model.noise(seed, *size)
        classifier.prepare(frame)
        rgb = np.ascontiguousarray(frame[:, :, ::-1])
        np.testing.assert_array_equal(classifier.input_codes(), to_int8(crop_and_resize(rgb, SPECS[name]), table))


def test_non_contiguous_frames_and_the_frame_is_left_alone():
    classifier = Classifier(tiny_model.parsed())
    wide = tiny_model.noise(1, 100, 300)
    before = wide.copy()
    part = wide[10:90, 50:250]
    classifier.classify(part)
    got = classifier.output_codes()
    classifier.classify(np.ascontiguousarray(part))
    np.testing.assert_array_equal(got, classifier.output_codes())
    np.testing.assert_array_equal(wide, before)


def test_top_classes_and_probabilities():
    # float32 softmax against float64 sums.
    tolerance = 1e-6
    model = tiny_model.parsed(tiny_model.input_spec(), 30, 4)
    classifier = Classifier(model, top_k=6)
    for seed in range(20):
        result = classifier.classify(tiny_model.noise(seed, 60, 60))
        codes = classifier.output_codes()
        order = quant.top_k(codes, 6)
        quantization = model.card.output.quantization
        probabilities = quant.softmax(quant.dequantize(codes, quantization.scale, quantization.zero_point))
        assert [guess.index for guess in result.top] == order.tolist()
        assert [guess.code for guess in result.top] == codes[order].tolist()
        assert [guess.label for guess in result.top] == [model.card.labels[i] for i in order]
        np.testing.assert_allclose([guess.probability for guess in result.top], probabilities[order], atol=tolerance)
        assert (result.index, result.label, result.probability) == (
            result.top[0].index, result.top[0].label, result.top[0].probability,
        )  # fmt: skip
        assert min(result.timings.preprocess, result.timings.invoke, result.timings.postprocess) > 0.0


@pytest.mark.parametrize("colour", tiny_model.COLOURS)
def test_colours_are_told_apart(colour):
    frame = np.full((480, 640, 3), tiny_model.BGR[colour], np.uint8)
    assert Classifier(tiny_model.parsed()).classify(frame).label == colour


def test_ties_go_to_the_lower_index_down_to_the_lowest_code():
    classifier = Classifier(tiny_model.parsed(), top_k=9)
    for codes in ([3, 3, 3, 3, 3], [-128, 127, -128, 127, -128], [-128] * 5):
        classifier.network.output_view()[:] = codes
        top = classifier._decide()
        assert [guess.index for guess in top] == quant.top_k(np.array(codes, np.int8), 5).tolist()
        assert sum(guess.probability for guess in top) == pytest.approx(1.0, abs=1e-9)


def test_no_big_allocation_per_frame_after_warm_up():
    classifier = Classifier(tiny_model.parsed(tiny_model.input_spec(96, 96), 5))
    frame = tiny_model.noise(0, 480, 640)
    for _ in range(3):
        classifier.classify(frame)
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    tracemalloc.reset_peak()
    for _ in range(20):
        classifier.classify(frame)
    peak = tracemalloc.get_traced_memory()[1] - before
    tracemalloc.stop()
    # The 96×96×3 input alone is 27,648 bytes: nothing of that kind is made anew. (numpy reports to tracemalloc.)
    assert peak < 8192


@pytest.mark.parametrize("shape", [(4, 4), (4, 4, 1), (4, 4, 4), (0, 4, 3), (4, 0, 3)])
def test_bad_frames_are_refused_and_the_next_one_works(shape):
    classifier = Classifier(tiny_model.parsed())
    frame = np.full((48, 64, 3), tiny_model.BGR["green"], np.uint8)
    classifier.classify(frame)
    with pytest.raises(InputError, match="uint8"):
        classifier.classify(np.zeros(shape, np.uint8))
    assert classifier.classify(frame).label == "green"


@pytest.mark.parametrize("arguments", [{"threads": 0}, {"top_k": 0}])
def test_bad_arguments(arguments):
    with pytest.raises(InputError, match="at least 1"):
        Classifier(tiny_model.parsed(), **arguments)


@pytest.mark.parametrize(
    ("spec", "classes", "word"),
    [
        (tiny_model.input_spec(16, 32), 5, "input size"),
        (tiny_model.input_spec(32, 32), 6, "output size"),
        (tiny_model.input_spec(32, 32, (0.4,) * 3), 5, "input quantization"),
    ],
)
def test_a_card_that_contradicts_its_network(spec, classes, word):
    front = tiny_model.flatbuffer(tiny_model.input_spec())
    data = bundle.seal(front, tiny_model.card_for(spec, classes), {})
    with pytest.raises(InputError, match=word):
        Classifier(bundle.parse(data))


def test_lost_xnnpack_is_a_loud_warning(monkeypatch):
    model = tiny_model.parsed()  # made before, with XNNPACK
    monkeypatch.setattr(Network, "_executed_by", lambda self, output: Kernels.BUILTIN)
    with pytest.warns(SlowKernelsWarning, match="XNNPACK"):
        Classifier(model)


def test_a_part_without_xnnpack_is_a_warning_that_says_so():
    spec = tiny_model.input_spec()
    front = tiny_model.flatbuffer(spec, hard_swish=True)
    with pytest.warns(SlowKernelsWarning, match="a part of it"):
        Classifier(bundle.parse(bundle.seal(front, tiny_model.card_for(spec), {})))


def test_no_warning_where_all_is_well_or_as_asked():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        Classifier(tiny_model.parsed())
        Classifier(tiny_model.parsed(), kernels=Kernels.BUILTIN)


def test_probabilities_are_the_softmax_of_the_dequantized_logits():
    classifier = Classifier(tiny_model.parsed(), top_k=2)
    buffers = set()
    for seed in range(5):
        result = classifier.classify(tiny_model.noise(seed, 48, 64))
        quantization = classifier.card.output.quantization
        logits = quant.dequantize(classifier.output_codes(), quantization.scale, quantization.zero_point)
        exponentials = np.exp(logits.astype(np.float64) - logits.max())
        got = classifier.probabilities()
        buffers.add(id(got))
        assert got.dtype == np.float32
        # float32 of a sum in float64: half a unit in the last place, and the scale's own rounding.
        np.testing.assert_allclose(got, exponentials / exponentials.sum(), rtol=1e-5)
        assert got[result.index] == pytest.approx(result.probability, rel=1e-6)
    assert len(buffers) == 1
