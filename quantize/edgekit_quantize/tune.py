"""Tuning: the int8 network learns to give the float network's logits. The float network is the teacher; no labels.

Weights, biases and activation ranges move together by gradient descent through the rounding, so that each layer makes
up for the rounding noise of the others. The zero points and the weights' scales stay.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from edgekit.errors import EdgekitError
from edgekit_quantize.calibrate import Range
from edgekit_quantize.fake_quantize import fake_quantize, fake_round
from edgekit_quantize.plan import FIXED_OUTPUT, SAME_AS_INPUT, Plan, scale_of, zero_point_of
from edgekit_quantize.recipe import Tuning
from edgekit_quantize.twin import Twin


class Student(nn.Module):
    """The network as the int8 file will compute it, with what can be learned as parameters.

    Args:
        twin: The float network.
        plan: Where to start.
    """

    def __init__(self, twin: Twin, plan: Plan) -> None:
        super().__init__()
        self._twin, self._plan = twin, plan
        layers = [layer for layer in twin.graph.layers() if any(layer.output == n.outputs[0] for n in twin.nodes)]
        self._weights = sorted({layer.weight for layer in layers})
        self._biases = sorted({layer.bias for layer in layers if layer.bias is not None})
        constants = {name: plan.constants.get(name, twin.constants[name].numpy()) for name in twin.constants}
        self._weight_scales = [torch.from_numpy(plan.weight_limits[name] / np.float32(127)) for name in self._weights]
        # Weights are learned in units of codes and biases in units of their layer's mean, so that one rate suits all.
        self.codes = nn.ParameterList(
            torch.tensor(constants[name]) / scale
            for name, scale in zip(self._weights, self._weight_scales, strict=True)
        )
        self._bias_units = [float(np.abs(constants[name]).mean()) + 1e-6 for name in self._biases]
        self.biases = nn.ParameterList(
            torch.tensor(constants[name]) / unit for name, unit in zip(self._biases, self._bias_units, strict=True)
        )
        self._fixed = {n.outputs[0]: FIXED_OUTPUT[n.operator] for n in twin.nodes if n.operator in FIXED_OUTPUT}
        self._copies = {n.outputs[0]: n.inputs[0] for n in twin.nodes if n.operator in SAME_AS_INPUT}
        free = [n.outputs[0] for n in twin.nodes if n.outputs[0] not in self._fixed.keys() | self._copies.keys()]
        self._places = {name: place for place, name in enumerate(free)}
        self._zero_points = [zero_point_of(plan.ranges[name]) for name in free]
        self.log_scales = nn.Parameter(torch.tensor([math.log(scale_of(plan.ranges[name])) for name in free]))

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """As `Twin`, with the rounding of weights and activations; `images` as the int8 input holds them."""
        rounded = (fake_round(codes) * scale for codes, scale in zip(self.codes, self._weight_scales, strict=True))
        biases = (bias * unit for bias, unit in zip(self.biases, self._bias_units, strict=True))
        constants = dict(zip(self._weights, rounded, strict=True)) | dict(zip(self._biases, biases, strict=True))
        scales = torch.exp(self.log_scales)

        def edit(name: str, values: Tensor) -> Tensor:
            if name in self._fixed:
                fixed = self._fixed[name]
                return fake_quantize(values, torch.tensor(fixed.scale), fixed.zero_point)
            place = self._places.get(name)
            return values if place is None else fake_quantize(values, scales[place], self._zero_points[place])

        return self._twin(images, constants, edit)

    def plan(self) -> Plan:
        """What was learned, for the file: weights lie on their codes' grid, which is then kept bit by bit."""
        constants = dict(self._plan.constants)
        with torch.no_grad():
            for name, codes, scale in zip(self._weights, self.codes, self._weight_scales, strict=True):
                constants[name] = (fake_round(codes) * scale).numpy()
            for name, bias, unit in zip(self._biases, self.biases, self._bias_units, strict=True):
                constants[name] = (bias * unit).numpy()
            scales = torch.exp(self.log_scales).tolist()
        ranges = dict(self._plan.ranges)
        for name, place in self._places.items():
            zero_point = self._zero_points[place]
            ranges[name] = Range((-128 - zero_point) * scales[place], (127 - zero_point) * scales[place])
        for output, source in self._copies.items():
            ranges[output] = ranges[str(source)]
        return replace(self._plan, constants=constants, ranges=ranges)


Batch = tuple[NDArray[np.float32], NDArray[np.float32]]


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
        batches: Gives the next images: normalized for the float network, and the same as the int8 input holds them;
            each (N, height, width, 3) float32.
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
        exact, rounded = (torch.from_numpy(images) for images in batches())
        with torch.no_grad():
            wanted = twin(exact)
        loss = relative_error(wanted, student(rounded))
        if not torch.isfinite(loss):
            raise EdgekitError("Tuning must have a finite error, got NaN or infinity.", "Lower the recipe's rates.")
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        schedule.step()
        advance(float(loss.detach()))
    return student.plan()


def relative_error(wanted: dict[str, Tensor], got: dict[str, Tensor]) -> Tensor:
    """Squared error over squared signal, the mean over the network's ends: the inverse of the SQNR."""
    errors = [(wanted[name] - got[name]).square().sum() / wanted[name].square().sum() for name in wanted]
    return torch.stack(errors).mean()
