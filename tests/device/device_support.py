"""Calling edgekit in a process of its own."""

import subprocess
import sys

HOST_PACKAGES = ("torch", "tensorflow", "onnx", "onnx2tf", "onnxruntime", "matplotlib", "PIL", "scipy")


def edgekit(*arguments, after=""):
    """Run the command line; `after` is Python that runs before the process exits.

    -P: the installed edgekit, not the one in the working directory.
    """
    code = f"import sys\nfrom edgekit.cli import run\ncode = run(sys.argv[1:])\n{after}\nsys.exit(code)"
    return subprocess.run(
        [sys.executable, "-P", "-c", code, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
