"""The virtual Pi as a whole machine: Debian's arm64 kernel, systemd, sshd, sudo, and vivid, a camera driver.

The userland (support.virtual_pi) is its root file system, over 9p: what the guest writes lies in that folder later.
Needs qemu-system-arm, cpio and kmod besides; `make test-pi-v4l2` installs them.
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Self

from edgekit_deploy.fleet.session import SshOptions
from support import virtual_pi
from support.fleet import client_config, server_files, wait_for_ssh
from support.ports import free_port
from support.virtual_pi import VirtualPi

TOOLS = ("qemu-system-aarch64", "cpio", "/sbin/depmod", "/sbin/modprobe")
MODULES = ("virtio_pci", "virtio_net", "9p", "9pnet_virtio", "vivid")
PACKAGES = ("linux-image-arm64", "kmod", "dash", "mount", "util-linux")
# What the first process needs before the root file system is there.
EARLY = ("bin/dash", "bin/kmod", "bin/mount", "sbin/switch_root", "lib/ld-linux-aarch64.so.1")
EARLY_LIBRARIES = (
    "libc.so.6", "libmount.so.1", "libblkid.so.1", "libselinux.so.1", "libpcre2-8.so.0",
    "libzstd.so.1", "liblzma.so.5", "libcrypto.so.3",
)  # fmt: skip
BOOT_SECONDS = 240.0
LIBRARIES = "lib/aarch64-linux-gnu"
INIT = """#!/bin/dash
mount -t devtmpfs dev /dev
for module in $(while read line; do echo $line; done < /modules.list); do /bin/insmod $module; done
mount -t 9p -o trans=virtio,version=9p2000.L,msize=1048576,cache=loose root /root
exec switch_root /root /lib/systemd/systemd
"""
# As little as there can be beside sshd: what a whole system starts takes minutes in emulation.
UNITS = {
    "default.target": """[Unit]
Requires=sshd-of-tests.service dbus.socket systemd-journald.service systemd-tmpfiles-setup.service
Requires=systemd-udevd.service systemd-udev-trigger.service
""",
    "sshd-of-tests.service": """[Unit]
DefaultDependencies=no
After=systemd-tmpfiles-setup.service
[Service]
ExecStartPre=/bin/sh -c 'ip link set lo up; ip address add 10.0.2.15/24 dev eth0; ip link set eth0 up'
RuntimeDirectory=sshd
ExecStart=/usr/sbin/sshd -D -f /lab/ssh/sshd_config
""",
}


def missing() -> str:
    """As `virtual_pi.missing`."""
    if complaint := virtual_pi.missing():
        return complaint
    tools = [tool for tool in TOOLS if shutil.which(tool) is None]
    return f"Booting needs {', '.join(tools)}. Run: make test-pi-v4l2" if tools else ""


class Machine:
    """A booted one, for as long as the context lasts.

    Args:
        board: Its root file system.
        core: Which processor.

    Attributes:
        config: Of ssh, with the host "pi".
    """

    def __init__(self, board: VirtualPi, core: str = "cortex-a72") -> None:
        self._board, self._core = board, core

    def __enter__(self) -> Self:
        """Boot, until its sshd lets us in."""
        folder, port = self._board.root / "lab" / "ssh", free_port()
        server_files(folder, "/lab/ssh", ["Port 22"])
        self.config = client_config(folder, port, "pi")
        for name, text in UNITS.items():
            (self._board.root / "etc" / "systemd" / "system" / name).write_text(text)
        self._scratch = tempfile.TemporaryDirectory(prefix="edgekit-boot-")
        self._console = Path(self._scratch.name) / "console"
        with self._console.open("wb") as console:
            self._qemu = subprocess.Popen(
                self._command(port), stdin=subprocess.DEVNULL, stdout=console, stderr=subprocess.STDOUT
            )
        wait_for_ssh(self.config, BOOT_SECONDS, lambda: self._console.read_text(errors="replace")[-3000:])
        return self

    def __exit__(self, *exception: object) -> None:
        """As by pulling the plug."""
        self._qemu.kill()
        self._qemu.wait()
        self._scratch.cleanup()

    def run(self, command: str) -> str:
        """What a shell command of the user pi prints there; fails if it does."""
        done = SshOptions(self.config).run("pi", ["sh", "-c", command])
        assert done.returncode == 0, done.stdout.decode() + done.stderr.decode()
        return done.stdout.decode()

    def _command(self, port: int) -> list[str]:
        early = Path(self._scratch.name) / "early"
        image = Path(self._scratch.name) / "early.cpio"
        _early_root(early, kernel())
        names = subprocess.run(["find", "."], cwd=early, check=True, capture_output=True).stdout
        with image.open("wb") as file:
            subprocess.run(["cpio", "--quiet", "-o", "-H", "newc"], cwd=early, input=names, stdout=file, check=True)
        return [
            *("qemu-system-aarch64", "-M", "virt", "-cpu", self._core, "-smp", "2", "-m", "2048", "-nographic"),
            *("-kernel", str(next((kernel() / "boot").glob("vmlinuz-*"))), "-initrd", str(image), "-no-reboot"),
            *("-append", "console=ttyAMA0 quiet panic=-1 net.ifnames=0 rdinit=/init"),
            *("-nic", f"user,model=virtio-net-pci,restrict=on,hostfwd=tcp:127.0.0.1:{port}-:22"),
            *("-virtfs", f"local,path={self._board.root},mount_tag=root,security_model=passthrough"),
        ]


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
