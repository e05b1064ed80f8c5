"""Tuning: the int8 network learns to give the float network's logits. The float network is the teacher; no labels.

Weights, biases and activation ranges move together by gradient descent through the rounding, so that each layer makes
up for the rounding noise of the others. The zero points and the weights' scales stay.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from edgekit.card import Quantization
from edgekit.errors import EdgekitError
from edgekit_quantize.fake_quantize import fake_quantize, fake_round
from edgekit_quantize.plan import (
    MOST_SHRINKING,
    SAME_AS_INPUT,
    Plan,
    bias_unit,
    fixed_quantizations,
    quantization_of,
    shared_scales,
    span,
)
from edgekit_quantize.recipe import Tuning
from edgekit_quantize.twin import Twin

# Outputs whose values are on their input's grid already.
_COPYING = SAME_AS_INPUT - {"AVERAGE_POOL_2D"}


class Student(nn.Module):
    """The network as the int8 file will compute it, with what can be learned as parameters.

    Args:
        twin: The float network.
        plan: Where to start.
    """

    def __init__(self, twin: Twin, plan: Plan) -> None:
        super().__init__()
        self._twin, self._plan = twin, plan
        self._weights = sorted({layer.weight for layer in twin.layers})
        self._biases = sorted({layer.bias for layer in twin.layers if layer.bias is not None})
        constants = {name: plan.constants.get(name, twin.constants[name].numpy()) for name in twin.constants}
        self._weight_scales = [torch.from_numpy(plan.weight_limits[name] / np.float32(127)) for name in self._weights]
        # Weights are learned in units of codes and biases in units of their layer's mean, so that one rate suits all.
        self.codes = nn.ParameterList(
            torch.tensor(constants[name]) / scale
            for name, scale in zip(self._weights, self._weight_scales, strict=True)
        )
        outputs = {layer.bias: plan.ranges[layer.output] for layer in twin.layers}
        self._bias_units = [bias_unit(constants[name], outputs[name]) for name in self._biases]
        self.biases = nn.ParameterList(
            torch.tensor(constants[name]) / unit for name, unit in zip(self._biases, self._bias_units, strict=True)
        )
        # Left free, the range of the logits would shrink: clipping the few largest of many costs little squared error,
        # but they are the answer.
        settled = {twin.graph.input, twin.graph.output, *fixed_quantizations(twin.graph)}
        self._groups = [sorted(group) for group in shared_scales(twin.graph) if not group & settled]
        self._places = {name: place for place, group in enumerate(self._groups) for name in group}
        rest = {name: quantization_of(plan.ranges[name]) for name in plan.ranges.keys() - self._places.keys()}
        self._settled = {name: (torch.tensor(known.scale), known.zero_point) for name, known in rest.items()}
        self._copies = {n.outputs[0] for n in twin.nodes if n.operator in _COPYING} | {twin.graph.input}
        start = [quantization_of(plan.ranges[name]) for name, *_ in self._groups]
        self._zero_points = [quantization.zero_point for quantization in start]
        self.log_scales = nn.Parameter(torch.tensor([math.log(quantization.scale) for quantization in start]))
        self._least_log_scales = self.log_scales.detach() - math.log(MOST_SHRINKING)

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """As `Twin`, with the rounding of weights and activations; `images` as the int8 input holds them."""
        rounded = (fake_round(codes) * scale for codes, scale in zip(self.codes, self._weight_scales, strict=True))
        biases = (bias * unit for bias, unit in zip(self.biases, self._bias_units, strict=True))
        constants = dict(zip(self._weights, rounded, strict=True)) | dict(zip(self._biases, biases, strict=True))
        scales = self._scales()

        def edit(name: str, values: Tensor) -> Tensor:
            if name in self._copies:
                return values
            place = self._places.get(name)
            if place is not None:
                return fake_quantize(values, scales[place], self._zero_points[place])
            scale, zero_point = self._settled[name]
            return fake_quantize(values, scale, zero_point)

        return self._twin(images, constants, edit)

    def _scales(self) -> Tensor:
        return torch.exp(torch.maximum(self.log_scales, self._least_log_scales))

    def plan(self) -> Plan:
        """What was learned, for the file: weights lie on their codes' grid, which is then kept bit by bit."""
        constants = dict(self._plan.constants)
        with torch.no_grad():
            for name, codes, scale in zip(self._weights, self.codes, self._weight_scales, strict=True):
                constants[name] = (fake_round(codes) * scale).numpy()
            for name, bias, unit in zip(self._biases, self.biases, self._bias_units, strict=True):
                constants[name] = (bias * unit).numpy()
            scales = self._scales().tolist()
        ranges = dict(self._plan.ranges)
        for name, place in self._places.items():
            ranges[name] = span(Quantization(scales[place], self._zero_points[place]))
        return replace(self._plan, constants=constants, ranges=ranges)


class Batch(NamedTuple):
    """Images of one step.

    Attributes:
        exact: (N, height, width, 3) float32, normalized, for the float network.
        rounded: The same as the int8 input holds them.
        targets: (N,) int64 classes, -1 where unknown.
    """

    exact: Tensor
    rounded: Tensor
    targets: Tensor


def tune(
    twin: Twin,
    start: Plan,
    batches: Callable[[], Batch],
    options: Tuning,
    advance: Callable[[float], None],
) -> Plan:
    """Learn a better plan.

    Args:
        twin: The float network.
        start: Where to start.
        batches: Gives the images of the next step.
        options: Steps and rates.
        advance: Called after each step with the relative squared error of the logits.

    Raises:
        EdgekitError: The error became NaN or infinite.
    """
    student = Student(twin, start)
    groups = (
        (list(student.codes), options.weight_rate),
        (list(student.biases), options.bias_rate),
        ([student.log_scales], options.range_rate),
    )
    # Adam moves a parameter by at most about its rate per step, whatever the gradient's size.
    optimizer = torch.optim.Adam([{"params": params, "lr": rate} for params, rate in groups if params])
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, options.steps)
    for _ in range(options.steps):
        batch = batches()
        with torch.no_grad():
            wanted = twin(batch.exact)
        got = student(batch.rounded)
        error = relative_error(wanted, got)
        loss = error + options.label_weight * _label_loss(got.get(twin.graph.output), batch.targets)
        if not torch.isfinite(loss):
            raise EdgekitError("Tuning must have a finite error, got NaN or infinity.", "Lower the recipe's rates.")
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        schedule.step()
        advance(float(error.detach()))
    return student.plan()


def relative_error(wanted: dict[str, Tensor], got: dict[str, Tensor]) -> Tensor:
    """Squared error over squared signal, the mean over the network's ends: the inverse of the SQNR."""
    signals = {name: values.square().sum().clamp_min(1e-12) for name, values in wanted.items()}
    errors = [(wanted[name] - got[name]).square().sum() / signal for name, signal in signals.items()]
    return torch.stack(errors).mean()


def _label_loss(logits: Tensor | None, targets: Tensor) -> Tensor | float:
    """Mean cross-entropy of logits (N, classes) over the images whose class is known, in nats; 0 without any."""
    if logits is None or not bool((targets >= 0).any()):
        return 0.0
    return functional.cross_entropy(logits, targets, ignore_index=-1)
