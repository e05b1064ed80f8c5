"""What is freed is kept: frames are not mapped again and again."""

import subprocess
import sys

SCRIPT = """
import resource, sys
import numpy as np
from edgekit.allocator import keep_memory
if "keep" in sys.argv:
    assert keep_memory(64 * 2**20, pad=0)

def frames(count):
    for _ in range(count):
        frame = np.ones((480, 640, 3), np.uint8)
        del frame

frames(20)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
frames(100)
print((resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before) / 100)
"""


def _faults(*words):
    # No threshold that glibc finds by itself, as after frames of several sizes in several threads.
    environment = {"MALLOC_MMAP_THRESHOLD_": "131072", "MALLOC_TRIM_THRESHOLD_": "131072"}
    found = subprocess.run([sys.executable, "-c", SCRIPT, *words], env=environment, check=True, capture_output=True)
    return float(found.stdout)


def test_a_frame_is_mapped_again_each_time_unless_memory_is_kept():
    # 921,600 bytes are 225 pages of 4 KiB.
    assert _faults() > 200
    assert _faults("keep") < 5
