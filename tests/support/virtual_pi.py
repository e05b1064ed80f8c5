"""A Raspberry Pi without one: Debian's arm64 userland, with the device's wheels, under qemu on a chosen core.

The userland is made once and kept in the cache folder, under the hash of all that it is made from. Needs root (for
chroot and mounts), mmdebstrap and qemu-user-static; `make test-pi` installs them.

    PYTHONPATH=tests python -m support.virtual_pi cortex-a72 /opt/litert/bin/python -m pip list

Bits and instruction counts are those of the core; milliseconds are those of the emulator and mean nothing.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).parents[2]
# In this order: Raspberry Pi 3 (and Zero 2), 4, 5. Never "max": its SME gives wrong int8 results in qemu.
CORES = ("cortex-a53", "cortex-a72", "cortex-a76")
# What Linux says of them; XNNPACK chooses its kernels by it.
PARTS = {"cortex-a53": "0xd03", "cortex-a72": "0xd08", "cortex-a76": "0xd0b"}
FEATURES = {
    "cortex-a53": "fp asimd evtstrm crc32 cpuid",
    "cortex-a72": "fp asimd evtstrm crc32 cpuid",
    "cortex-a76": "fp asimd evtstrm aes pmull sha1 sha2 crc32 atomics fphp asimdhp cpuid asimdrdm lrcpc dcpop asimddp",
}
SUITE = "bookworm"
PACKAGES = (
    "bash", "ca-certificates", "coreutils", "dash", "dbus", "findutils", "grep", "hostname", "iproute2", "libgcc-s1",
    "libgl1", "libglib2.0-0", "libgomp1", "libnss-systemd", "libpam-modules", "libstdc++6", "openssh-server", "openssl",
    "procps", "python3", "python3-venv", "sed", "sudo", "systemd", "tar", "udev", "util-linux",
)  # fmt: skip
# What the packages' own scripts would have made.
FILES = {
    "etc/passwd": """root:x:0:0:root:/root:/bin/bash
sshd:x:100:65534::/run/sshd:/usr/sbin/nologin
messagebus:x:101:101::/nonexistent:/usr/sbin/nologin
pi:x:1000:1000::/home/pi:/bin/bash
""",
    "etc/group": """root:x:0:
