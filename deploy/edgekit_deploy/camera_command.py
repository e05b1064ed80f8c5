"""`edgekit camera`: classify a camera, a video or a folder live."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from edgekit_deploy.camera import Decision
    from edgekit_deploy.outputs.recorder import Recorder
    from edgekit_deploy.outputs.window import Window
    from edgekit_deploy.signals import StopSignals
    from edgekit_deploy.stats import CameraStats

EXIT_CODES = {"SIGINT": 130}
MOST_THREADS = 64


def _default_threads() -> int:
    from edgekit.runtime import available_cores

    return min(MOST_THREADS, available_cores())


@click.command("camera")
@click.argument("model", type=click.Path(path_type=Path))
@click.option("--source", default="0", help="Camera number, /dev/videoN, video file, or folder of images.")
@click.option("--headless", is_flag=True, help="No window. Without a display this is so by itself.")
@click.option("--record", type=click.Path(path_type=Path), help="Write the annotated video here (.mp4 or .avi).")
@click.option("--truth", type=click.Path(path_type=Path), help="CSV `frame,label`: from that frame on, that label.")
@click.option("--fast", is_flag=True, help="Read a video file as fast as it can be classified, every frame.")
@click.option("--max-frames", type=click.IntRange(min=1), help="Stop after so many classified frames.")
@click.option(
    "--threads",
    type=click.IntRange(1, MOST_THREADS),
    default=_default_threads,
    show_default="all cores",
    help="Threads of the network; see edgekit bench.",
)
@click.option(
    "--top-k",
    type=click.IntRange(min=1),
    default=5,
    help="Classes in each answer (--jsonl, --json); the picture shows at most three.",
)
@click.option(
    "--jsonl",
    type=click.Path(path_type=Path, allow_dash=True),
    metavar="FILE|-",
    help="Write every decision here, a line of JSON each; - is stdout.",
)
@click.option("--json", "json_path", type=click.Path(path_type=Path), help="Write the measurements here.")
def command(
    model: Path,
    source: str,
    headless: bool,
    record: Path | None,
    truth: Path | None,
    fast: bool,
    max_frames: int | None,
    threads: int,
    top_k: int,
    jsonl: Path | None,
    json_path: Path | None,
) -> int:
    """Classify a camera, a video or a folder live with MODEL.

    A capture thread keeps only the newest frame, so a decision is never about an old one; frames that came and went
    meanwhile are counted as dropped. At the end: frame rate, drops, latency per stage.

    \b
    Examples:
      edgekit camera model.tflite                              camera 0, in a window
      edgekit camera model.tflite --source clip.mp4 --record out.mp4
      edgekit camera model.tflite --source clip.mp4 --fast --truth clip.csv --headless
      edgekit camera model.tflite --source photos/ --json stats.json
      edgekit camera model.tflite --source photos/ --headless --jsonl - | jq -r '[.name, .label] | @tsv'

    Esc or q in the window, Ctrl-C (exit code 130) and SIGTERM (exit code 0) end the run cleanly: the recording is
    finished and the measurements are shown.
    """
    from edgekit import bundle
    from edgekit.files import check_writable
    from edgekit_deploy.camera import Limits, run_camera
    from edgekit_deploy.classifier import Classifier
    from edgekit_deploy.outputs.json_lines import STDOUT
    from edgekit_deploy.outputs.recorder import Recorder
    from edgekit_deploy.signals import StopSignals
    from edgekit_deploy.sources import SourceOptions, open_source
    from edgekit_deploy.sources.frames import SourceLost
    from edgekit_deploy.truth import Truth

    frames = open_source(source, SourceOptions(fast=fast))
    for option, path in (("--record", record), ("--jsonl", jsonl), ("--json", json_path)):
        _check_not_the_source(option, path, source)
    if json_path:
        check_writable(json_path)
    classifier = Classifier(bundle.read(model), threads, top_k)
    known = Truth.read(truth, classifier.card.labels) if truth else None
    with contextlib.ExitStack() as stack:
        signals = stack.enter_context(StopSignals())
        window = None if headless else _window(stack, classifier.card.name)
        recorder = stack.enter_context(Recorder(record, warn=_warn)) if record else None
        observer = _observer(stack, jsonl, signals)
        try:
            stats = run_camera(
                classifier,
                frames,
                recorder=recorder,
                window=window,
                truth=known,
                limits=Limits(frames=max_frames),
                observer=observer,
                signals=signals,
            )
        except SourceLost as lost:
            stack.close()
            if lost.stats is not None and lost.stats.captured:
                _report(_with_recording(lost.stats, recorder), json_path, jsonl == STDOUT)
            raise
    _report(_with_recording(stats, recorder), json_path, jsonl == STDOUT)
    return EXIT_CODES.get(stats.ended, 0)


def _observer(stack: contextlib.ExitStack, jsonl: Path | None, signals: StopSignals) -> Callable[[Decision], None]:
    """What is told of each decision: a line of JSON if asked for, and the status line where it is not in the way."""
    from edgekit_deploy.outputs.json_lines import STDOUT, DecisionLog
    from edgekit_deploy.outputs.status_line import StatusLine

    log = stack.enter_context(DecisionLog(jsonl)) if jsonl else None
    status = stack.enter_context(StatusLine()) if jsonl != STDOUT else None

    def observe(decision: Decision) -> None:
        if status is not None:
            status.update(decision)
        if log is not None:
            log.write(decision)
            if log.is_closed:
                signals.ask("output closed")

    return observe


def _check_not_the_source(option: str, path: Path | None, source: str) -> None:
    """An output replaces what was there: that must not be the film it is made from."""
    from edgekit.errors import InputError

    if path and path.exists() and Path(source).exists() and path.samefile(source):
        raise InputError(f"{option} must be another file than --source, got {path} for both.")


def _window(stack: contextlib.ExitStack, title: str) -> Window | None:
    """A window, or a line on why there is none."""
    from edgekit.progress import console
    from edgekit_deploy.outputs.window import Window, display_problem

    if problem := display_problem():
        console.print(f"No window: {problem}. Running headless.", markup=False)
        return None
    return stack.enter_context(Window(f"edgekit: {title}"))


def _warn(line: str) -> None:
    from edgekit.progress import console

    console.print(line, markup=False, soft_wrap=True)


def _with_recording(stats: CameraStats, recorder: Recorder | None) -> CameraStats:
    """The measurements, completed by what only the closed recorder knows."""
    import dataclasses

    if recorder is None:
        return stats
    notes = (*stats.notes, recorder.problem) if recorder.problem else stats.notes
    return dataclasses.replace(stats, recorded=recorder.written, recording_dropped=recorder.dropped, notes=notes)


def _report(stats: CameraStats, json_path: Path | None, to_stderr: bool) -> None:
    """The table and, if asked for, the JSON file."""
    import json

    from rich.console import Console

    from edgekit.files import write_whole

    Console(highlight=False, stderr=to_stderr).print(stats.table())
    if json_path:
        write_whole(json_path, json.dumps(stats.to_plain(), indent=1) + "\n")
