"""Prepared pixels in, logits out, whatever the format of the file."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from edgekit.card import InputSpec
from edgekit.preprocess import Image, normalize, quantization_table, to_int8
from edgekit.quant import dequantize
from edgekit.runtime import Network


class PixelNetwork:
    """A network whose ends are both int8 or both float32, fed with pixels.

    Args:
        network: The loaded model.
        spec: Its input; the quantization is the network's own.
    """

    def __init__(self, network: Network, spec: InputSpec) -> None:
        self._network, self._spec = network, spec
        quantization = network.input_quantization
        self._table = None if quantization is None else quantization_table(spec, quantization)

    def logits(self, pixels: Image) -> NDArray[np.float32]:
        """Logits (classes,) of one prepared image (height, width, 3) RGB uint8; int8 codes are dequantized."""
        inputs = normalize(pixels, self._spec) if self._table is None else to_int8(pixels, self._table)
        outputs, quantization = self._network.run(inputs), self._network.output_quantization
        return outputs if quantization is None else dequantize(outputs, quantization.scale, quantization.zero_point)
