"""The page and the Markdown of a report: what stands in them, and that nothing from outside gets out of hand."""

import base64
import io
import re
from dataclasses import replace
from html.parser import HTMLParser
from xml.etree import ElementTree

import comparison_samples as samples
import markdown_it
import pytest
from rich.console import Console

from edgekit.errors import InputError
from edgekit_quantize.report import verdict, wording
from edgekit_quantize.report.make import write_report
from edgekit_quantize.report.markdown import to_markdown
from edgekit_quantize.report.table import summary_table


@pytest.fixture(scope="module")
def full():
    return samples.full_report()


class _Page(HTMLParser):
    """Collects everything that a browser would fetch, the anchors, and the text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links, self.words, self.tags, self.places, self.targets = [], [], [], set(), set()
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        for name, value in attributes:
            if name == "href" and value.startswith("#"):
                self.targets.add(value[1:])
            elif name in ("src", "href", "srcset", "data", "poster"):
                self.links.append(value)
            elif name == "id":
                self.places.add(value)

    def handle_data(self, data):
        self.words.append(data)

    @property
    def text(self):
        return " ".join(" ".join(self.words).replace("\u00a0", " ").split())


def _page(report, folder):
    write_report(report, folder / "r.html", folder / "r.json", folder / "r.md")
    return (folder / "r.html").read_text("utf-8")


def test_the_page_asks_nobody_for_anything(full, tmp_path):
    text = _page(full, tmp_path)
    page = _Page(text)
    assert len(page.links) >= 20
    assert all(link.startswith("data:") for link in page.links)
    assert "script" not in page.tags
    assert not re.search(r"@import|url\(|https?://", text)
    assert page.targets <= page.places  # the table of contents leads somewhere
    for link in page.links:
        if link.startswith("data:image/svg+xml"):
            svg = base64.b64decode(link.split(",", 1)[1]).decode()
            ElementTree.fromstring(svg)
            # Plots may embed pixels of their own, but nothing from elsewhere.
            assert all(inner.startswith(("#", "data:")) for inner in re.findall(r'href="([^"]*)"', svg))


def test_the_page_says_everything_and_the_verdict_first(full, tmp_path):
    text, document = _Page(_page(full, tmp_path)).text, full.document
    assert text.index("Collapsed: cat") < text.index("On exactly the same pixels")
    for sentence in verdict.sentences(document):
        assert sentence in text
    for needed in (
        *samples.LABELS,
        *(stage.sha256 for stage in document.stages),
        document.data.data_sha256,
        "ai-edge-litert 2.1.0, builtin kernels",
        "edgekit report model.tflite --data 'my photos'",
        "light = night",
        "a.jpg must be an image, got text.",
        "block_7/conv",
        "300.0 M",
    ):
        assert needed in text


def test_names_from_outside_cannot_break_out(tmp_path):
    evil = ("<script>alert(1)</script>", 'a "quoted" & | name', "$x^2$ {{ 7 * 7 }}", "[x](http://evil)", "@all `**")
    labels = (*evil, *samples.LABELS[5:])
    comparison = samples.make_comparison(noise=1.0)
    comparison = replace(
        comparison,
        names=("<img src=x>\n# head",) * len(comparison.names),
        tags=({"<b>": "|x|"},) * len(comparison.names),
        skipped=("<i>",),
    )
    report = samples.make_report(comparison, None, labels)
    page = _Page(_page(report, tmp_path))
    assert not {"script", "b&gt;"} & set(page.tags)
    assert page.tags.count("img") == len([link for link in page.links if link.startswith("data:image/")])
    assert "{{ 7 * 7 }}" in page.text
    rendered = _Page(markdown_it.MarkdownIt("gfm-like", {"linkify": False}).render(to_markdown(report.document)))
    assert not {"a", "img", "script", "code", "i"} & set(rendered.tags) - {"code"}
    assert rendered.tags.count("code") == 2  # both hashes
    assert "@\u2060all `**" in rendered.text


def test_the_markdown_renders_to_the_same_numbers(full):
    page = _Page(markdown_it.MarkdownIt("gfm-like", {"linkify": False}).render(to_markdown(full.document)))
    assert page.tags.count("table") == 3
    assert page.tags.count("tr") >= 2 * len(full.document.stages) + 3
    assert verdict.line(full.document) in page.text
    assert f"{full.document.judged.top1.value:.2f}" in page.text


def test_the_same_report_gives_the_same_page(tmp_path):
    folders = [tmp_path / "1", tmp_path / "2"]
    for folder in folders:
        _page(samples.make_report(samples.make_comparison(200)), folder)
    for name in ("r.html", "r.json", "r.md"):
        assert (folders[0] / name).read_bytes() == (folders[1] / name).read_bytes()


def test_three_classes_and_a_reference_alone_are_enough(tmp_path):
    labels = samples.LABELS[:3]
    comparison = samples.make_comparison(60, classes=3, also=False)
    runs = tuple(replace(comparison.runs[i], cost=None) for i in (0, 3))
    report = samples.make_report(replace(comparison, runs=runs, layers=None), None, labels)
    text = _Page(_page(report, tmp_path)).text
    assert "top-5" not in text
    assert "Costs" not in text
    assert "Runtimes" not in text
    # The size of the file is known without measuring, and is what a later report is held against.
    assert [(row.name, row.p50_ms) for row in report.document.costs.rows] == [("int8", None)]
    assert report.document.costs.rows[0].size == len(samples.make_bundle(labels).data)
    assert summary_table(report.document).row_count == 2


# Of each, matplotlib's own font lacks the letters, or takes them for a formula.
@pytest.mark.filterwarnings("error")
def test_plots_show_names_of_any_script(tmp_path):
    names = ("猫", "ねこ", "$x_1$", "two words")
    text = _page(samples.make_report(samples.make_comparison(), None, (*names, *samples.LABELS[4:])), tmp_path)
    plots = [link for link in _Page(text).links if link.startswith("data:image/svg+xml")]
    svgs = [base64.b64decode(link.split(",", 1)[1]).decode() for link in plots]
    shown = [["".join(t.itertext()) for t in ElementTree.fromstring(svg).findall(".//{*}text")] for svg in svgs]
    of_classes = [words for words in shown if "ship" in words]
    assert len(of_classes) == 3  # accuracy, drop, confusion
    assert all({"猫", "ねこ", "$x_1$", "two words"} <= set(words) for words in of_classes)


def test_the_summary_fits_a_terminal_of_80_columns(full):
    console = Console(width=80, file=io.StringIO(), highlight=False)
    console.print(summary_table(full.document))
    text = console.file.getvalue()
    for stage in full.document.stages:
        assert stage.name in text
        assert wording.interval(stage.top1) in text
        assert stage.drop is None or wording.interval(stage.drop.points) in text


def test_two_names_of_one_file_are_refused(full, tmp_path):
    with pytest.raises(InputError, match="different files"):
        write_report(full, tmp_path / "a", tmp_path / "b" / ".." / "a")
    assert not list(tmp_path.iterdir())
