"""Two real processes of which one differs, falls silent, or computes what is no number."""

import shutil

import pytest
from support.training import run_script, two_sets


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return two_sets(tmp_path_factory.mktemp("processes"))


def test_machines_with_other_images_are_refused(folder, tmp_path):
    """One has a picture in another class: as many images, and not the same."""
    other, script = tmp_path / "other", tmp_path / "differ.py"
    shutil.copytree(folder, other)
    sorted((other / "train" / "blobs").iterdir())[0].rename(other / "train" / "stripes" / "moved.png")
    script.write_text(f"""
from pathlib import Path
from edgekit.errors import InputError
from edgekit.train.data import open_folder
from edgekit.train.loop import train
from edgekit.train.options import Options
from edgekit.train.world import join

with join("cpu") as world:
    folder = ({str(folder)!r}, {str(other)!r})[world.rank]
    options = Options(width=0.25, size=32, stem_stride=1, epochs=2, batch=24)
    try:
        train(options, *open_folder(Path(folder), 0.2, 0), world=world)
    except InputError as error:
        Path({str(tmp_path)!r}, f"rank{{world.rank}}").write_text(str(error))
""")
    run_script(script)
    for rank in range(2):
        said = (tmp_path / f"rank{rank}").read_text()
        assert "All processes must have the same images, got 144 images of 3 classes (" in said
        assert "; 144 images of 3 classes (" in said
        assert said.endswith("to validate. Copy the folder anew to each machine, or share it.")


def test_a_silent_process_ends_a_step_but_not_a_wait_for_decoding(tmp_path):
    """As a machine that has lost its power: no connection is closed."""
    script = tmp_path / "silent.py"
    script.write_text(f"""
import os, time
from datetime import timedelta
from pathlib import Path
from edgekit.errors import MissingError
from edgekit.train import world as worlds

worlds.SILENCE = timedelta(seconds=2)
said = Path({str(tmp_path)!r}, "said")
try:
    with worlds.join("cpu") as world:
        with world.one_after_another():
            time.sleep(0 if world.rank else 4)
        assert world.gather(["here"]) == ("here",)
        if world.rank:
            # Until the other one has noticed, or for so long that it has not.
            end = time.monotonic() + 60
            while not said.exists() and time.monotonic() < end:
                time.sleep(0.1)
            os._exit(0)
        begun = time.monotonic()
        world.any(False)
except MissingError as error:
    said.write_text(f"{{time.monotonic() - begun}} {{error}}")
""")
    run_script(script)
    seconds, _, said = (tmp_path / "said").read_text().partition(" ")
    assert "All processes of the run must stay alive" in said
    assert 1.0 < float(seconds) < 50.0


def test_a_loss_that_is_no_number_in_one_process_ends_both_with_the_same_advice(folder, tmp_path):
    """In the second epoch, and in the process that does not write: nobody may say that --resume helps."""
    script, out = tmp_path / "nan.py", tmp_path / "model.pt"
    script.write_text(f"""
from pathlib import Path
from edgekit.errors import InputError
from edgekit.train import loop
from edgekit.train.data import open_folder
from edgekit.train.options import Options
from edgekit.train.world import join

one_step = loop.one_step

def step(run, pixels, targets, epoch, number):
    loss, hits = one_step(run, pixels, targets, epoch, number)
    return loss * float("nan" if (run.world.rank, epoch, number) == (1, 1, 2) else 1), hits

loop.one_step = step
with join("cpu") as world:
    options = Options(width=0.25, size=32, stem_stride=1, epochs=3, batch=24)
    try:
        loop.train(options, *open_folder(Path({str(folder)!r}), 0.2, 0), out={str(out)!r}, world=world)
    except InputError as error:
        Path({str(tmp_path)!r}, f"rank{{world.rank}}").write_text(str(error))
""")
    run_script(script)
    for rank, got in enumerate(("none in another process", "nan")):
        said = (tmp_path / f"rank{rank}").read_text()
        assert f"The loss must stay finite, got {got} in step 3 of epoch 2, at a rate of" in said
        assert "model.last.pt holds what was there after epoch 1 of 3: --weights" in said
