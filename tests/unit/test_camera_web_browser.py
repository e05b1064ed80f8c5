"""The page in a real Chromium: it is seen, it moves, its controls act, and nobody else's page gets at it."""

import contextlib
import dataclasses
import http.server
import json
import os
import threading
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
from support import tiny_model
from support.devtools import Browser, colour, leaving
from support.web import TOKEN, client, decision, decoded, page, wait_until

from edgekit_deploy.smoothing import Verdict
from edgekit_deploy.web.feeds import Feeds, ReportBounds

pytestmark = pytest.mark.browser
# A JPEG, a browser and its colour management lie between.
COLOUR_TOLERANCE = 16
SIZES = {"phone": (390, 844, True), "desktop": (1280, 800, False)}


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    with Browser(tmp_path_factory.mktemp("browser")) as running:
        yield running


@pytest.fixture(autouse=True)
def quiet(browser):
    """No page may complain; a test that provokes it says how. (Complaints come late, so they are not cleared.)"""
    browser.complaints.clear()
    browser.call("Network.clearBrowserCookies")
    provoked: list[str] = []
    yield provoked
    browser.run("1")
    assert [line for line in browser.complaints if not any(part in line for part in provoked)] == []


@contextlib.contextmanager
def moving(running, period=0.05):
    """Publishes coloured frames until the end."""
    stop = threading.Event()

    def publish():
        index = 0
        while not stop.wait(period):
            running.publish(decision(index))
            index += 1

    thread = threading.Thread(target=publish)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def frame_shown(index):
    return f"document.getElementById('picture').dataset.frame === '{index}'"


def text(name):
    return f"document.getElementById('{name}').textContent"


def test_the_picture_changes_and_figures_follow(browser):
    with page(feeds=Feeds(temperature=lambda: 48.25, status=lambda: "")) as running, leaving(browser):
        browser.open(running.url)
        for index in (0, 1, 2, 3):
            running.publish(decision(index))
            browser.until(frame_shown(index))
            label = tiny_model.COLOURS[index % 3]
            assert np.abs(colour(browser)[0] - tiny_model.BGR[label]).max() < COLOUR_TOLERANCE
            assert browser.run(text("answer")) == label
            assert browser.run("document.querySelectorAll('#top li').length") == 5
            assert browser.run("document.querySelector('#top .name').textContent") == label
            assert browser.run(text("inferred")) == str(index + 1)
            width = browser.run("parseFloat(document.querySelector('#top .bar').style.width)")
            assert width == pytest.approx(100 * decision(index).result.probability, abs=0.1)
        assert browser.run(text("temperature")) == "48.3 °C"
        assert browser.run(text("fps")) == "30.0"
        assert browser.run(text("state")) == "live"
        assert browser.run("document.title") == "tiny <colours>"
        # The curves are drawn: pixels of both colours.
        drawn = "(() => { const c = document.getElementById('chart'); const d = c.getContext('2d')"
        drawn += ".getImageData(0, 0, c.width, c.height).data; return d.some((v, i) => i % 4 === 3 && v > 0); })()"
        assert browser.run(drawn)


def test_with_a_moving_camera_the_page_keeps_up(browser):
    with page() as running, leaving(browser):
        browser.open(running.url)
        with moving(running):
            browser.until(text("state") + " === 'live'")
            numbers = []
            deadline = time.monotonic() + 60
            while len(set(numbers)) < 10 and time.monotonic() < deadline:
                bgr, frame = colour(browser)
                numbers.append(frame)
                assert np.abs(bgr - tiny_model.BGR[tiny_model.COLOURS[frame % 3]]).max() < COLOUR_TOLERANCE
        assert len(set(numbers)) >= 10 and numbers == sorted(numbers)


