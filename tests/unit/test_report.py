"""The comparison itself, on real networks: PyTorch against an int8 file under LiteRT."""

import json
from dataclasses import replace

import numpy as np
import pytest
import report_samples as samples

from edgekit.bundle import parse, seal
from edgekit.errors import GateError, InputError
from edgekit.images import ArraySet, FileSet, labelled_folder
from edgekit.models import MODELS
from edgekit.preprocess import crop_and_resize
from edgekit_quantize.report.changes import Direction
from edgekit_quantize.report.compare import compare, positions
from edgekit_quantize.report.document import Document
from edgekit_quantize.report.examples import pictures_of
from edgekit_quantize.report.gate import Outcome
from edgekit_quantize.report.make import Limits, build_report
from edgekit_quantize.report.reference import Reference


@pytest.fixture(autouse=True)
def colour_net(monkeypatch):
    monkeypatch.setitem(MODELS, "colour", samples.ColourNet)


def _cropped(images: ArraySet) -> np.ndarray:
    return np.stack([crop_and_resize(images.image(i), samples.spec()) for i in range(len(images.targets))])


def _compare(images=None, checkpoint=None, bundle=None, reference_sha256=""):
    """Float and file in this process, which alone knows the colour network."""
    reference = Reference("colours.pt", reference_sha256, checkpoint or samples.make_checkpoint())
    images = samples.colour_images(90, seed=1) if images is None else images
    only = {"stages": False, "builtin": False, "measure_cost": False, "layers": False, "allow_unreadable": True}
    return compare(bundle or samples.make_bundle(), reference, images, processes=1, **only)


def _report(images=None, checkpoint=None, bundle=None, limits=None):
    images = samples.colour_images(90, seed=1) if images is None else images
    bundle = bundle or samples.make_bundle()
    comparison = _compare(images, checkpoint, bundle)
    pictures = pictures_of(images, positions(comparison, images), bundle.card.input)
    return build_report(comparison, bundle, pictures, limits=limits, data_name="colours")


def _answers(images, **options):
    """What float and file say: two `Answers`."""
    return [run.answers for run in _compare(images, **options).runs]


def _logits(answers):
    """(N, 3) logits but for a constant per image, as softmax forgets it."""
    chances = np.take_along_axis(answers.probabilities.astype(np.float64), np.argsort(answers.top, axis=1), axis=1)
    return np.log(chances) - np.log(chances).mean(1, keepdims=True)


def test_both_models_give_the_logits_that_the_colours_demand():
    images = samples.colour_images(50, seed=3)
    ours, theirs = _answers(images)
    expected = samples.mean_colour_logits(_cropped(images))
    expected -= expected.mean(1, keepdims=True)
    print("worst float", np.abs(_logits(ours) - expected).max(), "worst int8", np.abs(_logits(theirs) - expected).max())
    np.testing.assert_allclose(_logits(ours), expected, atol=1e-4)
    # Half a step of the mean through the largest weight on each channel, half a step of the output; twice, as the mean
    # of the three may be off as well.
    bound = samples.INPUT.scale / 2 * np.abs(samples.WEIGHTS).sum(1).max() + samples.OUTPUT.scale
    np.testing.assert_allclose(_logits(theirs), expected, atol=2 * bound)


def test_the_documents_numbers_are_those_of_the_logits():
    images = samples.colour_images(120, seed=5)
    document = _report(images).document
    ours, theirs = (answers.top[:, 0] for answers in _answers(images))
    right, int8_right = ours == images.targets, theirs == images.targets
    assert document.stages[0].top1.value == pytest.approx(100 * right.mean())
    assert document.stages[1].top1.value == pytest.approx(100 * int8_right.mean())
    assert document.drop.points.value == pytest.approx(100 * (right.mean() - int8_right.mean()))
    assert document.drop.counts.lost == (right & ~int8_right).sum()
    assert document.drop.agreement.value == pytest.approx(100 * (ours == theirs).mean())
    assert document.stages[0].top5 is None  # three classes
    for index, row in enumerate(document.classes):
        of_class = images.targets == index
        assert row.label == samples.LABELS[index]
        assert row.model_top1 == pytest.approx(100 * int8_right[of_class].mean())
    assert np.asarray(document.confusion_change).sum() == 0


def test_a_class_that_collapses_is_found_and_the_gate_fails():
    broken = samples.WEIGHTS.copy()
    broken[1] = -broken[1]
    report = _report(
        samples.colour_images(300, seed=6, noise=15), bundle=samples.make_bundle(broken), limits=Limits(0.5)
    )
    document = report.document
    assert [row.label for row in document.classes if row.direction is not Direction.SAME] == ["green"]
    assert document.outcome is Outcome.FAILED
    with pytest.raises(GateError, match=r"at most 0.5 points for certain, got 3\d"):
        report.check_gate()
    assert len(report.pictures) == len(document.flips) == 24
    assert all(flip.truth == "green" and flip.is_lost for flip in document.flips)
    assert document.flips[0].float_guesses[0].label == "green" != document.flips[0].model_guesses[0].label
    assert document.flips[0].shift >= document.flips[-1].shift > 0


def test_few_images_are_said_to_be_too_few():
    report = _report(samples.colour_images(30, seed=7), limits=Limits(0.5))
    assert report.document.outcome is Outcome.UNDECIDED
    with pytest.raises(GateError, match="too few to decide"):
        report.check_gate()


def test_a_generous_gate_passes():
    report = _report(samples.colour_images(90, seed=7), limits=Limits(20.0))
    assert report.document.outcome is Outcome.PASSED
    report.check_gate()


