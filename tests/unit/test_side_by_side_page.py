"""What is said of the comparison: standings, the page, and which steps are taken again."""

import json
from dataclasses import replace

import cv2
import pytest

from benchmarks.side_by_side import everything, page, standings
from benchmarks.side_by_side.routes import OURS, QUICK
from benchmarks.side_by_side.standings import Kind, Place, Standing
from benchmarks.side_by_side.subjects import Subject
from edgekit.errors import GateError


def _converted(same, size=1000, seconds=10.0, behind=(-0.1, 0.1), sqnr=20.0):
    return {
        "same": {"value": same, "low": same - 0.6, "high": same + 0.5},
        "behind_edgekit": {"value": sum(behind) / 2, "low": behind[0], "high": behind[1]},
        "sqnr_db": sqnr,
        "bytes": size,
        "seconds": seconds,
        "rounds": [seconds],
    }


@pytest.mark.parametrize(
    ("other", "is_more_better", "place"),
    [
        (9.0, True, Place.FIRST),
        (9.5, True, Place.EQUAL),
        (10.5, True, Place.EQUAL),
        (11.0, True, Place.BEHIND),
        (9.0, False, Place.BEHIND),
        (10.5, False, Place.EQUAL),
        (11.0, False, Place.FIRST),
    ],
)
def test_a_standing_is_that_beside_the_best_other(other, is_more_better, place):
    others = {"near": other, "far": 0.0 if is_more_better else 100.0}
    (line,) = standings.standing(
        Kind.SIZE, "x", 10.0, others, "{:.1f} s".format, room=0.5, is_more_better=is_more_better
    )
    assert line == Standing(Kind.SIZE, "x", "10.0 s", f"{other} s, near", place)


def _write(folder, name, content):
    (folder / f"side_by_side-{name}.json").write_text(json.dumps(content))


@pytest.fixture
def results(tmp_path, monkeypatch):
    for module in (standings, page):
        monkeypatch.setattr(module, "RESULTS", tmp_path)
    return tmp_path


def test_the_summary_tells_where_edgekit_is_behind(results):
    rows = {
        OURS: _converted(98.0, size=1050, seconds=50.0, sqnr=20.2),
        QUICK: _converted(97.0),
        "litert-torch PT2E": _converted(90.0, seconds=9.9, behind=(7.0, 9.0)),
        "ONNX Runtime": _converted(99.5, seconds=1.0, behind=(-2.0, -1.0)),
        "TinyNeuralNetwork": {"failed": "x"},
    }
    counts = {OURS: {"A53": {"frame": 1e8, "invoke": 9e7}}, "MediaPipe Tasks, edgekit's file": {"A53": {"frame": 2e8}}}
    counts["lost"] = {"A53": {"failed": "why"}}
    loops = {
        title: {"failed": {}, "light": [light] * 2, "heavy": [{"age_p99_ms": ms}] * 2}
        for title, ms, light in (
            ("edgekit camera", 1.0, {"cpu_ms": 8.0, "bare_ms": 7.0, "age_p99_ms": 40.0}),
            ("plain", 3.0, {"cpu_ms": 9.0, "bare_ms": 6.0, "age_p99_ms": 40.0}),
            ("MediaPipe", 1.5, {"cpu_ms": 7.0, "bare_ms": None, "age_p99_ms": 41.0}),
        )
    }
    loops["lost"] = {"failed": {"light": "why"}}
    times = [{"threads": 1, "ms": {OURS: [2.0, 4.0], "OpenVINO": [1.0, 2.1]}, "failed": {"lost": "why"}}]
    _write(results, "conversion-net", {"rows": rows})
    _write(results, "inference-net", {"rows": times, "failed": {}})
    _write(results, "pi_cores-net", {"instructions": counts})
    _write(results, "cameras", {"loops": loops})
    assert standings.table(standings.standings({"net": "Net", "never measured": "Other"})).splitlines()[2:] == [
        "| same top-1 as float, Net | 98.0 % | 99.5 %, ONNX Runtime | behind |",
        "| SQNR of the logits, Net | 20.2 dB | 20.0 dB, litert-torch PT2E | first |",
        "| size, Net | 0.00 MB | 0.00 MB, litert-torch PT2E | behind |",
        "| PyTorch to int8 .tflite, edgekit int8: Net | 50 s | 10 s, litert-torch PT2E | behind |",
        "| PyTorch to int8 .tflite, edgekit int8-minmax: Net | 10 s | 10 s, litert-torch PT2E | equal |",
        "| one image, threads: 1, Net | 3.00 ms | 1.55 ms, OpenVINO | behind |",
        "| instructions of a frame, A53: Net | 100 M | 200 M, MediaPipe Tasks, edgekit's file | first |",
        "| camera loop: CPU per answer | 8.00 ms | 7.00 ms, MediaPipe | behind |",
        "| camera loop: CPU per answer without the network | 1.00 ms | 3.00 ms, plain | first |",
        "| camera loop: age of an answer, p99 | 40 ms | 40 ms, plain | equal |",
        "| the same with a network slower than the camera | 1 ms | 2 ms, MediaPipe | first |",
    ]


@pytest.mark.parametrize(
    ("ratio", "place"), [((0.9, 1.1), "equal"), ((0.98, 0.99), "equal"), ((0.8, 0.9), "behind"), ((1.1, 1.2), "first")]
)
def test_an_image_is_judged_by_the_rounds(results, ratio, place):
    rows = [{"threads": 1, "ms": {OURS: [1.0, 2.0], "other": [ratio[0], 2.0 * ratio[1]]}, "failed": {}}]
    _write(results, "inference-net", {"rows": rows, "failed": {}})
    (line,) = standings.standings({"net": "Net"})
    assert line.place == place


