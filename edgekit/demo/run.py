"""The stages of the demo, in order: train, convert, report, clip, camera."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import torch

from edgekit import bundle
from edgekit.demo.clip import Clip, make_clip
from edgekit.errors import EdgekitError
from edgekit.files import check_writable, write_all
from edgekit.progress import console
from edgekit.train.loop import train
from edgekit.train.recipes import Job, cifar10_job
from edgekit.train.resume import last_path
from edgekit_deploy.camera import run_camera
from edgekit_deploy.classifier import Classifier
from edgekit_deploy.outputs.recorder import Recorder
from edgekit_deploy.outputs.status_line import StatusLine
from edgekit_deploy.signals import StopSignals
from edgekit_deploy.sources.video import VideoSource
from edgekit_deploy.stats import CameraStats
from edgekit_deploy.truth import Truth
from edgekit_quantize.convert import Conversion, convert
from edgekit_quantize.convert_table import show
from edgekit_quantize.recipe import load_recipe
from edgekit_quantize.report.compare import compare, positions
from edgekit_quantize.report.document import Document
from edgekit_quantize.report.examples import pictures_of
from edgekit_quantize.report.make import build_report, write_report
from edgekit_quantize.report.reference import open_reference
from edgekit_quantize.workers import start_workers


@dataclass(frozen=True)
class Plan:
    """What the user asked for.

    Attributes:
        folder: Where the results go.
        quick: Every step in a few minutes.
        full: Train on all 50,000 images.
        images: Size of the training subset otherwise.
        clip_images: Images in the camera clip.
        seed: Of everything random.
        threads: Of PyTorch and of the interpreters.
        resume: Go on with an interrupted training.
    """

    folder: Path
    quick: bool
    full: bool
    images: int
    clip_images: int
    seed: int
    threads: int
    resume: bool

    def path(self, name: str) -> Path:
        """A file in the results folder."""
        return self.folder / name


@dataclass
class Results:
    """What the demo measured; `seconds` is wall time by stage."""

    conversion: Conversion | None = None
    document: Document | None = None
    camera: CameraStats | None = None
    seconds: dict[str, float] = field(default_factory=dict)

    @contextlib.contextmanager
    def stage(self, number: int, title: str) -> Iterator[None]:
        """Announce and time a stage."""
        console.rule(f"[bold]{number}. {title}")
        start = time.perf_counter()
        yield
        self.seconds[title] = time.perf_counter() - start


def run_demo(plan: Plan) -> Results:
    """Run every stage; the files lie in `plan.folder` afterwards.

    Raises:
        MissingError: CIFAR-10 or the pretrained weights cannot be had.
        InputError: The folder cannot be written.
        GateError: Never for a drop: the demo reports, it does not judge.
    """
    torch.set_num_threads(plan.threads)
    results = Results()
    check_writable(plan.path("model.pt"))
    with results.stage(1, "Data and weights"):
        job = cifar10_job(quick=plan.quick, full=plan.full, images=plan.images, seed=plan.seed)
        _fetch_weights(job)
    with results.stage(2, "Train"):
        _train(plan, job)
    with results.stage(3, "Convert and quantize"):
        results.conversion = _convert(plan, job)
    with results.stage(4, "Accuracy-drop report"):
        results.document = _report(plan, job)
    with results.stage(5, "Camera loop"):
        clip = make_clip(job.test_set, plan.clip_images, plan.folder, plan.seed)
        results.camera = _camera(plan, clip)
    return results


def _fetch_weights(job: Job) -> None:
    """Download here, so that the training stage trains and nothing else."""
    if job.options.weights == "imagenet":
        from edgekit.train.weights import imagenet_state

        imagenet_state()


def _train(plan: Plan, job: Job) -> None:
    count = len(job.train_set.targets)
    options = job.options
    console.print(
        f"{options.arch} {options.width:g} at {options.size}×{options.size}, weights: {options.weights}, "
        f"{count:,} images, {options.epochs} epochs"
    )
    out = plan.path("model.pt")
    result = train(options, job.train_set, out=out, resume=plan.resume and last_path(out).exists())
    console.print(f"Trained in {result.seconds:.0f} s, {result.images_per_second:.0f} images/s.")


def _convert(plan: Plan, job: Job) -> Conversion:
    out = plan.path("model.tflite")
    # Calibration sees training images only: the test images judge.
    with start_workers(str(plan.path("model.pt"))) as workers:
        result = convert(
            workers,
            job.train_set,
            [load_recipe("int8")],
            name="cifar10-mobilenet_v2",
            seed=plan.seed,
            threads=plan.threads,
        )
    write_all({out: result.data, plan.path("model.onnx"): result.onnx})
    show(result, str(out))
    return result


def _report(plan: Plan, job: Job) -> Document:
    judged = bundle.read(plan.path("model.tflite"))
    comparison = compare(judged, open_reference(str(plan.path("model.pt"))), job.test_set, processes=plan.threads)
    places = positions(comparison, job.test_set)
    pictures = pictures_of(job.test_set, places, judged.card.input)
    report = build_report(comparison, judged, pictures, data_name="CIFAR-10 test", command="edgekit demo")
    write_report(report, plan.path("report.html"), plan.path("report.json"), plan.path("report.md"))
    return report.document


def _camera(plan: Plan, clip: Clip) -> CameraStats:
    classifier = Classifier(bundle.read(plan.path("model.tflite")), plan.threads)
    truth = Truth(clip.starts, clip.classes)
    with StopSignals() as signals, Recorder(plan.path("camera.mp4")) as recorder, StatusLine() as status:
        stats = run_camera(
            classifier,
            VideoSource(clip.video, fast=False),
            recorder=recorder,
            truth=truth,
            observer=status.update,
            signals=signals,
        )
    if stats.ended == "SIGINT":
        raise KeyboardInterrupt
    if stats.ended != "end of stream" or recorder.problem:
        raise EdgekitError(f"The clip must be played to its end and recorded, got: {recorder.problem or stats.ended}.")
    return stats
