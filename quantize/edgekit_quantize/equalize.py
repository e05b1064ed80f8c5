"""Cross-layer equalization: scale the channels of an activation to one size, and the layers around it back.

All channels of a tensor share one int8 scale, hence a small channel is coarse. A channel may be multiplied by a factor
if the layers that make it multiply their weights and biases by it and the layers that read it divide: the network
computes the same. (Nagel et al. 2019, "Data-Free Quantization Through Weight Equalization and Bias Correction", which
equalizes weights; here the activations' observed ranges decide, since per-channel scales make a layer's outputs free.)
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.cluster.hierarchy import DisjointSet
from torch import Tensor

from edgekit.errors import InputError
from edgekit_quantize.graph import ACTIVATION_NAME, CHANNEL_AXIS, Node
from edgekit_quantize.twin import Twin

_LAYERS = frozenset(CHANNEL_AXIS)
# Operators through which a positive factor per channel passes.
_TRANSPARENT = frozenset({"ADD", "AVERAGE_POOL_2D", "MAX_POOL_2D", "MEAN", "PAD", "RELU", "RESHAPE", "SQUEEZE"})
# Activations of a layer that allow its output to be scaled; for RELU6 see `_factors`.
_SCALABLE = frozenset({"NONE", "RELU", "RELU6"})
# A channel that is nearly dead must not be blown up: its few values are noise.
_LARGEST_FACTOR = 64.0
# Before a RELU6, a channel that was quiet on all calibration images may be loud on others, up to six; scaled by this,
# it is clipped at three. With larger factors EfficientNet-Lite0 was far off on photos of brass instruments, of
# which calibration had none.
_LARGEST_FACTOR_BEFORE_RELU6 = 2.0
# By how much an image may exceed all that calibration saw before a RELU6 clips what it did not clip.
_HEADROOM = 1.2


@dataclass
class _Group:
    """Activations that carry the same channels, and so must be scaled alike.

    Attributes:
        tensors: Their names.
        makers: Layers that write one of them.
        readers: Layers that read one of them.
    """

    tensors: set[str]
    makers: list[Node]
    readers: list[Node]


def channel_maxima(twin: Twin, batches: Iterable[Tensor]) -> dict[str, Tensor]:
    """Largest magnitude of every channel (last axis) of every activation, (channels,) float32.

    Args:
        twin: The float network.
        batches: Normalized images, each (N, height, width, 3) float32.

    Raises:
        InputError: A value is NaN or infinite; its tensor is named.
    """
    maxima: dict[str, Tensor] = {}

    def note(name: str, values: Tensor) -> Tensor:
        largest = values.abs().reshape(-1, values.shape[-1]).amax(0)
        if not torch.isfinite(largest).all():
            raise InputError(f"Activations must be finite, got NaN or infinity in tensor {name}.", "Train again.")
        maxima[name] = torch.maximum(maxima[name], largest) if name in maxima else largest
        return values

    with torch.inference_mode():
        for batch in batches:
            twin(batch, edit=note)
    return maxima


def equalize(twin: Twin, maxima: dict[str, Tensor], strength: float) -> dict[str, NDArray[np.float32]]:
    """Weights and biases of the same function with more even channels.

    Args:
        twin: The float network.
        maxima: From `channel_maxima`.
        strength: Exponent of the factors in [0, 1]; 1 makes all channels equally large. Less is usually best, since
            the reading layer's weights get uneven where the activation gets even.

    Returns:
        float32 values by tensor name, for the constants that change.
    """
    constants = {name: values.clone() for name, values in twin.constants.items() if values.is_floating_point()}
    for group in _groups(twin):
        factors = _factors(group, maxima, strength)
        for node in group.makers:
            by_row = node.operator != "DEPTHWISE_CONV_2D"
            for name in filter(None, node.inputs[1:3]):
                constants[name] *= _rows(factors, constants[name]) if by_row else factors
        for weight in filter(None, (node.inputs[1] for node in group.readers)):
            # The input channel is the last axis of every kind of weight.
            constants[weight] /= factors
    return {name: values.numpy() for name, values in constants.items()}


def _factors(group: _Group, maxima: dict[str, Tensor], strength: float) -> Tensor:
    largest = torch.stack([maxima[name] for name in sorted(group.tensors)]).amax(0).clamp_min(1e-12)
    factors = ((largest.max() / largest) ** strength).clamp(1.0, _LARGEST_FACTOR)
    if any(_activation(node) == "RELU6" for node in group.makers):
        # As long as no value passes six, clipping there changes nothing.
        room = (6.0 / (_HEADROOM * largest)).clamp(1.0, _LARGEST_FACTOR_BEFORE_RELU6)
        factors = torch.minimum(factors, room)
    return factors


def _groups(twin: Twin) -> list[_Group]:
    """The groups that may be scaled: only layers, additions, paddings and means touch them."""
    sets = DisjointSet(twin.graph.activations())
    fixed = {twin.graph.input, *twin.ends, *(name for node in twin.unknown for name in node.outputs)}
    uses = Counter(name for node in twin.nodes for name in node.inputs)
    for node in twin.nodes:
        output = node.outputs[0]
        tied = [name for name in node.inputs if name is not None and name not in twin.constants]
        if node.operator in _LAYERS:
            if not _is_plain(twin, node, tied, uses):
                fixed |= {*tied, output}
            elif _activation(node) not in _SCALABLE:
                fixed.add(output)
        elif _keeps_channels(twin, node, tied):
            for name in tied:
                sets.merge(name, output)
        else:
            fixed |= {*tied, output}
    return [_group(twin, tensors) for tensors in sets.subsets() if not tensors & fixed]


def _is_plain(twin: Twin, node: Node, tied: list[str], uses: Counter[str | None]) -> bool:
    """Whether a layer's weight is its own, and its last axis counts the input's channels."""
    weight = node.inputs[1]
    if weight not in twin.constants or len(tied) > 1 or any(uses[name] > 1 for name in node.inputs[1:3] if name):
        return False
    channels = {_channels(twin, tied[0]), twin.constants[weight].shape[-1]}
    if node.operator == "DEPTHWISE_CONV_2D":
        channels.add(_channels(twin, node.outputs[0]))
    return len(channels) == 1


def _group(twin: Twin, tensors: set[str]) -> _Group:
    layers = [node for node in twin.nodes if node.operator in _LAYERS]
    makers = [node for node in layers if node.outputs[0] in tensors]
    return _Group(tensors, makers, [node for node in layers if node.inputs[0] in tensors])


def _keeps_channels(twin: Twin, node: Node, tied: list[str]) -> bool:
    """Whether scaling a channel of all inputs scales the same channel of the output, and nothing else."""
    if node.operator not in _TRANSPARENT or _activation(node) not in {"NONE", "RELU"}:
        return False
    if node.operator == "MEAN" and not {1, 2} >= set(twin.constants[str(node.inputs[1])].reshape(-1).tolist()):
        return False
    # An addition of a constant would need the constant scaled as well.
    if node.operator == "ADD" and len(tied) < 2:
        return False
    return all(_channels(twin, name) == _channels(twin, node.outputs[0]) for name in tied)


def _channels(twin: Twin, name: str) -> int:
    return twin.graph.shape(name)[-1]


def _activation(node: Node) -> str:
    return str(ACTIVATION_NAME[getattr(node.options, "fusedActivationFunction", 0)])


def _rows(factors: Tensor, weight: Tensor) -> Tensor:
    """The factors along the first axis, which counts a layer's output channels."""
    return factors.reshape(-1, *[1] * (weight.ndim - 1))