def test_two_runs_give_the_same_json_and_it_can_be_read_back():
    first, second = _report(limits=Limits(1.0)).document, _report(limits=Limits(1.0)).document
    text = first.to_json()
    assert text == second.to_json()
    parsed = Document.from_json(text)
    assert parsed.to_json() == text
    assert parsed.drop.counts == first.drop.counts
    plain = json.loads(text)
    plain["surprise"] = 1
    with pytest.raises(InputError, match="surprise"):
        Document.from_json(json.dumps(plain))
    with pytest.raises(InputError, match="schema_version"):
        Document.from_json('{"schema_version": 99}')
    with pytest.raises(InputError, match="must be JSON"):
        Document.from_json("{")


def test_other_pixels_or_other_classes_have_another_hash():
    images = samples.colour_images(30, seed=8)
    moved = replace(images, targets=np.roll(images.targets, 1))
    hashes = {_report(s).document.data.data_sha256 for s in (images, moved, samples.colour_images(30, seed=9))}
    assert len(hashes) == 3


def test_classes_are_matched_by_name_whatever_their_order():
    images = samples.colour_images(60, seed=10)
    order = [2, 0, 1]
    shuffled = ArraySet(
        images.pixels, np.argsort(order)[images.targets], tuple(samples.LABELS[i] for i in order), images.name
    )
    assert _report(shuffled).document == _report(images).document


def test_images_of_some_of_the_classes_are_enough():
    images = samples.colour_images(60, seed=11)
    some = replace(images.subset(np.flatnonzero(images.targets != 0)), labels=samples.LABELS)
    document = _report(ArraySet(some.pixels, some.targets - 1, samples.LABELS[1:])).document
    assert [row.label for row in document.classes] == ["green", "blue"]
    assert document.data.classes == 2


def test_unreadable_images_are_skipped_and_listed(tmp_path):
    folder = samples.write_folder(tmp_path / "data", samples.colour_images(30, seed=12))
    (folder / "green" / "empty.png").write_bytes(b"")
    (folder / "red" / "text.jpg").write_text("no image")
    document = _report(labelled_folder(folder)).document
    assert document.data.images == 30
    assert len(document.data.skipped) == 2
    assert "empty.png must be an image" in "\n".join(document.data.skipped)
    kept = samples.colour_images(30, seed=12)
    assert {row.label: row.images for row in document.classes} == dict.fromkeys(samples.LABELS, len(kept.targets) // 3)


def test_all_unreadable_is_an_error(tmp_path):
    paths = [tmp_path / f"{i}.jpg" for i in range(5)]
    for path in paths:
        path.write_bytes(b"x")
    images = FileSet(tuple(paths), np.zeros(5, np.int64), samples.LABELS)
    with pytest.raises(InputError, match="none of 5"):
        _report(images)


@pytest.mark.parametrize(
    ("images_labels", "message"),
    [
        (("red", "green", "violet"), "got violet"),
        (("red", "green"), "must have a class"),
        ((), "must have a class"),
    ],
)
def test_image_classes_that_do_not_fit_are_named(images_labels, message):
    with pytest.raises(InputError, match=message):
        _report(replace(samples.colour_images(9, seed=1), labels=images_labels))


def test_a_swap_of_two_labels_is_refused():
    checkpoint = samples.make_checkpoint(labels=("green", "red", "blue"))
    with pytest.raises(InputError, match="0: green ≠ red, 1: red ≠ green"):
        _report(checkpoint=checkpoint)


def test_other_classes_than_the_models_are_refused_by_name():
    checkpoint = samples.make_checkpoint(np.zeros((4, 3), np.float32), ("red", "green", "cyan", "pink"))
    with pytest.raises(InputError, match="cyan, pink only in the reference and blue only in the model"):
        _report(checkpoint=checkpoint)


def test_a_reference_of_another_size_is_refused():
    with pytest.raises(InputError, match="input height must be the model's, 16, got 20"):
        _report(checkpoint=samples.make_checkpoint(size=20))


def test_numbers_that_are_none_are_refused_with_the_images_name():
    weights = samples.WEIGHTS.copy()
    weights[0, 0] = np.nan
    with pytest.raises(InputError, match=r"float .*NaN or infinity.* colours/0"):
        _report(checkpoint=samples.make_checkpoint(weights))


def test_a_float_file_is_compared_under_the_name_of_its_format():
    images = samples.colour_images(50, seed=3)
    bundle = samples.make_bundle(is_float=True)
    expected = samples.mean_colour_logits(_cropped(images))
    theirs = _answers(images, bundle=bundle)[1]
    np.testing.assert_allclose(_logits(theirs), expected - expected.mean(1, keepdims=True), atol=1e-4)
    document = _report(images, bundle=bundle).document
    assert document.model.format == "fp32"
    assert [stage.name for stage in document.stages] == ["float", "fp32"]
    assert document.drop.points.value == 0.0


def test_a_float_network_behind_an_int8_card_is_refused():
    bundle = parse(seal(samples.float_flatbuffer(), samples.make_card(), {}))
    with pytest.raises(InputError, match="card's input type must be the network's float32, got int8"):
        _report(bundle=bundle)


def test_a_file_that_does_not_fit_its_card_is_refused():
    bundle = samples.make_bundle()
    card = replace(bundle.card, input=replace(bundle.card.input, height=20))
    with pytest.raises(InputError, match="card's input size must be the network's"):
        _report(checkpoint=replace(samples.make_checkpoint(), input=card.input), bundle=replace(bundle, card=card))


def test_identical_predictions_leave_no_flips():
    images = samples.colour_images(30, seed=1, noise=4)
    document = _report(images, limits=Limits(15.0)).document
    assert document.flips == ()
    assert document.drop.points.value == 0.0
    assert document.drop.agreement.value == 100.0
