"""A network whose inner tensors can be read after a run."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from ai_edge_litert.interpreter import Interpreter, OpResolverType
from numpy.typing import NDArray

from edgekit.card import Quantization


class Tensors:
    """Runs a flatbuffer with LiteRT's builtin kernels, the only ones that keep every tensor to be looked at.

    One thread: more would add in another order, and these kernels are not faster with them.

    Args:
        model: A TFLite flatbuffer.

    Attributes:
        input: Name of the input tensor.
    """

    def __init__(self, model: bytes) -> None:
        with warnings.catch_warnings():
            # It warns that keeping all tensors costs memory: that is the purpose here.
            warnings.simplefilter("ignore", UserWarning)
            self._interpreter = Interpreter(
                model_content=model,
                num_threads=1,
                experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
                experimental_preserve_all_tensors=True,
            )
        self._interpreter.allocate_tensors()
        self._details: dict[str, dict[str, Any]] = {d["name"]: d for d in self._interpreter.get_tensor_details()}
        self.input: str = self._interpreter.get_input_details()[0]["name"]

    def run(self, image: NDArray[Any]) -> None:
        """One prepared image (height, width, 3), in the input's dtype."""
        self._interpreter.set_tensor(self._details[self.input]["index"], image[None])
        self._interpreter.invoke()

    def is_int8(self, name: str) -> bool:
        """Whether there is a tensor of this name that is int8."""
        return name in self._details and self._details[name]["dtype"] is np.int8

    def quantization(self, name: str) -> Quantization:
        """Of an int8 activation."""
        scale, zero_point = self._details[name]["quantization"]
        return Quantization(float(scale), int(zero_point))

    def scales(self, name: str) -> NDArray[np.float32]:
        """Of an int8 tensor, in a shape that broadcasts over its values."""
        parameters = self._details[name]["quantization_parameters"]
        shape = [1] * len(self._details[name]["shape"])
        if len(parameters["scales"]) > 1:
            shape[parameters["quantized_dimension"]] = -1
        return np.asarray(parameters["scales"], np.float32).reshape(shape)

    def real(self, name: str) -> NDArray[np.float32]:
        """Values, float32; dequantized if they are int8."""
        values = self._interpreter.get_tensor(self._details[name]["index"])
        if values.dtype != np.int8:
            return np.asarray(values, np.float32)
        # All zero points of a weight are 0.
        zero_point = self._details[name]["quantization_parameters"]["zero_points"][0]
        return np.asarray((values.astype(np.float32) - np.float32(zero_point)) * self.scales(name), np.float32)
