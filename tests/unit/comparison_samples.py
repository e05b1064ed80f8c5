"""Comparisons from seeded logits, boiled down here in plain numpy: what the page and its numbers are tested with."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import numpy as np
from report_samples import float_flatbuffer, make_card

from edgekit import bundle
from edgekit_quantize.report.answers import Answers, Comparison, Cost, LayerNoise, Run
from edgekit_quantize.report.make import Limits, build_report

LABELS = ("plane", "car", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
SIZES = {"reference": 9_000_000, "onnx": 8_900_000, "float-tflite": 8_950_000, "model": 2_600_000, "builtin": 2_600_000}
NAMES = {
    "reference": "float",
    "onnx": "ONNX",
    "float-tflite": "float TFLite",
    "model": "int8",
    "builtin": "int8 builtin",
}


def make_bundle(labels=LABELS):
    """A model file whose card has these labels."""
    weights = np.ones((len(labels), 3), np.float32)
    return bundle.parse(bundle.seal(float_flatbuffer(weights), make_card(labels, is_float=True), {}))


def make_logits(images=1000, classes=10, seed=1, margin=3.0):
    """(logits (N, classes) float64, targets (N,)): the true class leads by `margin` on average."""
    random = np.random.default_rng(seed)
    targets = np.arange(images, dtype=np.int64) % classes
    logits = random.normal(0, 1.5, (images, classes))
    logits[np.arange(images), targets] += margin
    return logits, targets


def answers(logits, targets, reference=None):
    """The rows of `Answers`, by their definitions."""
    reference = logits if reference is None else reference
    rows = np.arange(len(logits))
    order = np.argsort(-logits, axis=1, kind="stable")
    p, q = _softmax(reference), _softmax(logits)
    top = order[:, : min(5, logits.shape[1])]
    return Answers(
        top=top.astype(np.int32),
        probabilities=np.take_along_axis(q, top, 1).astype(np.float32),
        rank=np.argmax(order == targets[:, None], axis=1).astype(np.int32),
        truth=q[rows, targets],
        nll=-np.log(q[rows, targets]),
        kl=(p * np.log(p / q)).sum(1),
        signal=(reference**2).sum(1),
        noise=((reference - logits) ** 2).sum(1),
    )


def make_run(role, logits, targets, reference=None, *, name="", p50=None):
    """A run, with costs in proportion to `p50` in ms."""
    times = (None, None, None, None) if p50 is None else (p50, 1.1 * p50, 1.4 * p50, 2)
    size = SIZES.get(role, int(1e6 * (p50 or 1)))
    cost = Cost(size, None if role == "reference" else 300_000_000, *times, None if p50 is None else 60.0 + p50)
    name = name or NAMES[role]
    # Builtin kernels run the model's own file.
    sha256 = hashlib.sha256(name.removesuffix(" builtin").encode()).hexdigest()
    where = "ai-edge-litert 2.1.0, builtin kernels" if role == "builtin" else "ai-edge-litert 2.1.0, XNNPACK"
    runs_on = {"reference": "PyTorch 2.13.0", "onnx": "onnxruntime 1.23.0"}.get(role, where)
    file_format = "int8" if role in ("model", "builtin", "also") else "float32"
    return Run(role, name, file_format, runs_on, f"{name}.tflite", sha256, answers(logits, targets, reference), cost)


def make_comparison(images=1000, seed=1, noise=0.3, collapsed=None, also=True, tags=False, classes=10, margin=3.0):
    """All roles on the same images; `noise` is int8's, in logits; `collapsed` is a class that int8 never gives."""
    logits, targets = make_logits(images, classes, seed, margin)
    random = np.random.default_rng(seed + 1000)

    def noisy(size):
        return logits + random.normal(0, size, logits.shape)

    model = noisy(noise)
    if collapsed is not None:
        model[:, collapsed] -= 8.0
    runs = [
        make_run("reference", logits, targets, p50=9.0),
        make_run("onnx", noisy(1e-6), targets, logits, p50=4.0),
        make_run("float-tflite", noisy(1e-6), targets, logits, p50=5.0),
        make_run("model", model, targets, logits, p50=1.5),
        make_run("builtin", model + random.normal(0, 0.05, model.shape), targets, logits, p50=6.0),
    ]
    if also:
        runs.append(make_run("also", noisy(2 * noise), targets, logits, name="small", p50=1.0))
        runs.append(make_run("also", noisy(3 * noise), targets, logits, name="slow", p50=3.0))
    layers = tuple(LayerNoise(f"block_{i}/conv", "CONV_2D", 45.0 - i + 3 * np.sin(i), 1000 * i) for i in range(1, 21))
    light = np.where(random.random(images) < 0.3, "night", "day")
    return Comparison(
        runs=tuple(runs),
        targets=targets,
        names=tuple(f"class{t}/{i:05}.jpg" for i, t in enumerate(targets)),
        tags=tuple({"light": str(value)} for value in light) if tags else None,
        skipped=(),
        data_sha256=hashlib.sha256(f"{images} {seed} {classes}".encode()).hexdigest(),
        layers=layers,
    )


def picture(row):
    """A small image, another one for each row."""
    return np.random.default_rng(row).integers(0, 256, (32, 32, 3), np.uint8)


def make_report(comparison, limits=None, labels=LABELS, **more):
    """The report on a comparison."""
    return build_report(comparison, make_bundle(labels), picture, limits=limits, data_name="made up", **more)


def full_report():
    """Everything that a report can hold: a collapsed class, tags, other files, a skipped image, gates, a baseline."""
    old = make_report(make_comparison(tags=True, noise=0.1)).document
    comparison = replace(make_comparison(tags=True, collapsed=3), skipped=("a.jpg must be an image, got text.",))
    return make_report(comparison, Limits(0.5, 97.0, old), command="edgekit report model.tflite --data 'my photos'")


def _softmax(logits):
    e = np.exp(logits - logits.max(1, keepdims=True))
    return e / e.sum(1, keepdims=True)
