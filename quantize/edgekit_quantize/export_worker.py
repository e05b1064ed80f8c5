"""The process behind `workers.ExportWorker`: python -m edgekit_quantize.export_worker SOURCE OUT.onnx."""

from __future__ import annotations

import sys
from pathlib import Path

from edgekit.models.layers import folded
from edgekit_quantize.export import export_onnx
from edgekit_quantize.source import load_float
from edgekit_quantize.workers import told_to_start


def main(source: str, target: str) -> None:
    """Export a checkpoint, or a network known by name."""
    told = told_to_start()
    if not Path(source).exists():
        # A name, whose weights the caller fetches, with a bar, if they are not there yet.
        told.wait()
    loaded, _ = load_float(source)
    # The exporter would fold too, but only after it has traced and decomposed twice as many nodes in twice the time.
    export_onnx(folded(loaded.network().eval()), loaded.input, Path(target))


if __name__ == "__main__":
    main(*sys.argv[1:])
