"""One frame in, a decision out: the fast path from camera pixels to the top classes.

The result is bit-equal to `edgekit.preprocess` followed by `Network.run`; a test says so.
"""

from __future__ import annotations

import time
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgekit import bundle as bundle_file
from edgekit.bundle import Bundle
from edgekit.errors import InputError
from edgekit.preprocess import Image
from edgekit.runtime import Kernels, Network, check_agreement
from edgekit_deploy.fast_input import FastInput


class SlowKernelsWarning(RuntimeWarning):
    """LiteRT did not hand the whole model to XNNPACK: slower, and other bits than the golden samples for XNNPACK."""


@dataclass(frozen=True, slots=True)
class Guess:
    """One class of the answer.

    Attributes:
        index: Class index.
        label: Its name.
        probability: Softmax over the dequantized logits, 0 to 1.
        code: The int8 output code.
    """

    index: int
    label: str
    probability: float
    code: int


@dataclass(frozen=True, slots=True)
class Timings:
    """Seconds spent in each stage of one frame."""

    preprocess: float
    invoke: float
    postprocess: float


@dataclass(frozen=True, slots=True)
class Result:
    """The answer for one frame: `top` holds the best classes, best first; a tie goes to the lower index."""

    top: tuple[Guess, ...]
    timings: Timings

    @property
    def index(self) -> int:
        """Class index of the best guess."""
        return self.top[0].index

    @property
    def label(self) -> str:
        """Label of the best guess."""
        return self.top[0].label

    @property
    def probability(self) -> float:
        """Probability of the best guess, 0 to 1."""
        return self.top[0].probability


class Classifier:
    """A sealed int8 model, ready for frames. Not thread-safe: one frame at a time.

    Args:
        bundle: The model file, as `edgekit.bundle.read` gives it.
        threads: Interpreter threads, at least 1.
        top_k: How many classes a `Result` holds; at most all of them.
        kernels: What to ask the runtime for; BUILTIN keeps XNNPACK away.

    Attributes:
        card: The model's card.
        network: The loaded interpreter.
        threads: As given.

    Raises:
        InputError: A float model, a bad `threads` or `top_k`, or a card that contradicts its network.
        MissingError: No interpreter is installed.
    """

    def __init__(self, bundle: Bundle, threads: int = 1, top_k: int = 5, kernels: Kernels = Kernels.XNNPACK) -> None:
        if threads < 1 or top_k < 1:
            raise InputError(f"threads and top_k must be at least 1, got {threads} and {top_k}.")
        self.card = bundle.card
        self.threads = threads
        self.network = Network(bundle.data, threads, kernels)
        _, output_quantization = check_agreement(self.network, self.card)
        if kernels is Kernels.XNNPACK and (text := slow_kernels(self.network)):
            warnings.warn(text, SlowKernelsWarning, stacklevel=2)
        self._top_k = min(top_k, self.card.output.classes)
        self._input = FastInput(self.card.input)
        self._make_buffers()
        # e^(-scale·d) for every distance d = 0…255 of a code from the best one: softmax without a single exp per frame.
        self._exponentials = np.exp(-output_quantization.scale * np.arange(256))

    @classmethod
    def open(cls, path: str | Path, threads: int = 1, top_k: int = 5, kernels: Kernels = Kernels.XNNPACK) -> Classifier:
        """Read the model file at `path`; errors as the class and `edgekit.bundle.read`."""
        return cls(bundle_file.read(path), threads, top_k, kernels)

    def classify(self, frame: Image) -> Result:
        """Decide what `frame` shows.

        Args:
            frame: (H, W, 3) uint8, BGR as OpenCV and cameras deliver it; any size from 1×1.

        Raises:
            InputError: The frame has another shape or dtype.
        """
        start = time.perf_counter()
        self.prepare(frame)
        prepared = time.perf_counter()
        self.network.invoke()
        invoked = time.perf_counter()
        top = self._decide()
        done = time.perf_counter()
        return Result(top, Timings(prepared - start, invoked - prepared, done - invoked))

    def prepare(self, frame: Image) -> None:
        """Crop, resize, BGR→RGB, normalize and quantize `frame` into the input tensor, in place."""
        # The view is dropped when this function returns: TFLite forbids holding it across invoke().
        self._input.write(frame, self.network.input_view())

    def input_codes(self) -> NDArray[np.int8]:
        """A copy of what `prepare` wrote: (height, width, 3) int8, RGB."""
        return np.array(self.network.input_view(), np.int8)

    def output_codes(self) -> NDArray[np.int8]:
        """A copy of the last output: (classes,) int8."""
        return np.array(self.network.output_view(), np.int8)

    def probabilities(self) -> NDArray[np.float32]:
        """Softmax of the frame last classified: (classes,) float32, 0 to 1, in a buffer that the next call reuses."""
        return np.divide(self._shares, self._total, out=self._probabilities, casting="same_kind")

    def _make_buffers(self) -> None:
        # int16, so that a taken class can be put below every int8 code.
        self._scores = np.empty(self.card.output.classes, np.int16)
        self._distances = np.empty_like(self._scores)
        # Of the softmax: numerators and their sum.
        self._shares = np.zeros(self.card.output.classes)
        self._total = 1.0
        self._probabilities = np.empty(self.card.output.classes, np.float32)

    def _decide(self) -> tuple[Guess, ...]:
        np.copyto(self._scores, self.network.output_view())
        best = int(self._scores.max())
        np.subtract(best, self._scores, out=self._distances)
        np.take(self._exponentials, self._distances, out=self._shares, mode="clip")
        self._total = float(self._shares.sum())
        top = []
        for _ in range(self._top_k):
            # argmax returns the first of equals, as edgekit.quant.top_k does; k passes beat a sort for small k.
            index = int(self._scores.argmax())
            code = int(self._scores[index])
            probability = float(self._shares[index]) / self._total
            top.append(Guess(index, self.card.labels[index], probability, code))
            self._scores[index] = -129
        return tuple(top)


def slow_kernels(network: Network) -> str:
    """Why `network` runs slower than it should, or "" if XNNPACK runs it or the runtime has no XNNPACK for int8."""
    name = network.runtime
    if network.kernels is Kernels.XNNPACK or name.startswith("tflite-runtime"):
        return ""
    got = "the builtin kernels: expect several times the latency"
    if network.kernels is Kernels.MIXED:
        got = "the builtin kernels for a part of it: expect more latency"
    return (
        f"XNNPACK must run the whole model under {name}, got {got} and slightly different answers. "
        "Run: edgekit doctor MODEL"
    )
