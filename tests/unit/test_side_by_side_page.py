"""What is said of the comparison: standings, the page, and which steps are taken again."""

import json
from dataclasses import replace

import cv2
import pytest

from benchmarks.evaluation import read_evaluation
from benchmarks.side_by_side import everything, page, photos, plots, remedies, standings
from benchmarks.side_by_side.everything import Step
from benchmarks.side_by_side.routes import OURS, QUICK
from benchmarks.side_by_side.standings import CAMERA, PLAIN, Kind, Place, Standing
from benchmarks.side_by_side.subjects import SUBJECTS, Subject
from edgekit.errors import GateError, InputError


def _converted(same, size=1000, seconds=10.0, behind=(-0.1, 0.1), sqnr=20.0, rounds=(1.0,), peak=1000.0):
    row = {
        "same": {"value": same, "low": same - 0.6, "high": same + 0.5},
        "behind_edgekit": {"value": sum(behind) / 2, "low": behind[0], "high": behind[1]},
        "sqnr_db": sqnr,
        "bytes": size,
        "seconds": seconds,
        "peak_mb": peak,
    }
    return row | ({"rounds": [seconds * each for each in rounds]} if rounds else {})


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
    for module in (standings, page, plots, everything):
        monkeypatch.setattr(module, "RESULTS", tmp_path)
    return tmp_path


