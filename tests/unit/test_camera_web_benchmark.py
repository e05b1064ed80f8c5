"""The benchmark of viewers: what its table says of the bound, and how it fails."""

import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import web_viewers


@pytest.mark.parametrize(
    ("low", "change", "high", "said"),
    [(-1.0, 1.0, 5.0, "met"), (1.0, 4.0, 5.1, "unclear"), (4.9, 6.0, 9.0, "unclear"), (5.1, 8.0, 9.0, "missed")],
)
def test_the_table_tells_whether_the_bound_is_met(low, change, high, said):
    row = web_viewers.Row("1 thread, 30 fps", 10.0, 10.1, 12.0, 12.5, change, low, high, 0.4, 15.0, 1.0)
    header, _, line = web_viewers.table([row], 5).strip().splitlines()
    columns, cells = ([cell.strip() for cell in text.strip("|").split("|")] for text in (header, line))
    assert cells[columns.index("at most +5 %")] == said
    assert len(cells) == len(columns)


def test_a_file_that_is_no_model_is_told_in_a_line(tmp_path):
    (tmp_path / "no.tflite").write_bytes(b"no model")
    root = Path(web_viewers.__file__).parents[1]
    command = [sys.executable, "-m", "benchmarks.web_viewers", str(tmp_path / "no.tflite")]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=120)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert "no.tflite" in done.stderr
