"""Too little memory is told before Linux kills the process for it."""

import re
import resource
import subprocess
import sys

import psutil
import pytest
import torch

from edgekit.errors import InputError
from edgekit.train.memory import available_memory, enough_memory
from edgekit.train.world import World

BLOCK = 4 * 2**30
STEP = """
import sys
import numpy as np
from edgekit.errors import InputError
from edgekit.images import ArraySet
from edgekit.train import memory
from edgekit.train.loop import train
from edgekit.train.options import Options

memory.available_memory = lambda: int(sys.argv[1]) * 2**20
images = ArraySet(np.zeros((30, 64, 64, 3), np.uint8), np.arange(30) % 2, ("a", "b"))
try:
    train(Options(weights="none", size=64, epochs=1, batch=30), images)
except InputError as error:
    print(error)
"""


@pytest.mark.parametrize(("processes", "said"), [(1, "--batch 8,"), (4, "--batch 8,"), (8, "smaller network,")])
def test_the_batch_that_is_proposed_counts_all_processes(processes, said):
    with pytest.raises(InputError, match=said), enough_memory(16, World(size=processes)):
        raise MemoryError


def test_more_than_the_machine_has_is_refused_and_not_promised():
    """Each block is less than there is, so that Linux gives all of them; nothing is written to them."""
    blocks = []
    count = psutil.virtual_memory().total // BLOCK + 1
    said = rf"A step with 16 images must fit into memory, got: [a-z' :]+ {BLOCK} bytes\. Use --batch 8, or"
    with pytest.raises(InputError, match=said), enough_memory(16, World()):
        blocks += [torch.empty(BLOCK, dtype=torch.uint8) for _ in range(count)]


@pytest.mark.parametrize("megabytes", [20, 60])
def test_a_step_that_does_not_fit_names_a_smaller_batch(megabytes):
    """A real step, which takes more than 100 MB; in the middle of it oneDNN may be the one that gets nothing.

    In a process of its own: one that has trained before has kept memory.
    """
    done = subprocess.run([sys.executable, "-c", STEP, str(megabytes)], capture_output=True, text=True, timeout=120)
    assert re.search(r"A step with 30 images must fit into memory, got: .*\. Use --batch 15, or", done.stdout), done


def test_the_limit_ends_with_the_steps_and_a_stricter_one_stays():
    before = resource.getrlimit(resource.RLIMIT_DATA)
    with enough_memory(16, World()):
        within = resource.getrlimit(resource.RLIMIT_DATA)
        with enough_memory(16, World(local_size=2)):
            assert resource.getrlimit(resource.RLIMIT_DATA)[0] < within[0]
        assert resource.getrlimit(resource.RLIMIT_DATA) == within
    assert resource.getrlimit(resource.RLIMIT_DATA) == before
    assert within != before
    with enough_memory(16, World(device=torch.device("meta"))):
        assert resource.getrlimit(resource.RLIMIT_DATA) == before


def test_what_is_available_agrees_with_psutil():
    """Others take and give memory meanwhile: within a tenth."""
    assert available_memory() == pytest.approx(psutil.virtual_memory().available, rel=0.1)


@pytest.mark.parametrize(
    ("limits", "expected"),
    [
        ({}, 8000),
        ({"": "max", "pod": "max", "pod/job": "max"}, 8000),
        ({"pod": "5000"}, 3500),
        ({"pod/job": "1000"}, 0),
    ],
    ids=["no cgroups", "no limits", "of a group above", "used up"],
)
def test_a_cgroup_may_have_less(tmp_path, limits, expected):
    """`memory.current` counts files that were read, which are given up (kernel: cgroup-v2.rst, memory.stat)."""
    (tmp_path / "proc/self").mkdir(parents=True)
    (tmp_path / "proc/meminfo").write_text("MemTotal: 9000 kB\nMemAvailable:    8000 kB\n")
    (tmp_path / "proc/self/cgroup").write_text("1:memory:/old\n0::/pod/job\n")
    for group, limit in limits.items():
        folder = tmp_path / "sys/fs/cgroup" / group
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "memory.max").write_text(f"{limit if limit == 'max' else int(limit) * 1024}\n")
        (folder / "memory.current").write_text(f"{2000 * 1024}\n")
        (folder / "memory.stat").write_text(f"anon 1\ninactive_file {500 * 1024}\n")
    assert available_memory(tmp_path) == expected * 1024