def test_the_summary_tells_where_edgekit_is_behind(results):
    rows = {
        OURS: _converted(98.0, size=1050, seconds=50.0, sqnr=20.2, peak=1100.0),
        QUICK: _converted(97.0),
        "litert-torch PT2E": _converted(90.0, seconds=9.9, behind=(7.0, 9.0)),
        # Its seconds and memory are not from PyTorch to a .tflite.
        "ONNX Runtime": _converted(99.5, seconds=1.0, behind=(-2.0, -1.0), rounds=(), peak=9.0),
        "TinyNeuralNetwork": {"failed": "x"},
    }
    counts = {OURS: {"A53": {"frame": 1e8, "invoke": 9e7}}, "MediaPipe Tasks, edgekit's file": {"A53": {"frame": 2e8}}}
    counts["lost"] = {"A53": {"failed": "why"}}
    loops = {
        title: {"failed": {}, "light": [light] * 2, "heavy": [{"age_p99_ms": ms}] * 2}
        for title, ms, light in (
            (CAMERA, 1.0, {"cpu_ms": 8.0, "bare_ms": 7.0, "age_p99_ms": 40.0}),
            (PLAIN, 3.0, {"cpu_ms": 9.0, "bare_ms": 6.0, "age_p99_ms": 40.0}),
            # Another network, a float one: only what is left without it counts.
            ("OpenCV", 9.0, {"cpu_ms": 19.0, "bare_ms": 18.5, "age_p99_ms": 90.0}),
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
        "| same top-1 as float, Net | 98.0 % | 99.5 % (+1.0 … +2.0), ONNX Runtime | behind |",
        "| SQNR of the logits, Net | 20.2 dB | 20.0 dB, litert-torch PT2E | first |",
        "| size, Net | 1 kB | 1 kB, litert-torch PT2E | behind |",
        "| PyTorch to int8 .tflite, edgekit int8: Net | 50 s | 10 s (×0.20 … 0.20), litert-torch PT2E | behind |",
        "| peak memory of that, edgekit int8: Net | 1,100 MB | 1,000 MB, litert-torch PT2E | behind |",
        "| PyTorch to int8 .tflite, edgekit int8-minmax: Net | 10 s | 10 s (×0.99 … 0.99), litert-torch PT2E | equal |",
        "| peak memory of that, edgekit int8-minmax: Net | 1,000 MB | 1,000 MB, litert-torch PT2E | equal |",
        "| one image, threads: 1, Net | 3.00 ms | 1.55 ms (×0.50 … 0.53), OpenVINO | behind |",
        "| instructions of a frame, A53: Net | 100 M | 200 M, MediaPipe Tasks, edgekit's file | first |",
        "| camera loop: CPU per answer | 8.00 ms | 7.00 ms (×0.88 … 0.88), MediaPipe | behind |",
        "| camera loop: CPU per answer without the network | 1.00 ms | 0.50 ms (×0.50 … 0.50), OpenCV | behind |",
        f"| camera loop: age of an answer, p99 | 40 ms | 40 ms (×1.00 … 1.00), {PLAIN} | equal |",
        "| the same with a network slower than the camera | 1 ms | 2 ms (×1.50 … 1.50), MediaPipe | first |",
    ]


@pytest.mark.parametrize(
    ("ratio", "place"),
    [
        ([0.99, 1.0, 1.01], "equal"),
        # One round in which somebody was held up makes neither a lead nor an equal.
        ([0.9, 0.9, 1.1], "undecided"),
        ([1.1, 1.1, 0.9], "undecided"),
        # 3 % apart in a round: more than counts as equal cannot be excluded, nor told.
        ([0.97, 0.99, 0.99], "undecided"),
        ([0.8, 0.8, 0.9], "behind"),
        ([1.1, 1.2, 1.2], "first"),
        # Of nine rounds the two extremes are left out: an interval of 96 %.
        ([1.1] * 8 + [0.5], "first"),
    ],
)
def test_an_image_is_judged_by_the_rounds(results, ratio, place):
    ours = [1.0 + number for number in range(len(ratio))]
    theirs = [mine * each for mine, each in zip(ours, ratio, strict=True)]
    rows = [{"threads": 1, "ms": {OURS: ours, "other": theirs}, "failed": {}}]
    _write(results, "inference-net", {"rows": rows, "failed": {}})
    (line,) = standings.standings({"net": "Net"})
    assert line.place == place


@pytest.mark.parametrize(
    ("behind", "place"),
    [
        ((-0.05, 0.1), "equal"),
        ((-0.1, 0.3), "undecided"),
        ((-0.1, 0.5), "undecided"),
        ((0.1, 0.3), "first"),
        ((-0.3, -0.1), "behind"),
    ],
)
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


def test_the_page_says_what_it_would_take_or_that_nothing_is_known(monkeypatch):
    behind = Standing(Kind.SIZE, "x", "2 MB", "1 MB, other", Place.BEHIND)
    monkeypatch.setattr(remedies, "WOULD_TAKE", {})
    said, silent = remedies.remedies([behind])
    assert said[1:] == ["- *size* (x): nothing is known of this yet.", ""]
    assert silent == [Kind.SIZE]
    monkeypatch.setattr(remedies, "WOULD_TAKE", {Kind.SIZE: "weights of four bits."})
    said, silent = remedies.remedies([behind, replace(behind, on="y")])
    assert said[1:] == ["- *size* (x; y): weights of four bits.", ""]
    assert silent == []
    for place in (Place.EQUAL, Place.UNDECIDED, Place.FIRST):
        assert remedies.remedies([replace(behind, place=place)]) == ([], [])


def test_the_page_is_written_and_its_gate_fails_where_it_is_silent(results, monkeypatch):
    monkeypatch.setattr(page, "OUT", results / "RESULTS.md")
    monkeypatch.setattr(page, "page", lambda: ("text", ["size"]))
    with pytest.raises(GateError, match="got nothing for: size"):
        page.main()
    assert (results / "RESULTS.md").read_text() == "text"


def test_results_md_is_what_the_results_give(monkeypatch):
    monkeypatch.setattr(plots, "_saved", lambda _figure, name: plots.RESULTS / f"side_by_side-{name}.png")
    text, silent = page.page()
    assert text == page.OUT.read_text(encoding="utf-8")
    assert silent == []


def test_the_page_holds_every_table_and_a_plot_of_agreement(results, monkeypatch):
    monkeypatch.setattr(page, "OUT", results / "RESULTS.md")
    rows = {title: _converted(same, behind=(5.0, 6.0)) for title, same in ((QUICK, 97.0), ("other", 90.0))}
    rows |= {OURS: _converted(98.9, sqnr=30.0, size=900), "none": {"failed": "x"}}
    facts = {
        "machine": {"cores": 2, "processor": "A  processor", "memory_gb": 24.0},
        "date": "2026-11-29",
        "commit": {"commit": "0123456789abcdef", "is_changed": True},
        "inputs": "fedcba9876543210",
        "wheels": {"pytorch": ["torch==2.9.0", "jinja2==3.1.6"], "executorch": ["executorch==1.0.0", "torch==2.9.0"]},
        "not_counted": ["TFLiteConverter"],
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
        "1,234 images, 250 for calibration; 2026-11-29, 2 cores, A processor, 24 GB, edgekit 012345678, changed, "
        "images and network fedcba98" in text
    )
    assert "versions run: executorch 1.0.0, torch 2.9.0. Not" in " ".join(text.split())
    assert "other numbers in them: TFLiteConverter." in " ".join(text.split())
    assert "Float: 91.00 % (90.00 … 92.00)" in text
    plot = results / "side_by_side-agreement.png"
    assert f"]({plot.relative_to(results)})" in text
    assert cv2.imread(str(plot)).shape[1] > 500


@pytest.fixture
def taken(results, monkeypatch):
    """Steps that were run; each writes its result."""
    names = []

    def run(*words):
        names.append(words)
        _write(results, words[0], {"run": len(names)})
        return "fails" not in words

    monkeypatch.setattr(everything, "WORK", results / "work")
    monkeypatch.setattr(everything, "run", run)
    return names


def test_a_step_that_ended_well_here_is_not_taken_again(results, taken):
    # A clone has the result, but did not measure it.
    _write(results, "cameras", {"run": "elsewhere"})
    step = Step("cameras", ["cameras"])
    assert [everything.take(step) for _ in range(3)] == [True] * 3
    assert len(taken) == 1
    assert everything.take(Step("cameras", ["cameras", "--other"]))
    assert len(taken) == 2
    failing = Step("cameras", ["cameras", "fails"])
    assert [everything.take(failing) for _ in range(2)] == [False] * 2
    assert len(taken) == 4


def test_a_step_that_fails_leaves_no_result_of_before(results, taken, monkeypatch):
    everything.take(Step("cameras", ["cameras"]))
    monkeypatch.setattr(everything, "run", lambda *_words: False)
    assert not everything.take(Step("cameras", ["cameras", "--other"]))
    assert list(results.glob("side_by_side-cameras.*")) == []


def test_a_step_is_taken_again_if_what_it_depends_on_is_another(taken):
    given = ["one"]
    step = Step("cameras", ["cameras"], lambda: given[0])
    everything.take(step)
    given[0] = "other"
    everything.take(step)
    assert len(taken) == 2


def test_what_a_conversion_depends_on(tmp_path):
    (tmp_path / "net.pt").write_bytes(b"weights")
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "1.png").write_bytes(b"photo")
    subject, folders = Subject("Net", str(tmp_path / "net.pt")), ["--calibration", str(tmp_path / "photos")]
    found = [everything.contents(subject, folders)]
    (tmp_path / "net.pt").write_bytes(b"WEIGHTS")
    found.append(everything.contents(subject, folders))
    (tmp_path / "photos" / "2.png").write_bytes(b"another")
    found.append(everything.contents(subject, folders))
    assert len(set(found)) == 3


