"""The processes of a conversion end with it, and with whoever started them."""

import os
import signal
import subprocess
import sys

import psutil
import pytest
from support.workers import wait_until, workers_of

from edgekit_quantize.workers import ORPHANED, ExportWorker, start_workers


def is_gone(process):
    try:
        return process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def test_nothing_stays_of_a_conversion_that_stops_before_its_work():
    with pytest.raises(KeyboardInterrupt), start_workers("mobilenet_v2:imagenet") as workers:
        started, folder = workers_of(psutil.Process()), workers.onnx.parent
        assert set(started) == {"export_worker", "tflite_worker"}
        assert folder.is_dir()
        raise KeyboardInterrupt
    assert all(map(is_gone, started.values()))
    assert not folder.exists()


def test_a_file_of_the_users_is_not_taken_for_a_library(tmp_path, monkeypatch, checkpoint_file):
    """`python -m` looks into the current folder first."""
    (tmp_path / "onnx.py").write_text("raise SystemExit(9)")
    monkeypatch.chdir(tmp_path)
    with ExportWorker(str(checkpoint_file), tmp_path / "out.onnx") as worker:
        code, _, complained = worker.work()
    assert code == 0, complained


def test_an_onnx_file_needs_no_exporter():
    with start_workers("network.ONNX") as workers:
        assert workers.exporter is None
        assert set(workers_of(psutil.Process())) == {"tflite_worker"}


@pytest.mark.parametrize("module", ["export_worker", "tflite_worker"])
def test_a_worker_that_waits_ends_when_its_caller_has(tmp_path, module):
    words = [sys.executable, "-m", f"edgekit_quantize.{module}", "mobilenet_v2:imagenet", tmp_path / "out"]
    done = subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, check=False, timeout=120)
    assert done.returncode == ORPHANED


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGTERM])
@pytest.mark.parametrize("at_work", ["export_worker", "tflite_worker"])
def test_workers_at_work_end_with_the_command(checkpoint_file, photos, tmp_path, end, at_work):
    words = [sys.executable, "-m", "edgekit.cli", "convert", checkpoint_file, "--calibration", photos]
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    command = subprocess.Popen(
        [*words, "--out", tmp_path / "m.tflite"],
        stderr=subprocess.DEVNULL,
        env=os.environ | {"TMPDIR": str(scratch)},
    )
    process = psutil.Process(command.pid)
    wait_until(lambda: len(workers_of(process)) == 2)
    started = workers_of(process)
    # TensorFlow's turn is when the exporter has ended; the exporter's, when it has loaded PyTorch.
    wait_until(
        lambda: (
            is_gone(started["export_worker"])
            if at_work == "tflite_worker"
            else started["export_worker"].cpu_times().user > 1.0
        )
    )
    command.send_signal(end)
    assert command.wait(60) in (-end, 143)
    wait_until(lambda: all(map(is_gone, started.values())), 10)
    assert not (tmp_path / "m.tflite").exists()
    # What is killed cannot tidy up.
    assert end == signal.SIGKILL or not list(scratch.glob("edgekit-*"))
