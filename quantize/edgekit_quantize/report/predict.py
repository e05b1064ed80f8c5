"""Logits of both models for every image: decoded once, cropped once, then the same pixels to PyTorch and to LiteRT."""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from queue import SimpleQueue

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from edgekit.bundle import Bundle
from edgekit.card import Card, InputSpec, Quantization
from edgekit.errors import InputError
from edgekit.images import ImageSet
from edgekit.preprocess import Image, crop_and_resize, normalize, quantization_table, to_int8
from edgekit.progress import progress_bar
from edgekit.quant import dequantize
from edgekit.runtime import Kernels, Network, runtime_name
from edgekit.train.checkpoint import Checkpoint

BATCH = 16

# What a worker makes of an image: its pixels and int8 logits, or why it could not be read.
_Result = tuple[Image, NDArray[np.float32]] | str


@dataclass(frozen=True)
class Predictions:
    """What both models say.

    Attributes:
        indices: (N,) int64, places of the readable images in the set, ascending.
        reference: (N, classes) float32 logits of the float network.
        int8: (N, classes) float32 logits of the int8 file, dequantized.
        skipped: One line for each image that could not be read.
        pixels_sha256: Hash over the cropped pixels, in order.
        runtime: Package and version of the TFLite interpreter.
        kernels: What executed the int8 file.
    """

    indices: NDArray[np.int64]
    reference: NDArray[np.float32]
    int8: NDArray[np.float32]
    skipped: tuple[str, ...]
    pixels_sha256: str
    runtime: str
    kernels: Kernels


