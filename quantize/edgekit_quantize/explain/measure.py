"""The int8 file and its float network side by side, tensor by tensor.

Both run with LiteRT's builtin kernels, the only ones that keep every tensor to be looked at.
"""

from __future__ import annotations

import math
import warnings
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from ai_edge_litert.interpreter import Interpreter, OpResolverType
from numpy.typing import NDArray

from edgekit.card import InputSpec, Quantization
from edgekit.preprocess import Image, normalize, quantization_table, to_int8
from edgekit.progress import progress_bar
from edgekit.quant import sqnr_db
from edgekit_quantize.blame import blame
from edgekit_quantize.calibrate import Histogram, Range, collect
from edgekit_quantize.graph import Graph, Layer
from edgekit_quantize.plan import SAME_AS_INPUT, Plan, span

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


def measure(
    float_model: bytes, int8_model: bytes, fitting: Image, judging: Image, spec: InputSpec, threads: int
) -> list[TensorView]:
    """Every int8 activation, the most harmful layer first; those without weights behind, the noisiest first.

    Args:
        float_model: The float flatbuffer that became int8, after equalization.
        int8_model: The int8 flatbuffer.
        fitting: (N, height, width, 3) RGB uint8, N ≥ 1; IMAGES of them give the histograms.
        judging: (M, height, width, 3), likewise, M ≥ 1; IMAGES of them are run through both networks.
        spec: The input; its quantization is the file's own.
        threads: Of the interpreters.
    """
    graph, ours, theirs = Graph(float_model), _Tensors(float_model, threads), _Tensors(int8_model, threads)
    operators = {name: node.operator for node in graph.nodes() for name in node.outputs}
    # What holds its input's codes says nothing new.
    names = [n for n in graph.activations() if theirs.is_int8(n) and operators.get(n) not in SAME_AS_INPUT]
    seen, judged = _spread(fitting, IMAGES), _spread(judging, IMAGES)
    histograms = collect(float_model, _with_bar("histograms", (normalize(x, spec) for x in seen), len(seen)))
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


class _Tensors:
    """A network whose tensors can all be read after a run."""

    def __init__(self, model: bytes, threads: int) -> None:
        with warnings.catch_warnings():
            # It warns that keeping all tensors costs memory: that is the purpose here.
            warnings.simplefilter("ignore", UserWarning)
            self._interpreter = Interpreter(
                model_content=model,
                num_threads=threads,
                experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
                experimental_preserve_all_tensors=True,
            )
        self._interpreter.allocate_tensors()
        self._details: dict[str, dict[str, Any]] = {d["name"]: d for d in self._interpreter.get_tensor_details()}
        self.input: str = self._interpreter.get_input_details()[0]["name"]

    def run(self, image: NDArray[Any]) -> None:
        """One prepared image (height, width, 3), in the input's dtype."""
        self._interpreter.set_tensor(self._details[self.input]["index"], image[None])
        self._interpreter.invoke()

    def is_int8(self, name: str) -> bool:
        """Whether it has a tensor of this name that is int8."""
        return name in self._details and self._details[name]["dtype"] is np.int8

    def quantization(self, name: str) -> Quantization:
        """Of an int8 activation."""
        scale, zero_point = self._details[name]["quantization"]
        return Quantization(float(scale), int(zero_point))

    def scales(self, name: str) -> NDArray[np.float32]:
        """Of an int8 tensor, in a shape that broadcasts over its values."""
        parameters = self._details[name]["quantization_parameters"]
        shape = [1] * len(self._details[name]["shape"])
        if len(parameters["scales"]) > 1:
            shape[parameters["quantized_dimension"]] = -1
        return np.asarray(parameters["scales"], np.float32).reshape(shape)

    def real(self, name: str) -> NDArray[np.float32]:
        """Values, float32; dequantized if they are int8."""
        values = self._interpreter.get_tensor(self._details[name]["index"])
        if values.dtype != np.int8:
            return np.asarray(values, np.float32)
        # All zero points of a weight are 0.
        zero_point = self._details[name]["quantization_parameters"]["zero_points"][0]
        return np.asarray((values.astype(np.float32) - np.float32(zero_point)) * self.scales(name), np.float32)


def _powers(
    ours: _Tensors, theirs: _Tensors, names: list[str], spec: InputSpec, images: Image
) -> defaultdict[str, _Power]:
    """Run both networks and compare as they go: no more than one tensor of one image is held at a time."""
    table = quantization_table(spec, theirs.quantization(theirs.input))
    powers: defaultdict[str, _Power] = defaultdict(_Power)
    for pixels in _with_bar("compare", images, len(images)):
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


def _plan(names: list[str], layers: dict[str, Layer], weights: dict[str, str], file: _Tensors) -> Plan:
    """The plan that the file carries out, as far as scales go; `weights` by the layer's output."""
    limits = {layer.weight: 127.0 * file.scales(weights[output]) for output, layer in layers.items()}
    return Plan({}, {name: span(file.quantization(name)) for name in names}, limits)


def _own_errors(float_model: bytes, plan: Plan, images: NDArray[np.float32]) -> dict[str, float]:
    """Mean over images of every layer's own error, by its output."""
    sums: defaultdict[str, float] = defaultdict(float)
    for image in _with_bar("layers", images, len(images)):
        for layer in blame(float_model, plan, image[None]):
            sums[layer.name] += layer.error / len(images)
    return dict(sums)


def _with_bar(name: str, items: Iterable[NDArray[Any]], total: int) -> Iterator[NDArray[Any]]:
    with progress_bar(unit="images") as bar:
        task = bar.add_task(name, total=total)
        for item in items:
            yield item
            bar.advance(task)


def _spread(images: Image, most: int) -> Image:
    """At most `most` of them, evenly spaced: files of one class lie side by side."""
    return images[np.unique(np.linspace(0, len(images) - 1, min(most, len(images))).round().astype(np.int64))]
