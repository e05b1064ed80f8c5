"""The page over real sockets: what it shows, and what its buttons do."""

import dataclasses
import json
import re
import socket
import threading

import cv2
import numpy as np
import pytest
from support import tiny_model
from support.web import Viewer, client, decision, decoded, page

from edgekit.errors import MissingError
from edgekit_deploy.smoothing import Verdict
from edgekit_deploy.web.address import Address
from edgekit_deploy.web.feeds import Feeds, ReportBounds
from edgekit_deploy.web.page import WebPage

FORM = "application/x-www-form-urlencoded"
# JPEG at quality 95 of smooth colour.
COLOUR_TOLERANCE = 6


@pytest.fixture
def open_page():
    with page() as running:
        running.publish(decision(0))
        yield running


def test_loopback_needs_no_token_and_everything_is_there(open_page):
    one = client(open_page)
    kinds = {"/": "text/html", "/app.js": "text/javascript", "/chart.js": "text/javascript", "/style.css": "text/css"}
    kinds |= {"/icon.svg": "image/svg+xml", "/config.json": "application/json", "/snapshot.jpg": "image/jpeg"}
    for path, kind in kinds.items():
        answer = one.get(path)
        assert (answer.status, answer.headers.get_content_type()) == (200, kind), path
    assert one.get("/config.json").json == {
        "model": "tiny <colours>",
        "has_reports": False,
        "has_login": False,
        "threshold": 0.0,
    }
    assert one.get("/nothing").status == 404
    assert one.post("/", "").status == 405
    assert one.get("/static/../page.py").status == 404
    assert open_page.warnings == []


def test_every_file_named_by_the_page_exists_and_no_script_stands_in_it(open_page):
    one = client(open_page)
    html = one.get("/").body.decode()
    named = re.findall(r'(?:src|href)="([^"]+)"', html)
    assert {"/app.js", "/chart.js", "/style.css"} <= set(named)
    assert all(one.get(path).status == 200 for path in named)
    # The policy would block them.
    assert not re.search(r"<script[^>]*>[^<]|<style| on\w+=| style=", html)


@pytest.mark.parametrize("path", ["/", "/app.js", "/live", "/snapshot.jpg", "/metrics", "/nothing", "/login"])
def test_headers_of_every_answer(open_page, path):
    with Viewer(open_page, path) as viewer:
        headers = viewer.response.headers
    policy = dict(part.strip().split(" ", 1) for part in headers["Content-Security-Policy"].split(";"))
    assert policy["default-src"] == "'none'"
    assert policy["script-src"] == "'self'"
    assert policy["frame-ancestors"] == "'none'"
    assert "unsafe" not in headers["Content-Security-Policy"]
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Cross-Origin-Resource-Policy"] == "same-origin"
    assert headers["Cache-Control"] == "no-store"
    assert headers["Server"] is None


def test_a_taken_port_is_told():
    with socket.create_server(("127.0.0.1", 0)) as other:
        taken = Address("127.0.0.1", other.getsockname()[1])
        with pytest.raises(MissingError, match="another port"), WebPage(taken, "tiny", ("a",)):
            pass


def test_an_address_that_is_not_there_may_come():
    """As at boot, before the network is up: exit code 3, after which a service is tried again."""
    with pytest.raises(MissingError, match="another address"):
        Address("192.0.2.1", 0).listen()


def test_without_the_extra(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "starlette.routing", None)
    with pytest.raises(MissingError, match=r"edgekit\[web\]"):
        WebPage(Address("127.0.0.1", 0), "tiny", ("a",))


@pytest.mark.parametrize("text", ["", "nan", "inf", "-0.1", "1.1", "much", "0x1", "1e999"])
def test_thresholds_that_make_no_sense(open_page, text):
    assert client(open_page).post("/threshold", f"value={text}").status == 400
    assert open_page.threshold == 0.0


