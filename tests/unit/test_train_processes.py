"""Two real processes over gloo, started by torchrun: the same work as one, and no silence when one dies."""

import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import psutil
import pytest
import torch
from support.photos import tinted
from support.shards import write_shard
from support.training import run_script, two_sets

from edgekit.train import checkpoint as checkpoints

OPTIONS = ["--weights", "none", "--width", "0.25", "--size", "32", "--stem-stride", "1", "--batch", "24"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return two_sets(tmp_path_factory.mktemp("processes"))


def start(folder, out, *more, processes=2):
    command = [sys.executable, "-m", "edgekit.cli", "train", str(folder), "--out", str(out), *OPTIONS, *more]
    if processes > 1:
        torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
        command = [*torchrun, "-m", *command[2:]]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen(command, **pipes, text=True, env=environment, start_new_session=True)


def finish(process, code=0):
    out, err = process.communicate(timeout=240)
    assert process.returncode == code, err
    return out, err


def test_two_processes_do_the_work_of_one(folder, tmp_path):
    records, printed = {}, {}
    for processes in (1, 2):
        out = tmp_path / f"{processes}.pt"
        printed[processes] = finish(start(folder, out, "--epochs", "6", processes=processes))
        records[processes] = json.loads((tmp_path / f"{processes}.run.json").read_text())
    one, two = (records[processes]["epochs"] for processes in (1, 2))
    assert [epoch["images"] for epoch in two] == [epoch["images"] for epoch in one] == [144] * 6
    # Here with all of training's chance; without it, test_the_classifier_learns_as_in_one_process is exact.
    assert records[2]["machine"]["processes"] == 2
    assert sum(found["images"] for found in records[2]["classes"].values()) == 63
    # The first step sees the same images and the same weights; noise comes from chance in augmentation and from
    # normalization over halves of a batch.
    assert two[0]["loss"] == pytest.approx(one[0]["loss"], abs=0.15)
    assert two[-1]["loss"] == pytest.approx(one[-1]["loss"], abs=0.25)
    # One of them speaks.
    assert printed[2][0].count("validation top-1") == 1
    assert printed[2][1].count("Epoch 6/6: ") == 1


def workers(process):
    return [child for child in psutil.Process(process.pid).children(recursive=True) if "train" in child.cmdline()]


def wait_for(path, process):
    deadline = time.monotonic() + 120
    while not path.exists():
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_killed_process_ends_the_run_and_it_goes_on(folder, tmp_path):
    out, last = tmp_path / "model.pt", tmp_path / "model.last.pt"
    process = start(folder, out, "--epochs", "40")
    wait_for(last, process)
    ranks = {worker.environ()["RANK"]: worker for worker in workers(process)}
    assert sorted(ranks) == ["0", "1"]
    ranks["1"].send_signal(signal.SIGKILL)
    _, err = process.communicate(timeout=120)
    assert process.returncode != 0
    assert "SIGKILL" in err
    # The other one says why it ends, or that torchrun has ended it before it could notice.
    assert "All processes of the run must stay alive" in err or "Terminated." in err
    assert not [worker for worker in ranks.values() if worker.is_running() and worker.status() != "zombie"]
    assert not out.exists()
    done = len(checkpoints.load(last).resume["epochs"])
    _, err = finish(start(folder, out, "--epochs", "40", "--resume"))
    assert f"Going on after epoch {done} of 40" in err
    assert out.exists() and not last.exists()
    assert len(json.loads((tmp_path / "model.run.json").read_text())["epochs"]) == 40


SHARED = """
import sys
from pathlib import Path
import torch
from edgekit.train.augment import NONE
from edgekit.train.data import PixelSet, open_folder
from edgekit.train.feed import PixelFeed
from edgekit.train.loop import train
from edgekit.train.options import Options
from edgekit.train.world import join

folder, weights, out = map(Path, sys.argv[1:])
with join("cpu") as world:
    numbered = torch.arange(50, dtype=torch.uint8).view(-1, 1, 1, 1).expand(-1, 2, 2, 3)
    feed = PixelFeed(PixelSet(numbered, torch.zeros(50, dtype=torch.int64), ("a", "b")))
    seen = [pixels[:, 0, 0, 0].tolist() for pixels, _ in feed.epoch(3, 12, 0, world)]
    # All that is not the same in halves of a batch is left out: chance, and statistics that are taken.
    options = Options(width=0.25, size=32, stem_stride=1, epochs=2, batch=24, optimizer="sgd", head_lr=0.5,
                      weights=str(weights), freeze=19, augmentation=NONE)
    result = train(options, *open_folder(folder, 0.2), world=world)
    classifier = {name: value for name, value in result.checkpoint.state.items() if name.startswith("classifier.")}
    figures = [(epoch.loss, epoch.accuracy, epoch.validation, epoch.images) for epoch in result.epochs]
    torch.save((seen, classifier, figures), out / f"{world.size}-{world.rank}")
"""


def test_the_classifier_learns_as_in_one_process_from_the_same_images_once_each(folder, tmp_path):
    weights, script = tmp_path / "weights.pt", tmp_path / "shared.py"
    finish(start(folder, weights, "--epochs", "3", processes=1))
    script.write_text(SHARED)
    for processes in (1, 2):
        run_script(script, folder, weights, tmp_path, processes=processes)
    found = {name: torch.load(tmp_path / name, weights_only=True) for name in ("1-0", "2-0", "2-1")}
    (whole, alone, expected), (first, shared, figures), (second, _, _) = found.values()
    # Each step's images are the same ones; each process has half of them.
    assert [sorted(one + other) for one, other in zip(first, second, strict=True)] == [sorted(each) for each in whole]
    assert len({number for step in whole for number in step}) == 48
    # Gradients are averaged: float32 sums in another order.
    for name, value in alone.items():
        assert not torch.equal(value, checkpoints.load(weights).state[name])
        torch.testing.assert_close(shared[name], value, rtol=1e-4, atol=1e-5)
    for mine, theirs in zip(figures, expected, strict=True):
        assert mine == pytest.approx(theirs, rel=1e-4)


def test_all_processes_end_with_the_same_weights(folder, tmp_path):
    """As they do only if gradients are shared: each has seen other images."""
    script = tmp_path / "ranks.py"
    script.write_text(f"""
import hashlib
from pathlib import Path
from edgekit.train.data import open_folder
from edgekit.train.loop import train
from edgekit.train.options import Options
from edgekit.train.world import join

with join("cpu") as world:
    assert world.gather([f"only {{world.rank}}", "both"]) == ("only 0", "both", "only 1")
    assert world.each(5 + world.rank) == (5, 6)
    options = Options(width=0.25, size=32, stem_stride=1, epochs=2, batch=24)
    state = train(options, *open_folder(Path({str(folder)!r}), 0.2), world=world).checkpoint.state
    digest = hashlib.sha256(b"".join(value.numpy().tobytes() for value in state.values())).hexdigest()
    Path({str(tmp_path)!r}, f"rank{{world.rank}}").write_text(digest)
""")
    run_script(script)
    assert (tmp_path / "rank0").read_text() == (tmp_path / "rank1").read_text()


def test_a_stopped_run_of_two_goes_on_to_the_same_bits(folder, tmp_path):
    whole, stopped = tmp_path / "whole.pt", tmp_path / "stopped.pt"
    finish(start(folder, whole, "--epochs", "20", "--ema", "0.9"))
    process = start(folder, stopped, "--epochs", "20", "--ema", "0.9")
    wait_for(tmp_path / "stopped.last.pt", process)
    for worker in workers(process):
        worker.send_signal(signal.SIGTERM)
    process.communicate(timeout=120)
    assert not stopped.exists()
    finish(start(folder, stopped, "--epochs", "20", "--ema", "0.9", "--resume"))
    first, second = (checkpoints.load(path).state for path in (whole, stopped))
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)


