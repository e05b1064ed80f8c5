"""The one face of the interpreters."""

import os
import threading
import time

import numpy as np
import pytest
from support import tiny_model

from edgekit.card import Quantization
from edgekit.errors import InputError
from edgekit.runtime import Kernels, Network, quiet_stderr, runtime_name


def test_facts_of_a_model():
    network = Network(tiny_model.sealed())
    assert network.input_shape == (1, 32, 32, 3)
    assert network.output_shape == (1, 5)
    assert network.input_dtype == np.int8
    assert network.output_quantization == Quantization(float(np.float32(12 / 255)), 0)
    assert runtime_name().split()[0] in ("ai-edge-litert", "tflite-runtime")


def test_kernels_are_proved_not_assumed():
    assert Network(tiny_model.sealed()).kernels is Kernels.XNNPACK
    assert Network(tiny_model.sealed(), kernels=Kernels.BUILTIN).kernels is Kernels.BUILTIN


def test_threads_do_not_change_bits():
    spec = tiny_model.input_spec(64, 64)
    codes = np.random.default_rng(0).integers(-128, 128, (64, 64, 3)).astype(np.int8)
    one, two = (Network(tiny_model.sealed(spec, 40), threads).run(codes) for threads in (1, 2))
    np.testing.assert_array_equal(one, two)


def test_run_returns_a_copy():
    network = Network(tiny_model.sealed())
    first = network.run(np.full((32, 32, 3), 100, np.int8))
    kept = first.copy()
    network.run(np.full((32, 32, 3), -100, np.int8))
    np.testing.assert_array_equal(first, kept)


def test_stderr_comes_back_whatever_threads_silence_it(monkeypatch):
    monkeypatch.delenv("EDGEKIT_DEBUG", raising=False)
    before = os.fstat(2)

    first_is_in, second_tries = threading.Event(), threading.Event()

    def first():
        with quiet_stderr(), quiet_stderr():
            first_is_in.set()
            second_tries.wait(5)
            time.sleep(0.05)

    def second():
        first_is_in.wait(5)
        second_tries.set()
        with quiet_stderr():
            time.sleep(0.1)

    threads = [threading.Thread(target=work) for work in (first, second)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    after = os.fstat(2)
    assert (before.st_dev, before.st_ino, before.st_rdev) == (after.st_dev, after.st_ino, after.st_rdev)


@pytest.mark.parametrize("content", [b"", b"\0" * 64, b"\0\0\0\0TFL3" + b"\xff" * 64])
def test_rubbish_is_an_input_error(content):
    with pytest.raises(InputError, match="run under"):
        Network(content)
