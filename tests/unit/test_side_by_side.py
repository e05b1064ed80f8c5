"""Edgekit beside others: the parts that the comparison's truth depends on."""

import json
from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch
from support.streams import jpeg

from benchmarks import camera_loops, shipped_models, side_by_side_page
from benchmarks.peers.loops import marks
from edgekit.card import Architecture, InputSpec
from edgekit.models import create
from edgekit.train import checkpoint


@pytest.mark.parametrize("number", [0, 1, 2**19, 2**20 - 1, 699_050, 349_525])
def test_a_painted_number_survives_jpeg_and_mirroring(number):
    picture = np.random.default_rng(number).integers(0, 256, (480, 640, 3), np.uint8)
    sent = cv2.imdecode(np.frombuffer(jpeg(marks.paint(picture, number)), np.uint8), cv2.IMREAD_COLOR)
    assert marks.read(sent) == number
    assert marks.read(cv2.flip(sent, 1)[:, ::-1]) == number
    assert not np.shares_memory(picture, marks.paint(picture, number))


@pytest.mark.parametrize(
    ("fault", "text"),
    [
        ({"back": 0.52}, "answers again after 0.5 s"),
        ({"exit_code": None}, "hangs (no answer for 20 s)"),
        ({"exit_code": 1}, "ends, exit code 1"),
    ],
)
def test_what_became_of_a_loop(fault, text):
    light = {"cpu_ms": 9.0, "bare_ms": None, "age_p50_ms": 10.0, "age_p99_ms": 20.0}
    row = {"light": [light], "heavy": light, "cut": fault, "silent": {"back": 1.0}}
    ours, mediapipe, opencv = (camera_loops.LOOPS[index].title for index in (0, 3, 4))
    rounds = [light | {"bare_ms": bare, "cpu_ms": cpu} for bare, cpu in ((4.0, 9.0), (3.0, 8.0), (40.0, 90.0))]
    own = row | {"light": [light | {"bare_ms": 7.0}]}
    found = {ours: row | {"light": rounds}, mediapipe: row, opencv: own, "none": {"failed": "no | wheel"}}
    first, second, third, none = camera_loops.table(found).splitlines()[2:]
    assert first.startswith(f"| {ours} | 5.00 | 10 | 20 | 20 |")
    # Its network cannot be run by itself: what the same one costs elsewhere is taken off.
    assert second.startswith(f"| {mediapipe} | 5.00 |")
    assert text in second
    # Another runtime, another cost.
    assert third.startswith(f"| {opencv} | 2.00 |")
    assert "cannot: no / wheel" in none


def test_half_precision_keeps_the_answers(tmp_path):
    torch.manual_seed(3)
    network = create("mobilenet_v2", classes=4, width=0.25)
    with torch.no_grad():
        network(torch.randn(8, 3, 32, 32))
    whole = checkpoint.Checkpoint(
        Architecture("mobilenet_v2", 0.25), InputSpec(32, 32), ("a", "b", "c", "d"), network.state_dict()
    )
    checkpoint.save(tmp_path / "whole.pt", whole)
    shipped_models.halve(tmp_path / "whole.pt", tmp_path / "half.pt")
    half = checkpoint.load(tmp_path / "half.pt")
    assert (tmp_path / "half.pt").stat().st_size < 0.7 * (tmp_path / "whole.pt").stat().st_size
    assert replace(half, state={}) == replace(whole, state={})
    images = torch.randn(8, 3, 32, 32)
    with torch.no_grad():
        answers = [found.network()(images) for found in (whole, half)]
    # 11 bits of precision in each of some 50 layers: noise of a fiftieth of the answers' own spread, or less.
    noise, spread = (answers[1] - answers[0]).std(), answers[0].std()
    assert 0.0 < noise < 0.02 * spread


def test_the_page_holds_every_table_and_a_plot_of_agreement(tmp_path, monkeypatch):
    monkeypatch.setattr(side_by_side_page, "RESULTS", tmp_path / "results")
    monkeypatch.setattr(side_by_side_page, "OUT", tmp_path / "RESULTS.md")
    monkeypatch.setattr("benchmarks.support.RESULTS", tmp_path / "results")
    (tmp_path / "results").mkdir()
    rows = {"edgekit int8": {"same": {"value": 98.9}}, "other": {"same": {"value": 90.0}}, "none": {"failed": "x"}}
    machine = {"cores": 2, "processor": "A  processor"}
    for name in ("side_by_side-conversion-mobilenet_v2-cifar10", "pi_peers-mobilenet_v2-imagenet", "camera_loops"):
        content = {"rows": rows} | ({} if name.startswith("pi") else {"machine": machine})
        (tmp_path / "results" / f"{name}.json").write_text(json.dumps(content))
        (tmp_path / "results" / f"{name}.md").write_text(f"| table of {name} |\n")
    side_by_side_page.main()
    text = (tmp_path / "RESULTS.md").read_text()
    for part in ("table of side_by_side-conversion-mobilenet_v2-cifar10", "table of camera_loops", "emulated"):
        assert part in text
    assert "2 cores, A processor" in text
    plot = tmp_path / "results" / "side_by_side-agreement.png"
    assert f"]({plot.relative_to(tmp_path)})" in text
    assert cv2.imread(str(plot)).shape[1] > 500
