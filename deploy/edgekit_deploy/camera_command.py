"""`edgekit camera`: classify a camera, a video or a folder live."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgekit.shipped import model_argument

if TYPE_CHECKING:
    from edgekit.bundle import Bundle
    from edgekit_deploy.camera_outputs import Outputs
    from edgekit_deploy.smoothing import Decider
    from edgekit_deploy.sources import SourceOptions
    from edgekit_deploy.stats import CameraStats
    from edgekit_deploy.threads import ThreadChoice
    from edgekit_deploy.truth import Truth

EXIT_CODES = {"SIGINT": 130}
MOST_THREADS = 64
A_FILE = click.Path(path_type=Path)


def _threads(_context: click.Context, _parameter: click.Parameter, value: str) -> int | None:
    """A number of threads; None for "auto"."""
    if value == "auto":
        return None
    if value.isdecimal() and 1 <= int(value) <= MOST_THREADS:
        return int(value)
    raise click.BadParameter(f"must be auto or 1 to {MOST_THREADS}, got {value}.")


@click.command("camera")
@model_argument()
@click.option(
    "--source",
    default="0",
    envvar="EDGEKIT_SOURCE",
    help="Camera number, /dev/videoN or /dev/v4l/by-id/…, picamera2[:N], rtsp:// or http:// URL, GStreamer pipeline "
    "(gst:… or with !), video file, folder of images, or - for stdin. A URL with a password is best kept in the "
    "environment variable EDGEKIT_SOURCE.",
)
@click.option("--size", metavar="WxH", help="Ask the camera for this size, such as 640x480; of raw frames on stdin.")
@click.option("--fps", type=float, help="Ask the camera for this rate.")
@click.option("--format", "fourcc", metavar="CODE", help="Ask a V4L2 camera for a pixel format: MJPG, YUYV.")
@click.option("--fast", is_flag=True, help="Every frame of a video file or of stdin, as fast as it can be classified.")
@click.option(
    "--reconnect/--no-reconnect",
    default=True,
    help="Wait for a camera that was lost, or is not there yet; or exit (3).",
)
@click.option("--threads", default="auto", callback=_threads, metavar="auto|N", help="auto: tried at the start.")
@click.option(
    "--smoothing", type=float, help="Seconds to average over; 0: each frame for itself.  [default: 0.3 if in real time]"
)
@click.option("--margin", type=float, help="By how much another class must lead.  [default: 0.1 if in real time]")
@click.option("--hold", type=float, help="Seconds for which another answer must hold to replace it.  [default: 0]")
@click.option("--threshold", type=float, help="Least probability of an answer.  [default: 0.3 if in real time]")
@click.option("--thresholds", type=A_FILE, help='TOML, [thresholds] and lines like "cat" = 0.8: per label.')
@click.option("--headless", is_flag=True, help="No window. Without a display this is so by itself.")
@click.option("--record", type=A_FILE, help="Write the annotated video here (.mp4, .avi), a file once it is finished.")
@click.option(
    "--record-minutes",
    type=click.FloatRange(0.1, 1440),
    help="In parts of this length, named by their beginning in UTC: a power cut takes the last only.",
)
@click.option(
    "--record-keep",
    type=click.IntRange(1),
    metavar="N",
    help="Keep N parts, short ones count too; older ones, of earlier runs as well, are removed, and more of them where "
    "the disk is full.  [default: all stay]",
)
@click.option(
    "--jsonl",
    type=click.Path(path_type=Path, allow_dash=True),
    metavar="FILE|-",
    help="Write every decision here, a line of JSON each; - is stdout. An existing file is replaced.",
)
@click.option(
    "--jsonl-max-mb",
    type=click.FloatRange(0.01, 1e6),
    help="Continue the file of --jsonl, and begin another at this size; three older ones stay.",
)
@click.option("--mqtt", metavar="URL", envvar="EDGEKIT_MQTT", help="Publish the answer: mqtt://[user@]host[:port].")
@click.option("--mqtt-name", metavar="NAME", help="This camera in topics.  [default: the machine's name]")
@click.option("--mqtt-ca", type=A_FILE, help="Certificates (PEM) to trust for mqtts://.")
@click.option("--on-change", metavar="COMMAND", help="Run this at each new answer, with EDGEKIT_LABEL set.")
@click.option(
    "--serve", metavar="[IP:]PORT", help="Live web page and /metrics here, on 127.0.0.1 unless told otherwise."
)
@click.option(
    "--token-file",
    type=A_FILE,
    help="Holds what viewers must know, if the page is for other machines too; or set EDGEKIT_WEB_TOKEN.",
)
@click.option("--serve-host", multiple=True, metavar="NAME", help="Another name of the page, such as a proxy's.")
@click.option("--wrong", type=A_FILE, metavar="DIR", help='Gives the page a "wrong!" button, which saves frames here.')
@click.option("--truth", type=A_FILE, help="CSV `frame,label`: from that frame on, that label.")
@click.option("--top-k", type=click.IntRange(min=1), default=5, help="Classes in each answer (--jsonl).")
@click.option("--max-frames", type=click.IntRange(min=1), help="Stop after so many classified frames.")
@click.option("--json", "json_path", type=A_FILE, help="Write the measurements here.")
def command(model: Path, source: str, **options: Any) -> int:
    """Classify a camera, a video or a folder live with MODEL.

    A capture thread keeps only the newest frame, so a decision is never about an old one; frames that came and went
    meanwhile are counted as dropped. A camera that is lost, or not there yet, is waited for. The answer is smoothed
    over time, and may be that nothing is sure. At the end: frame rate, drops, latency per stage, temperature, memory.

    \b
    Examples:
      edgekit camera --model cifar10                           camera 0, in a window, with a model that comes along
      edgekit camera model.tflite --size 1280x720 --fps 30
      edgekit camera model.tflite --source rtsp://porch/stream --mqtt mqtt://hub
      edgekit camera model.tflite --serve 8080 --wrong wrong/   see http://127.0.0.1:8080
      edgekit camera model.tflite --source clip.mp4 --record out.mp4
      edgekit camera model.tflite --record days.mp4 --record-minutes 10 --record-keep 144
      edgekit camera model.tflite --source clip.mp4 --fast --truth clip.csv --headless
      edgekit camera model.tflite --source photos/ --headless --jsonl - | jq -r '[.name, .label] | @tsv'
      edgekit camera model.tflite --on-change 'logger "I see $EDGEKIT_LABEL"'
      rpicam-vid -t 0 --codec mjpeg -o - | edgekit camera model.tflite --source -

    A line of JSON holds frame, time (seconds of the stream), at (time of day), name (of an image), label and
    probability of the answer (label null: nothing is sure) and top, the guesses for this frame alone. --on-change
    finds EDGEKIT_LABEL, EDGEKIT_PROBABILITY and EDGEKIT_PREVIOUS in its environment.

    Esc or q in the window, Ctrl-C (exit code 130), SIGTERM and SIGHUP (exit code 0) end the run cleanly: the recording
    is finished and the measurements are shown.
    """
    from edgekit_deploy.quick_start import quick_start

    with contextlib.ExitStack() as start:
        start.enter_context(quick_start())
        return _run(model, source, options, on_ready=start.close)


def _run(model: Path, source: str, options: dict[str, Any], on_ready: Callable[[], None]) -> int:
    """The command; `on_ready` is called when all is loaded and the loop begins. Imports only what `options` need."""
    from edgekit import bundle
    from edgekit_deploy.camera import Limits, run_camera
    from edgekit_deploy.camera_outputs import Outputs
    from edgekit_deploy.classifier import Classifier
    from edgekit_deploy.outputs.line_stream import STDOUT
    from edgekit_deploy.outputs.status_line import tell
    from edgekit_deploy.signals import StopSignals
    from edgekit_deploy.sources import open_source
    from edgekit_deploy.sources.frames import SourceLost
    from edgekit_deploy.threads import ThreadChoice, pick_threads

    _check_partners(options)
    wishes = _wishes(options)
    frames = open_source(source, wishes)
    json_path, jsonl = options["json_path"], options["jsonl"]
    _check_different(source, options)
    if json_path:
        from edgekit.files import check_writable

        check_writable(json_path)
    opened = bundle.read(model)
    decider = _decider(opened, options, is_real_time=not frames.lossless)
    known = _truth(options["truth"], opened.card.labels)
    with contextlib.ExitStack() as stack:
        signals = stack.enter_context(StopSignals())
        outputs = stack.enter_context(Outputs(options, opened.card, decider, signals, frames.lossless))
        choice = ThreadChoice(options["threads"], {}) if options["threads"] else pick_threads(opened)
        classifier = Classifier(opened, choice.threads, options["top_k"])
        on_ready()
        try:
            stats = run_camera(
                classifier,
                frames,
                reopen=(lambda: open_source(source, wishes)) if options["reconnect"] else None,
                decider=decider,
                recorder=outputs.recorder,
                window=outputs.window,
                truth=known,
                limits=Limits(frames=options["max_frames"]),
                observer=outputs.observe,
                notify=tell,
                monitor=outputs.monitor,
                signals=signals,
            )
        except SourceLost as lost:
            stack.close()
            if lost.stats is not None and lost.stats.captured:
                _report(_completed(lost.stats, outputs, choice), json_path, jsonl == STDOUT)
            raise
    _report(_completed(stats, outputs, choice), json_path, jsonl == STDOUT)
    return EXIT_CODES.get(stats.ended, 0)


def _wishes(options: dict[str, Any]) -> SourceOptions:
    from edgekit_deploy.sources import SourceOptions, parse_size

    size = parse_size(options["size"]) if options["size"] else None
    fourcc = options["fourcc"].upper() if options["fourcc"] else None
    return SourceOptions(fast=options["fast"], size=size, fps=options["fps"], fourcc=fourcc)


def _truth(path: Path | None, labels: Sequence[str]) -> Truth | None:
    if path is None:
        return None
    from edgekit_deploy.truth import Truth

    return Truth.read(path, labels)


def _decider(opened: Bundle, options: dict[str, Any], is_real_time: bool) -> Decider:
    """Answers do not flicker where someone looks on; where every frame counts, each stands for itself."""
    import dataclasses

    from edgekit_deploy.smoothing import LIVE, Decider, Rules, read_thresholds

    rules = LIVE if is_real_time else Rules()
    given = {name: options[name] for name in ("smoothing", "margin", "hold", "threshold") if options[name] is not None}
    own = read_thresholds(options["thresholds"], opened.card.labels) if options["thresholds"] else None
    return Decider(opened.card.labels, dataclasses.replace(rules, **given), own)


def _check_partners(options: dict[str, Any]) -> None:
    """An option that does nothing without another must not be thought to do something."""
    from edgekit.errors import InputError

    partners = {"wrong": "serve", "token_file": "serve", "serve_host": "serve", "jsonl_max_mb": "jsonl"}
    partners |= {"mqtt_name": "mqtt", "mqtt_ca": "mqtt", "record_minutes": "record", "record_keep": "record_minutes"}
    for name, partner in partners.items():
        if options[name] and options[partner] is None:
            raise InputError(f"--{name.replace('_', '-')} must go with --{partner.replace('_', '-')}, got it alone.")


def _check_different(source: str, options: dict[str, Any]) -> None:
    """An output replaces what was there: that must not be another one, or the film it is made from."""
    from edgekit.errors import InputError

    taken = {Path(source).resolve(): "--source"} if Path(source).exists() else {}
    if options["record_keep"]:
        from edgekit_deploy.outputs.parts import is_part

        if is_part(Path(source), options["record"]):
            raise InputError(f"--record-keep must not remove --source, got {source}, which is called like a part.")
    for name, path in (
        ("--record", options["record"]),
        ("--jsonl", options["jsonl"]),
        ("--json", options["json_path"]),
    ):
        if path is None or str(path) == "-":
            continue
        other = taken.setdefault(path.resolve(), name)
        if other != name:
            raise InputError(f"{name} must be another file than {other}, got {path} for both.")


def _completed(stats: CameraStats, outputs: Outputs, choice: ThreadChoice) -> CameraStats:
    """The measurements, with how the threads were chosen and what only the closed outputs know."""
    import dataclasses

    tried = (f"fastest with {choice}",) if choice.medians else ()
    stats, recorder = dataclasses.replace(stats, lines_lost=outputs.lines_lost), outputs.recorder
    if recorder is None:
        return dataclasses.replace(stats, notes=(*tried, *stats.notes))
    problem = (recorder.problem,) if recorder.problem else ()
    notes = (*tried, *stats.notes, *problem)
    return dataclasses.replace(stats, recorded=recorder.written, recording_dropped=recorder.dropped, notes=notes)


def _report(stats: CameraStats, json_path: Path | None, to_stderr: bool) -> None:
    """The figures as text and, if asked for, the JSON file."""
    click.echo(stats.text(), err=to_stderr)
    if json_path:
        import json

        from edgekit.files import write_whole

        write_whole(json_path, json.dumps(stats.to_plain(), indent=1) + "\n")
