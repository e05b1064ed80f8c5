"""`edgekit report` in this process, on files of the colour network."""

from pathlib import Path

import report_samples as samples

from edgekit import cli
from edgekit.files import sha256
from edgekit.train.checkpoint import save


def write_files(folder: Path) -> Path:
    """model.tflite, model.pt and data/<class>/*.png with 45 images."""
    save(folder / "model.pt", samples.make_checkpoint())
    bundle = samples.make_bundle(reference=sha256(folder / "model.pt"))
    (folder / "model.tflite").write_bytes(bundle.data)
    samples.write_folder(folder / "data", samples.colour_images(45, seed=4))
    return folder


def run_report(
    files: Path, *more: str, model="model.tflite", reference="model.pt", data="data", out="out/r.html"
) -> int:
    """The exit code."""
    paths = [str(files / model), "--reference", str(files / reference), "--data", str(files / data)]
    # The colour network is known in this process alone; --quick leaves out what needs another.
    return cli.run(["report", *paths, "--out", str(files / out), "--quick", "--processes", "1", *more])
