"""Live pictures over real sockets: encoded once and only when watched, bounded, never old, and nothing left behind."""

import dataclasses
import os
import threading
import time

import cv2
import numpy as np
import pytest
from support import tiny_model
from support.web import (
    Viewer,
    client,
    decision,
    decoded,
    page,
    wait_until,
)

from edgekit_deploy.camera import Limits, run_camera
from edgekit_deploy.classifier import Classifier
from edgekit_deploy.outputs.overlay import AMBER
from edgekit_deploy.smoothing import Verdict
from edgekit_deploy.sources.frames import Frame
from edgekit_deploy.web.feeds import Bounds, Feeds, ReportBounds

JPEG_COLOUR_TOLERANCE = 12


class Camera:
    """A source of coloured frames for the real loop."""

    lossless, is_live, fps, name = False, True, 30.0, "colours"

    def __init__(self, period=0.01):
        self.period, self.notes = period, []

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        pass

    def describe(self):
        return self.name

    def __iter__(self):
        index = 0
        while True:
            time.sleep(self.period)
            image = np.full((48, 64, 3), tiny_model.BGR[tiny_model.COLOURS[index // 30 % 3]], np.uint8)
            yield Frame(image, time.monotonic(), index, index * self.period)
            index += 1


def test_nothing_is_encoded_when_nobody_watches():
    with page() as running:
        for index in range(300):
            running.publish(decision(index))
        assert client(running).get("/metrics").status == 200
        assert running.encoded == 0
        with Viewer(running) as viewer:
            viewer.picture_of(299)
            assert (running.viewers, running.encoded) == (1, 1)
        assert wait_until(lambda: running.viewers == 0)
        for index in range(300, 330):
            running.publish(decision(index))
        before = running.encoded
        assert client(running).get("/config.json").status == 200
        assert running.encoded == before <= 2


def test_pictures_and_figures_belong_together_and_the_frame_is_not_drawn_on():
    with page() as running:
        decisions = [decision(index) for index in range(3)]
        originals = [each.frame.image.copy() for each in decisions]
        with Viewer(running) as viewer:
            for each in decisions:
                running.publish(each)
                figures, jpeg = viewer.picture_of(each.frame.index)
                assert figures["top"][0][0] == each.result.label == tiny_model.COLOURS[each.frame.index]
                assert figures["top"][0][1] == pytest.approx(each.result.probability, abs=1e-4)
                image = decoded(jpeg)
                assert image.shape == (480, 640, 3)
                centre = image[150:250, 100:500].reshape(-1, 3).mean(axis=0)
                assert np.abs(centre - tiny_model.BGR[each.result.label]).max() < JPEG_COLOUR_TOLERANCE
                # Figures above and bars below are there.
                assert (image[:36].min(axis=2) > 180).sum() > 100
        for each, original in zip(decisions, originals, strict=True):
            assert np.array_equal(each.frame.image, original)


def test_the_picture_tells_an_answer_that_is_not_its_best_guess():
    same = decision(0, np.full((480, 640, 3), 60, np.uint8))
    other = dataclasses.replace(decision(1, same.frame.image), verdict=Verdict(None, None, 0.2))
    amber = []
    with page() as running, Viewer(running) as viewer:
        for each in (same, other):
            running.publish(each)
            # Below the figures, above the bars.
            band = decoded(viewer.picture_of(each.frame.index)[1])[40:240].astype(int)
            amber.append(int((np.abs(band - AMBER).max(axis=2) < 60).sum()))
    assert amber[0] == 0
    assert amber[1] > 100


def test_once_per_frame_for_all_viewers():
    with page() as running:
        viewers = [Viewer(running) for _ in range(5)]
        try:
            assert wait_until(lambda: running.viewers == 5)
            before = running.encoded
            for index in range(4):
                running.publish(decision(index))
                pictures = [viewer.picture_of(index)[1] for viewer in viewers]
                assert len(set(pictures)) == 1
            assert running.encoded - before == 4
        finally:
            for viewer in viewers:
                viewer.__exit__()


def test_the_rate_is_bounded():
    stop = threading.Event()

    def publish(running):
        index = 0
        while not stop.wait(0.005):
            running.publish(decision(index))
            index += 1

    with page(bounds=Bounds(fps=5.0)) as running:
        thread = threading.Thread(target=publish, args=(running,))
        thread.start()
        try:
            with Viewer(running) as viewer:
                viewer.record()
                start, before = time.monotonic(), running.encoded
                for _ in range(10):
                    viewer.record()
                seconds = time.monotonic() - start
                assert running.encoded - before <= 5.0 * seconds + 1
                assert seconds > 1.5
        finally:
            stop.set()
            thread.join()


def test_large_frames_are_sent_small_and_saved_large():
    with page(bounds=Bounds(side=320)) as running, Viewer(running) as viewer:
        running.publish(decision(0, np.full((1080, 1920, 3), 99, np.uint8)))
        # 320 × 180, which the overlay enlarges to its least size.
        assert max(decoded(viewer.picture_of(0)[1]).shape) <= 640
        assert decoded(client(running).get("/snapshot.jpg").body).shape == (1080, 1920, 3)


@pytest.mark.parametrize("size", [(1, 1), (1, 400), (17, 31), (2160, 3840)])
def test_frames_of_any_size(size):
    with page() as running, Viewer(running) as viewer:
        running.publish(decision(0, np.full((*size, 3), 99, np.uint8)))
        viewer.picture_of(0)
        assert running.warnings == []


def test_multipart_plays_in_opencv():
    stop = threading.Event()
    with page() as running:
        running.publish(decision(0))

        def publish():
            index = 1
            while not stop.wait(0.05):
                running.publish(decision(1 + 3 * index))
                index += 1

        thread = threading.Thread(target=publish)
        thread.start()
        try:
            capture = cv2.VideoCapture(running.url + "stream.mjpeg", cv2.CAP_FFMPEG)
            assert capture.isOpened()
            pictures = [capture.read()[1] for _ in range(5)]
            capture.release()
        finally:
            stop.set()
            thread.join()
    centre = pictures[-1][150:250, 100:500].reshape(-1, 3).mean(axis=0)
    assert np.abs(centre - tiny_model.BGR["green"]).max() < JPEG_COLOUR_TOLERANCE


def test_too_many_viewers_and_a_place_that_becomes_free():
    with page(bounds=Bounds(streams=3)) as running:
        running.publish(decision(0))
        viewers = [Viewer(running, path) for path in ("/live", "/stream.mjpeg", "/live")]
        assert [viewer.status for viewer in viewers] == [200] * 3
        for path in ("/live", "/stream.mjpeg"):
            answer = client(running).get(path)
            assert answer.status == 503
            assert answer.headers["Retry-After"]
        assert client(running).get("/config.json").status == 200
        viewers[1].__exit__()
        assert wait_until(lambda: running.viewers == 2)
        with Viewer(running) as another:
            assert another.status == 200
        viewers[0].__exit__()
        viewers[2].__exit__()


def test_asking_for_the_head_of_a_stream_does_not_take_a_place():
    with page() as running:
        assert client(running).ask("HEAD", "/live").status == 200
        assert running.viewers == 0


def test_with_the_real_loop_viewers_see_the_newest_and_the_books_balance():
    with page() as running:
        answers = []

        def loop():
            model, limits = Classifier(tiny_model.parsed()), Limits(frames=300)
            answers.append(run_camera(model, Camera(), observer=running.publish, limits=limits))

        thread = threading.Thread(target=loop)
        thread.start()
        with Viewer(running) as viewer:
            seen = []
            while thread.is_alive():
                figures, jpeg = viewer.record()
                if jpeg:
                    seen.append((figures["frame"], figures["top"][0][0], decoded(jpeg)))
        thread.join()
    (stats,) = answers
    assert stats.captured == stats.inferred + stats.dropped
    assert stats.inferred == 300
    numbers = [number for number, _, _ in seen]
    assert len(numbers) > 3 and numbers == sorted(set(numbers))
    for number, label, image in seen:
        assert label == tiny_model.COLOURS[number // 30 % 3]
        centre = image[image.shape[0] // 3 : image.shape[0] // 2].reshape(-1, 3).mean(axis=0)
        assert np.abs(centre - tiny_model.BGR[label]).max() < JPEG_COLOUR_TOLERANCE


def test_publishing_never_waits_and_costs_little():
    newest = decision(0)
    with page() as running, Viewer(running):
        spans = []
        for _ in range(20_000):
            start = time.perf_counter()
            running.publish(newest)
            spans.append(time.perf_counter() - start)
    # Measured: 0.4 µs.
    assert np.median(spans) < 20e-6


def priorities() -> dict[str, int]:
    """Of the page's threads, by name."""
    pages = [thread for thread in threading.enumerate() if thread.name.startswith("edgekit-web")]
    return {thread.name: os.getpriority(os.PRIO_PROCESS, thread.native_id) for thread in pages}


@pytest.mark.skipif(not hasattr(os, "setpriority"), reason="no priorities here")
def test_the_encoder_steps_back_and_nobody_else(tmp_path):
    own = os.getpriority(os.PRIO_PROCESS, threading.get_native_id())
    asked = []

    def stats():
        asked.append(os.getpriority(os.PRIO_PROCESS, threading.get_native_id()))

    options = {"feeds": Feeds(stats=stats), "reports": ReportBounds(tmp_path, free_bytes=0)}
    with page(bounds=Bounds(niceness=7), **options) as running:
        running.publish(decision(0))
        # Python that takes locks: no thread that steps back may do it.
        assert client(running).get("/metrics").status == 200
        assert client(running).post("/wrong", "").status == 201
        assert asked == [own]
        assert set(priorities().values()) == {own}
        with Viewer(running) as viewer:
            viewer.picture_of(0)
            others = priorities()
        assert others.pop("edgekit-web") == own
        assert sorted(others.values()) == [own, min(19, own + 7)]
        assert os.getpriority(os.PRIO_PROCESS, threading.get_native_id()) == own
