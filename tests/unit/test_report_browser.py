"""The page in a real Chromium: on a desk, on a phone, on paper."""

import base64

import comparison_samples as samples
import numpy as np
import pytest
from support.devtools import Browser

from edgekit_quantize.report.make import Limits, build_report, write_report

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """A page with everything in it, also names that are longer than a phone is wide."""
    folder = tmp_path_factory.mktemp("page")
    labels = (*samples.LABELS[:9], "a_class_whose_name_is_longer_than_any_phone_is_wide_and_has_no_space_in_it")
    bundle = samples.make_bundle(labels)
    old = build_report(samples.make_comparison(tags=True), bundle, samples.picture, data_name="x" * 80).document
    comparison = samples.make_comparison(tags=True, collapsed=9)
    report = build_report(
        comparison,
        bundle,
        samples.picture,
        limits=Limits(0.5, 97.0, old),
        data_name="x" * 80,
        command="edgekit report " + "y" * 200,
    )
    write_report(report, folder / "r.html", folder / "r.json")
    return folder / "r.html"


@pytest.fixture
def browser(tmp_path):
    with Browser(tmp_path) as one:
        yield one


@pytest.mark.parametrize(("width", "is_phone"), [(1280, False), (390, True), (320, True)])
def test_a_real_browser_shows_the_page_without_complaint(browser, page, width, is_phone):
    browser.resize(width, 900, is_phone)
    browser.open(page.as_uri())
    assert browser.complaints == []
    # Only the file itself and what lies in it: nothing was asked of anyone.
    asked = browser.run("performance.getEntriesByType('resource').map(e => e.name)")
    assert all(name.startswith("data:") for name in asked)
    assert browser.run("[...document.images].every(i => i.complete && i.naturalWidth > 0)")
    assert browser.run("document.images.length") > 20
    assert browser.run("document.documentElement.scrollWidth") <= width
    assert browser.shot().std() > 10


def test_text_on_a_phone_is_large_enough_to_read(browser, page):
    browser.resize(390, 900, True)
    browser.open(page.as_uri())
    script = "(q => Math.min(...[...document.querySelectorAll(q)].map(e => parseFloat(getComputedStyle(e).fontSize))))"
    assert browser.run(f"{script}('p, li, td, dd, .badge')") >= 12
    assert browser.run(f"{script}('.name, small')") >= 11


def test_the_contents_lead_to_their_sections(browser, page):
    browser.resize(1280, 900, False)
    browser.open(page.as_uri())
    browser.click('nav a[href="#costs"]')
    assert browser.until("Math.abs(document.getElementById('costs').getBoundingClientRect().top) < 60")
    assert browser.complaints == []


def test_the_page_is_dark_on_white(browser, page):
    browser.resize(1280, 900, False, is_dark=True)
    browser.open(page.as_uri())
    assert browser.run("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    corner = browser.shot()[5:15, 5:15]
    assert np.all(corner == 255)


def test_the_page_prints(browser, page):
    browser.open(page.as_uri())
    pdf = base64.b64decode(browser.call("Page.printToPDF", printBackground=True)["data"])
    assert pdf.startswith(b"%PDF")
    assert browser.complaints == []
