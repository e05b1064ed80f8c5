"""A network's weights for a narrower one: its strongest channels. Better to begin from than chance.

Channels that are added to each other or handed through go together: each such group keeps those with the largest
weights into and out of it (L1, as in arXiv:1608.08710).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from edgekit.models.mobilenet_v1 import LAYERS
from edgekit.models.mobilenet_v2 import STAGES

COLOURS = "colours"
CLASSIFIER = "classifier.1.weight"
# Of nn.BatchNorm2d.
EPSILON = 1e-5


class Layer(NamedTuple):
    """A convolution and its normalization, and the groups of channels that it joins; a depthwise one has one."""

    kernel: str
    norm: str
    before: str
    after: str


def narrow(state: Mapping[str, Tensor], name: str, like: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Weights of a network at a smaller width.

    Args:
        state: `state_dict` of the wide one, with or without its classifier.
        name: Architecture of both.
        like: `state_dict` of the narrow one, for its shapes.

    Returns:
        A `state_dict`; the classifier keeps its outputs. Empty if `like` is wider somewhere.
    """
    layers = layers_v1() if name == "mobilenet_v1" else layers_v2()
    sizes = {layer.after: len(like[f"{layer.kernel}.weight"]) for layer in layers}
    strengths = _strengths(state, layers)
    if any(size > len(strengths[group]) for group, size in sizes.items()):
        return {}
    kept = {group: torch.topk(strengths[group], size).indices.sort().values for group, size in sizes.items()}
    narrowed: dict[str, Tensor] = {}
    for layer in layers:
        kernel = state[f"{layer.kernel}.weight"][kept[layer.after]]
        is_whole = layer.before in (layer.after, COLOURS)
        narrowed[f"{layer.kernel}.weight"] = kernel if is_whole else kernel[:, kept[layer.before]]
        for part in ("weight", "bias", "running_mean", "running_var"):
            narrowed[f"{layer.norm}.{part}"] = state[f"{layer.norm}.{part}"][kept[layer.after]]
    if CLASSIFIER in state:
        narrowed[CLASSIFIER] = state[CLASSIFIER][:, kept[layers[-1].after]]
        narrowed["classifier.1.bias"] = state["classifier.1.bias"]
    return narrowed


def _strengths(state: Mapping[str, Tensor], layers: Sequence[Layer]) -> dict[str, Tensor]:
    """Per group: the summed sizes of what each channel is made of and goes into, every layer counting the same."""
    found: defaultdict[str, list[Tensor]] = defaultdict(list)
    for layer in layers:
        deviation = (state[f"{layer.norm}.running_var"].double() + EPSILON).sqrt()
        gain = (state[f"{layer.norm}.weight"].double() / deviation).view(-1, 1, 1, 1)
        folded = (state[f"{layer.kernel}.weight"].double() * gain).abs()
        found[layer.after].append(folded.sum((1, 2, 3)))
        if layer.before not in (layer.after, COLOURS):
            found[layer.before].append(folded.sum((0, 2, 3)))
    return {group: torch.stack([part / part.mean() for part in parts]).sum(0) for group, parts in found.items()}


def layers_v1() -> list[Layer]:
    """Of MobileNetV1, in order."""
    layers, group = [Layer("features.0.0", "features.0.1", COLOURS, "stem")], "stem"
    for index in range(1, len(LAYERS) + 1):
        block = f"features.{index}"
        layers.append(Layer(f"{block}.0", f"{block}.1", group, group))
        layers.append(Layer(f"{block}.3", f"{block}.4", group, block))
        group = block
    return layers


def layers_v2() -> list[Layer]:
    """Of MobileNetV2, in order."""
    layers, group, index = [Layer("features.0.0", "features.0.1", COLOURS, "stem")], "stem", 1
    for stage, (expansion, _, repeats, _) in enumerate(STAGES):
        for _ in range(repeats):
            block, hidden, step = f"features.{index}.conv", group, 0
            if expansion != 1:
                hidden, step = block, 1
                layers.append(Layer(f"{block}.0.0", f"{block}.0.1", group, hidden))
            layers.append(Layer(f"{block}.{step}.0", f"{block}.{step}.1", hidden, hidden))
            layers.append(Layer(f"{block}.{step + 1}", f"{block}.{step + 2}", hidden, f"stage {stage}"))
            group, index = f"stage {stage}", index + 1
    layers.append(Layer(f"features.{index}.0", f"features.{index}.1", group, "last"))
    return layers
