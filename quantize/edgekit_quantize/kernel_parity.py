"""How far TFLite's other kernels are from XNNPACK's on the same int8 file: each set rounds in its own way."""

from __future__ import annotations

import functools
import math
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib import metadata
from typing import Any

import numpy as np
from ai_edge_litert.interpreter import Interpreter, OpResolverType
from numpy.typing import NDArray

from edgekit.card import InputSpec, Measurement
from edgekit.preprocess import quantization_table, to_int8
from edgekit.progress import tracked
from edgekit.runtime import Kernels, Network, quiet_stderr, runtime_name
from edgekit_quantize.graph import CHANNEL_AXIS, Graph, Node

_Run = Callable[[NDArray[np.int8]], NDArray[Any]]

# Multiply-accumulates that slow kernels may spend in all, a few seconds: work and not time, so that the file does not
# depend on the machine. MobileNetV2 at 224 needs 0.3e9 for an image.
_BUILTIN_WORK = 3.0e10
_REFERENCE_WORK = 6.0e9
_LEAST_IMAGES = 4


@dataclass(frozen=True)
class KernelParity:
    """Output codes of one set of kernels against XNNPACK's.

    Attributes:
        kernels: "builtin" or "reference".
        runtime: Package and version whose kernels they are.
        largest: Largest difference of an output code, in LSB.
        mean: Mean absolute difference over all codes and images, in LSB.
        other_answer: Share of images with another top-1, in [0, 1].
        images: Number of images.
    """

    kernels: str
    runtime: str
    largest: int
    mean: float
    other_answer: float
    images: int

    def measurements(self) -> tuple[Measurement, ...]:
        """For the model card."""
        name = f"{self.kernels} kernels ({self.runtime}) against XNNPACK"
        return (
            Measurement(f"{name}, largest difference", float(self.largest), "LSB", self.images),
            Measurement(f"{name}, mean difference", round(self.mean, 4), "LSB", self.images),
            Measurement(f"{name}, other top-1", round(100.0 * self.other_answer, 2), "%", self.images),
        )


def kernel_parity(model: bytes, spec: InputSpec, pixels: NDArray[np.uint8], threads: int) -> tuple[KernelParity, ...]:
    """Compare the builtin and the reference kernels with XNNPACK.

    Args:
        model: An int8 flatbuffer.
        spec: Its input, quantized.
        pixels: (N, height, width, 3) RGB uint8, at least one; slow kernels see only as many as their work allows.
        threads: Images at a time.
    """
    table = quantization_table(spec)
    codes = [to_int8(image, table) for image in pixels]
    fast = Network(model, threads)
    expected = np.stack([fast.run(image) for image in codes])
    work = multiply_accumulates(Graph(model))
    slow = (
        ("builtin", runtime_name(Kernels.BUILTIN), _BUILTIN_WORK, _builtin),
        ("reference", f"ai-edge-litert {metadata.version('ai-edge-litert')}", _REFERENCE_WORK, _reference),
    )
    results = []
    for name, runtime, most, create in slow:
        count = min(len(codes), max(_LEAST_IMAGES, int(most / work)))
        got = _run_all(name, functools.partial(create, model), codes[:count], threads)
        results.append(_compare(name, runtime, expected[:count], got))
    return tuple(results)


def multiply_accumulates(graph: Graph) -> int:
    """Of one run, over all convolutions and matrix products; at least 1."""
    return max(1, sum(layer_work(graph, node) for node in graph.nodes() if node.operator in CHANNEL_AXIS))


def layer_work(graph: Graph, node: Node) -> int:
    """Multiply-accumulates of one convolution or matrix product: every weight once for each place of the output."""
    weight = node.inputs[1] or ""
    return math.prod(graph.shape(weight)) * math.prod(graph.shape(node.outputs[0])[1:-1])


def _compare(name: str, runtime: str, expected: NDArray[np.int8], got: NDArray[np.int8]) -> KernelParity:
    difference = np.abs(expected.astype(np.int32) - got)
    return KernelParity(
        kernels=name,
        runtime=runtime,
        largest=int(difference.max()),
        mean=float(difference.mean()),
        other_answer=float((expected.argmax(1) != got.argmax(1)).mean()),
        images=len(expected),
    )


def _run_all(
    name: str, create: Callable[[], _Run], codes: Sequence[NDArray[np.int8]], threads: int
) -> NDArray[np.int8]:
    """Output codes (N, classes); an interpreter of one thread for each thread, as more of its own slow it down."""
    own = threading.local()

    def run(image: NDArray[np.int8]) -> NDArray[Any]:
        if not hasattr(own, "run"):
            own.run = create()
        return np.asarray(own.run(image))

    with ThreadPoolExecutor(min(threads, len(codes))) as pool:
        return np.stack(list(tracked(f"{name} kernels", pool.map(run, codes), len(codes))))


def _builtin(model: bytes) -> _Run:
    return Network(model, 1, Kernels.BUILTIN).run


def _reference(model: bytes) -> _Run:
    with quiet_stderr():
        interpreter = Interpreter(
            model_content=model, num_threads=1, experimental_op_resolver_type=OpResolverType.BUILTIN_REF
        )
        interpreter.allocate_tensors()
    source, target = (d[0]["index"] for d in (interpreter.get_input_details(), interpreter.get_output_details()))

    def run(image: NDArray[np.int8]) -> NDArray[Any]:
        interpreter.set_tensor(source, image[None])
        interpreter.invoke()
        return np.asarray(interpreter.get_tensor(target)[0])

    return run
