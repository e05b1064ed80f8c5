"""Logits of both models for every image: decoded once, cropped once, then the same pixels to PyTorch and to LiteRT."""

from __future__ import annotations

import contextlib
import hashlib
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
from edgekit.card import InputSpec
from edgekit.errors import InputError
from edgekit.images import ImageSet
from edgekit.preprocess import Image, crop_and_resize, normalize
from edgekit.progress import progress_bar
from edgekit.runtime import Kernels, Network, available_cores, check_card, runtime_name
from edgekit.train.checkpoint import Checkpoint
from edgekit_quantize.inference import PixelNetwork

BATCH = 16

Logits = NDArray[np.float32]


@dataclass(frozen=True)
class _Chunk:
    """What a worker makes of a few neighbouring images; N of them are readable.

    Attributes:
        images: How many were tried.
        indices: Places of the readable ones in the set.
        pixels: (N, height, width, 3) RGB uint8.
        reference: (N, classes) float32 logits of the float network.
        model: (N, classes) float32 logits of the model file.
        skipped: Why the others could not be read.
    """

    images: int
    indices: list[int]
    pixels: Image
    reference: Logits
    model: Logits
    skipped: list[str]


@dataclass(frozen=True)
class Predictions:
    """What both models say.

    Attributes:
        indices: (N,) int64, places of the readable images in the set, ascending.
        reference: (N, classes) float32 logits of the float network.
        model: (N, classes) float32 logits of the model file, dequantized if it is int8.
        skipped: One line for each image that could not be read.
        pixels_sha256: Hash over the cropped pixels, in order.
        runtime: Package and version of the TFLite interpreter.
        kernels: What executed the model file.
    """

    indices: NDArray[np.int64]
    reference: Logits
    model: Logits
    skipped: tuple[str, ...]
    pixels_sha256: str
    runtime: str
    kernels: Kernels


def predict(
    checkpoint: Checkpoint, bundle: Bundle, images: ImageSet, *, batch: int = BATCH, threads: int | None = None
) -> Predictions:
    """Run both models over all images, with a progress bar on stderr.

    Only the chunks in work are held as pixels; the logits are kept.

    Args:
        checkpoint: The float network.
        bundle: The model file; its card says how images are cropped.
        images: The images.
        batch: Images at a time through PyTorch, at least 1.
        threads: Chunks worked on at once; default all cores.

    Raises:
        InputError: The file does not fit its card, no image is readable, or logits are not finite.
    """
    threads = threads or available_cores()
    work = _Worker(checkpoint, bundle, images, batch, threads)
    count, classes = len(images.names), bundle.card.output.classes
    reference = np.empty((count, classes), np.float32)
    model = np.empty((count, classes), np.float32)
    indices: list[int] = []
    skipped: list[str] = []
    digest = hashlib.sha256()
    with _single_torch_thread(), _pool(threads) as pool, progress_bar(unit="images") as bar:
        task = bar.add_task("Comparing", total=count)
        for chunk in _in_order(pool, work, range(0, count, batch), ahead=2 * threads):
            rows = slice(len(indices), len(indices) + len(chunk.indices))
            reference[rows], model[rows] = chunk.reference, chunk.model
            indices += chunk.indices
            skipped += chunk.skipped
            digest.update(chunk.pixels.tobytes())
            bar.advance(task, chunk.images)
    if not indices:
        raise InputError(f"At least one image must be readable, got none of {count}.")
    return Predictions(
        indices=np.asarray(indices, np.int64),
        reference=reference[: len(indices)],
        model=model[: len(indices)],
        skipped=tuple(skipped),
        pixels_sha256=digest.hexdigest(),
        runtime=runtime_name(),
        kernels=work.kernels,
    )


def float_logits(network: nn.Module, pixels: Image, spec: InputSpec) -> Logits:
    """Logits (N, classes) float32 of RGB uint8 pixels (N, height, width, 3), normalized after `spec`."""
    # NHWC in memory seen as NCHW is just what PyTorch calls channels_last: no copy, and several times faster.
    inputs = torch.from_numpy(normalize(pixels, spec)).permute(0, 3, 1, 2)
    with torch.inference_mode():
        return np.asarray(network(inputs).float().numpy(), np.float32)


class _Worker:
    """Decodes, crops and classifies `batch` images, with both models; `threads` threads may call it at once.

    LiteRT and PyTorch let go of the GIL while they compute, so threads are enough. Each call borrows an interpreter
    of its own; the float network is only read, and shared. Neither uses threads inside: one image set gives work
    enough for all cores, and PyTorch's own threads wait for each other at every layer, which was measured to cost
    eightfold when something else runs on the machine.
    """

    def __init__(self, checkpoint: Checkpoint, bundle: Bundle, images: ImageSet, batch: int, threads: int) -> None:
        self._float, self._float_spec = checkpoint.network(), checkpoint.input
        networks = [Network(bundle.data, threads=1) for _ in range(threads)]
        check_card(networks[0], bundle.card)
        self.kernels = networks[0].kernels
        self._spec, self._classes = bundle.card.input, bundle.card.output.classes
        self._images, self._names, self._batch = images, images.names, batch
        self._free: SimpleQueue[PixelNetwork] = SimpleQueue()
        for network in networks:
            self._free.put(PixelNetwork(network, self._spec))

    def __call__(self, start: int) -> _Chunk:
        tried = range(start, min(start + self._batch, len(self._names)))
        pixels, indices, skipped = [], [], []
        for index in tried:
            try:
                image = self._images.image(index)
            except InputError as error:
                skipped.append(error.message)
                continue
            pixels.append(crop_and_resize(image, self._spec))
            indices.append(index)
        if not indices:
            nothing = np.empty((0, self._classes), np.float32)
            return _Chunk(len(tried), [], np.empty(0, np.uint8), nothing, nothing, skipped)
        stacked = np.stack(pixels)
        reference, model = float_logits(self._float, stacked, self._float_spec), self._model_logits(stacked)
        self._check_finite(reference, "The float network", indices)
        self._check_finite(model, "The model", indices)
        return _Chunk(len(tried), indices, stacked, reference, model, skipped)

    def _model_logits(self, pixels: Image) -> Logits:
        network = self._free.get()
        try:
            return np.stack([network.logits(image) for image in pixels])
        finally:
            self._free.put(network)

    def _check_finite(self, logits: Logits, who: str, indices: list[int]) -> None:
        bad = np.flatnonzero(~np.isfinite(logits).all(axis=1))
        if len(bad):
            name = self._names[indices[int(bad[0])]]
            raise InputError(f"{who} must give finite numbers, got NaN or infinity for {name}.", "Train it again.")


def _in_order(pool: ThreadPoolExecutor, work: Callable[[int], _Chunk], starts: range, ahead: int) -> Iterator[_Chunk]:
    """The chunks in the order of `starts`, at most `ahead` of them in work or waiting for the caller."""
    pending: deque[Future[_Chunk]] = deque()
    for start in starts:
        pending.append(pool.submit(work, start))
        if len(pending) >= ahead:
            yield pending.popleft().result()
    while pending:
        yield pending.popleft().result()


@contextlib.contextmanager
def _pool(threads: int) -> Iterator[ThreadPoolExecutor]:
    """A thread pool that drops what is still queued when the caller fails or is interrupted."""
    pool = ThreadPoolExecutor(threads, thread_name_prefix="compare")
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)


@contextlib.contextmanager
def _single_torch_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
