"""PyTorch itself: eager, compiled, and int8 by PT2E with Inductor's quantizer for x86, compiled."""

from __future__ import annotations

from pathlib import Path

import float_network
import numpy as np
import torch
from common import Opened, Work, main

SOURCES = {
    torch.ops.aten.conv2d.default: torch.nn.Conv2d,
    torch.ops.aten.batch_norm.default: torch.nn.BatchNorm2d,
    torch.ops.aten.hardtanh.default: torch.nn.ReLU6,
    torch.ops.aten.add.Tensor: torch.add,
    torch.ops.aten.linear.default: torch.nn.Linear,
}


def convert(work: Work, target: Path, variant: str) -> None:
    if variant != "int8":
        target.write_text(variant)
        return
    from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e
    from torchao.quantization.pt2e.quantizer import x86_inductor_quantizer as x86

    images = [torch.from_numpy(image) for image in work.batches("calibration", "nchw")]
    exported = torch.export.export(float_network.load(work), (images[0],)).module()
    _tell_sources(exported)
    quantizer = x86.X86InductorQuantizer().set_global(x86.get_default_x86_inductor_quantization_config())
    prepared = prepare_pt2e(exported, quantizer)
    with torch.no_grad():
        for image in images:
            prepared(image)
    converted = convert_pt2e(prepared)
    _drop_unused(converted)
    torch.export.save(torch.export.export(converted, (images[0],)), target)


def _tell_sources(exported: torch.fx.GraphModule) -> None:
    """Which module a node was: the quantizer looks there alone, and a program read from a file has lost it."""
    for node in exported.graph.nodes:
        if node.target in SOURCES:
            node.meta.setdefault("source_fn_stack", [(node.name, SOURCES[node.target])])


def _drop_unused(converted: torch.fx.GraphModule) -> None:
    """The float weights, which are still there beside the int8 ones."""
    used = {node.target for node in converted.graph.nodes if node.op == "get_attr"}
    for name, _ in [*converted.named_parameters(), *converted.named_buffers()]:
        if name not in used:
            owner, _, own = name.rpartition(".")
            delattr(converted.get_submodule(owner), own)


def opened(work: Work, model: Path, variant: str, threads: int) -> Opened:
    torch.set_num_threads(threads)
    if variant == "int8":
        # Its operators, and the passes that put them together, which are registered when the quantizer is imported.
        import torchao.quantization.pt2e.quantizer.x86_inductor_quantizer  # noqa: F401

        network = torch.export.load(model).module()
    else:
        network = float_network.load(work).to(memory_format=torch.channels_last)
    if variant != "eager":
        from torch._inductor import config

        # Weights are constants: without that, quantized operators are not put together.
        config.freezing = True
        network = torch.compile(network)

    def run(image: torch.Tensor) -> torch.Tensor:
        with torch.inference_mode():
            return network(image)

    return Opened("nchw", run, _coded, torch.Tensor.numpy)


def _coded(image: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(image).contiguous(memory_format=torch.channels_last)


if __name__ == "__main__":
    main(convert, opened)
