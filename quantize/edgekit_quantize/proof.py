"""What a finished int8 file is, proved from its own bytes and by running it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from numpy.typing import NDArray

from edgekit.card import InputSpec, Measurement
from edgekit.errors import EdgekitError
from edgekit.runtime import Kernels, Network
from edgekit_quantize.graph import Graph, name_of, unpack
from edgekit_quantize.kernel_parity import KernelParity, kernel_parity

_TYPE_NAME = {value: name for name, value in vars(schema.TensorType).items() if not name.startswith("_")}
# Values are int8; biases, axes, shapes and paddings int32.
_INTEGERS = frozenset({schema.TensorType.INT8, schema.TensorType.INT32})


@dataclass(frozen=True)
class Contents:
    """What a fully-int8 file holds.

    Attributes:
        operators: Their number.
        per_channel: Number of layers with weights; each has a scale per output channel.
        requantizations: QUANTIZE operators between two int8 scales: allowed, but each rounds once more.
        transposes: TRANSPOSE operators: allowed, but they take time and compute nothing.
    """

    operators: int
    per_channel: int
    requantizations: int
    transposes: int


@dataclass(frozen=True)
class Proof:
    """A fully-int8 file and how its kernels agree.

    Attributes:
        contents: What is in it.
        kernels: What executes it under LiteRT.
        parity: The other kernels against XNNPACK.
    """

    contents: Contents
    kernels: Kernels
    parity: tuple[KernelParity, ...]

    def warnings(self) -> Iterator[str]:
        """What is legal and yet costs something."""
        if self.kernels is not Kernels.XNNPACK:
            yield (
                "XNNPACK takes only a part of this network: slower, and other processors may give slightly other bits."
            )
        if count := self.contents.requantizations:
            yield f"{_number(count, 'QUANTIZE operator')} inside, from int8 scale to int8 scale: each rounds once more."
        if count := self.contents.transposes:
            yield f"{_number(count, 'TRANSPOSE operator')} left: time that computes nothing."

    def measurements(self) -> tuple[Measurement, ...]:
        """For the model card; facts about the file rest on no images."""
        facts = (
            ("operators, all int8", self.contents.operators, "operators"),
            ("weights with a scale per channel", self.contents.per_channel, "layers"),
            ("QUANTIZE between int8 scales", self.contents.requantizations, "operators"),
            ("TRANSPOSE", self.contents.transposes, "operators"),
            ("left to other kernels by XNNPACK", int(self.kernels is not Kernels.XNNPACK), "1 = some"),
        )
        counted = (Measurement(name, float(value), unit, 0) for name, value, unit in facts)
        return (*counted, *(measurement for parity in self.parity for measurement in parity.measurements()))


def prove(model: bytes, spec: InputSpec, pixels: NDArray[np.uint8], threads: int) -> Proof:
    """Prove that a model is fully int8, and measure what its kernels disagree about.

    Args:
        model: The flatbuffer.
        spec: Its input, quantized.
        pixels: (N, height, width, 3) RGB uint8 that the model was not made from, at least one.
        threads: Of the interpreters.

    Raises:
        EdgekitError: As `prove_contents`.
    """
    contents = prove_contents(model)
    return Proof(contents, Network(model, threads).kernels, kernel_parity(model, spec, pixels, threads))


def prove_contents(model: bytes) -> Contents:
    """Read from the file that it is int8 throughout, ends included, with symmetric weight scales per channel.

    Raises:
        EdgekitError: It is not; the operators or layers are named.
    """
    graph, subgraph = Graph(model), unpack(model).subgraphs[0]
    tensors = {name_of(tensor): tensor for tensor in subgraph.tensors}
    nodes = graph.nodes()
    others = Counter(
        f"{node.operator} ({_TYPE_NAME[tensors[name].type]})"
        for node in nodes
        for name in {*node.inputs, *node.outputs}
        if name is not None and tensors[name].type not in _INTEGERS
    )
    if others:
        raise EdgekitError(f"Every operator must be int8, got {', '.join(sorted(others))}.")
    for end in (graph.input, graph.output):
        if tensors[end].type != schema.TensorType.INT8:
            raise EdgekitError(f"Input and output must be int8, got {_TYPE_NAME[tensors[end].type]} at {end}.")
    layers = list(graph.layers())
    coarse = [layer.weight for layer in layers if not _is_per_channel(tensors[layer.weight], layer.channel_axis)]
    if coarse:
        raise EdgekitError(f"Weights must have a symmetric scale per channel, got another for {', '.join(coarse)}.")
    counts = Counter(node.operator for node in nodes)
    return Contents(len(nodes), len(layers), counts["QUANTIZE"], counts["TRANSPOSE"])


def _is_per_channel(tensor: Any, axis: int) -> bool:
    quantization = tensor.quantization
    if quantization is None or quantization.scale is None or quantization.zeroPoint is None:
        return False
    channels = int(tensor.shape[axis])
    along = channels == 1 or quantization.quantizedDimension == axis
    return along and len(quantization.scale) == channels and not np.any(quantization.zeroPoint)


def _number(count: int, thing: str) -> str:
    return f"{count} {thing}{'' if count == 1 else 's'}"
