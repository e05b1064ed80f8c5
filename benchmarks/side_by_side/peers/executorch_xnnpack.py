"""ExecuTorch: PT2E quantization, int8 per channel, lowered to XNNPACK."""

from __future__ import annotations

from pathlib import Path

import float_network
import numpy as np
import torch
from common import Opened, Work, main


def convert(work: Work, target: Path, variant: str) -> None:
    from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
    from executorch.backends.xnnpack.quantizer.xnnpack_quantizer import (
        XNNPACKQuantizer,
        get_symmetric_quantization_config,
    )
    from executorch.exir import to_edge_transform_and_lower
    from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e

    network = float_network.load(work)
    images = [torch.from_numpy(image) for image in work.batches("calibration", "nchw")]
    exported = torch.export.export(network, (images[0],))
    if variant == "int8":
        quantizer = XNNPACKQuantizer().set_global(get_symmetric_quantization_config(is_per_channel=True))
        prepared = prepare_pt2e(exported.module(), quantizer)
        with torch.no_grad():
            for image in images:
                prepared(image)
        exported = torch.export.export(convert_pt2e(prepared), (images[0],))
    program = to_edge_transform_and_lower(exported, partitioner=[XnnpackPartitioner()]).to_executorch()
    target.write_bytes(program.buffer)


def opened(work: Work, model: Path, variant: str, threads: int) -> Opened:
    # What XNNPACK does not take needs the operators that this registers.
    import executorch.kernels.quantized  # noqa: F401
    from executorch.extension.pybindings import portable_lib
    from executorch.runtime import Runtime

    portable_lib._unsafe_reset_threadpool(threads)
    # Releases before 1.1 cannot tell.
    count = getattr(portable_lib, "_threadpool_get_thread_count", lambda: threads)
    if count() != threads:
        raise SystemExit(f"ExecuTorch's threads must be {threads}")
    method = Runtime.get().load_program(str(model)).load_method("forward")

    def run(image: np.ndarray) -> np.ndarray:
        return method.execute([torch.from_numpy(image)])[0].numpy()

    return Opened("nchw", run)


if __name__ == "__main__":
    main(convert, opened)
