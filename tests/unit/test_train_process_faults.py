"""Two real processes of which one differs, falls silent, or computes what is no number."""

import shutil

import pytest
from support.training import run_script, two_sets

from edgekit.train.world import explained


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
        train(options, *open_folder(Path(folder), 0.2), world=world)
    except InputError as error:
        Path({str(tmp_path)!r}, f"rank{{world.rank}}").write_text(str(error))
""")
    run_script(script)
    for rank in range(2):
        said = (tmp_path / f"rank{rank}").read_text()
        assert "All processes must have the same images, got 144 images of 3 classes (" in said
        assert "; 144 images of 3 classes (" in said
        assert said.endswith("to validate. Copy the folder anew to each machine, or share it.")


def test_machines_with_other_options_are_refused(folder, tmp_path):
    """The command is typed on each; a teacher may lie elsewhere, but must be the same."""
    script = tmp_path / "differ.py"
    script.write_text(f"""
from pathlib import Path
from edgekit.errors import InputError
from edgekit.train.data import open_folder
from edgekit.train.loop import train
from edgekit.train.options import Options
from edgekit.train.world import join

with join("cpu") as world:
    teacher, lr = (("/here/big.pt", 0.001), ("/there/big.pt", 0.002))[world.rank]
    options = Options(width=0.25, size=32, stem_stride=1, lr=lr, teacher=teacher, teacher_sha256="5e")
    try:
        train(options, *open_folder(Path({str(folder)!r}), 0.2), world=world)
    except InputError as error:
        Path({str(tmp_path)!r}, f"rank{{world.rank}}").write_text(str(error))
""")
    run_script(script)
    for rank in range(2):
        said = (tmp_path / f"rank{rank}").read_text()
        assert said.startswith("All processes must be given the same options, got --lr 0.001 and 0.002. Give")


def test_the_first_process_does_not_wait_before_it_tells_why_it_ends(tmp_path):
    """Other machines may decode for hours; here the other process would wait for ever."""
    script = tmp_path / "full.py"
    script.write_text(f"""
import time
from pathlib import Path
from edgekit.errors import EdgekitError, InputError
from edgekit.train.world import join

begun = time.monotonic()
try:
    with join("cpu") as world, world.one_after_another():
        if world.is_first:
            raise InputError("The disk is full.")
except EdgekitError as error:
    Path({str(tmp_path)!r}, f"rank{{world.rank}}").write_text(f"{{time.monotonic() - begun}} {{error}}")
""")
    run_script(script)
    for rank, words in enumerate(("The disk is full.", "All processes of the run must stay alive, got one that has")):
        seconds, _, said = (tmp_path / f"rank{rank}").read_text().partition(" ")
        assert said.startswith(words) and float(seconds) < 60


@pytest.mark.parametrize(
    ("have_met", "words", "said"),
    [
        (True, "[gloo/transport/tcp/pair.cc:547] Connection closed by peer [10.0.0.2]:1234", "must stay alive"),
        (True, "NCCL error: remote process exited or there was a network error", "must stay alive"),
        (True, "NCCL error in: ProcessGroupNCCL.cpp:77, unhandled system error\nncclSystemError", "must reach each"),
        (True, "CUDA error: peer access is not supported between these two devices (NCCL)", "must reach each other"),
        (False, "connect: Connection timed out (NCCL)", "must reach each other"),
        (
            False,
            "Gloo connectFullMesh failed: Connection refused, remote=[127.0.0.1]:4",
            "must reach each other, got: G",
        ),
        (False, "The client socket has timed out after 600000ms", "must reach each other"),
    ],
)
def test_processes_that_never_met_are_not_called_dead(have_met, words, said):
    error = explained(RuntimeError(words), have_met)
    assert said in error.message and words.splitlines()[0] in error.message
    assert ("GLOO_SOCKET_IFNAME" in error.remedy) == ("reach" in said)


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
        loop.train(options, *open_folder(Path({str(folder)!r}), 0.2), out={str(out)!r}, world=world)
    except InputError as error:
        Path({str(tmp_path)!r}, f"rank{{world.rank}}").write_text(str(error))
""")
    run_script(script)
    for rank, got in enumerate(("none in another process", "nan")):
        said = (tmp_path / f"rank{rank}").read_text()
        assert f"The loss must stay finite, got {got} in step 3 of epoch 2, at a rate of" in said
        assert "model.last.pt holds what was there after epoch 1 of 3: --weights" in said
