"""Every stage of a model over the same labelled images, in all cores: what a report is made from."""

from __future__ import annotations

import contextlib
import hashlib
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgekit.bundle import Bundle
from edgekit.errors import EdgekitError, InputError
from edgekit.images import ImageSet
from edgekit.progress import console, progress_bar
from edgekit.runtime import available_cores
from edgekit_quantize.report import pool
from edgekit_quantize.report.answers import Answers, Comparison, Cost, LayerNoise, Run, joined
from edgekit_quantize.report.cost import cost_of
from edgekit_quantize.report.labels import check_classes, targets_by_name
from edgekit_quantize.report.layers import layer_noise
from edgekit_quantize.report.reference import Reference
from edgekit_quantize.report.stages import Maker, Stage, build, is_rewritten
from edgekit_quantize.report.store import Store
from edgekit_quantize.report.worker import Chunk, Task, Worker

# Images that a process takes at a time, and that are kept together on disk. Whatever the number of processes, they
# are the same images: a batch of another size could give other last bits.
CHUNK = 32
# A process takes seconds to start: it must have so many chunks to do.
_WORTH_A_PROCESS = 8
MOST_UNREADABLE = 0.01
_OTHER_REMEDY = "Leave it out, or give one with the same classes in the same order."


def compare(
    bundle: Bundle,
    reference: Reference,
    images: ImageSet,
    *,
    file: str = "",
    also: Sequence[tuple[str, Bundle]] = (),
    tags: Sequence[dict[str, str]] | None = None,
    stages: bool = True,
    builtin: bool = True,
    measure_cost: bool = True,
    layers: bool = True,
    processes: int | None = None,
    cache: Path | None = None,
    allow_unreadable: bool = False,
) -> Comparison:
    """Ask the reference, the stages between and the model files about every image.

    Processes are started afresh: a script that calls this needs `if __name__ == "__main__":`.

    Args:
        bundle: The model file.
        reference: The float network.
        images: Labelled images; their classes are matched to the card's by name.
        file: The model file's name; "" where there is none.
        also: Other files of the same task, with their names; they are shown without .tflite.
        tags: For each image its subgroups.
        stages: Run ONNX and float TFLite too, made as `edgekit convert` makes them.
        builtin: Run the model file under builtin kernels too.
        measure_cost: Measure latency and memory, in a fresh process for each stage.
        layers: Measure the noise of every layer; needs `stages` or a float TFLite reference, and an int8 model.
        processes: Default: all cores, as far as there are images for them and `pool.affordable` memory. The answers do
            not depend on it.
        cache: A folder that keeps the answers, so that a run that was killed goes on where it stood.
        allow_unreadable: Go on when more than 1 % of the images cannot be read.

    Raises:
        InputError: The files do not belong together, an image has no class, too few are readable, or a stage gives
            NaN or infinity.
        EdgekitError: A worker process was killed.
    """
    card = bundle.card
    reference.check_fits(card)
    for name, other in also:
        check_classes(other.card.labels, card.labels, f"file {name}", _OTHER_REMEDY)
    targets = targets_by_name(images, card.labels)
    if tags is not None and len(tags) != len(targets):
        raise InputError(f"The tags must be one entry per image, {len(targets)}, got {len(tags)}.")
    with tempfile.TemporaryDirectory(prefix="edgekit-") as scratch:
        maker = Maker(card, is_rewritten(bundle), images, Path(scratch), Store(cache))
        staged = build(maker, reference, bundle, also, file=file, is_whole=stages, builtin=builtin)
        worker = Worker(
            tuple(stage.asked(staged[0]) for stage in staged), card.input, card.output.classes, Store(cache)
        )
        chunks = _all_chunks(worker, images, targets, processes, allow_unreadable)
        readable = np.concatenate([chunk.readable for chunk in chunks])
        runs = tuple(
            _run(stage, [chunk.answers[place] for chunk in chunks], measure_cost) for place, stage in enumerate(staged)
        )
        noise = _layers(staged, images.subset(np.flatnonzero(readable))) if layers else None
    kept = np.flatnonzero(readable)
    names = images.names
    return Comparison(
        runs=runs,
        targets=targets[kept],
        names=tuple(names[int(index)] for index in kept),
        tags=None if tags is None else tuple(tags[int(index)] for index in kept),
        skipped=tuple(line for chunk in chunks for line in chunk.skipped),
        data_sha256=_data_hash(chunks, targets[kept]),
        layers=noise,
    )


def positions(comparison: Comparison, images: ImageSet) -> NDArray[np.int64]:
    """(N,) where in `images` the images of a comparison lie: `images.image(positions[i])` is image i of it."""
    places = {name: place for place, name in enumerate(images.names)}
    return np.asarray([places[name] for name in comparison.names], np.int64)


def _all_chunks(
    worker: Worker, images: ImageSet, targets: NDArray[np.int64], processes: int | None, allow_unreadable: bool
) -> list[Chunk]:
    count = len(targets)
    at_most = 1 + count // (CHUNK * _WORTH_A_PROCESS)
    chunks: list[Chunk] = []
    skipped: list[str] = []
    with progress_bar(unit="images") as bar:
        task = bar.add_task("Comparing", total=count)
        chosen = processes or min(available_cores(), at_most, pool.affordable(worker))
        work = pool.run(worker, _tasks(images, targets), chosen)
        with contextlib.closing(work):
            for chunk in work:
                chunks.append(chunk)
                skipped += chunk.skipped
                if not allow_unreadable and len(skipped) > MOST_UNREADABLE * count:
                    raise InputError(
                        f"At most 1 % of the {count} images may be unreadable, got {len(skipped)} so far, the first: "
                        f"{skipped[0].rstrip('.')}.",
                        "Repair or remove them, or go on with --allow-unreadable.",
                    )
                bar.advance(task, len(chunk.readable))
    if len(skipped) == count:
        raise InputError(f"At least one image must be readable, got none of {count}.")
    return chunks


def _tasks(images: ImageSet, targets: NDArray[np.int64]) -> Iterator[Task]:
    for start in range(0, len(targets), CHUNK):
        places = np.arange(start, min(start + CHUNK, len(targets)))
        yield Task(images.subset(places), targets[places])


def _run(stage: Stage, answers: list[Answers], measure_cost: bool) -> Run:
    return Run(
        role=stage.role,
        name=stage.name,
        format=stage.format,
        runs_on=stage.model.runs_on,
        file=stage.file,
        sha256=stage.sha256,
        answers=joined(answers),
        cost=_cost(stage) if measure_cost else None,
    )


def _cost(stage: Stage) -> Cost | None:
    """None if it cannot be measured: all answers are there, and worth a report without it."""
    try:
        return cost_of(stage.model)
    except EdgekitError as error:
        console.print(f"Latency and memory of {stage.name} are not known: {error}", markup=False, soft_wrap=True)
        return None


def _data_hash(chunks: Sequence[Chunk], targets: NDArray[np.int64]) -> str:
    digest = hashlib.sha256()
    for chunk in chunks:
        digest.update(chunk.pixels.tobytes())
    digest.update(targets.astype("<i8").tobytes())
    return digest.hexdigest()


def _layers(stages: Sequence[Stage], images: ImageSet) -> tuple[LayerNoise, ...] | None:
    float_stage = next((s for s in stages if s.name == "float TFLite"), None)
    model = next(stage for stage in stages if stage.role == "model")
    if float_stage is None or model.format != "int8":
        return None
    return layer_noise(float_stage.model, model.model, images)
