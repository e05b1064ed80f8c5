"""What a stage costs on this machine: size, multiply-accumulates, latency and memory, measured in a fresh process."""

from __future__ import annotations

import json
import math
import subprocess
import sys

import onnx
import torch
from onnx import shape_inference
from torch.utils.flop_counter import FlopCounterMode

from edgekit.card import to_plain
from edgekit.errors import EdgekitError
from edgekit.train import checkpoint
from edgekit_quantize.graph import Graph
from edgekit_quantize.kernel_parity import multiply_accumulates
from edgekit_quantize.report.answers import Cost
from edgekit_quantize.report.models import Model, OnnxModel, TfliteModel, TorchModel

# The whole of a measurement takes a few seconds; a process that is silent for so long hangs.
_PATIENCE = 120.0


def cost_of(model: Model, threads: int = 1) -> Cost:
    """Measure a stage; nothing else should run meanwhile.

    Raises:
        EdgekitError: The measuring process failed; its last words are quoted.
    """
    kernels = model.kernels.value if isinstance(model, TfliteModel) else ""
    words = [type(model).__name__, str(model.path), json.dumps(to_plain(model.spec)), kernels, str(threads)]
    # -P: a file of the user's that is called like a library must not be taken for it.
    worker = [sys.executable, "-P", "-m", "edgekit_quantize.report.cost_worker", *words]
    try:
        done = subprocess.run(  # noqa: S603 - our own module
            worker, capture_output=True, text=True, errors="replace", check=False, timeout=_PATIENCE
        )
    except subprocess.TimeoutExpired as error:
        raise EdgekitError(f"The measurement must end within {_PATIENCE:g} s, got none.") from error
    if done.returncode:
        last = [line for line in done.stderr.splitlines() if line.strip()] or ["no message"]
        raise EdgekitError(f"The measuring process must succeed, got: {last[-1][:300]}.")
    measured = json.loads(done.stdout.splitlines()[-1])
    return Cost(size=_size(model), macs=_macs(model), threads=threads, **measured)


def _size(model: Model) -> int:
    if isinstance(model, TorchModel):
        state = checkpoint.load(model.path).state
        return sum(tensor.numel() * tensor.element_size() for tensor in state.values())
    return model.path.stat().st_size


def _macs(model: Model) -> int | None:
    """Multiply-accumulates of one image, over all convolutions and matrix products."""
    if isinstance(model, TorchModel):
        return _torch_macs(model)
    if isinstance(model, OnnxModel):
        return _onnx_macs(model)
    return multiply_accumulates(Graph(model.path.read_bytes()))


def _torch_macs(model: TorchModel) -> int:
    network = checkpoint.load(model.path).network()
    # It counts a multiplication and an addition as two.
    with FlopCounterMode(display=False) as counter, torch.inference_mode():
        network(torch.zeros(1, 3, model.spec.height, model.spec.width))
    return int(counter.get_total_flops()) // 2


def _onnx_macs(model: OnnxModel) -> int:
    graph = shape_inference.infer_shapes(onnx.load(str(model.path))).graph
    shapes = {value.name: [d.dim_value for d in value.type.tensor_type.shape.dim] for value in _values(graph)}
    weights = {tensor.name: list(tensor.dims) for tensor in graph.initializer}
    total = 0
    for node in graph.node:
        if node.op_type in ("Conv", "Gemm", "MatMul") and node.input[1] in weights:
            places = shapes[node.output[0]][2:] if node.op_type == "Conv" else [1]
            total += math.prod(weights[node.input[1]]) * math.prod(places)
    return total


def _values(graph: onnx.GraphProto) -> list[onnx.ValueInfoProto]:
    return [*graph.input, *graph.value_info, *graph.output]
