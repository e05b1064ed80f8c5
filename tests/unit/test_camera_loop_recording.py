"""The loop with a recorder, on real files."""

import time

import pytest
from support import tiny_model
from support.clips import colour_pictures, read_clip, write_clip

from edgekit_deploy.camera import run_camera
from edgekit_deploy.classifier import Classifier
from edgekit_deploy.outputs.recorder import Recorder
from edgekit_deploy.sources.video import VideoSource
from edgekit_deploy.truth import Truth

COLOURS = [tiny_model.BGR[name] for name in tiny_model.COLOURS]


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    return write_clip(tmp_path_factory.mktemp("clips") / "clip.mp4", colour_pictures(COLOURS, 20), fps=60.0)


@pytest.fixture
def classifier():
    return Classifier(tiny_model.parsed())


def test_recording_carries_the_overlay_and_keeps_time(classifier, clip, tmp_path):
    path = tmp_path / "out.mp4"
    with Recorder(path) as recorder:
        stats = run_camera(
            classifier, VideoSource(clip, fast=True), recorder=recorder, truth=Truth((0, 20, 40), (0, 1, 1))
        )
    pictures, fps = read_clip(path)
    assert fps == pytest.approx(60.0)
    assert len(pictures) == recorder.written == 60
    assert recorder.dropped == 0
    assert stats.stages["draw"].count == 60
    # Enlarged to 240 rows; the border is green where right (blue channel low), red where wrong.
    assert pictures[0].shape[0] == 240
    right, wrong = pictures[30][120, 1].astype(int), pictures[50][120, 1].astype(int)
    assert right[1] > right[2] + 40
    assert wrong[2] > wrong[1] + 40


def test_real_time_recording_lasts_as_long_as_the_clip(classifier, clip, tmp_path):
    path = tmp_path / "out.avi"
    with Recorder(path) as recorder:
        run_camera(classifier, VideoSource(clip), recorder=recorder, observer=lambda decision: time.sleep(0.05))
    pictures, fps = read_clip(path)
    # Few frames were inferred; repeats make up for the others. The first and last may be off by one slow step.
    assert len(pictures) / fps == pytest.approx(1.0, abs=0.25)