def test_results_of_elsewhere_are_removed(results):
    for name in ("side_by_side-cameras.json", "side_by_side-cameras.md", "side_by_side-conversion-net.json"):
        (results / name).write_text("x")
    (results / "training_speed.json").write_text("x")
    everything.forget({"cameras"})
    left = {path.name for path in results.iterdir()}
    assert left == {"side_by_side-cameras.json", "side_by_side-cameras.md", "training_speed.json"}


def test_steps_take_the_files_of_those_before_them():
    planned = everything.steps(SUBJECTS, ["--calibration", "c", "--evaluation", "e"], emulated=True)
    names = [step.name for step in planned]
    assert len(names) == len(set(names)) == 2 * len(SUBJECTS) + 2
    assert all(step.after in names[: names.index(step.name)] for step in planned if step.after)
    assert [name for name in names if name.startswith("pi_cores")] == ["pi_cores-mobilenet_v2-imagenet"]
    own = {name: subject for name, subject in SUBJECTS.items() if not subject.is_imagenet}
    assert not any("imagenet" in step.name for step in everything.steps(own, [], emulated=True))


def test_photos_are_those_of_the_list(tmp_path):
    clone = tmp_path / "clone" / "deep"
    clone.mkdir(parents=True)
    for name in ("a.jpg", "b.jpg", "other.jpg"):
        (clone / name).write_bytes(name.encode())
    photos.copy({"a.jpg": "7", "b.jpg": ""}, tmp_path / "clone", tmp_path / "out")
    written = {str(path.relative_to(tmp_path / "out")) for path in (tmp_path / "out").rglob("*") if path.is_file()}
    assert written == {"evaluation/a.jpg", "evaluation/labels.csv", "calibration/b.jpg"}
    images = read_evaluation(tmp_path / "out" / "evaluation")
    assert ([path.name for path in images.paths], images.targets.tolist()) == (["a.jpg"], [7])
    with pytest.raises(InputError, match=r"got no c\.jpg and 1 more"):
        photos.copy({"c.jpg": "", "d.jpg": "1"}, tmp_path / "clone", tmp_path / "out2")
    assert not (tmp_path / "out2").exists()
