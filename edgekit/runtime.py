"""One face for the TFLite interpreters: ai-edge-litert (LiteRT) where it is installed, else tflite-runtime.

LiteRT hands int8 networks to XNNPACK, whose results are the same bits on x86 and on every 64-bit Pi. tflite-runtime's
builtin kernels round differently; `Kernels` says what a model runs on, proved from its execution plan.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import sys
import threading
from collections.abc import Iterator
from enum import StrEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgekit.card import Card, Quantization
from edgekit.errors import InputError, MissingError

_stderr_lock = threading.RLock()


class Kernels(StrEnum):
    """What executes the operators: all of them one of the two, or some each. MIXED is an answer, never a request."""

    XNNPACK = "xnnpack"
    BUILTIN = "builtin"
    MIXED = "mixed"


class Network:
    """A loaded model with one image input and one vector output.

    Args:
        model: The bytes of a .tflite file (with or without a zip tail).
        threads: Number of threads, at least 1.
        kernels: XNNPACK takes LiteRT, which does the rest by itself where it can. BUILTIN takes tflite-runtime where it
            is installed, whose kernels these are on devices, else LiteRT with XNNPACK kept away.

    Attributes:
        runtime: Package and version of the interpreter, such as "ai-edge-litert 2.3.0".
        kernels: What really executes the graph.
        input_shape: (1, height, width, 3).
        input_dtype: numpy dtype.
        output_shape: (1, classes).
        input_quantization: None for a float tensor.
        output_quantization: Likewise.

    Raises:
        InputError: The bytes are no model that can run here, its input or output has another shape, or `kernels` is
            MIXED.
        MissingError: No interpreter is installed.
    """

    def __init__(self, model: bytes, threads: int = 1, kernels: Kernels = Kernels.XNNPACK) -> None:
        if kernels is Kernels.MIXED:
            raise InputError("The kernels asked for must be xnnpack or builtin, got mixed.", "Ask for xnnpack.")
        module = _interpreter_module(kernels)
        self.runtime = _package(module)
        options: dict[str, Any] = {"model_content": model, "num_threads": threads}
        if kernels is Kernels.BUILTIN:
            options["experimental_op_resolver_type"] = module.OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
        try:
            with quiet_stderr():
                self._interpreter = module.Interpreter(**options)
                self._interpreter.allocate_tensors()
        except (ValueError, RuntimeError) as error:
            raise InputError(f"The model must run under {self.runtime}, got: {error}.", "Convert it again.") from error
        inputs, outputs = self._interpreter.get_input_details(), self._interpreter.get_output_details()
        if len(inputs) != 1 or len(outputs) != 1:
            raise InputError(f"The model must have one input and one output, got {len(inputs)} and {len(outputs)}.")
        self.input_shape = tuple(int(n) for n in inputs[0]["shape"])
        self.output_shape = tuple(int(n) for n in outputs[0]["shape"])
        if len(self.input_shape) != 4 or self.input_shape[0] != 1 or self.input_shape[3] != 3:
            raise InputError(f"The model's input must be (1, height, width, 3), got {self.input_shape}.")
        if len(self.output_shape) != 2 or self.output_shape[0] != 1:
            raise InputError(f"The model's output must be (1, classes), got {self.output_shape}.")
        self.input_dtype = np.dtype(inputs[0]["dtype"])
        self.output_dtype = np.dtype(outputs[0]["dtype"])
        self.input_quantization = _quantization(inputs[0])
        self.output_quantization = _quantization(outputs[0])
        # The two views are made afresh for every use: TFLite forbids holding one across invoke().
        self._input_view = self._interpreter.tensor(inputs[0]["index"])
        self._output_view = self._interpreter.tensor(outputs[0]["index"])
        self.kernels = self._executed_by(outputs[0]["index"])

    def input_view(self) -> NDArray[Any]:
        """The input tensor itself, (height, width, 3), to be written in place. Let go of it before `invoke`."""
        return self._input_view()[0]

    def output_view(self) -> NDArray[Any]:
        """The output tensor itself, (classes,). Let go of it before the next `invoke`."""
        return self._output_view()[0]

    def invoke(self) -> None:
        """Run the network. The GIL is released meanwhile."""
        self._interpreter.invoke()

    def run(self, pixels: NDArray[Any]) -> NDArray[Any]:
        """Output vector (classes,), a copy, of one prepared input (height, width, 3) in the input's dtype."""
        self.input_view()[:] = pixels
        self.invoke()
        return self.output_view().copy()

    def _executed_by(self, output: int) -> Kernels:
        """XNNPACK only if one delegate gives the tensor `output` and needs no other operator's result.

        The listing holds the operators of the file and, behind them, a DELEGATE for each part that XNNPACK took over;
        it does not say which operators went into which.
        """
        operators = self._interpreter._get_ops_details()
        delegates = [operator for operator in operators if operator["op_name"] == "DELEGATE"]
        if not delegates:
            return Kernels.BUILTIN
        computed = {int(i) for operator in operators for i in operator["outputs"] if operator["op_name"] != "DELEGATE"}
        needed, given = ({int(i) for i in delegates[0][name]} for name in ("inputs", "outputs"))
        is_whole = len(delegates) == 1 and output in given and not needed & computed
        return Kernels.XNNPACK if is_whole else Kernels.MIXED