video:x:44:pi
messagebus:x:101:
systemd-journal:x:102:pi
nogroup:x:65534:
pi:x:1000:
""",
    "etc/shadow": "root:*:20000:0:99999:7:::\npi:*:20000:0:99999:7:::\n",
    "etc/hosts": "127.0.0.1 localhost raspberrypi\n",
    "etc/hostname": "raspberrypi\n",
    "etc/machine-id": "0123456789abcdef0123456789abcdef\n",
    "etc/nsswitch.conf": "passwd: files systemd\ngroup: files systemd\nhosts: files\n",
    # As Raspberry Pi OS has it for its first user.
    "etc/sudoers": "root ALL=(ALL) NOPASSWD: ALL\npi ALL=(ALL) NOPASSWD: ALL\n",
    "etc/pam.d/sudo": "auth required pam_permit.so\naccount required pam_permit.so\nsession required pam_permit.so\n",
    "etc/pam.d/other": "auth required pam_deny.so\naccount required pam_deny.so\nsession required pam_deny.so\n",
}
# Each runtime has an environment of its own in /opt.
REQUIREMENTS = {
    "litert": ROOT / "deploy" / "edgekit_deploy" / "requirements-pi.txt",
    "tflite-runtime": ROOT / "deploy" / "edgekit_deploy" / "requirements-tflite-runtime.txt",
}
DEVICE_TESTS = ("pytest==9.2.0", "pytest-randomly==5.1.0", "pytest-timeout==2.4.0")
TAGS = [f"manylinux_2_{minor}_aarch64" for minor in (17, 24, 26, 27, 28, 31, 34, 35, 36)] + ["manylinux2014_aarch64"]
BINFMT = Path("/proc/sys/fs/binfmt_misc")
BINFMT_RULE = Path("/usr/lib/binfmt.d/qemu-aarch64.conf")
# In a mount namespace of its own, so that nothing stays mounted.
ENTER = """set -e
root=$1 cpuinfo=$2; shift 2
mount -t proc proc "$root/proc"
mount --bind "$root/$cpuinfo" "$root/proc/cpuinfo"
mount --rbind /dev "$root/dev"
exec chroot "$root" /usr/bin/env -i "$@"
"""


def missing() -> str:
    """What this machine lacks, in a sentence; "" if nothing."""
    tools = [tool for tool in ("mmdebstrap", "qemu-aarch64-static", "unshare", "chroot") if shutil.which(tool) is None]
    if tools:
        return f"The virtual Pi needs {', '.join(tools)}. Run: sudo apt-get install mmdebstrap qemu-user-static"
    return "" if os.geteuid() == 0 else "The virtual Pi needs root, for chroot. Run: sudo make test-pi"


class VirtualPi:
    """A copy of the userland, to be changed at will.

    Args:
        root: An empty or missing folder for it.
    """

    def __init__(self, root: Path) -> None:
        _register()
        subprocess.run(["cp", "-a", "--reflink=auto", f"{userland()}/.", str(root)], check=True)
        self.root = root

    def put(self, source: Path, place: str) -> None:
        """Copy a file or folder of this machine to an absolute path there."""
        target = self.root / place.lstrip("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, target, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, target)
        # What pytest makes is for its user alone.
        subprocess.run(["chmod", "-R", "a+rX", str(target)], check=True)

    def install(self, wheel: Path) -> None:
        """Install edgekit's wheel into both environments, with the device's extra, as the README says; offline."""
        self.put(wheel, f"/wheels/{wheel.name}")
        for name, extra in (("litert", "deploy"), ("tflite-runtime", "tflite-runtime")):
            _pip(self.root, name, [f"/wheels/{wheel.name}[{extra}]"])

    def run(
        self, core: str, *words: str, env: Mapping[str, str] | None = None, timeout: float = 300.0
    ) -> subprocess.CompletedProcess[str]:
        """Run a command on a core; stdout and stderr are kept."""
        command = entering(self.root, core, *words, env=env)
        return subprocess.run(command, capture_output=True, text=True, timeout=timeout, check=False)


def entering(root: Path, core: str, *words: str, env: Mapping[str, str] | None = None) -> list[str]:
    """The command line that runs `words` in a userland on a core."""
    settings = {"QEMU_CPU": core, "PATH": "/usr/bin:/bin", "HOME": "/root", "LANG": "C.UTF-8", **(env or {})}
    pairs = [f"{key}={value}" for key, value in settings.items()]
    inside = [str(root), f"etc/cpuinfo-{core}", *pairs, *words]
    return ["unshare", "--mount", "--fork", "--kill-child", "sh", "-c", ENTER, "sh", *inside]


def userland() -> Path:
    """The userland with both environments, made if it is not in the cache; complete or not there at all."""
    caches = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "edgekit" / "virtual-pi"
    folder = caches / _key()
    if folder.exists():
        return folder
    caches.mkdir(parents=True, exist_ok=True)
    # One at a time: `make -j` runs several that need it.
    with (caches.parent / "virtual-pi.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.exists():
            _make_userland(caches, folder)
    return folder


def _make_userland(caches: Path, folder: Path) -> None:
    # Others were made from something else.
    for old in caches.iterdir():
        shutil.rmtree(old)
    _register()
    unfinished = Path(tempfile.mkdtemp(prefix="unfinished-", dir=caches))
    unpack(unfinished, PACKAGES)
    _pretend_to_be_a_pi(unfinished)
    _fetch_wheels(unfinished / "wheels")
    _make_environments(unfinished)
    unfinished.chmod(0o755)
    unfinished.rename(folder)


def _key() -> str:
    contents = [Path(__file__).read_bytes(), *(path.read_bytes() for path in REQUIREMENTS.values())]
    return hashlib.sha256(b"\0".join(contents)).hexdigest()[:16]


def _register() -> None:
    """Let the kernel start arm64 programs through qemu, here and in a chroot, if it does not yet."""
    if not (BINFMT / "register").exists():
        subprocess.run(["mount", "-t", "binfmt_misc", "binfmt_misc", str(BINFMT)], check=True)
    if not (BINFMT / "qemu-aarch64").exists():
        (BINFMT / "register").write_text(BINFMT_RULE.read_text().strip())


def unpack(root: Path, packages: tuple[str, ...]) -> None:
    """Debian's arm64 packages, with what they need, unpacked; their scripts are not run, which would take minutes."""
    sources = [Path(name) for name in ("/etc/apt/sources.list.d/debian.sources", "/etc/apt/sources.list")]
    known = [str(path) for path in sources if path.exists() and SUITE in path.read_text()]
    command = ["mmdebstrap", "--quiet", "--architectures=arm64", "--variant=extract"]
    _do([*command, f"--include={','.join(packages)}", SUITE, str(root), *known[:1]])


