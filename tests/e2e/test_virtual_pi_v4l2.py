"""`edgekit camera --source 0` on a real V4L2 device, in a booted arm64 machine."""

import json

import pytest
from support import device_fixtures, virtual_pi_boot

pytestmark = [pytest.mark.pi_v4l2, pytest.mark.timeout(900)]
SCRIPT = """
/opt/litert/bin/edgekit camera /work/fixtures/colours.tflite --source 0 --size 640x480 --headless \
  --max-frames 20 --jsonl /work/lines.jsonl --json /work/stats.json
"""


def test_the_camera_loop_on_vivid(raspberry, tmp_path):
    raspberry.put(device_fixtures.make(tmp_path), "/work/fixtures")
    code, log = virtual_pi_boot.boot(raspberry, SCRIPT)
    work = raspberry.root / "work"
    assert code == 0, log
    stats = json.loads((work / "stats.json").read_text())
    assert stats["inferred"] == 20
    assert stats["captured"] == stats["inferred"] + stats["dropped"]
    assert "camera 0:" in log and "640×480" in log
    lines = [json.loads(line) for line in (work / "lines.jsonl").read_text().splitlines()]
    assert len(lines) == 20 and all(line["top"] for line in lines)
