"""`edgekit camera` starts soon and with little memory: what it must not load, start or hold."""

import gc
import json
import os
import subprocess
import sys
import tracemalloc

import cv2
import numpy as np
import pytest
from support import tiny_model
from support.camera_process import edgekit, environment, one_line

from edgekit import bundle
from edgekit_deploy import quick_start

# Each was loaded once for nothing; together they were a third of the time until the first answer.
HEAVY = (
    "rich", "importlib.metadata", "email", "http", "urllib.request", "ssl", "socket", "subprocess", "tempfile",
    "logging", "csv", "tomllib", "concurrent", "asyncio", "unittest",
    "edgekit.images", "edgekit.progress", "edgekit_deploy.versions", "edgekit_deploy.sources.network",
    "edgekit_deploy.sources.v4l2", "edgekit_deploy.outputs.recorder", "edgekit_deploy.outputs.window",
    "edgekit_deploy.web", "edgekit_deploy.truth",
)  # fmt: skip
# Runs the command, then tells in JSON, as its last line, what has come into the process.
RUN = """
import json, os, sys
from edgekit.cli import run
before = dict(os.environ)
code = run(sys.argv[1:])
import gc
print(json.dumps({
    "code": code, "modules": sorted(sys.modules), "is_collecting": gc.isenabled(), "frozen": gc.get_freeze_count(),
    "environment": sorted(set(os.environ) - set(before)),
}))
"""


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "model.tflite").write_bytes(tiny_model.sealed())
    (tmp_path / "pictures").mkdir()
    cv2.imwrite(str(tmp_path / "pictures" / "one.png"), np.full((48, 64, 3), tiny_model.BGR["red"], np.uint8))
    return tmp_path


def test_one_answer_loads_nothing_that_it_does_not_need(folder):
    command = ["camera", "model.tflite", "--source", "pictures", "--headless", "--jsonl", "-", "--max-frames", "1"]
    # One thread: the trial of several is not part of this.
    done = subprocess.run(
        [sys.executable, "-c", RUN, *command, "--threads", "1"],
        cwd=folder, env=environment(), capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    answer, told = map(json.loads, done.stdout.splitlines())
    assert answer["label"] == "red" and told["code"] == 0
    assert {"numpy", "cv2", "edgekit_deploy.camera"} <= set(told["modules"])
    assert [name for name in HEAVY if name in told["modules"]] == []
    # As it was before: the loop makes garbage, and the commands of --on-change have an environment.
    assert told["is_collecting"] and told["frozen"] > 10_000
    assert quick_start.BLAS_THREADS not in told["environment"]


def test_a_damaged_model_is_refused_before_anything_is_answered(folder):
    data = bytearray((folder / "model.tflite").read_bytes())
    data[len(tiny_model.flatbuffer(tiny_model.input_spec())) // 2] ^= 1
    (folder / "model.tflite").write_bytes(data)
    done = edgekit(folder, "camera", "model.tflite", "--source", "pictures", "--headless", "--jsonl", "-")
    assert "altered or damaged" in one_line(done, 2)
    assert done.stdout == ""


def test_the_bytes_of_a_model_are_held_once():
    flatbuffer = b"\0\0\0\0TFL3" + bytes(16_000_000)
    data = bundle.seal(flatbuffer, tiny_model.card_for(tiny_model.input_spec()), {})
    tracemalloc.start()
    try:
        opened = bundle.parse(data)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert opened.data is data
    # A copy to hash or to unzip would be 16 MB.
    assert peak < 4_000_000


# In a process of its own, because this one's numpy has its threads already.
THREADS = """
import os, sys
from edgekit_deploy.quick_start import quick_start
with quick_start():
    import numpy
print(len(os.listdir("/proc/self/task")), os.environ.get("OPENBLAS_NUM_THREADS"))
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="counts threads in /proc")
def test_numpy_starts_no_threads():
    kept = {name: value for name, value in os.environ.items() if name != quick_start.BLAS_THREADS}
    done = subprocess.run([sys.executable, "-c", THREADS], env=kept, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["1", "None"]


def test_what_the_user_set_for_blas_stays(monkeypatch):
    monkeypatch.setenv(quick_start.BLAS_THREADS, "3")
    with quick_start.quick_start():
        assert os.environ[quick_start.BLAS_THREADS] == "3"
    assert os.environ[quick_start.BLAS_THREADS] == "3"


def test_garbage_is_collected_again_after_a_failure(monkeypatch):
    monkeypatch.delenv(quick_start.BLAS_THREADS, raising=False)
    try:
        with pytest.raises(KeyError), quick_start.quick_start():
            assert not gc.isenabled() and os.environ[quick_start.BLAS_THREADS] == "1"
            raise KeyError
        assert gc.isenabled() and quick_start.BLAS_THREADS not in os.environ
    finally:
        gc.unfreeze()
