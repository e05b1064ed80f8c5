"""litert-torch, the successor of ai-edge-torch: float, its PT2E quantizer, and ai-edge-quantizer behind it."""

from __future__ import annotations

from pathlib import Path

import float_network
import litert_torch
import torch
from common import Work, main
from litert import opened


def network(work: Work) -> torch.nn.Module:
    """The float network, taking NHWC as TFLite files do."""
    return litert_torch.to_channel_last_io(float_network.load(work), args=[0])


def convert(work: Work, target: Path, variant: str) -> None:
    images = [torch.from_numpy(image) for image in work.batches("calibration", "nhwc")]
    float_network = network(work)
    if variant == "pt2e":
        _pt2e(float_network, images, target)
        return
    litert_torch.convert(float_network, (images[0],)).export(str(target))
    if variant == "ai-edge-quantizer":
        _quantizer(target, images)


def _pt2e(float_network: torch.nn.Module, images: list[torch.Tensor], target: Path) -> None:
    from litert_torch.quantize.pt2e_quantizer import PT2EQuantizer, get_symmetric_quantization_config
    from litert_torch.quantize.quant_config import QuantConfig
    from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e

    quantizer = PT2EQuantizer().set_global(get_symmetric_quantization_config(is_per_channel=True, is_dynamic=False))
    prepared = prepare_pt2e(torch.export.export(float_network, (images[0],)).module(), quantizer)
    with torch.no_grad():
        for image in images:
            prepared(image)
    quantized = convert_pt2e(prepared, fold_quantize=False)
    config = QuantConfig(pt2e_quantizer=quantizer)
    litert_torch.convert(quantized, (images[0],), quant_config=config).export(str(target))


def _quantizer(target: Path, images: list[torch.Tensor]) -> None:
    from ai_edge_litert.interpreter import Interpreter
    from ai_edge_quantizer import quantizer, recipe

    signatures = Interpreter(str(target)).get_signature_list()
    (key, signature), *_ = signatures.items()
    name = signature["inputs"][0]
    tool = quantizer.Quantizer(str(target), recipe.static_wi8_ai8())
    ranges = tool.calibrate({key: [{name: image.numpy()} for image in images]})
    target.unlink()
    tool.quantize(ranges).export_model(str(target))


if __name__ == "__main__":
    main(convert, opened)
