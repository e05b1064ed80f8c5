"""Processes: the same answers, and none left behind however the work ends."""

import itertools
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import psutil
import pytest
import report_samples as samples
from support.report_work import make_task, make_worker

from edgekit.errors import EdgekitError, InputError
from edgekit_quantize.report import pool
from edgekit_quantize.report.models import OnnxModel, TorchModel
from edgekit_quantize.report.worker import Asked

# For conditions that hold at once on an idle machine.
PATIENCE = 60.0
ENDLESS = """
import itertools, sys
from pathlib import Path
import report_samples as samples
from support.report_work import make_task, make_worker
from edgekit_quantize.report import pool

def main():
    task = make_task(samples.colour_images(32, seed=1))
    worker = make_worker(Path(sys.argv[1]), Path(sys.argv[1]) / "cache")
    try:
        for _ in pool.run(worker, itertools.repeat(task), 2):
            print("working", flush=True)
    except KeyboardInterrupt:
        print("interrupted", flush=True)

if __name__ == "__main__":
    main()
"""


def _wait(condition) -> None:
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, "it took too long"
        time.sleep(0.05)


def _workers(process: psutil.Process) -> list[psutil.Process]:
    return [child for child in process.children() if any("spawn_main" in word for word in child.cmdline())]


def _gone(processes: list[psutil.Process]) -> bool:
    return not any(p.is_running() and p.status() != psutil.STATUS_ZOMBIE for p in processes)


@pytest.fixture
def endless(tmp_path):
    """A program that compares for ever with two processes, in a process group of its own as in a terminal."""
    script = tmp_path / "endless.py"
    script.write_text(ENDLESS)
    here = Path(__file__).parent
    path = os.pathsep.join([str(here), str(here.parent), *filter(None, sys.path)])
    process = subprocess.Popen(
        [sys.executable, str(script), str(tmp_path)],
        stdout=subprocess.PIPE,
        stderr=(tmp_path / "stderr").open("w"),
        text=True,
        env=os.environ | {"PYTHONPATH": path},
        start_new_session=True,
    )
    yield process
    for child in _workers(psutil.Process(process.pid)) if process.poll() is None else []:
        child.kill()
    process.kill()
    process.wait()
    process.stdout.close()


def test_the_number_of_processes_changes_no_byte(tmp_path):
    worker = make_worker(tmp_path)
    images = samples.colour_images(150, seed=2)
    tasks = [make_task(images.subset(np.arange(start, start + 30))) for start in range(0, 150, 30)]
    alone, together = list(pool.run(worker, tasks, 1)), list(pool.run(worker, tasks, 2))
    assert len(alone) == len(together) == 5
    for one, other in zip(alone, together, strict=True):
        np.testing.assert_array_equal(one.pixels, other.pixels)
        for a, b in zip(one.answers, other.answers, strict=True):
            assert all(values.tobytes() == getattr(b, name).tobytes() for name, values in vars(a).items())


def test_as_many_processes_as_memory_allows(tmp_path):
    worker = make_worker(tmp_path)
    light = pool.affordable(worker)
    assert light > 4
    # PyTorch and onnxruntime come on top, and once each, however many models use them.
    path = worker.asked[0].model.path
    spec = samples.spec()
    heavy = [
        Asked(name, kind(path, spec), name) for name, kind in (("a", TorchModel), ("b", TorchModel), ("c", OnnxModel))
    ]
    whole = pool.affordable(replace(worker, asked=(*heavy, *worker.asked)))
    assert whole == pool.affordable(replace(worker, asked=(*heavy[1:], *worker.asked)))
    assert 1 < whole < light
    with path.open("ab") as file:
        file.truncate(2_000_000_000)
    assert pool.affordable(worker) == 1


def test_tasks_are_taken_only_a_little_ahead(tmp_path):
    taken = []
    task = make_task(samples.colour_images(8, seed=3))
    tasks = (taken.append(n) or task for n in itertools.count())
    chunks = pool.run(make_worker(tmp_path), tasks, 2)
    for _ in range(20):
        next(chunks)
    chunks.close()
    assert len(taken) <= 20 + 3 * 2


def test_a_killed_worker_is_one_clear_error_and_leaves_no_other(tmp_path):
    task = make_task(samples.colour_images(32, seed=4))
    chunks = pool.run(make_worker(tmp_path), itertools.repeat(task), 2)
    next(chunks)
    workers = _workers(psutil.Process())
    assert len(workers) == 2
    workers[0].kill()
    with pytest.raises(EdgekitError, match="one that was killed") as caught:
        for _ in chunks:
            pass
    assert "\n" not in str(caught.value)
    _wait(lambda: _gone(workers))


def test_what_a_worker_raises_arrives_whole(tmp_path):
    worker = make_worker(tmp_path)
    weights = samples.WEIGHTS.copy()
    weights[0, 0] = np.inf
    (tmp_path / "float.tflite").write_bytes(samples.float_flatbuffer(weights))
    task = make_task(samples.colour_images(4, seed=5))
    with pytest.raises(InputError, match="float must give finite numbers, got NaN or infinity for colours/0") as caught:
        list(pool.run(worker, [task, task], 2))
    assert caught.value.remedy


def test_ctrl_c_reaches_the_parent_alone_and_ends_all(endless, tmp_path):
    assert endless.stdout.readline() == "working\n"
    workers = _workers(psutil.Process(endless.pid))
    os.killpg(endless.pid, signal.SIGINT)
    rest = endless.stdout.read().splitlines()
    assert endless.wait(PATIENCE) == 0
    assert rest[-1] == "interrupted"
    _wait(lambda: _gone(workers))
    assert "Traceback" not in (tmp_path / "stderr").read_text()


def test_a_killed_parent_leaves_no_orphan_and_what_it_did_is_kept(endless, tmp_path):
    assert endless.stdout.readline() == "working\n"
    workers = _workers(psutil.Process(endless.pid))
    assert len(workers) == 2
    endless.kill()
    _wait(lambda: _gone(workers))
    # A hidden file is one that was being written.
    whole = [path for path in (tmp_path / "cache").rglob("*.npz") if not path.name.startswith(".")]
    kept = {path: path.stat().st_mtime_ns for path in whole}
    assert len(kept) == 3  # pixels, float, int8
    task = make_task(samples.colour_images(32, seed=1))
    again = make_worker(tmp_path, tmp_path / "cache")(task)
    fresh = make_worker(tmp_path)(task)
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
    for a, b in zip(again.answers, fresh.answers, strict=True):
        assert all(values.tobytes() == getattr(b, name).tobytes() for name, values in vars(a).items())