@pytest.fixture(scope="module")
def shards(tmp_path_factory):
    base, rng = tmp_path_factory.mktemp("shards"), np.random.default_rng(0)
    (base / "labels.txt").write_text("red\ngreen\nblue\n")
    for split, count in (("train", 4), ("val", 2)):
        for shard in range(count):
            targets = rng.integers(0, 3, 60)
            images = [tinted(rng.integers(0, 256, (40, 40, 3)), target) for target in targets]
            write_shard(base / split / f"{shard}.tar", images, targets)
    return base


@pytest.mark.parametrize(
    ("processes", "number"),
    [(1, signal.SIGTERM), (2, signal.SIGTERM), (1, signal.SIGINT), (2, signal.SIGINT), (1, signal.SIGHUP)],
)
def test_a_signal_to_all_processes_does_not_take_the_workers_from_a_run(shards, tmp_path, processes, number):
    """As systemd, Slurm, a terminal's Ctrl-C and its end send it: workers that read shards get it too."""
    out, last = tmp_path / "model.pt", tmp_path / "model.last.pt"
    process = start(shards, out, "--epochs", "60", processes=processes)
    wait_for(last, process)
    time.sleep(0.3)
    os.killpg(process.pid, number)
    _, err = process.communicate(timeout=120)
    assert process.returncode != 0
    assert processes > 1 or process.returncode in (128 + number, -number)
    assert "The same command with --resume goes on" in err
    assert "DataLoader" not in err and "defect" not in err
    kept = checkpoints.load(last).resume
    done = len(kept["epochs"])
    assert 1 <= done < 60
    process = start(shards, out, "--epochs", "60", "--resume", processes=processes)
    deadline = time.monotonic() + 120
    while len(checkpoints.load(last).resume["epochs"]) == done:
        assert process.poll() is None and time.monotonic() < deadline, process.communicate()[1]
        time.sleep(0.1)
    for each in [*psutil.Process(process.pid).children(recursive=True), process]:
        each.kill()
    process.communicate()


def test_a_mistake_is_one_line_of_each_process(folder, tmp_path):
    process = start(folder, tmp_path / "model.pt", "--width", "9")
    _, err = process.communicate(timeout=120)
    assert process.returncode != 0
    assert err.count("Error: --width must be in (0, 4], got 9.0.") == 2
