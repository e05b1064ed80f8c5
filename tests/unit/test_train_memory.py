"""Too little memory is told before Linux kills the process for it."""

import re
import resource
import subprocess
import sys

import psutil
import pytest
import torch

from edgekit.errors import InputError
from edgekit.train.memory import available_memory, enough_memory, limited_memory, most_data
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
    print("fits")
except InputError as error:
    print(error)
"""


@pytest.mark.parametrize(("processes", "said"), [(1, "--batch 8,"), (4, "--batch 8,"), (8, "smaller network,")])
def test_the_batch_that_is_proposed_counts_all_processes(processes, said):
    with pytest.raises(InputError, match=said), enough_memory(16, processes):
        raise MemoryError


def test_more_than_the_machine_has_is_refused_and_not_promised():
    """Each block is less than there is, so that Linux gives all of them; nothing is written to them."""
    blocks = []
    count = psutil.virtual_memory().total // BLOCK + 1
    said = rf"A step with 16 images must fit into memory, got: [a-z' :]+ {BLOCK} bytes\. Use --batch 8, or"
    with pytest.raises(InputError, match=said), enough_memory(16), limited_memory(most_data(World())):
        blocks += [torch.empty(BLOCK, dtype=torch.uint8) for _ in range(count)]


REFUSED = r"A step with 30 images must fit into memory, got: .*\. Use --batch 15, or"


@pytest.mark.parametrize(("megabytes", "said"), [(200, REFUSED), (400, REFUSED), (900, "fits")])
def test_a_step_that_does_not_fit_names_a_smaller_batch(megabytes, said):
    """A real step, which takes 260 MB; in the middle of it oneDNN may be the one that gets nothing.

    In a process of its own: one that has trained before has kept memory.
    """
    done = subprocess.run([sys.executable, "-c", STEP, str(megabytes)], capture_output=True, text=True, timeout=120)
    assert re.search(said, done.stdout), done


def test_the_limit_ends_with_the_steps_and_a_stricter_one_stays():
    before = resource.getrlimit(resource.RLIMIT_DATA)
    with limited_memory(most_data(World())):
        within = resource.getrlimit(resource.RLIMIT_DATA)
        with limited_memory(most_data(World(local_size=2))):
            assert resource.getrlimit(resource.RLIMIT_DATA)[0] < within[0]
        assert resource.getrlimit(resource.RLIMIT_DATA) == within
    assert resource.getrlimit(resource.RLIMIT_DATA) == before
    assert within != before
    with limited_memory(most_data(World(device=torch.device("meta")))):
        assert resource.getrlimit(resource.RLIMIT_DATA) == before


V1 = ("memory", "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
V2 = ("", "memory.max", "memory.current", "inactive_file")


@pytest.mark.parametrize(
    ("files", "limits", "expected"),
    [
        (V2, {}, 8000),
        (V2, {"": "max", "pod": "max", "pod/job": "max"}, 8000),
        (V2, {"pod": "5000"}, 3500),
        (V2, {"pod/job": "1000"}, 0),
        (V1, {"": str(2**53)}, 8000),
        (V1, {"pod/job": "5000"}, 3500),
        # Such as in a container, whose paths are the host's.
        (V1, {"": "4000"}, 2500),
    ],
)
def test_a_cgroup_may_have_less(tmp_path, files, limits, expected):
    """What is used counts files that were read, which are given up (kernel: cgroup-v2.rst, cgroup-v1/memory.rst)."""
    top, limit, used, cache = files
    (tmp_path / "proc/self").mkdir(parents=True)
    (tmp_path / "proc/meminfo").write_text("MemTotal: 9000 kB\nMemAvailable:    8000 kB\n")
    (tmp_path / "proc/self/cgroup").write_text("7:cpu,memory:/pod/job\n" if top else "1:cpu:/old\n0::/pod/job\n")
    for group, value in limits.items():
        folder = tmp_path / "sys/fs/cgroup" / top / group
        folder.mkdir(parents=True, exist_ok=True)
        (folder / limit).write_text(f"{value if value == 'max' else int(value) * 1024}\n")
        (folder / used).write_text(f"{2000 * 1024}\n")
        (folder / "memory.stat").write_text(f"anon 1\n{cache} {500 * 1024}\n")
    assert available_memory(tmp_path) == expected * 1024


@pytest.mark.parametrize("missing", ["proc/meminfo", "proc/self/cgroup", "sys/fs/cgroup/memory.stat"])
def test_a_system_that_does_not_say_is_no_error(tmp_path, missing):
    for name, text in {
        "proc/meminfo": "MemAvailable: 8000 kB\n",
        "proc/self/cgroup": "0::/\n",
        "sys/fs/cgroup/memory.max": "4096000\n",
        "sys/fs/cgroup/memory.current": "0\n",
        "sys/fs/cgroup/memory.stat": "anon 1\n",
    }.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        if name != missing:
            (tmp_path / name).write_text(text)
    assert available_memory(tmp_path) == (None if missing == "proc/meminfo" else 8000 * 1024)


@pytest.mark.parametrize(
    ("words", "is_memory"),
    [
        ("std::bad_alloc", True),
        ("could not create a primitive", True),
        ("could not create a primitive descriptor for a matmul primitive", False),
        ("could not create a memory object", True),
        ("sizes differ", False),
    ],
)
def test_only_words_about_memory_are_turned(words, is_memory):
    with pytest.raises(InputError if is_memory else RuntimeError) as caught, enough_memory(16):
        raise RuntimeError(words)
    assert ("--batch 8" in str(caught.value)) == is_memory
