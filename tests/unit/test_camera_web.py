"""The page over real sockets: who may see it, what it refuses, what its buttons do."""

import contextlib
import json
import re
import socket
import threading

import cv2
import numpy as np
import pytest
from support import tiny_model
from support.web import TOKEN, Viewer, client, decision, decoded, page

from edgekit.errors import InputError, MissingError
from edgekit_deploy.web.address import Address
from edgekit_deploy.web.feeds import Bounds, Feeds, ReportBounds
from edgekit_deploy.web.page import WebPage

FORM = "application/x-www-form-urlencoded"
# JPEG at quality 95 of smooth colour.
COLOUR_TOLERANCE = 6


@pytest.fixture
def open_page():
    with page() as running:
        running.publish(decision(0))
        yield running


@pytest.fixture
def closed_page():
    """Reachable from everywhere, so it has a token."""
    with page("0.0.0.0", token=TOKEN) as running:
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


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.7.7", "fe80::1"])
def test_beyond_loopback_without_a_token_is_refused_at_start(host):
    with pytest.raises(InputError, match="must have a token") as caught:
        WebPage(Address(host, 8080), "tiny", ("a",))
    assert "EDGEKIT_WEB_TOKEN" in caught.value.remedy


def test_weak_tokens_and_bad_thresholds_are_refused():
    with pytest.raises(InputError, match="16") as caught:
        WebPage(Address("127.0.0.1", 0), "tiny", ("a",), token="hunter2")
    assert "hunter2" not in str(caught.value)
    with pytest.raises(InputError, match="0 to 1"):
        WebPage(Address("127.0.0.1", 0), "tiny", ("a",), threshold=50)


def test_a_taken_port_is_told():
    with socket.create_server(("127.0.0.1", 0)) as other:
        taken = Address("127.0.0.1", other.getsockname()[1])
        with pytest.raises(InputError, match="another port"), WebPage(taken, "tiny", ("a",)):
            pass


def test_without_the_extra(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "starlette.routing", None)
    with pytest.raises(MissingError, match=r"edgekit\[web\]"):
        WebPage(Address("127.0.0.1", 0), "tiny", ("a",))


@pytest.mark.parametrize(
    "path", ["/", "/app.js", "/live", "/stream.mjpeg", "/snapshot.jpg", "/metrics", "/config.json", "/x"]
)
def test_without_the_token_nothing_is_shown(closed_page, path):
    answer = client(closed_page).get(path)
    assert answer.status == 401
    assert b"tiny" not in answer.body
    assert len(answer.body) < 2000
    assert (b"<form" in answer.body) == (path == "/")


@pytest.mark.parametrize("path", ["/threshold", "/wrong", "/hold", "/logout"])
def test_without_the_token_nothing_is_changed(closed_page, path):
    assert client(closed_page).post(path, "value=0.9&frame=0").status == 401
    assert closed_page.threshold == 0.0


def test_wrong_token_right_token_and_logout(closed_page):
    one = client(closed_page)
    assert one.get("/login").status == 200
    for wrong in ("", "wrong", TOKEN + "x", TOKEN[:-1], "ß" * 20):
        if wrong.isascii():
            answer = one.log_in(wrong)
            assert answer.status == 401
            assert b"Wrong token" in answer.body
            assert "Set-Cookie" not in answer.headers
    answer = one.log_in()
    assert answer.status == 303
    assert answer.headers["Location"] == "/"
    flags = {part.strip().lower() for part in answer.headers["Set-Cookie"].split(";")[1:]}
    assert {"httponly", "samesite=strict", "path=/"} <= flags
    assert TOKEN not in answer.headers["Set-Cookie"]
    assert one.get("/snapshot.jpg").status == 200
    with Viewer(closed_page, cookie=one.cookie) as viewer:
        assert viewer.record()[0]["frame"] == 0
    gone = one.post("/logout", "")
    assert "edgekit-" in gone.headers["Set-Cookie"] and "Max-Age=0" in gone.headers["Set-Cookie"]


def test_a_cookie_that_was_changed_is_no_cookie(closed_page):
    one = client(closed_page)
    one.log_in()
    name, _, value = one.cookie.partition("=")
    expiry, _, mac = value.partition(".")
    flipped = ("1" if mac[0] != "1" else "2") + mac[1:]
    for wrong in (f"{int(expiry) + 1}.{mac}", f"{expiry}.{flipped}", f"{expiry}.", f".{mac}", "x", "é.é"):
        assert client(closed_page).get("/config.json", Cookie=f"{name}={wrong}").status == 401, wrong
    assert one.get("/config.json").status == 200


def test_programs_show_the_token_in_a_header(closed_page):
    one = client(closed_page)
    assert one.get("/metrics", Authorization=f"Bearer {TOKEN}").status == 200
    assert one.get("/metrics", Authorization=f"bearer {TOKEN}").status == 200
    assert one.get("/metrics", Authorization="Bearer wrong").status == 401
    assert one.get("/metrics", Authorization=f"Basic {TOKEN}").status == 401
    # Never in an address: those end up in logs.
    assert one.get(f"/metrics?token={TOKEN.replace(' ', '+')}").status == 401


