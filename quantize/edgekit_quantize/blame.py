"""Which layers cost the accuracy: the error of the logits when one layer alone is int8."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from edgekit_quantize.fake_quantize import fake_quantize, fake_round
from edgekit_quantize.graph import Layer
from edgekit_quantize.plan import Plan, quantization_of
from edgekit_quantize.tune import relative_error
from edgekit_quantize.twin import Twin

_BATCH = 8


@dataclass(frozen=True)
class LayerError:
    """What one layer does to the logits when it alone is int8.

    Attributes:
        name: Its output tensor in the file.
        error: Squared error of the logits over their square; 0 for none.
        share: Of the sum of all layers' errors, in [0, 1].
    """

    name: str
    error: float
    share: float


def blame(float_model: bytes, plan: Plan, images: NDArray[np.float32]) -> list[LayerError]:
    """Every layer's own error, largest first.

    Args:
        float_model: The float flatbuffer.
        plan: By which it becomes int8.
        images: (N, height, width, 3) float32, normalized; a dozen is enough to tell large from small.
    """
    twin = Twin(float_model)
    errors = np.zeros(len(twin.layers))
    with torch.inference_mode():
        for start in range(0, len(images), _BATCH):
            batch = torch.from_numpy(images[start : start + _BATCH])
            wanted = twin(batch)
            errors += [float(relative_error(wanted, _alone(twin, plan, layer, batch))) for layer in twin.layers]
    total = float(errors.sum()) or 1.0
    batches = -(-len(images) // _BATCH)
    found = [LayerError(layer.output, e / batches, e / total) for layer, e in zip(twin.layers, errors, strict=True)]
    return sorted(found, key=lambda layer: -layer.error)


def _alone(twin: Twin, plan: Plan, layer: Layer, batch: Tensor) -> dict[str, Tensor]:
    """The network's ends with weight and output of one layer rounded."""
    scale = torch.from_numpy(plan.weight_limits[layer.weight] / np.float32(127))
    # The network's own weight, not the plan's: tuning bends a weight to make up for the rounding of others.
    weight = fake_round(twin.constants[layer.weight] / scale) * scale
    output = quantization_of(plan.ranges[layer.output])

    def edit(name: str, values: Tensor) -> Tensor:
        if name != layer.output:
            return values
        return fake_quantize(values, torch.tensor(output.scale), output.zero_point)

    return twin(batch, {layer.weight: weight}, edit)
