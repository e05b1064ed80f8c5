"""Where the benchmark's files are made: each by a command of its own, and none twice."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from benchmarks.support import EDGEKIT, Usage, measure
from edgekit import bundle
from edgekit.files import write_whole
from edgekit.listing import list_images
from edgekit.progress import console
from edgekit.runtime import Kernels, Network
from edgekit_quantize.recipe import load_recipe

BASELINE = "TFLiteConverter, min/max"
ABLATED = "int8"


@dataclass(frozen=True)
class Workshop:
    """Where the files are made.

    What stands in the folder already, made by the same command, is not made again.

    Attributes:
        folder: It holds them, and `onnx`.
        command: `edgekit convert` with source and options, all but recipe and output.
        calibration: Folder of images.
    """

    folder: Path
    command: tuple[str | Path, ...]
    calibration: Path

    @property
    def onnx(self) -> Path:
        """The float network, once a first file is made."""
        return self.folder / "net.onnx"

    def file(self, name: str) -> Path:
        """The .tflite of that name."""
        return self.folder / f"{re.sub(r'[^a-z0-9]+', '-', name.lower())}.tflite"

    def convert(self, name: str, recipe: str, seed: int) -> Usage:
        """Make the file `name`."""
        chosen = ("--recipe", recipe, "--seed", str(seed))
        return self._measure(name, [*self.command, *chosen, "--onnx", self.onnx, "--out", self.file(name)])

    def convert_baseline(self, card: Path) -> Usage:
        """Make the file BASELINE from `onnx`, with the images that the recipe ABLATED draws, prepared after `card`."""
        images = str(self.calibration_images(BASELINE))
        worker: list[str | Path] = [
            sys.executable,
            "-m",
            "benchmarks.tflite_converter",
            self.onnx,
            card,
            self.calibration,
            images,
        ]
        return self._measure(BASELINE, [*worker, self.file(BASELINE)])

    def calibration_images(self, name: str) -> int:
        """How many images the file `name` was or will be made with."""
        if name == BASELINE:
            return min(load_recipe(ABLATED).calibration_images, len(list_images(self.calibration)))
        return bundle.read(self.file(name)).card.provenance.calibration_images

    def on_builtin_kernels(self, name: str) -> Network | None:
        """An int8 file under the kernels of tflite-runtime; None for other files, which would be the same or too slow.

        One thread: with more these kernels are slower.
        """
        network = Network(self.file(name).read_bytes(), 1, Kernels.BUILTIN)
        return network if network.input_dtype == np.int8 else None

    def _measure(self, name: str, command: list[str | Path]) -> Usage:
        record, words = self.file(name).with_suffix(".json"), [str(word) for word in command]
        # A recipe file may have been changed since.
        words += [path.read_text(encoding="utf-8") for path in map(Path, words) if path.suffix == ".toml"]
        known = json.loads(record.read_text(encoding="utf-8")) if record.exists() else {}
        if known.get("command") == words and self.file(name).exists():
            return Usage(**known["usage"])
        with console.status(f"converting: {name} …"):
            usage = measure(command, self.folder)
        write_whole(record, json.dumps({"command": words, "usage": asdict(usage)}) + "\n")
        console.print(f"converted: {name}: {usage.seconds:.1f} s, {usage.peak_mb:.0f} MB", markup=False)
        return usage


def open_workshop(source: str, options: Mapping[str, str | None], calibration: str, folder: Path) -> Workshop:
    """A workshop in `folder`, whose commands are to find everything from there.

    Args:
        source: What to convert.
        options: Of `edgekit convert` for an .onnx file; those that are None are left out.
        calibration: Folder of images.
        folder: An empty one.
    """
    given = [word for name, value in options.items() if value for word in (f"--{name}", absolute(value))]
    images = Path(calibration).resolve()
    command: tuple[str | Path, ...] = (*EDGEKIT, "convert", absolute(source), *given, "--calibration", images)
    return Workshop(folder, command, images)


def absolute(text: str) -> str:
    """A path that exists, seen from anywhere; any other text as it is."""
    return str(Path(text).resolve()) if Path(text).exists() else text