def test_the_threshold_reaches_the_loop_and_other_viewers(open_page):
    with Viewer(open_page) as viewer:
        assert viewer.record()[0]["threshold"] == 0.0
        assert client(open_page).post("/threshold", "value=0.37").json == {"threshold": 0.37}
        assert open_page.threshold == 0.37
        while viewer.record()[0]["threshold"] != 0.37:
            pass
    assert client(open_page).ask("POST", "/threshold", "value=1", Content_Type="text/plain").status == 415
    assert client(open_page).ask("POST", "/threshold", b"\xff=1", Content_Type=FORM).status == 400


def test_snapshot_is_the_frame_itself(open_page):
    image = tiny_model.noise(3, 120, 160)
    open_page.publish(decision(1, cv2.GaussianBlur(image, (0, 0), 5)))
    answer = client(open_page).get("/snapshot.jpg")
    assert answer.headers["Content-Disposition"] == 'attachment; filename="edgekit-1.jpg"'
    shown = decoded(answer.body).astype(int)
    truth = cv2.GaussianBlur(image, (0, 0), 5).astype(int)
    assert shown.shape == truth.shape
    assert np.abs(shown - truth).mean() < COLOUR_TOLERANCE
    assert client(open_page).get("/snapshot.jpg?frame=1").status == 200
    assert client(open_page).get("/snapshot.jpg?frame=0").status == 410
    assert client(open_page).get("/snapshot.jpg?frame=-1").status == 400


def test_before_the_first_frame():
    with page(reports=None) as running:
        assert client(running).get("/snapshot.jpg").status == 404
        assert client(running).get("/metrics").status == 200
        with Viewer(running) as viewer:
            figures, jpeg = viewer.record()
            assert jpeg == b"" and "frame" not in figures
            running.publish(decision(0))
            viewer.picture_of(0)


def test_wrong_saves_the_frame_that_was_seen(tmp_path):
    folder = tmp_path / "wrong"
    with page(reports=ReportBounds(folder, free_bytes=0), threshold=0.75) as running, Viewer(running) as viewer:
        running.publish(decision(4, threshold=0.25))
        viewer.picture_of(4)
        # The loop is further by the time that a finger comes down.
        running.publish(decision(5))
        viewer.picture_of(5)
        one = client(running)
        assert one.get("/config.json").json["has_reports"] is True
        answer = one.post("/wrong", "frame=4")
        assert answer.status == 201
        saved = folder / answer.json["saved"]
        mean = decoded(saved.read_bytes()).reshape(-1, 3).mean(axis=0)
        assert np.abs(mean - tiny_model.BGR["green"]).max() < COLOUR_TOLERANCE
        plain = json.loads(saved.with_suffix(".json").read_text())
        assert plain["label"] == "green" and plain["frame"] == 4 and plain["threshold"] == 0.25
        assert plain["model"] == "tiny <colours>"
        assert len(plain["top"]) == 5
        # Twice is once.
        assert one.post("/wrong", "frame=4").json["saved"] == saved.name
        assert len(list(folder.iterdir())) == 2
        assert one.post("/wrong", "frame=999").status == 410
        assert one.post("/wrong", "frame=..%2Fx").status == 400
        assert one.post("/wrong", "").status == 201
        assert len(list(folder.iterdir())) == 4


@pytest.mark.parametrize("label", [None, "blue"])
def test_a_report_tells_the_answer_and_the_guesses_apart(tmp_path, label):
    verdict = Verdict(label and tiny_model.COLOURS.index(label), label, 0.123456789)
    with page(reports=ReportBounds(tmp_path, free_bytes=0)) as running:
        seen = dataclasses.replace(decision(1, threshold=0.75), verdict=verdict)
        running.publish(seen)
        saved = client(running).post("/wrong", "frame=1").json["saved"]
    plain = json.loads((tmp_path / saved).with_suffix(".json").read_text())
    assert (plain["label"], plain["probability"], plain["threshold"]) == (label, 0.123457, 0.75)
    assert [name for name, _ in plain["top"]] == [guess.label for guess in seen.result.top]
    assert plain["top"][0] == ["green", pytest.approx(seen.result.probability, abs=1e-6)]


