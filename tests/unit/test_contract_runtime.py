"""The one face of the interpreters."""

import numpy as np
import pytest
from support import tiny_model

from edgekit.card import Quantization
from edgekit.errors import InputError
from edgekit.runtime import Kernels, Network, runtime_name


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


@pytest.mark.parametrize("content", [b"", b"\0" * 64, b"\0\0\0\0TFL3" + b"\xff" * 64])
def test_rubbish_is_an_input_error(content):
    with pytest.raises(InputError, match="run under"):
        Network(content)
