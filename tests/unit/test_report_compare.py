"""The comparison as a whole, on real networks whose answers are known from the colours."""

import json
import time
import weakref
from dataclasses import replace

import numpy as np
import pytest
import report_samples as samples
from scipy import special
from support.report_work import make_task, make_worker

from edgekit import bundle
from edgekit.errors import EdgekitError, InputError
from edgekit.images import FileSet
from edgekit.models import MODELS
from edgekit.preprocess import crop_and_resize
from edgekit_quantize.report import compare as compare_module
from edgekit_quantize.report import cost_worker
from edgekit_quantize.report.compare import compare, positions
from edgekit_quantize.report.cost import cost_of
from edgekit_quantize.report.data import open_images
from edgekit_quantize.report.layers import layer_noise
from edgekit_quantize.report.reference import Reference, open_reference

# Half a step of the mean through the largest weight on each channel, half a step of the output.
INT8_BOUND = samples.INPUT.scale / 2 * np.abs(samples.WEIGHTS).sum(1).max() + samples.OUTPUT.scale
FLOAT_BOUND = 1e-5


@pytest.fixture(autouse=True)
def colour_net(monkeypatch):
    monkeypatch.setitem(MODELS, "colour", samples.ColourNet)


def _compare(images=None, reference=None, model=None, **options):
    options = {"stages": False, "builtin": False, "measure_cost": False, "layers": False, "processes": 1} | options
    images = samples.colour_images(90, seed=1) if images is None else images
    reference = reference or Reference("colours", "", samples.make_checkpoint())
    return compare(model or samples.make_bundle(), reference, images, **options)


def _float_file(tmp_path, **options):
    path = tmp_path / "float.tflite"
    path.write_bytes(samples.make_bundle(is_float=True, **options).data)
    return open_reference(str(path))


def test_every_stage_answers_what_the_colours_demand():
    images = samples.colour_images(50, seed=3)
    got = _compare(images, builtin=True)
    cropped = np.stack([crop_and_resize(images.image(i), samples.spec()) for i in range(50)])
    expected = samples.mean_colour_logits(cropped)
    chances = special.softmax(expected, axis=1)[np.arange(50), images.targets]
    assert [run.role for run in got.runs] == ["reference", "model", "builtin"]
    assert [run.name for run in got.runs] == ["float", "int8", "int8, builtin kernels"]
    assert "XNNPACK" in got.runs[1].runs_on
    assert "builtin kernels" in got.runs[2].runs_on
    for run, bound in zip(got.runs, (FLOAT_BOUND, INT8_BOUND, INT8_BOUND), strict=True):
        print(run.name, "worst probability", np.abs(run.answers.truth - chances).max())
        # Softmax moves by at most half of what the logits move, twice over for two classes.
        np.testing.assert_allclose(run.answers.truth, chances, atol=bound)
        np.testing.assert_allclose(run.answers.signal, (expected**2).sum(1), rtol=1e-4)
        assert (run.answers.noise <= 3 * bound**2 * 4).all()
    np.testing.assert_array_equal(got.runs[0].answers.top[:, 0], expected.argmax(1))
    np.testing.assert_array_equal(got.targets, images.targets)


def test_two_runs_and_any_number_of_processes_give_the_same_bytes(tmp_path):
    images = open_images(
        str(samples.write_folder(tmp_path / "data", samples.colour_images(99, seed=5))), samples.LABELS
    )
    reference = _float_file(tmp_path)
    one, two = (_compare(images, reference, processes=n, cache=tmp_path / str(n)) for n in (1, 2))
    again = _compare(images, reference, processes=2, cache=tmp_path / "1")
    for other in (two, again):
        assert other.data_sha256 == one.data_sha256
        for a, b in zip(one.runs, other.runs, strict=True):
            assert all(
                values.tobytes() == getattr(b.answers, name).tobytes() for name, values in vars(a.answers).items()
            )
            assert replace(a, answers=None) == replace(b, answers=None)


def test_the_pixels_of_an_image_are_found_again(tmp_path):
    folder = samples.write_folder(tmp_path / "data", samples.colour_images(40, seed=6))
    (folder / "blue" / "000.png").write_bytes(b"")
    images = open_images(str(folder), samples.LABELS)
    tags = tuple({"name": name} for name in images.names)
    got = _compare(images, allow_unreadable=True, tags=tags)
    assert len(got.skipped) == 1
    assert "000.png must be an image" in got.skipped[0]
    assert len(got.names) == len(got.targets) == len(got.runs[0].answers.rank) == 40
    places = positions(got, images)
    assert [images.names[place] for place in places] == list(got.names)
    np.testing.assert_array_equal(images.targets[places], got.targets)
    assert [tag["name"] for tag in got.tags] == list(got.names)