def test_a_paused_page_keeps_its_frame(tmp_path):
    with page(reports=ReportBounds(tmp_path, free_bytes=0)) as running:
        with Viewer(running) as viewer:
            running.publish(decision(1))
            viewer.picture_of(1)
            assert client(running).post("/hold", "frame=1").json == {"held": 1}
        for index in range(2, 6):
            running.publish(decision(index))
        assert client(running).post("/wrong", "frame=1").status == 201
        assert client(running).post("/wrong", "frame=3").status == 410


def test_reports_are_bounded(tmp_path):
    two = ReportBounds(tmp_path / "two", files=2, free_bytes=0)
    with page(reports=two) as running:
        for index, status in enumerate([201, 201, 507, 507]):
            running.publish(decision(index))
            assert client(running).post("/wrong", "").status == status
        assert len(list(two.folder.iterdir())) == 4
        # Two refusals, one line.
        (line,) = running.warnings
        assert "fewer than 2" in line
    for name, bounds in (
        ("small", ReportBounds(tmp_path / "small", total_bytes=1000, free_bytes=0)),
        ("disk", ReportBounds(tmp_path / "disk", free_bytes=2**62)),
    ):
        with page(reports=bounds) as running:
            running.publish(decision(0))
            assert client(running).post("/wrong", "").status == 507, name
            assert list(bounds.folder.iterdir()) == []


def test_a_folder_that_vanishes_is_told_and_survived(tmp_path):
    folder = tmp_path / "wrong"
    with page(reports=ReportBounds(folder, free_bytes=0)) as running:
        running.publish(decision(0))
        folder.rmdir()
        folder.write_text("a file now")
        assert [client(running).post("/wrong", "").status for _ in range(3)] == [500] * 3
        assert len(running.warnings) == 1
        assert client(running).get("/config.json").status == 200


def test_feeds_that_fail_do_not_end_anything():
    def fail():
        raise OSError("sensor gone")

    with page(feeds=Feeds(temperature=fail)) as running:
        running.publish(decision(0))
        assert client(running).get("/metrics").status == 500
        with Viewer(running) as viewer:
            assert viewer.status == 200
        assert client(running).get("/snapshot.jpg").status == 200
        assert "sensor gone" in running.warnings[0]


def test_each_kind_of_failure_is_told_once(tmp_path):
    whole = decision(0)
    broken = dataclasses.replace(whole, frame=dataclasses.replace(whole.frame, image=np.empty((0, 0, 3), np.uint8)))
    with page(reports=ReportBounds(tmp_path, free_bytes=0)) as running:
        running.publish(broken)
        one = client(running)
        for path, told in (("/snapshot.jpg", 1), ("/wrong", 2)):
            statuses = [
                one.ask("POST" if path == "/wrong" else "GET", path, "", Content_Type=FORM).status for _ in "abc"
            ]
            assert statuses == [500] * 3
            assert len(running.warnings) == told
            assert path in running.warnings[-1]


def test_temperature_and_status_are_shown():
    with page(feeds=Feeds(temperature=lambda: 61.5, status=lambda: "camera lost")) as running:
        running.publish(decision(0))
        with Viewer(running) as viewer:
            figures = viewer.record()[0]
    assert figures["temperature"] == 61.5
    assert figures["status"] == "camera lost"


def test_signals_and_other_threads_are_left_alone():
    import signal

    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    answers = []

    def run():
        with page() as running:
            answers.append(client(running).get("/config.json").status)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join(30)
    assert answers == [200]
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before


def test_ipv6():
    try:
        with socket.create_server(("::1", 0), family=socket.AF_INET6):
            pass
    except OSError:
        pytest.skip("no IPv6 here")
    with page("::1") as running:
        port = int(running.url.rsplit(":", 1)[1].strip("/"))
        with socket.create_connection(("::1", port), timeout=30) as raw:
            raw.sendall(f"GET /config.json HTTP/1.1\r\nHost: [::1]:{port}\r\nConnection: close\r\n\r\n".encode())
            assert b" 200 " in raw.recv(200)
