"""The wheels that a device needs, fetched here by pip: nothing is fetched there."""

from __future__ import annotations

import subprocess
import sys
from importlib import resources
from pathlib import Path

import edgekit
from edgekit.errors import EdgekitError, InputError
from edgekit_deploy.fleet.archive import Target

PINS, NETWORK_PINS = "requirements-pi.txt", "requirements-pi-network.txt"
# What apt compiled on Bookworm (picamera2's simplejpeg) crashes or is refused under numpy 2.
BOOKWORM, ITS_NUMPY = "3.11", "numpy==1.26.4"
# pip does not know that a system which has one of these has those before it.
TAGS = ("manylinux2014", *(f"manylinux_2_{minor}" for minor in (17, 24, 26, 27, 28, 31, 34, 35, 36)))


def build(folder: Path) -> Path:
    """Edgekit's own wheel, of the working tree that runs; the same bytes each time.

    Raises:
        InputError: It was installed from elsewhere.
        EdgekitError: It cannot be built.
    """
    tree = Path(edgekit.__file__).parents[1]
    if not (tree / "pyproject.toml").exists():
        raise InputError("--wheel must be given, as edgekit does not run from its working tree.")
    pip = [sys.executable, "-m", "pip", "wheel", "--quiet", "--disable-pip-version-check", "--no-deps"]
    done = subprocess.run(  # noqa: S603
        [*pip, "--wheel-dir", str(folder), str(tree)], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise EdgekitError(f"pip must build the wheel of {tree}, got: {_complaint(done)}")
    return next(folder.glob("edgekit-*.whl"))


def fetch(own: Path, target: Target, folder: Path, has_network: bool, has_system_packages: bool) -> list[Path]:
    """Edgekit's own wheel, and the tested set of what it needs on a device, for its machine and Python.

    Args:
        own: The wheel of edgekit.
        target: Which machine and Python.
        folder: Where pip may put them.
        has_network: Also what the web page and MQTT need.
        has_system_packages: They are used beside what apt installed.

    Raises:
        InputError: `own` is no such wheel.
        EdgekitError: pip cannot have one of them.
    """
    if not (own.name.startswith("edgekit-") and own.suffix == ".whl" and own.is_file()):
        raise InputError(f"--wheel must be a wheel of edgekit, got {own}.", "Build it: python -m build --wheel")
    digits = target.python.replace(".", "")
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
    pip += ["--only-binary=:all:", "--dest", str(folder), "--implementation", "cp", "--python-version", target.python]
    pip += [word for abi in (f"cp{digits}", "abi3", "none") for word in ("--abi", abi)]
    pip += [word for tag in TAGS for word in ("--platform", f"{tag}_{target.machine}")]
    done = subprocess.run(  # noqa: S603
        [*pip, *pins(target, has_network, has_system_packages)], capture_output=True, text=True, check=False
    )
    if done.returncode:
        got = _complaint(done)
        raise EdgekitError(f"pip must fetch the wheels for {target.machine}, Python {target.python}, got: {got}")
    return [own, *sorted(folder.glob("*.whl"))]


def pins(target: Target, has_network: bool, has_system_packages: bool) -> list[str]:
    """Such as "numpy==2.4.6"."""
    files = [PINS, *([NETWORK_PINS] if has_network else [])]
    texts = [resources.files("edgekit_deploy").joinpath(name).read_text("utf-8") for name in files]
    lines = [line for text in texts for line in text.splitlines() if line and not line.startswith("#")]
    if has_system_packages and target.python == BOOKWORM:
        lines = [ITS_NUMPY if line.startswith("numpy==") else line for line in lines]
    return lines


def _complaint(done: subprocess.CompletedProcess[str]) -> str:
    lines = [line for line in done.stderr.splitlines() if line.startswith("ERROR")]
    return (lines or [done.stderr[-300:]])[-1]