def test_too_many_unreadable_images_fail_unless_allowed(tmp_path):
    folder = samples.write_folder(tmp_path / "data", samples.colour_images(40, seed=7))
    (folder / "blue" / "x.png").write_bytes(b"")
    images = open_images(str(folder), samples.LABELS)
    with pytest.raises(InputError, match="At most 1 % of the 41 images may be unreadable, got 1") as caught:
        _compare(images)
    assert "--allow-unreadable" in caught.value.remedy


def test_nothing_readable_is_an_error_even_if_allowed(tmp_path):
    paths = [tmp_path / f"{i}.jpg" for i in range(5)]
    for path in paths:
        path.write_bytes(b"x")
    images = FileSet(tuple(paths), np.zeros(5, np.int64), samples.LABELS)
    with pytest.raises(InputError, match="none of 5"):
        _compare(images, allow_unreadable=True)


def test_numbers_that_are_none_name_the_stage_and_the_image():
    weights = samples.WEIGHTS.copy()
    weights[0, 0] = np.nan
    with pytest.raises(InputError, match="float must give finite numbers, got NaN or infinity for colours/0"):
        _compare(reference=Reference("colours", "", samples.make_checkpoint(weights)))


def test_a_swap_of_two_labels_is_refused_wherever_it_is_planted(tmp_path):
    swapped = ("green", "red", "blue")
    with pytest.raises(InputError, match=r"reference's classes .* got 0: green ≠ red, 1: red ≠ green"):
        _compare(reference=Reference("colours", "", samples.make_checkpoint(labels=swapped)))
    with pytest.raises(InputError, match=r"reference's classes .* got 0: green ≠ red, 1: red ≠ green"):
        _compare(reference=_float_file(tmp_path, labels=swapped))
    with pytest.raises(InputError, match=r"other's classes .* got 0: green ≠ red, 1: red ≠ green\. Leave it out"):
        _compare(also=[("other", samples.make_bundle(labels=swapped))])


def test_another_network_than_the_models_own_is_refused():
    model = samples.make_bundle(reference="a" * 64)
    with pytest.raises(InputError, match="network that the model was converted from"):
        _compare(model=model, reference=Reference("colours", "b" * 64, samples.make_checkpoint()))
    with pytest.raises(InputError, match="input height must be the model's, 16, got 20"):
        _compare(reference=Reference("colours", "", samples.make_checkpoint(size=20)))


def test_a_plain_float_file_has_to_have_the_models_classes(tmp_path):
    path = tmp_path / "float.tflite"
    path.write_bytes(samples.float_flatbuffer(np.ones((4, 3), np.float32)))
    with pytest.raises(InputError, match="must have the model's 3 classes, got 4"):
        _compare(reference=open_reference(str(path)))


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("int8.tflite", samples.int8_flatbuffer(), "float32 model, got int8"),
        ("half.tflite", samples.float_flatbuffer()[:300], "damaged"),
        ("text.tflite", b"no model", "TFL3"),
        ("gone.tflite", None, "nothing there"),
        ("gone.onnx", None, "nothing there"),
        ("gone.pt", None, "nothing there"),
    ],
)
def test_a_reference_that_cannot_be_used_is_refused(tmp_path, name, data, message):
    if data is not None:
        (tmp_path / name).write_bytes(data)
    with pytest.raises(InputError, match=message):
        open_reference(str(tmp_path / name))


def test_other_files_stand_beside_the_model(tmp_path):
    worse = samples.WEIGHTS[[1, 0, 2]]
    got = _compare(also=[("good", samples.make_bundle()), ("bad", samples.make_bundle(worse))])
    assert [(run.role, run.name) for run in got.runs[2:]] == [("also", "good"), ("also", "bad")]
    model, good, bad = (run.answers for run in got.runs[1:])
    np.testing.assert_array_equal(model.top, good.top)
    is_blue = got.targets == 2
    assert (bad.top[:, 0] != model.top[:, 0])[~is_blue].mean() > 0.5


