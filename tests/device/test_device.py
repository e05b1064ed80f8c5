"""The device side in the environment at hand: light, exact, and whole."""

import json
import platform

import cv2
import numpy as np
import pytest
from device_support import HOST_PACKAGES, edgekit
from support.streams import MjpegServer

from edgekit import bundle, shipped
from edgekit.runtime import Kernels, Network, runtime_name
from edgekit_deploy.classifier import Classifier
from edgekit_deploy.self_test import X86

MODELS = ("colours", "table", "cropped")


def allowed_distance(model, kernels: Kernels) -> int:
    """Builtin kernels are exact on x86; elsewhere the card's own bound holds."""
    is_known = runtime_name() == model.card.builtin_runtime and platform.machine().lower() in X86
    is_exact = kernels is Kernels.XNNPACK or is_known
    return 0 if is_exact else model.card.builtin_bound


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("asked", [Kernels.XNNPACK, Kernels.BUILTIN])
def test_same_bits_as_on_the_host(fixtures, expected, name, asked):
    model = bundle.read(fixtures / f"{name}.tflite")
    classifier = Classifier(model, kernels=asked)
    kernels = classifier.network.kernels
    bound = allowed_distance(model, kernels)
    for frame, codes in expected[name][kernels].items():
        classifier.classify(cv2.imread(str(fixtures / frame)))
        distance = np.abs(classifier.output_codes().astype(int) - codes).max()
        assert distance <= bound, f"{frame}: {distance} codes off, {kernels}"


@pytest.mark.parametrize("name", MODELS)
def test_litert_uses_xnnpack_and_tflite_runtime_does_not(fixtures, name):
    kernels = Network(bundle.read(fixtures / f"{name}.tflite").data).kernels
    assert kernels is (Kernels.XNNPACK if runtime_name().startswith("ai-edge-litert") else Kernels.BUILTIN)


@pytest.mark.parametrize("name", [*MODELS, *shipped.MODELS])
def test_doctor_finds_every_golden_sample_exact(fixtures, name):
    done = edgekit("doctor", fixtures / f"{name}.tflite" if name in MODELS else name, "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    checks = {check["name"]: check for check in json.loads(done.stdout)["checks"]}
    assert checks["golden samples"]["verdict"] == "ok"
    assert checks["camera path"]["verdict"] == "ok"
    if platform.machine().lower() in X86:
        assert "bit for bit" in checks["golden samples"]["found"]


def test_camera_on_a_real_video_without_the_hosts_packages(fixtures, tmp_path):
    record, stats = tmp_path / "out.mp4", tmp_path / "stats.json"
    done = edgekit(
        "camera", fixtures / "colours.tflite", "--source", fixtures / "clip.mp4", "--fast", "--headless",
        "--truth", fixtures / "truth.csv", "--record", record, "--json", stats,
        after=f"print('LOADED', [name for name in {HOST_PACKAGES!r} if name in sys.modules])",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "LOADED []" in done.stdout
    plain = json.loads(stats.read_text())
    assert (plain["captured"], plain["inferred"], plain["dropped"]) == (45, 45, 0)
    assert plain["accuracy"] == 1.0
    capture = cv2.VideoCapture(str(record))
    assert capture.isOpened() and capture.read()[0]
    capture.release()


def test_camera_in_real_time(fixtures, tmp_path):
    stats = tmp_path / "stats.json"
    done = edgekit(
        "camera", fixtures / "colours.tflite", "--source", fixtures / "clip.mp4", "--headless", "--json", stats
    )
    assert done.returncode == 0, done.stderr
    plain = json.loads(stats.read_text())
    assert plain["captured"] == 45 == plain["inferred"] + plain["dropped"]
    assert plain["seconds"] >= 1.4


def test_camera_on_a_folder(fixtures):
    done = edgekit("camera", fixtures / "table.tflite", "--source", fixtures, "--headless")
    assert done.returncode == 0, done.stderr
    assert "8 captured = 8 inferred + 0 dropped" in done.stdout


def test_camera_over_http(fixtures, expected):
    """A network camera on the loopback: JPEG parts, decoded and classified until enough are seen."""
    frame = sorted(expected["colours"][Kernels.XNNPACK])[0]
    picture = cv2.imread(str(fixtures / frame))
    with MjpegServer(lambda _: picture) as server:
        done = edgekit(
            "camera", fixtures / "colours.tflite", "--source", server.url(), "--headless", "--max-frames", "20",
            "--jsonl", "-", "--smoothing", "0",
        )  # fmt: skip
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    classifier = Classifier.open(fixtures / "colours.tflite")
    # JPEG changes pixels a little, never the colour of a whole frame.
    assert len(lines) == 20 and {line["label"] for line in lines} == {classifier.classify(picture).label}


@pytest.mark.parametrize("name", shipped.MODELS)
def test_a_model_that_comes_along_needs_no_file(fixtures, name):
    done = edgekit("camera", "--model", name, "--source", fixtures, "--headless")
    assert done.returncode == 0, done.stderr
    assert "8 captured = 8 inferred + 0 dropped" in done.stdout


def test_bench(fixtures):
    done = edgekit("bench", fixtures / "table.tflite", "--threads", "1", "--seconds", "0.1", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["results"][0]["frame"]["p50"] > 0.0