@pytest.mark.parametrize(("behind", "place"), [((-0.1, 0.3), "equal"), ((0.1, 0.3), "first"), ((-0.3, -0.1), "behind")])
def test_agreement_is_judged_image_by_image(results, behind, place):
    _write(results, "conversion-net", {"rows": {OURS: _converted(98.0), "other": _converted(98.1, behind=behind)}})
    assert standings.standings({"net": "Net"})[0].place == place


def test_without_our_own_figures_there_is_no_standing(results):
    _write(results, "conversion-net", {"rows": {OURS: {"failed": "x"}, QUICK: {"failed": "x"}, "o": _converted(9.0)}})
    _write(
        results, "inference-net", {"rows": [{"threads": 1, "ms": {"o": [1.0]}, "failed": {OURS: "x"}}], "failed": {}}
    )
    _write(results, "pi_cores-net", {"instructions": {OURS: {"A53": {"failed": "x"}}, "o": {"A53": {"frame": 1}}}})
    assert standings.standings({"net": "Net"}) == []


def test_no_page_that_does_not_say_what_it_would_take(monkeypatch):
    behind = Standing(Kind.SIZE, "x", "2 MB", "1 MB, other", Place.BEHIND)
    monkeypatch.setattr(page, "WOULD_TAKE", {})
    with pytest.raises(GateError, match="got nothing for: size"):
        page.remedies([behind])
    monkeypatch.setattr(page, "WOULD_TAKE", {Kind.SIZE: "weights of four bits."})
    assert page.remedies([behind, behind])[1:] == ["- *size*: weights of four bits.", ""]
    assert page.remedies([replace(behind, place=Place.EQUAL)]) == []


def test_the_page_holds_every_table_and_a_plot_of_agreement(results, monkeypatch):
    monkeypatch.setattr(page, "OUT", results / "RESULTS.md")
    rows = {title: _converted(same, behind=(5.0, 6.0)) for title, same in ((QUICK, 97.0), ("other", 90.0))}
    rows |= {OURS: _converted(98.9, sqnr=30.0, size=900), "none": {"failed": "x"}}
    facts = {
        "machine": {"cores": 2, "processor": "A  processor", "memory_gb": 24.0},
        "date": "2026-11-29",
        "commit": {"commit": "0123456789abcdef", "is_changed": True},
        "peers": {"onnxruntime": "onnxruntime 1.32.0"},
    }
    top1 = {"value": 91.0, "low": 90.0, "high": 92.0}
    for name in ("conversion-mobilenet_v2-cifar10", "pi_cores-mobilenet_v2-imagenet", "cameras"):
        more = {"rows": rows, "images": 1234, "calibration_images": 250, "float_top1": top1}
        _write(results, name, facts | (more if name.startswith("conversion") else {}))
        (results / f"side_by_side-{name}.md").write_text(f"| table of {name} |\n")
    page.main()
    text = (results / "RESULTS.md").read_text()
    for part in (
        "table of conversion-mobilenet_v2-cifar10",
        "table of pi_cores-mobilenet_v2-imagenet",
        "| onnxruntime | onnxruntime 1.32.0 |",
    ):
        assert part in text
    assert (
        "1,234 images, 250 for calibration; 2026-11-29, 2 cores, A processor, 24 GB, edgekit 012345678, changed" in text
    )
    assert "Float: 91.00 % (90.00 … 92.00)" in text
    plot = results / "side_by_side-agreement.png"
    assert f"]({plot.relative_to(results)})" in text
    assert cv2.imread(str(plot)).shape[1] > 500


def test_a_step_that_ended_well_here_is_not_taken_again(results, monkeypatch):
    taken = []
    monkeypatch.setattr(everything, "RESULTS", results)
    monkeypatch.setattr(everything, "WORK", results / "work")
    monkeypatch.setattr(everything, "_run", lambda *words: taken.append(words) or [])
    everything._once("cameras", False, "cameras")
    # A clone has the result, but did not measure it.
    _write(results, "cameras", {})
    (results / "work" / "done" / "cameras").unlink()
    everything._once("cameras", False, "cameras")
    everything._once("cameras", False, "cameras")
    assert len(taken) == 2
    everything._once("cameras", True, "cameras")
    everything._once("cameras", False, "cameras", "--other")
    assert len(taken) == 4
    monkeypatch.setattr(everything, "_run", lambda *words: taken.append(words) or ["cameras"])
    assert everything._once("cameras", False, "cameras", "--new") == ["cameras"]
    assert everything._once("cameras", False, "cameras", "--new") == ["cameras"]


def test_a_step_is_taken_again_if_what_it_depends_on_is_another(results, monkeypatch):
    taken = []
    monkeypatch.setattr(everything, "RESULTS", results)
    monkeypatch.setattr(everything, "WORK", results / "work")
    monkeypatch.setattr(everything, "_run", lambda *words: taken.append(words) or [])
    (results / "net.pt").write_bytes(b"weights")
    (results / "photos").mkdir()
    (results / "photos" / "1.png").write_bytes(b"photo")
    subject = Subject("Net", str(results / "net.pt"))

    def step():
        depends = everything._contents(subject, ["--calibration", str(results / "photos")])
        everything._once("conversion-net", False, "conversion", depends=depends)
        everything._once("inference-net", False, "inference", depends=everything._conversion("net"))
        return len(taken)

    for name in ("conversion-net", "inference-net"):
        _write(results, name, {})
    assert [step(), step()] == [2, 2]
    (results / "net.pt").write_bytes(b"WEIGHTS")
    assert step() == 3
    (results / "photos" / "2.png").write_bytes(b"another")
    assert step() == 4
    _write(results, "conversion-net", {"inputs": "other"})
    assert step() == 5
