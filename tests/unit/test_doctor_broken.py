"""The doctor where a package is there and does not load: the real command, in a process of its own."""

import json
import os
import signal
import subprocess
import sys

KILL = "import os; os.kill(os.getpid(),"


def plant(root, files):
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(content)


CALL = "import sys\nfrom edgekit.cli import run\nsys.exit(run(['doctor', '--json']))"


def doctor_with(site, files):
    """The real command in a process of its own that finds the modules `files` before the real ones."""
    plant(site, files)
    path = os.pathsep.join([str(site), *(place for place in sys.path if place)])
    environment = {**os.environ, "PYTHONPATH": path}
    done = subprocess.run(
        [sys.executable, "-P", "-c", CALL], env=environment, capture_output=True, text=True, timeout=120, check=False
    )
    checks = {check["name"]: check for check in json.loads(done.stdout)["checks"]}
    return done.returncode, checks, done.stderr


def test_a_cv2_that_lacks_a_library(tmp_path):
    cv2 = "raise ImportError('libGL.so.1: cannot open shared object file: No such file or directory')"
    code, checks, errors = doctor_with(tmp_path, {"cv2.py": cv2})
    assert code == 1 and "OpenCV" in errors
    assert checks["OpenCV"]["verdict"] == "broken" and "libGL" in checks["OpenCV"]["found"]
    assert checks["OpenCV"]["remedy"] == "sudo apt-get install libgl1 libglib2.0-0"


def test_a_runtime_for_another_processor(tmp_path):
    killer = f"{KILL} {int(signal.SIGILL)})"
    files = {"ai_edge_litert/__init__.py": "", "ai_edge_litert/interpreter.py": killer}
    code, checks, _ = doctor_with(tmp_path, files)
    assert code == 1 and "illegal instruction" in checks["runtime"]["found"]
    assert "XNNPACK" not in checks


def test_a_numpy_that_does_not_load(tmp_path):
    """The doctor itself must not need what it looks for."""
    numpy = "raise ImportError('libopenblas.so.0: cannot open shared object file')"
    code, checks, _ = doctor_with(tmp_path, {"numpy.py": numpy})
    assert code == 1 and checks["numpy"]["remedy"] == "sudo apt-get install libopenblas0"
    assert checks["display"]["found"] == "not looked at"
