"""The process behind `export.export_in_child`: python -m edgekit_quantize.export_worker SOURCE OUT.onnx."""

from __future__ import annotations

import sys
from pathlib import Path

from edgekit_quantize.export import export_onnx
from edgekit_quantize.source import load_float


def main(source: str, target: str) -> None:
    """Export a checkpoint, or a network known by name."""
    loaded, _ = load_float(source)
    export_onnx(loaded.network(), loaded.input, Path(target))


if __name__ == "__main__":
    main(*sys.argv[1:])
