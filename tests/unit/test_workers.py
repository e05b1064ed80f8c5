"""The processes of a conversion end with it, whatever happens."""

import subprocess
import sys

import psutil
import pytest

from edgekit_quantize.workers import Workers


def test_nothing_stays_of_a_conversion_that_stops_before_its_work(tmp_path):
    with pytest.raises(KeyboardInterrupt), Workers("mobilenet_v2:imagenet") as workers:
        started, folder = psutil.Process().children(), workers.onnx.parent
        assert len(started) == 2
        assert folder.is_dir()
        raise KeyboardInterrupt
    assert not any(process.is_running() for process in started)
    assert not folder.exists()


def test_an_onnx_file_needs_no_exporter():
    with Workers("network.onnx") as workers:
        assert workers.exporter is None
        assert len(psutil.Process().children()) == 1


@pytest.mark.parametrize("module", ["export_worker", "tflite_worker"])
def test_a_worker_ends_when_its_caller_has(tmp_path, module):
    words = [sys.executable, "-m", f"edgekit_quantize.{module}", "mobilenet_v2:imagenet", tmp_path / "out"]
    done = subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, check=False, timeout=120)
    assert done.returncode == 1
    assert not (tmp_path / "out").exists()