def test_the_slider_acts(browser):
    with page() as running, leaving(browser):
        running.publish(decision(0))
        browser.open(running.url)
        browser.until(frame_shown(0))
        assert browser.run(text("answer")) == "red"
        x, y, width, height = browser.run(
            "(e => { e.scrollIntoView({block: 'center'}); const r = e.getBoundingClientRect(); "
            "return [r.x, r.y, r.width, r.height]; })(document.getElementById('threshold'))"
        )
        browser.click_at(x + 0.97 * width, y + height / 2)
        assert wait_until(lambda: running.threshold > 0.5)
        assert running.threshold == pytest.approx(0.98, abs=0.02)
        # A message sent before the click may still come, and is followed by one that knows of it.
        browser.until(f"{text('threshold-value')} === '{100 * running.threshold:.0f} %'")
        # The answer is the loop's: it follows with the next frame, and not before.
        assert browser.run(text("answer")) == "red"
        unsure = decision(1, threshold=running.threshold)
        assert unsure.result.probability < running.threshold
        running.publish(unsure)
        browser.until(frame_shown(1))
        assert browser.run(text("answer")) == "nothing sure"
        client(running).post("/threshold", "value=0.01")
        running.publish(decision(2, threshold=running.threshold))
        browser.until(frame_shown(2))
        assert browser.run(text("answer")) == "blue"
        # Set elsewhere, it moves here.
        client(running).post("/threshold", "value=0.25")
        browser.until("document.getElementById('threshold').value === '0.25'")


def test_the_answer_is_the_verdict_whatever_the_slider_says(browser):
    """Hysteresis keeps an answer below the threshold, and a label's own threshold forbids one above it."""
    with page(threshold=0.6) as running, leaving(browser):
        browser.open(running.url)
        browser.until(text("threshold-value") + " === '60 %'")
        cases = [(Verdict(1, "green", 0.55), "green"), (Verdict(None, None, 0.9), "nothing sure")]
        for index, (verdict, shown) in enumerate(cases):
            running.publish(dataclasses.replace(decision(index), verdict=verdict))
            browser.until(frame_shown(index))
            assert browser.run(text("answer")) == shown
            # This frame's own guesses stand below.
            assert browser.run("document.querySelector('#top .name').textContent") == tiny_model.COLOURS[index]


def test_snapshot_downloads_the_frame(browser, tmp_path):
    browser.downloads_to(tmp_path)
    with page() as running, leaving(browser):
        running.publish(decision(8))
        browser.open(running.url)
        browser.until(frame_shown(8))
        browser.click("#snapshot")
        file = tmp_path / "edgekit-8.jpg"
        assert wait_until(file.exists)
        assert wait_until(lambda: file.read_bytes()[-2:] == b"\xff\xd9")
        image = decoded(file.read_bytes())
    assert image.shape == (480, 640, 3)
    assert np.abs(image[10, 10].astype(int) - tiny_model.BGR["blue"]).max() < COLOUR_TOLERANCE


def test_wrong_saves_what_was_on_the_screen(browser, tmp_path):
    with page(reports=ReportBounds(tmp_path, free_bytes=0)) as running, leaving(browser):
        running.publish(decision(1))
        browser.open(running.url)
        browser.until(frame_shown(1))
        browser.until("!document.getElementById('wrong').hidden")
        browser.click("#pause")
        browser.until(text("state") + " === 'paused'")
        assert wait_until(lambda: running.viewers == 0)
        for index in range(2, 9):
            running.publish(decision(index))
        browser.click("#wrong")
        browser.until(text("note") + ".startsWith('Saved as')")
        (file,) = tmp_path.glob("*.json")
        assert json.loads(file.read_text())["frame"] == 1
        assert json.loads(file.read_text())["label"] == "green"
        browser.click("#pause")
        browser.until(frame_shown(8))


def test_login_in_the_browser(browser, quiet):
    # Chromium logs each 401 that it shows.
    quiet.append("status of 401")
    with page("0.0.0.0", token=TOKEN) as running, leaving(browser):
        running.publish(decision(0))
        url = f"http://127.0.0.1:{client(running).port}/"
        browser.open(url)
        assert browser.run("document.querySelector('#picture')") is None
        browser.click("#token")
        browser.type("not the token at all")
        browser.click("button")
        browser.until("document.querySelector('.problem')?.textContent === 'Wrong token.'")
        browser.click("#token")
        browser.type(TOKEN)
        browser.click("button")
        browser.until("document.querySelector('#picture')?.dataset.frame === '0'")
        assert browser.run("document.cookie") == ""
        assert browser.run("location.href") == url
        # Not by its place: the page is still growing.
        browser.run("document.querySelector('#logout button').click()")
        browser.until("location.pathname === '/login'")
        assert client(running).get("/config.json").status == 401


