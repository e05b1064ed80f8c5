"""The int8 file and its float network side by side, tensor by tensor.

Both run with LiteRT's builtin kernels, the only ones that keep every tensor to be looked at.
"""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgekit.card import InputSpec, Quantization
from edgekit.preprocess import Image, normalize, quantization_table, to_int8
from edgekit.progress import tracked
from edgekit.quant import sqnr_db
from edgekit_quantize.blame import blame
from edgekit_quantize.calibrate import Histogram, Range, collect
from edgekit_quantize.graph import Graph, Layer
from edgekit_quantize.plan import SAME_AS_INPUT, Plan, span
from edgekit_quantize.tensors import Tensors

# Tensors hold thousands of values: a few images give their powers within a fraction of a decibel.
IMAGES = 16
# One image is as many passes through the network as it has layers.
BLAME_IMAGES = 2


@dataclass(frozen=True)
class TensorView:
    """One int8 activation, and the layer that computes it.

    Attributes:
        depth: Place in the order of execution, 0 for the input.
        name: Of the tensor, the same in both networks.
        operator: That computes it, as in the schema, such as "CONV_2D"; "INPUT" for the input.
        shape: Without the batch axis.
        quantization: In the file.
        sqnr_db: Of the tensor in the running int8 network, against the float network's; infinite if they are the same.
        saturated: Share of the float network's values, in [0, 1], that are more than half a step beyond the range.
        histogram: Of the float network's values on calibration images.
        own_error: Squared error of the logits over their square when this layer alone is int8; None without weights.
        own_share: Of the sum of all layers' own errors, in [0, 1]; None without weights.
        weight_sqnr_db: Of the file's weights against the float network's; None without weights.
    """

    depth: int
    name: str
    operator: str
    shape: tuple[int, ...]
    quantization: Quantization
    sqnr_db: float
    saturated: float
    histogram: Histogram
    own_error: float | None = None
    own_share: float | None = None
    weight_sqnr_db: float | None = None

    @property
    def own_sqnr_db(self) -> float | None:
        """Of the logits when this layer alone is int8; None without weights."""
        return None if self.own_error is None else decibels(1.0, self.own_error)

    @property
    def range(self) -> Range:
        """Real values that the codes span."""
        return span(self.quantization)


def measure(float_model: bytes, int8_model: bytes, fitting: Image, judging: Image, spec: InputSpec) -> list[TensorView]:
    """Every int8 activation, the most harmful layer first; those without weights behind, the noisiest first.

    Args:
        float_model: The float flatbuffer that became int8, after equalization.
        int8_model: The int8 flatbuffer.
        fitting: (N, height, width, 3) RGB uint8, N ≥ 1; the first IMAGES give the histograms.
        judging: (M, height, width, 3), likewise, M ≥ 1; the first IMAGES are run through both networks.
        spec: The input; its quantization is the file's own.
    """
    graph, ours, theirs = Graph(float_model), Tensors(float_model), Tensors(int8_model)
    operators = {name: node.operator for node in graph.nodes() for name in node.outputs}
    # What holds its input's codes says nothing new.
    names = [n for n in graph.activations() if theirs.is_int8(n) and operators.get(n) not in SAME_AS_INPUT]
    seen, judged = fitting[:IMAGES], judging[:IMAGES]
    histograms = collect(float_model, tracked("histograms", (normalize(x, spec) for x in seen), len(seen)), Histogram)
    powers = _powers(ours, theirs, names, spec, judged)
    weights = {layer.output: layer.weight for layer in Graph(int8_model).layers()}
    layers = {layer.output: layer for layer in graph.layers() if layer.output in weights}
    errors = _own_errors(float_model, _plan(names, layers, weights, theirs), normalize(judged[:BLAME_IMAGES], spec))
    total = sum(errors.values()) or 1.0
    rounding = {
        output: sqnr_db(graph.constant(layer.weight), theirs.real(weights[output])) for output, layer in layers.items()
    }
    views = []
    for depth, name in enumerate(names):
        error = errors.get(name)
        views.append(
            TensorView(
                depth=depth,
                name=name,
                operator=operators.get(name, "INPUT"),
                shape=graph.shape(name)[1:],
                quantization=theirs.quantization(name),
                sqnr_db=powers[name].sqnr_db,
                saturated=powers[name].saturated / powers[name].values,
                histogram=histograms[name],
                own_error=error,
                own_share=None if error is None else error / total,
                weight_sqnr_db=rounding.get(name),
            )
        )
    return sorted(views, key=lambda view: (view.own_error is None, -(view.own_error or 0.0), view.sqnr_db))


def decibels(signal: float, noise: float) -> float:
    """Ratio of two powers, at least 0 each; infinite without noise."""
    if noise == 0.0:
        return math.inf
    return 10.0 * math.log10(signal / noise) if signal > 0.0 else -math.inf


@dataclass
class _Power:
    """Sums over all values of a tensor."""

    signal: float = 0.0
    noise: float = 0.0
    saturated: int = 0
    values: int = 0

    @property
    def sqnr_db(self) -> float:
        return decibels(self.signal, self.noise)


def _powers(
    ours: Tensors, theirs: Tensors, names: list[str], spec: InputSpec, images: Image
) -> defaultdict[str, _Power]:
    """Run both networks and compare as they go: no more than one tensor of one image is held at a time."""
    table = quantization_table(spec, theirs.quantization(theirs.input))
    powers: defaultdict[str, _Power] = defaultdict(_Power)
    for pixels in tracked("compare", images, len(images)):
        ours.run(normalize(pixels, spec))
        theirs.run(to_int8(pixels, table))
        for name in names:
            _add(powers[name], ours.real(name), theirs.real(name), theirs.quantization(name))
    return powers


def _add(power: _Power, wanted: NDArray[np.float32], got: NDArray[np.float32], quantization: Quantization) -> None:
    inside, half = span(quantization), quantization.scale / 2.0
    power.signal += float(np.square(wanted).sum(dtype=np.float64))
    power.noise += float(np.square(wanted - got).sum(dtype=np.float64))
    power.saturated += int(np.count_nonzero((wanted < inside.low - half) | (wanted > inside.high + half)))
    power.values += wanted.size


def _plan(names: list[str], layers: dict[str, Layer], weights: dict[str, str], file: Tensors) -> Plan:
    """The plan that the file carries out, as far as scales go; `weights` by the layer's output."""
    limits = {layer.weight: 127.0 * file.scales(weights[output]) for output, layer in layers.items()}
    return Plan({}, {name: span(file.quantization(name)) for name in names}, limits)


def _own_errors(float_model: bytes, plan: Plan, images: NDArray[np.float32]) -> dict[str, float]:
    """Mean over images of every layer's own error, by its output."""
    sums: defaultdict[str, float] = defaultdict(float)
    for image in tracked("layers", images, len(images)):
        for layer in blame(float_model, plan, image[None]):
            sums[layer.name] += layer.error / len(images)
    return dict(sums)