def available_cores() -> int:
    """Processors that this process may use, at least 1."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def predict(
    checkpoint: Checkpoint, bundle: Bundle, images: ImageSet, *, batch: int = BATCH, threads: int | None = None
) -> Predictions:
    """Run both models over all images, with a progress bar on stderr.

    Only one batch of pixels is held at a time (and the next in preparation); the logits are kept.

    Args:
        checkpoint: The float network.
        bundle: The int8 file; its card says how images are cropped.
        images: The images.
        batch: Images at a time through PyTorch, at least 1.
        threads: Images at a time through LiteRT, and PyTorch's threads; default all cores.

    Raises:
        InputError: The file is not fully int8 or does not fit its card, no image is readable, or logits are not
            finite.
    """
    threads = threads or available_cores()
    network = checkpoint.network()
    work = _Int8Worker(bundle, images, threads)
    count, classes = len(images.names), bundle.card.output.classes
    reference = np.empty((count, classes), np.float32)
    int8 = np.empty((count, classes), np.float32)
    indices: list[int] = []
    skipped: list[str] = []
    digest = hashlib.sha256()
    with _torch_threads(threads), _pool(threads) as pool, progress_bar(unit="images") as bar:
        task = bar.add_task("Comparing float and int8", total=count)
        for start, results in _in_order(pool, work, count, batch):
            good = [(start + i, *result) for i, result in enumerate(results) if not isinstance(result, str)]
            skipped += [result for result in results if isinstance(result, str)]
            bar.advance(task, len(results))
            if not good:
                continue
            chosen, pixels, codes = (list(column) for column in zip(*good, strict=True))
            rows = slice(len(indices), len(indices) + len(good))
            stacked = np.stack(pixels)
            digest.update(stacked.tobytes())
            reference[rows] = float_logits(network, stacked, checkpoint.input)
            int8[rows] = codes
            indices += chosen
            _check_finite(reference[rows], "The float network", images, chosen)
            _check_finite(int8[rows], "The int8 model", images, chosen)
    if not indices:
        raise InputError(f"At least one image must be readable, got none of {count}.")
    return Predictions(
        indices=np.asarray(indices, np.int64),
        reference=reference[: len(indices)],
        int8=int8[: len(indices)],
        skipped=tuple(skipped),
        pixels_sha256=digest.hexdigest(),
        runtime=runtime_name(),
        kernels=work.kernels,
    )


def float_logits(network: nn.Module, pixels: NDArray[np.uint8], spec: InputSpec) -> NDArray[np.float32]:
    """Logits (N, classes) float32 of RGB uint8 pixels (N, height, width, 3), normalized after `spec`."""
    # NHWC in memory seen as NCHW is just what PyTorch calls channels_last: no copy.
    inputs = torch.from_numpy(normalize(pixels, spec)).permute(0, 3, 1, 2)
    with torch.inference_mode():
        return np.asarray(network(inputs).float().numpy(), np.float32)


class _Int8Worker:
    """Decodes, crops and classifies one image; may be called by `threads` threads at once.

    LiteRT lets go of the GIL while it runs, so threads are enough; each call borrows an interpreter of its own.
    """

    def __init__(self, bundle: Bundle, images: ImageSet, threads: int) -> None:
        networks = [Network(bundle.data, threads=1) for _ in range(threads)]
        self._input, self._output = _check_network(networks[0], bundle.card)
        self.kernels = networks[0].kernels
        self._images, self._spec = images, bundle.card.input
        self._table = quantization_table(self._spec, self._input)
        self._free: SimpleQueue[Network] = SimpleQueue()
        for network in networks:
            self._free.put(network)

    def __call__(self, index: int) -> _Result:
        try:
            image = self._images.image(index)
        except InputError as error:
            return error.message
        pixels = crop_and_resize(image, self._spec)
        network = self._free.get()
        try:
            codes = network.run(to_int8(pixels, self._table))
        finally:
            self._free.put(network)
        return pixels, dequantize(codes, self._output.scale, self._output.zero_point)


def _check_network(network: Network, card: Card) -> tuple[Quantization, Quantization]:
    """Input and output quantization of a fully int8 network that fits its card."""
    kinds = {network.input_dtype.name, network.output_dtype.name}
    if kinds != {"int8"} or network.input_quantization is None or network.output_quantization is None:
        raise InputError(
            f"The model's input and output must be int8, got {' and '.join(sorted(kinds))}.",
            "Convert it with --recipe int8.",
        )
    expected = (1, card.input.height, card.input.width, 3), (1, card.output.classes)
    got = network.input_shape, network.output_shape
    if got != expected:
        raise InputError(
            f"The model's shapes must be its card's, {expected[0]} → {expected[1]}, got {got[0]} → {got[1]}.",
            "Convert it again.",
        )
    return network.input_quantization, network.output_quantization


def _check_finite(logits: NDArray[np.float32], who: str, images: ImageSet, chosen: list[int]) -> None:
    bad = np.flatnonzero(~np.isfinite(logits).all(axis=1))
    if len(bad):
        name = images.names[chosen[int(bad[0])]]
        raise InputError(f"{who} must give finite numbers, got NaN or infinity for {name}.", "Train it again.")


def _in_order(
    pool: ThreadPoolExecutor, work: Callable[[int], _Result], count: int, batch: int
) -> Iterator[tuple[int, list[_Result]]]:
    """(index of the first, results) batch by batch; the next batch is worked on while the caller uses this one."""
    pending: deque[tuple[int, list[Future[_Result]]]] = deque()
    for start in range(0, count, batch):
        pending.append((start, [pool.submit(work, i) for i in range(start, min(start + batch, count))]))
        if len(pending) > 1:
            first, futures = pending.popleft()
            yield first, [future.result() for future in futures]
    for first, futures in pending:
        yield first, [future.result() for future in futures]


@contextlib.contextmanager
def _pool(threads: int) -> Iterator[ThreadPoolExecutor]:
    """A thread pool that drops what is still queued when the caller fails or is interrupted."""
    pool = ThreadPoolExecutor(threads, thread_name_prefix="int8")
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)


@contextlib.contextmanager
def _torch_threads(threads: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)