def test_another_site_gets_nothing(browser, quiet, tmp_path):
    quiet.append("127.0.0.1")
    (tmp_path / "evil.html").write_text("<title>evil</title><link rel=icon href='data:,'>")
    handler = lambda *a: _Quiet(*a, directory=str(tmp_path))  # noqa: E731
    with page() as running, http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as evil:
        thread = threading.Thread(target=evil.serve_forever)
        thread.start()
        try:
            running.publish(decision(0))
            browser.open(f"http://localhost:{evil.server_address[1]}/evil.html")
            target = running.url
            form = "Object.assign(document.createElement('form'), {method: 'post', "
            form += f"action: '{target}threshold', innerHTML: '<input name=value value=0.9>'}})"
            fetched = f"fetch('{target}threshold', {{method: 'POST', mode: 'no-cors', body: new FormData({form})}})"
            assert browser.run(f"{fetched}.then(() => 'sent', () => 'refused')") == "refused"
            image = "new Promise(done => { const i = new Image(); i.onload = () => done('seen'); "
            image += f"i.onerror = () => done('refused'); i.src = '{target}snapshot.jpg'; }})"
            assert browser.run(image) == "refused"
            assert browser.run(f"fetch('{target}config.json').then(r => r.text(), () => 'refused')") == "refused"
            # A form is no script's request: the browser sends it and goes there.
            browser.run(f"document.body.append({form}); document.forms[0].submit()")
            browser.until("document.body.innerText.includes('Another web site')")
        finally:
            evil.shutdown()
            thread.join()
        assert running.threshold == 0.0
    is_told = lambda: any("403" in line and "/threshold" in line for line in browser.complaints)  # noqa: E731
    assert wait_until(lambda: browser.run("true") and is_told())


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *arguments):
        pass


def test_when_the_camera_ends_the_page_says_so(browser, quiet):
    quiet.append("net::ERR_")
    with page() as running:
        running.publish(decision(0))
        browser.open(running.url)
        browser.until(frame_shown(0))
        browser.until(text("state") + " === 'no new frame'")
    browser.until("document.getElementById('state').className === 'lost'")
    browser.open("data:text/plain,gone")


def test_a_closed_tab_is_no_viewer(browser):
    with page() as running, leaving(browser):
        running.publish(decision(0))
        browser.open(running.url)
        browser.until(frame_shown(0))
        assert running.viewers == 1
        browser.call("Page.navigate", url="about:blank")
        assert wait_until(lambda: running.viewers == 0)


@pytest.mark.parametrize("is_dark", [False, True])
@pytest.mark.parametrize("size", SIZES)
def test_it_fits_phone_and_desktop(browser, size, is_dark, tmp_path):
    """Set EDGEKIT_SCREENSHOTS to a folder to keep what was seen."""
    browser.resize(*SIZES[size], is_dark)
    feeds = Feeds(temperature=lambda: 61.2)
    with page(reports=ReportBounds(tmp_path, free_bytes=0), feeds=feeds) as running, leaving(browser):
        browser.open(running.url)
        with moving(running):
            browser.until("chart.points.length > 12")
            browser.until("!document.getElementById('wrong').hidden")
            wide = browser.run("[document.documentElement.scrollWidth, innerWidth]")
            boxes = browser.run(
                "[...document.querySelectorAll('button, input')].filter(e => e.offsetParent)"
                ".map(e => { const r = e.getBoundingClientRect(); return [r.left, r.right, r.height]; })"
            )
            image = browser.shot()
    assert wide[0] <= wide[1]
    assert len(boxes) == 4
    # Fingers need some 34 CSS pixels.
    assert all(left >= 0 and right <= wide[1] and height >= 34 for left, right, height in boxes)
    assert np.unique(image.reshape(-1, 3), axis=0).shape[0] > 300
    assert (image.mean() < 110) == is_dark
    if folder := os.environ.get("EDGEKIT_SCREENSHOTS"):
        cv2.imwrite(str(Path(folder) / f"{size}-{'dark' if is_dark else 'light'}.png"), image)
