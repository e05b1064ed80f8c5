"""The one face of the interpreters."""

import os
import threading
import time
from types import SimpleNamespace

import numpy as np
import pytest
from support import tiny_model

from edgekit.card import Quantization
from edgekit.errors import InputError
from edgekit.runtime import Kernels, Network, check_agreement, quiet_stderr, runtime_name


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


def test_kernels_of_a_network_that_xnnpack_runs_in_part_only():
    model = tiny_model.flatbuffer(tiny_model.input_spec(), hard_swish=True)
    assert Network(model).kernels is Kernels.MIXED
    assert Network(model, kernels=Kernels.BUILTIN).kernels is Kernels.BUILTIN
    with pytest.raises(InputError, match="got mixed"):
        Network(model, kernels=Kernels.MIXED)


DELEGATE = {"op_name": "DELEGATE", "inputs": [0, 1], "outputs": [9]}
CONVOLUTION = {"op_name": "CONV_2D", "inputs": [0, 1], "outputs": [5]}


@pytest.mark.parametrize(
    ("operators", "kernels"),
    [
        ([CONVOLUTION], Kernels.BUILTIN),
        ([CONVOLUTION, DELEGATE], Kernels.XNNPACK),
        # Half each, the other way round, and what comes before or after the delegate left out of it.
        ([CONVOLUTION, DELEGATE, DELEGATE], Kernels.MIXED),
        ([CONVOLUTION, {**DELEGATE, "inputs": [5, 1]}], Kernels.MIXED),
        ([CONVOLUTION, {**DELEGATE, "outputs": [5]}], Kernels.MIXED),
    ],
)
def test_the_execution_plan_is_read_whole(monkeypatch, operators, kernels):
    network = Network(tiny_model.sealed())
    monkeypatch.setattr(network, "_interpreter", SimpleNamespace(_get_ops_details=lambda: operators))
    assert network._executed_by(9) is kernels


def test_card_and_network_agree():
    model = tiny_model.parsed()
    network = Network(model.data)
    assert check_agreement(network, model.card) == (network.input_quantization, network.output_quantization)
    for change, word in (
        ({"spec": tiny_model.input_spec(16, 32)}, "input size"),
        ({"spec": model.card.input, "classes": 6}, "output size"),
        ({"spec": tiny_model.input_spec(mean=(0.4, 0.4, 0.4))}, "input quantization"),
    ):
        with pytest.raises(InputError, match=word):
            check_agreement(network, tiny_model.card_for(**change))


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
