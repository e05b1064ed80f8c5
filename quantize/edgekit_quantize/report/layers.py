"""How much noise each layer of the int8 file carries against the float network."""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgekit.images import ImageSet, Prepared
from edgekit.preprocess import normalize, quantization_table, to_int8
from edgekit.progress import tracked
from edgekit_quantize.explain.measure import IMAGES
from edgekit_quantize.graph import CHANNEL_AXIS, Graph
from edgekit_quantize.kernel_parity import layer_work
from edgekit_quantize.report.answers import LayerNoise
from edgekit_quantize.report.models import Model
from edgekit_quantize.tensors import Tensors


def layer_noise(float_model: Model, int8_model: Model, images: ImageSet) -> tuple[LayerNoise, ...] | None:
    """Signal-to-quantization-noise ratio of every layer with weights that both files have, in order of execution.

    Equalization multiplies channels by positive factors that later layers take back. Such a factor is no noise: each
    channel of the int8 values is first multiplied by what fits the float values best. A channel that is dead or turned
    round is all noise; one that is merely scaled wrongly is not seen.

    Args:
        float_model: Float TFLite.
        int8_model: Int8 TFLite.
        images: Readable ones; a few are run, evenly spread over them: neighbours are often of one class.

    Returns:
        None if the files have no layer in common: one was not made from the other.
    """
    ours, theirs = Tensors(float_model.path.read_bytes()), Tensors(int8_model.path.read_bytes())
    graph = Graph(float_model.path.read_bytes())
    layers = [n for n in graph.nodes() if n.operator in CHANNEL_AXIS and theirs.is_int8(n.outputs[0])]
    if not layers:
        return None
    spec = int8_model.spec
    table = quantization_table(spec, theirs.quantization(theirs.input))
    sums: defaultdict[str, _Sums] = defaultdict(_Sums)
    count = min(IMAGES, len(images.names))
    chosen = images.subset(np.linspace(0, len(images.names) - 1, count).round().astype(np.int64))
    for _, pixels in tracked("Layers", iter(Prepared(chosen, spec)), count):
        ours.run(normalize(pixels, float_model.spec))
        theirs.run(to_int8(pixels, table))
        for layer in layers:
            sums[layer.outputs[0]].add(ours.real(layer.outputs[0]), theirs.real(layer.outputs[0]))
    return tuple(
        LayerNoise(layer.outputs[0], layer.operator, sums[layer.outputs[0]].sqnr_db, layer_work(graph, layer))
        for layer in layers
    )


@dataclass
class _Sums:
    """Over all places and images, for each channel: products of float (f) and int8 (q) values."""

    ff: NDArray[np.float64] | float = 0.0
    fq: NDArray[np.float64] | float = 0.0
    qq: NDArray[np.float64] | float = 0.0

    def add(self, wanted: NDArray[np.float32], got: NDArray[np.float32]) -> None:
        f = wanted.reshape(-1, wanted.shape[-1]).astype(np.float64)
        q = got.reshape(-1, got.shape[-1]).astype(np.float64)
        self.ff, self.fq, self.qq = self.ff + (f * f).sum(0), self.fq + (f * q).sum(0), self.qq + (q * q).sum(0)

    @property
    def sqnr_db(self) -> float:
        """Least squares: the best factor of a channel is fq/qq, and leaves ff - fq²/qq of the power ff unexplained.

        Infinite if nothing is left.
        """
        ff, fq, qq = np.atleast_1d(self.ff), np.atleast_1d(self.fq), np.atleast_1d(self.qq)
        explained = np.divide(fq * fq, qq, out=np.zeros_like(ff), where=(qq > 0.0) & (fq > 0.0))
        # Rounding can explain a little more than there is.
        noise = float(np.maximum(ff - explained, 0.0).sum())
        return 10.0 * math.log10(float(ff.sum()) / noise) if noise > 0.0 else math.inf
