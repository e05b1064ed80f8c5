"""Models that come with edgekit: small, whole, with golden samples that hold, and as good as their records say."""

import json
import re
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from benchmarks.shipped_models import FLOAT, halve
from benchmarks.training import RUNS
from edgekit import bundle, shipped
from edgekit.card import Architecture, InputSpec
from edgekit.cli import run
from edgekit.files import sha256
from edgekit.models import create
from edgekit.preprocess import crop_and_resize, quantization_table, to_int8
from edgekit.runtime import Network
from edgekit.train import checkpoint, cifar10
from edgekit.train.fetch import cached

NAMES = sorted(shipped.MODELS)
# Of 1,000 test images; three standard deviations of the sampling at 93 % are 2.4 points.
SAMPLE, TOLERANCE = 1000, 2.4
MOST_BYTES = 2_000_000


def test_every_file_beside_the_list_is_in_the_list():
    folder = Path(shipped.__file__).parent
    assert sorted(path.name for path in folder.glob("*.tflite")) == sorted(shipped.MODELS.values())


@pytest.mark.parametrize("name", NAMES)
def test_it_is_small_int8_and_says_how_it_was_made(name):
    path = shipped.find(name)
    assert path.stat().st_size < MOST_BYTES
    card = bundle.read(path).card
    assert (card.input.height, card.input.width) == (96, 96)
    assert card.labels == cifar10.LABELS
    assert Network(path.read_bytes()).input_dtype == np.int8
    assert card.provenance.recipe
    assert card.provenance.reference_sha256 == sha256(FLOAT / f"{path.stem}.pt")
    assert len(card.golden) >= 4


@pytest.mark.parametrize("name", NAMES)
def test_its_golden_samples_hold(name, capsys):
    assert run(["doctor", name, "--json"]) == 0
    checks = {check["name"]: check for check in json.loads(capsys.readouterr().out)["checks"]}
    assert checks["golden samples"]["verdict"] == "ok"
    assert re.match(r"(\d+) of \1 bit for bit", checks["golden samples"]["found"])


@pytest.mark.parametrize("name", NAMES)
def test_it_is_as_good_as_its_record_says(name):
    if cached(cifar10.ARTEFACT) is None:
        pytest.skip("CIFAR-10 is not in the cache; edgekit demo fetches it.")
    path = shipped.find(name)
    opened, network = bundle.read(path), Network(path.read_bytes())
    images, table = cifar10.balanced_subset(cifar10.load()[1], SAMPLE, 0), quantization_table(opened.card.input)
    answers = [
        network.run(to_int8(crop_and_resize(images.image(index), opened.card.input), table)).argmax()
        for index in range(SAMPLE)
    ]
    record = json.loads((RUNS / f"{path.stem}.report.json").read_text())
    assert 100 * np.mean(answers == images.targets) == pytest.approx(record["int8"]["top1"]["value"], abs=TOLERANCE)


@pytest.mark.parametrize("name", NAMES)
def test_commands_take_its_name(name, tmp_path, capsys):
    words = ["bench", name, "--threads", "1", "--seconds", "0.05", "--cold-start", "0", "--json"]
    assert run(words) == 0
    assert json.loads(capsys.readouterr().out)["results"][0]["frame"]["p50"] > 0.0
    picture = np.random.default_rng(0).integers(0, 256, (96, 96, 3), np.uint8)
    cv2.imwrite(str(tmp_path / "picture.png"), picture)
    assert run(["camera", "--model", name, "--source", str(tmp_path), "--headless", "--jsonl", "-"]) == 0
    (line,) = capsys.readouterr().out.splitlines()
    assert json.loads(line)["label"] in cifar10.LABELS


def test_half_precision_keeps_the_answers(tmp_path):
    torch.manual_seed(3)
    network = create("mobilenet_v2", classes=4, width=0.25)
    with torch.no_grad():
        network(torch.randn(8, 3, 32, 32))
    whole = checkpoint.Checkpoint(
        Architecture("mobilenet_v2", 0.25), InputSpec(32, 32), ("a", "b", "c", "d"), network.state_dict()
    )
    checkpoint.save(tmp_path / "whole.pt", whole)
    halve(tmp_path / "whole.pt", tmp_path / "half.pt")
    half = checkpoint.load(tmp_path / "half.pt")
    assert (tmp_path / "half.pt").stat().st_size < 0.7 * (tmp_path / "whole.pt").stat().st_size
    assert replace(half, state={}) == replace(whole, state={})
    images = torch.randn(8, 3, 32, 32)
    with torch.no_grad():
        answers = [found.network()(images) for found in (whole, half)]
    # 11 bits of precision in each of some 50 layers: noise of a fiftieth of the answers' own spread, or less.
    noise, spread = (answers[1] - answers[0]).std(), answers[0].std()
    assert 0.0 < noise < 0.02 * spread