def _pretend_to_be_a_pi(root: Path) -> None:
    """What XNNPACK looks at: without it, it takes other kernels or crashes."""
    cpus = root / "sys" / "devices" / "system" / "cpu"
    cpus.mkdir(parents=True)
    for name in ("possible", "present"):
        (cpus / name).write_text("0-3\n")
    for core in CORES:
        lines = [f"Features\t: {FEATURES[core]}", "CPU implementer\t: 0x41", "CPU architecture: 8"]
        lines += ["CPU variant\t: 0x0", f"CPU part\t: {PARTS[core]}", "CPU revision\t: 3", ""]
        text = "\n".join("\n".join([f"processor\t: {number}", *lines]) for number in range(4))
        (root / "etc" / f"cpuinfo-{core}").write_text(text + "\n")
    for name, text in FILES.items():
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).write_text(text)
    (root / "etc" / "sudoers").chmod(0o440)
    (root / "usr" / "bin" / "sudo").chmod(0o4755)
    (root / "run" / "sshd").mkdir(parents=True, exist_ok=True)
    for place in ("home/pi", "opt/edgekit"):
        (root / place).mkdir(parents=True)
        os.chown(root / place, 1000, 1000)


def pip_options() -> list[str]:
    """Of `pip download` and `pip install --target`: wheels for the userland's Python, whatever this machine is."""
    python = ["--python-version", "3.11", "--implementation", "cp", "--abi", "cp311", "--abi", "abi3", "--abi", "none"]
    # pip does not know that a system which has one of these has those before it.
    platforms = [word for tag in [*TAGS, "any"] for word in ("--platform", tag)]
    return ["--only-binary=:all:", *python, *platforms]


def _fetch_wheels(folder: Path) -> None:
    """The pinned wheels, through this machine's pip."""
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--dest", str(folder), *pip_options()]
    for requirements in REQUIREMENTS.values():
        _do([*pip, "--no-deps", "--requirement", str(requirements)])
    _do([*pip, *DEVICE_TESTS])


def _make_environments(root: Path) -> None:
    """In emulation, by Debian's own venv and pip."""
    for number, (name, requirements) in enumerate(REQUIREMENTS.items()):
        # pip is slow to unpack there: the first environment's serves all.
        without = ["--without-pip"] if number else []
        _do(entering(root, "cortex-a72", "python3", "-m", "venv", *without, f"/opt/{name}"))
        shutil.copy(requirements, root / "wheels")
        _pip(root, name, ["--requirement", f"/wheels/{requirements.name}", *DEVICE_TESTS])


def _pip(root: Path, name: str, words: list[str]) -> None:
    pip = ["/opt/litert/bin/python", "-m", "pip", "--python", f"/opt/{name}/bin/python", "--disable-pip-version-check"]
    _do(entering(root, "cortex-a72", *pip, "install", "--quiet", "--no-index", "--find-links", "/wheels", *words))


def _do(command: list[str]) -> None:
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command[:6])} … failed:\n{done.stdout[-3000:]}")


if __name__ == "__main__":
    if complaint := missing():
        sys.exit(complaint)
    _register()
    sys.exit(subprocess.call(entering(userland(), sys.argv[1], *sys.argv[2:])))
