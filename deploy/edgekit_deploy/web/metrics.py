"""/metrics: the measurements in Prometheus's text format, version 0.0.4."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

from edgekit_deploy.camera import Decision
from edgekit_deploy.latency import Summary
from edgekit_deploy.stats import CameraStats
from edgekit_deploy.web.feeds import Feeds

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
ESCAPES = str.maketrans({"\\": r"\\", '"': r"\"", "\n": r"\n"})
Labels = Mapping[str, str]


def render(model: str, feeds: Feeds, decision: Decision | None, viewers: int, threshold: float) -> str:
    """Everything that is known now; what is unknown is left out.

    Args:
        model: Its name.
        feeds: Asked now.
        decision: The newest, if any.
        viewers: Of the live picture.
        threshold: The slider's, 0 to 1.
    """
    stats = feeds.stats()
    lines = [
        *_info(model, stats),
        *(_of_stats(stats) if stats is not None else ()),
        *(_of_decision(decision) if decision is not None else ()),
        *_gauge("source_up", "1: the source delivers; 0: it was lost and is being opened anew.", not feeds.status()),
        *_gauge("viewers", "Viewers of the live picture.", viewers),
        *_gauge("threshold_ratio", "Least probability of an answer, 0 to 1.", threshold),
    ]
    temperature = feeds.temperature()
    if temperature is not None:
        lines += _gauge("temperature_celsius", "Temperature of the processor.", temperature)
    return "\n".join(lines) + "\n"


def _info(model: str, stats: CameraStats | None) -> Iterable[str]:
    labels = {"model": model}
    if stats is not None:
        labels |= {"source": stats.source, "kernels": stats.kernels, "threads": str(stats.threads)}
    return _metric("info", "gauge", "What is running.", [("", labels, 1)])


def _of_stats(stats: CameraStats) -> Iterable[str]:
    yield from _counter("frames_captured", "Frames read from the source.", stats.captured)
    yield from _counter("frames_inferred", "Frames classified.", stats.inferred)
    yield from _counter(
        "frames_dropped", "Frames replaced by a newer one before they could be classified.", stats.dropped
    )
    yield from _counter("reconnects", "Times that the source was lost and came back.", stats.reconnects)
    yield from _counter("frames_judged", "Classified frames whose truth was known.", stats.judged)
    yield from _counter("frames_correct", "Judged frames that were classified right.", stats.correct)
    samples: list[tuple[str, Labels, float]] = []
    for stage, summary in stats.stages.items():
        samples += _summary(stage, summary)
    yield from _metric("stage_seconds", "summary", "Time per frame in each stage; age: capture to decision.", samples)


def _summary(stage: str, summary: Summary) -> Iterable[tuple[str, Labels, float]]:
    quantiles = {"0.5": summary.p50, "0.9": summary.p90, "0.95": summary.p95, "0.99": summary.p99, "1": summary.max}
    for quantile, value in quantiles.items():
        yield "", {"stage": stage, "quantile": quantile}, value / 1e3
    yield "_sum", {"stage": stage}, summary.mean * summary.count / 1e3
    yield "_count", {"stage": stage}, summary.count


def _of_decision(decision: Decision) -> Iterable[str]:
    yield from _gauge("fps", "Classified frames per second, smoothed.", decision.hud.fps)
    yield from _gauge("frame_age_seconds", "Capture to decision, newest frame.", decision.hud.latency_ms / 1e3)


def _counter(name: str, meaning: str, value: float) -> Iterable[str]:
    return _metric(f"{name}_total", "counter", meaning, [("", {}, value)])


def _gauge(name: str, meaning: str, value: float) -> Iterable[str]:
    return _metric(name, "gauge", meaning, [("", {}, value)])


def _metric(name: str, kind: str, meaning: str, samples: Iterable[tuple[str, Labels, float]]) -> Iterable[str]:
    yield f"# HELP edgekit_{name} {meaning}"
    yield f"# TYPE edgekit_{name} {kind}"
    for suffix, labels, value in samples:
        inside = ",".join(f'{key}="{text.translate(ESCAPES)}"' for key, text in labels.items())
        yield (
            f"edgekit_{name}{suffix}{{{inside}}} {_number(value)}"
            if inside
            else f"edgekit_{name}{suffix} {_number(value)}"
        )


def _number(value: float) -> str:
    if math.isfinite(value):
        return repr(float(value)) if isinstance(value, float) else str(int(value))
    return "NaN" if math.isnan(value) else ("+Inf" if value > 0 else "-Inf")
