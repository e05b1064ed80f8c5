"""The virtual Pi as a whole machine: Debian's arm64 kernel, and vivid, a camera that is a driver of its own.

The userland (support.virtual_pi) is its root file system, over 9p: what the guest writes lies in that folder later.
Needs qemu-system-arm, cpio and kmod besides; `make test-pi-v4l2` installs them.
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import tempfile
from pathlib import Path

from support import virtual_pi
from support.virtual_pi import VirtualPi

TOOLS = ("qemu-system-aarch64", "cpio", "/sbin/depmod", "/sbin/modprobe")
MODULES = ("virtio_pci", "9p", "9pnet_virtio", "vivid")
PACKAGES = ("linux-image-arm64", "kmod", "dash", "mount", "util-linux")
# What the first process needs before the root file system is there.
EARLY = ("bin/dash", "bin/kmod", "bin/mount", "sbin/switch_root", "lib/ld-linux-aarch64.so.1")
EARLY_LIBRARIES = (
    "libc.so.6", "libmount.so.1", "libblkid.so.1", "libselinux.so.1", "libpcre2-8.so.0",
    "libzstd.so.1", "liblzma.so.5", "libcrypto.so.3",
)  # fmt: skip
LIBRARIES = "lib/aarch64-linux-gnu"
INIT = """#!/bin/dash
mount -t devtmpfs dev /dev
for module in $(while read line; do echo $line; done < /modules.list); do /bin/insmod $module; done
mount -t 9p -o trans=virtio,version=9p2000.L,msize=1048576,cache=loose root /root
mount -t devtmpfs dev /root/dev
mount -t proc proc /root/proc
mount -t sysfs sys /root/sys
exec switch_root /root /bin/sh -c 'export PATH=/usr/bin:/bin HOME=/root LANG=C.UTF-8
sh /work/boot.sh > /work/boot.log 2>&1; echo $? > /work/boot.rc; sync; echo o > /proc/sysrq-trigger; sleep 60'
"""


def missing() -> str:
    """As `virtual_pi.missing`."""
    if complaint := virtual_pi.missing():
        return complaint
    tools = [tool for tool in TOOLS if shutil.which(tool) is None]
    return f"Booting needs {', '.join(tools)}. Run: make test-pi-v4l2" if tools else ""


def boot(board: VirtualPi, script: str, core: str = "cortex-a72", seconds: float = 240.0) -> tuple[int, str]:
    """Boot, run a shell script there, and switch off.

    Returns:
        The script's exit code, and what it printed.

    Raises:
        RuntimeError: It did not come to its end.
    """
    work = board.root / "work"
    work.mkdir(exist_ok=True)
    (work / "boot.sh").write_text(script)
    with tempfile.TemporaryDirectory(prefix="edgekit-boot-") as scratch:
        early = Path(scratch) / "early"
        image = Path(scratch) / "early.cpio"
        _early_root(early, kernel())
        names = subprocess.run(["find", "."], cwd=early, check=True, capture_output=True).stdout
        with image.open("wb") as file:
            subprocess.run(["cpio", "--quiet", "-o", "-H", "newc"], cwd=early, input=names, stdout=file, check=True)
        command = [
            *("qemu-system-aarch64", "-M", "virt", "-cpu", core, "-smp", "2", "-m", "2048", "-nographic", "-no-reboot"),
            *("-kernel", str(next((kernel() / "boot").glob("vmlinuz-*"))), "-initrd", str(image)),
            *("-append", "console=ttyAMA0 quiet panic=-1 rdinit=/init", "-nic", "none"),
            *("-virtfs", f"local,path={board.root},mount_tag=root,security_model=passthrough"),
        ]
        try:
            console = subprocess.run(
                command, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace", timeout=seconds
            ).stdout
        except subprocess.TimeoutExpired as error:
            raise RuntimeError(
                f"The guest must switch off within {seconds:g} s:\n{(error.stdout or b'')[-3000:]}"
            ) from error
    if not (work / "boot.rc").exists():
        raise RuntimeError(f"The guest must come to the script's end:\n{console[-3000:]}")
    return int((work / "boot.rc").read_text()), (work / "boot.log").read_text()


def kernel() -> Path:
    """Debian's arm64 kernel and modules, unpacked once and kept in the cache."""
    key = hashlib.sha256(Path(__file__).read_bytes()).hexdigest()[:16]
    folder = virtual_pi.userland().parent.parent / "virtual-pi-kernel" / key
    if not folder.exists():
        folder.parent.mkdir(exist_ok=True)
        for old in folder.parent.iterdir():
            shutil.rmtree(old)
        unfinished = Path(tempfile.mkdtemp(prefix="unfinished-", dir=folder.parent))
        virtual_pi.unpack(unfinished, PACKAGES)
        subprocess.run(["/sbin/depmod", "-b", str(unfinished), _version(unfinished)], check=True)
        unfinished.rename(folder)
    return folder


def _early_root(early: Path, root: Path) -> None:
    for name in ("dev", "root"):
        (early / name).mkdir(parents=True)
    for name in (*EARLY, *(f"{LIBRARIES}/{library}" for library in EARLY_LIBRARIES)):
        found = next(path for path in (root / name, root / "usr" / name) if path.exists())
        (early / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(found, early / name)
    (early / "bin" / "insmod").symlink_to("kmod")
    paths = []
    for number, path in enumerate(_modules(root)):
        shutil.copy(path, early / f"{number:02}-{path.name}")
        paths.append(f"/{number:02}-{path.name}")
    (early / "modules.list").write_text("\n".join(paths) + "\n")
    (early / "init").write_text(INIT)
    (early / "init").chmod(0o755)


def _modules(root: Path) -> list[Path]:
    """The files of MODULES and all that they need, in the order of loading."""
    lines = []
    for module in MODULES:
        command = ["/sbin/modprobe", "-d", str(root), "-S", _version(root), "--show-depends", module]
        lines += subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()
    return [Path(line.split()[1]) for line in dict.fromkeys(lines)]


def _version(root: Path) -> str:
    return next((root / "lib" / "modules").iterdir()).name
