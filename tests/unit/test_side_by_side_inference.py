"""Runtimes beside each other on this machine: turns, and peers that hang or die."""

import sys

import pytest

from benchmarks.side_by_side import inference
from benchmarks.side_by_side.routes import OURS
from edgekit.errors import EdgekitError


def test_times_are_set_beside_ours_round_by_round():
    ours, other = [1.0, 2.0, 4.0], [2.0, 6.0, 4.0]
    one = {"threads": 1, "ms": {OURS: ours, "other": other}, "failed": {"lost": "no / wheel"}}
    two = {"threads": 2, "ms": {OURS: ours, "other": other, "lost": [4.0, 4.0, 4.0]}, "failed": {}}
    lines = inference.table("net", [one, two], {"never": "why"}).splitlines()[2:]
    # Ratios of the rounds are 2, 3 and 1. What failed with one thread has figures with two.
    assert lines == [
        "| edgekit int8 | 2.00 | 1.00 (1.00 … 1.00) | 2.00 | 1.00 (1.00 … 1.00) |",
        "| other | 4.00 | 2.00 (1.00 … 3.00) | 4.00 | 2.00 (1.00 … 3.00) |",
        "| lost | cannot: no / wheel |  | 4.00 | 2.00 (1.00 … 4.00) |",
        "| never | cannot: why |  |  |  |",
    ]


TURNS = """
import sys, json
sys.stderr.write("a warning\\n" * 10000)
print("some library's banner", flush=True)
{before}
print("ready", flush=True)
for line in sys.stdin:
    print(json.dumps([float(line) / 2] * 3), flush=True)
"""


def test_a_peer_takes_its_turns():
    with inference.Peer([sys.executable, "-c", TURNS.format(before="")]) as peer:
        assert peer.work(1.0) == [0.5] * 3
        assert peer.work(3.0) == [1.5] * 3


@pytest.mark.parametrize("before", ["sys.exit('no such file')", "import time; time.sleep(60)"])
def test_a_peer_that_cannot_open_its_file_is_told_of(before, monkeypatch):
    monkeypatch.setattr(inference, "OPEN_SECONDS", 3.0)
    with (
        pytest.raises(EdgekitError, match="no such file" if "exit" in before else "exit code -9"),
        inference.Peer([sys.executable, "-c", TURNS.format(before=before)]),
    ):
        pass


def test_a_peer_that_dies_is_told_of():
    with inference.Peer([sys.executable, "-c", TURNS.format(before="") + "    sys.exit(3)"]) as peer:
        peer.work(1.0)
        with pytest.raises(EdgekitError, match="exit code 3"):
            peer.work(1.0)