def test_a_cost_is_measured_in_a_process_of_its_own(tmp_path):
    worker = make_worker(tmp_path)
    for asked in worker.asked:
        cost = cost_of(asked.model)
        print(asked.name, cost)
        assert cost.macs == 9
        assert cost.size == asked.model.path.stat().st_size
        assert 0 < cost.p50_ms <= cost.p90_ms <= cost.p99_ms
        # numpy, OpenCV and LiteRT, but neither torch nor TensorFlow.
        assert 20 < cost.peak_mib < 200


def test_a_slow_network_is_measured_less_often(monkeypatch):
    monkeypatch.setattr(cost_worker, "_SECONDS", 0.05)
    monkeypatch.setattr(cost_worker, "_PATIENCE", 0.5)
    runs = []

    class Slow:
        spec = samples.spec()

        def open(self, threads):
            return lambda pixels: runs.append(time.sleep(0.2))

    assert 1 <= len(cost_worker._times(Slow(), 1)) <= 3
    assert len(runs) <= 4


def test_a_cost_that_cannot_be_measured_is_said_and_left_out(monkeypatch, capsys):
    def hangs(model):
        raise EdgekitError("The measurement must end within 120 s, got none.")

    monkeypatch.setattr(compare_module, "cost_of", hangs)
    got = _compare(measure_cost=True)
    assert [run.cost for run in got.runs] == [None] * len(got.runs)
    assert "are not known: The measurement must end" in " ".join(capsys.readouterr().err.split())


class Watched(samples.ArraySet):
    """Counts the images that are still held, and notes what is chosen."""

    alive = most = 0
    chosen = ()

    def image(self, index):
        image = np.array(super().image(index))
        type(self).alive += 1
        type(self).most = max(self.most, self.alive)
        weakref.finalize(image, self.forget)
        return image

    @classmethod
    def forget(cls):
        cls.alive -= 1

    def subset(self, indices):
        type(self).chosen = indices.tolist()
        return super().subset(indices)


def test_a_process_holds_one_photo_at_a_time(tmp_path):
    """Thirty-two of 48 megapixels would be 4.6 GB."""
    images = samples.colour_images(32, seed=5)
    watched = Watched(images.pixels, images.targets, images.labels)
    Watched.alive = Watched.most = 0
    chunk = make_worker(tmp_path)(make_task(watched))
    assert chunk.readable.all() and Watched.most <= 2


def test_layers_are_judged_by_images_of_all_classes(tmp_path):
    """A folder's are sorted by class: the first ones are all of one."""
    images = samples.colour_images(64, seed=9)
    int8 = make_worker(tmp_path).asked[1].model
    path = tmp_path / "float32.tflite"
    path.write_bytes(samples.float_flatbuffer())
    layer_noise(
        replace(int8, path=path, spec=samples.spec()), int8, Watched(images.pixels, images.targets, images.labels)
    )
    assert Watched.chosen == [round(63 * place / 15) for place in range(16)]


def test_a_layers_noise_is_blind_to_factors_of_channels(tmp_path):
    images = samples.colour_images(16, seed=9)
    int8 = make_worker(tmp_path).asked[1].model
    found = []
    for factor in (1.0, 4.0):
        path = tmp_path / "scaled.tflite"
        path.write_bytes(samples.float_flatbuffer(samples.WEIGHTS * np.float32(factor)))
        found.append(layer_noise(replace(int8, path=path, spec=samples.spec()), int8, images)[0])
    assert found[0].operator == "FULLY_CONNECTED"
    assert found[0].macs == 9
    assert found[0].sqnr_db == pytest.approx(found[1].sqnr_db, abs=1e-6)
    # 8/127 a step, uniformly rounded, on logits of the size that these have.
    logits = samples.mean_colour_logits(np.stack([crop_and_resize(images.image(i), samples.spec()) for i in range(16)]))
    expected = 10 * np.log10((logits**2).mean() / (samples.OUTPUT.scale**2 / 12))
    assert found[0].sqnr_db == pytest.approx(expected, abs=3.0)


def test_tags_must_be_one_for_each_image():
    with pytest.raises(InputError, match="one entry per image, 90, got 1"):
        _compare(tags=({"a": "b"},))


def test_nothing_is_said_of_layers_without_a_float_file():
    assert _compare(layers=True).layers is None


def test_a_file_that_its_card_does_not_describe_is_refused():
    good = samples.make_bundle()
    card = json.loads(good.card.to_json())
    card["input"]["height"] = 20
    lying = bundle.parse(
        bundle.seal(samples.int8_flatbuffer(), type(good.card).from_json(json.dumps(card), good.card.labels), {})
    )
    with pytest.raises(InputError, match="card's input size"):
        _compare(also=[("lying", lying)])
