"""The same calibration images under other names, with other threads, give the same file; its card holds the proof."""

import numpy as np
import pytest
import torch

from edgekit import bundle
from edgekit.card import InputSpec
from edgekit.cli import run
from edgekit_quantize.export import export_onnx
from edgekit_quantize.proof import prove_contents
from edgekit_quantize.recipe import recipe_folder


@pytest.fixture
def quick_recipe(tmp_path):
    """The default recipe with few steps, for fewer images than there are."""
    lines = (recipe_folder() / "int8.toml").read_text().splitlines()
    changed = {"steps": "steps = 5", "calibration_images": "calibration_images = 60"}
    path = tmp_path / "quick.toml"
    path.write_text("\n".join(changed.get(line.split(" = ")[0], line) for line in lines))
    return path


def test_names_order_and_copies_of_the_images_do_not_matter(checkpoint_file, photos, quick_recipe, tmp_path, capsys):
    renamed = tmp_path / "renamed"
    renamed.mkdir()
    pictures = sorted(photos.rglob("*.png"))
    for picture, number in zip(pictures, np.random.default_rng(1).permutation(len(pictures)), strict=True):
        (renamed / f"{number:04}.png").write_bytes(picture.read_bytes())
    (renamed / "zz copy.png").write_bytes(pictures[0].read_bytes())
    files = []
    for folder, threads in ((photos, 1), (renamed, 2)):
        out = tmp_path / f"{folder.name}" / "model.tflite"
        out.parent.mkdir(exist_ok=True)
        arguments = ["convert", checkpoint_file, "--calibration", folder, "--out", out, "--recipe", quick_recipe]
        arguments += ["--threads", threads]
        assert run([str(argument) for argument in arguments]) == 0
        files.append(out)
    assert files[0].read_bytes() == files[1].read_bytes()
    told = " ".join(capsys.readouterr().err.split())
    assert "all int8, weights per channel" in told
    sealed = bundle.read(files[0])
    assert sealed.card.provenance.calibration_images == 60
    contents = prove_contents(sealed.data)
    held = {m.name: m for m in sealed.card.measurements}
    assert held["operators, all int8"].value == contents.operators > 50
    assert held["weights with a scale per channel"].value == contents.per_channel > 50
    assert held["TRANSPOSE"].value == held["QUANTIZE between int8 scales"].value == 0
    kernels = [m for name, m in held.items() if "kernels" in name and "against XNNPACK" in name]
    assert {(m.unit, m.images) for m in kernels} == {("LSB", 12), ("%", 12)}
    assert len(kernels) == 6


def test_a_mean_for_pixels_up_to_255_is_refused(photos, tmp_path, capsys):
    network = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten())
    onnx, out = tmp_path / "net.onnx", tmp_path / "m.tflite"
    export_onnx(network.eval(), InputSpec(32, 32), onnx)
    arguments = ["convert", onnx, "--calibration", photos, "--out", out, "--mean", "123.675,116.28,103.53"]
    assert run([str(argument) for argument in arguments]) == 2
    assert "mean must be for pixels from 0 to 1, got 123.7" in " ".join(capsys.readouterr().err.split())
    assert not out.exists()
