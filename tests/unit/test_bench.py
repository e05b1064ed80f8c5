"""The bench: plausible figures from real runs, quickly."""

import json

import pytest
from click.testing import CliRunner
from support import tiny_model

from edgekit_deploy.bench import LEAST_RUNS, noise_frame, run_bench, this_machine
from edgekit_deploy.bench_command import command


@pytest.fixture
def model_file(tmp_path):
    path = tmp_path / "model.tflite"
    path.write_bytes(tiny_model.sealed())
    return path


def test_figures(model_file):
    bench = run_bench(model_file, threads=1, seconds=0.2)
    assert bench.kernels == "xnnpack"
    for line in (bench.invoke, bench.frame):
        assert line.count >= LEAST_RUNS
        assert 0.0 < line.p50 <= line.p90 <= line.p99 <= line.max
    # A whole frame includes the network.
    assert bench.frame.p50 > bench.invoke.p50
    assert bench.load_ms > 0.0


def test_frame_is_fixed():
    assert noise_frame().shape == (480, 640, 3)
    assert (noise_frame() == noise_frame()).all()


def test_machine():
    machine = this_machine()
    assert machine.board and machine.python
    assert machine.runtime.startswith(("ai-edge-litert", "tflite-runtime"))


def test_command(model_file):
    done = CliRunner().invoke(command, [str(model_file), "--threads", "1,2", "--seconds", "0.1"])
    assert done.exit_code == 0, done.output
    assert "network" in done.output
    done = CliRunner().invoke(command, [str(model_file), "--threads", "1,2", "--seconds", "0.1", "--json"])
    plain = json.loads(done.stdout)
    assert [result["threads"] for result in plain["results"]] == [1, 2]
    assert plain["results"][0]["invoke"]["p99"] > 0


@pytest.mark.parametrize("threads", ["0", "a", "1,,2", "", "-1", "1;2"])
def test_bad_threads(model_file, threads):
    done = CliRunner().invoke(command, [str(model_file), "--threads", threads])
    assert done.exit_code == 2
    assert "threads" in done.output