def test_guessing_is_slowed_down_and_does_not_lock_out_who_is_in():
    with page("0.0.0.0", token=TOKEN, bounds=Bounds(logins=3)) as running:
        friend, foe = client(running), client(running)
        assert friend.log_in().status == 303
        assert [foe.log_in("guess").status for _ in range(3)] == [401, 401, 401]
        last = foe.log_in("guess")
        assert last.status == 429
        assert 1 <= int(last.headers["Retry-After"]) <= 11
        assert foe.log_in(TOKEN).status == 429
        assert foe.get("/metrics", Authorization=f"Bearer {TOKEN}").status == 429
        assert friend.get("/config.json").status == 200


def test_a_token_on_loopback_is_asked_for_too():
    with page(token=TOKEN) as running:
        assert client(running).get("/config.json").status == 401


def test_the_token_appears_nowhere(closed_page, capfd, caplog):
    one = client(closed_page)
    for _ in range(2):
        one.log_in()
        one.get("/metrics", Authorization=f"Bearer {TOKEN}")
        one.log_in(TOKEN + "!")
    written = capfd.readouterr()
    everything = written.out + written.err + caplog.text + "".join(closed_page.warnings)
    assert TOKEN not in everything and "correct+horse" not in everything
    assert written.out + written.err == ""


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://127.0.0.1:1"},
        {"Origin": ""},
        {"Sec_Fetch_Site": "cross-site"},
        {"Sec_Fetch_Site": "same-site"},
        {"Sec_Fetch_Site": "cross-site", "Sec_Fetch_Mode": "navigate", "Sec_Fetch_Dest": "document"},
    ],
)
def test_posts_of_other_origins_are_refused(open_page, headers):
    one = client(open_page)
    assert one.post("/threshold", "value=0.9", **headers).status == 403
    assert open_page.threshold == 0.0
    assert one.post("/threshold", "value=0.9", Origin=f"http://127.0.0.1:{one.port}").status == 200
    assert open_page.threshold == 0.9


def test_pictures_are_not_for_other_pages_but_links_are(open_page):
    one = client(open_page)
    embedded = {"Sec_Fetch_Site": "cross-site", "Sec_Fetch_Mode": "no-cors", "Sec_Fetch_Dest": "image"}
    assert one.get("/stream.mjpeg", **embedded).status == 403
    framed = {"Sec_Fetch_Site": "cross-site", "Sec_Fetch_Mode": "navigate", "Sec_Fetch_Dest": "iframe"}
    assert one.get("/", **framed).status == 403
    linked = {"Sec_Fetch_Site": "cross-site", "Sec_Fetch_Mode": "navigate", "Sec_Fetch_Dest": "document"}
    assert one.get("/", **linked).status == 200


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:8080", "127.0.0.1.evil.example", "localhost.evil", "", "a@localhost", "[::1"]
)
def test_other_names_are_refused(open_page, host):
    answer = client(open_page).get("/config.json", Host=host)
    assert 400 <= answer.status < 500
    assert b"tiny" not in answer.body


def test_own_names_are_fine(open_page, closed_page):
    for host in ("localhost", "LOCALHOST:9", "127.0.0.1", "[::1]:8080"):
        assert client(open_page).get("/config.json", Host=host).status == 200
    assert client(open_page).get("/config.json", Host="192.168.1.5").status == 421
    for host in ("192.168.1.5:8080", "[fe80::1]", socket.gethostname()):
        assert client(closed_page).get("/login", Host=host).status == 200
    with page(hosts=("Camera.Example",)) as running:
        assert client(running).get("/config.json", Host="camera.example").status == 200


def test_big_bodies_are_refused(open_page):
    one = client(open_page)
    assert one.post("/threshold", b"value=0.5&x=" + b"y" * 5000).status == 413
    # Announced only: refused before a byte of it is read.
    with socket.create_connection(("127.0.0.1", one.port), timeout=30) as raw:
        raw.sendall(b"POST /threshold HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000000\r\n\r\n")
        assert b" 413 " in raw.recv(100)
    # Without a length.
    chunks = b"".join(b"400\r\n" + b"x" * 1024 + b"\r\n" for _ in range(8)) + b"0\r\n\r\n"
    answer = one.post("/threshold", chunks, Transfer_Encoding="chunked")
    assert answer.status == 413
    assert open_page.threshold == 0.0


def test_a_head_without_end_is_cut_off(open_page):
    with socket.create_connection(("127.0.0.1", client(open_page).port), timeout=30) as raw:
        raw.sendall(b"GET / HTTP/1.1\r\nX: ")
        sent = 0
        with contextlib.suppress(ConnectionError):
            while sent < 64 * 2**20:
                sent += raw.send(b"x" * 65536)
    assert sent < 64 * 2**20
    assert client(open_page).get("/config.json").status == 200


def test_requests_in_a_loop_are_slowed_down():
    with page(bounds=Bounds(per_second=0.5, burst=5)) as running:
        one = client(running)
        statuses = [one.get("/config.json").status for _ in range(8)]
        assert statuses[:5] == [200] * 5
        assert 429 in statuses[5:]


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
    with page(reports=ReportBounds(folder, free_bytes=0), threshold=0.25) as running, Viewer(running) as viewer:
        running.publish(decision(4))
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
        assert "fewer than 2" in running.warnings[0]
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
        assert client(running).post("/wrong", "").status == 500
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