def check_agreement(network: Network, card: Card) -> tuple[Quantization, Quantization]:
    """The quantizations of input and output, once card and network are known to speak of the same int8 tensors.

    Raises:
        InputError: The network is not int8 from input to output, or as `check_card`.
    """
    if network.input_dtype != np.int8 or network.output_dtype != np.int8:
        raise InputError(
            f"The model must be int8 from input to output, got {network.input_dtype} to {network.output_dtype}.",
            "Convert it with --recipe int8.",
        )
    check_card(network, card)
    into, out_of = network.input_quantization, network.output_quantization
    if into is None or out_of is None:
        raise InputError("The model's input and output must be quantized, got none.", "Convert it with --recipe int8.")
    return into, out_of


def check_card(network: Network, card: Card) -> None:
    """Make sure that card and network speak of the same tensors: int8, or float32 where the card has no quantization.

    Raises:
        InputError: The network's sizes, types or quantizations are not the card's.
    """
    facts = (
        ("input size", (1, card.input.height, card.input.width, 3), network.input_shape),
        ("output size", (1, card.output.classes), network.output_shape),
        ("input type", _type_of(card.input.quantization), str(network.input_dtype)),
        ("output type", _type_of(card.output.quantization), str(network.output_dtype)),
        ("input quantization", _as_float32(card.input.quantization), _as_float32(network.input_quantization)),
        ("output quantization", _as_float32(card.output.quantization), _as_float32(network.output_quantization)),
    )
    for name, said, found in facts:
        if said != found:
            raise InputError(
                f"The card's {name} must be the network's {found}, got {said}.", "Convert the model again."
            )


def runtime_name(kernels: Kernels = Kernels.XNNPACK) -> str:
    """Package and version of the interpreter that a `Network` takes for `kernels`, such as "ai-edge-litert 2.3.0"."""
    return _package(_interpreter_module(kernels))


def available_cores() -> int:
    """Cores that this process may use: the default number of threads everywhere."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextlib.contextmanager
def quiet_stderr() -> Iterator[None]:
    """Silence what C++ code prints to file descriptor 2 (interpreters greet at every load)."""
    if os.environ.get("EDGEKIT_DEBUG"):
        yield
        return
    # Two threads at once would each save what the other has put in place, and stderr would stay silent for ever.
    with _stderr_lock:
        saved = os.dup(2)
        sink = os.open(os.devnull, os.O_WRONLY)
        try:
            os.dup2(sink, 2)
            yield
        finally:
            os.dup2(saved, 2)
            os.close(saved)
            os.close(sink)


def _interpreter_module(kernels: Kernels) -> Any:
    packages = ["ai_edge_litert", "tflite_runtime"]
    if kernels is Kernels.BUILTIN:
        packages.reverse()
    for package in packages:
        with contextlib.suppress(ModuleNotFoundError):
            return importlib.import_module(f"{package}.interpreter")
    raise MissingError(
        "A TFLite interpreter must be installed, got neither ai-edge-litert nor tflite-runtime.",
        'Run: pip install "edgekit[deploy]"',
    )


def _package(module: Any) -> str:
    # importlib.metadata would tell the same, but brings half of the e-mail package along.
    package = module.__name__.split(".")[0]
    return f"{package.replace('_', '-')} {sys.modules[package].__version__}"


def _quantization(details: dict[str, Any]) -> Quantization | None:
    scale, zero_point = details["quantization"]
    return Quantization(float(scale), int(zero_point)) if scale else None


def _type_of(quantization: Quantization | None) -> str:
    return "float32" if quantization is None else "int8"


def _as_float32(quantization: Quantization | None) -> tuple[float, int] | None:
    # Flatbuffers keep scales as float32; a card may hold the same number with more digits.
    return None if quantization is None else (float(np.float32(quantization.scale)), quantization.zero_point)
