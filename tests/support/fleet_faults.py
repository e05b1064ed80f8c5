"""Faults of a push over a real OpenSSH server: planted by tests, and by benchmarks/deploy_faults.py for the README."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from edgekit.errors import EdgekitError
from edgekit_deploy.fleet import archive, keys
from edgekit_deploy.fleet.archive import Archive, Target
from edgekit_deploy.fleet.push import push_to
from edgekit_deploy.fleet.session import Session, SshOptions
from support import tiny_model
from support.fleet import PUSHER_STEPS, killed_push, leftovers, make, resigned, small_wheel, state
from support.small_disk import fill, small_disk

KILLED = "(killed)"


class Bed:
    """A device on which release 1 runs, and bundles for it.

    Args:
        folder: A place of its own.
        config: Of ssh, with a host "pi".
    """

    def __init__(self, folder: Path, config: Path) -> None:
        folder.mkdir(parents=True)
        self.folder, self.root, self.options = folder, folder / "root", SshOptions(config)
        self.config = config
        keys.generate(folder / "fleet.pem", None)
        self.key = keys.load(folder / "fleet.pem", None)
        self.model = folder / "model.tflite"
        self.model.write_bytes(tiny_model.sealed())
        self.wheels = [small_wheel(folder / "wheels", "1.0")]
        self._one = self.bundle(1)

    def bundle(self, number: int, wheels: list[Path] | None = None, **service: object) -> Archive:
        """Release `number`."""
        return make(self.model, wheels or self.wheels, self.root, number, self.key, **service)

    def file(self, number: int, **service: object) -> Path:
        """The same in a file."""
        path = self.folder / f"{number}.ekb"
        path.write_bytes(archive.pack(self.bundle(number, **service)))
        return path

    def push(self, bundle: Archive, allow_downgrade: bool = False) -> str:
        """What the one who pushes is told."""
        try:
            push_to(bundle, "pi", self.options, lambda host, text: None, allow_downgrade)
        except EdgekitError as error:
            return str(error)
        return ""

    def reset(self) -> str:
        """Release 1 runs again."""
        assert self.push(self._one, allow_downgrade=True) == ""
        return state(self.root)


@dataclass(frozen=True)
class Fault:
    """What goes wrong, and what may be active afterwards.

    Attributes:
        name: For the table.
        plant: Lets it happen; gives what the one who pushes is told.
        may_be_new: The new release may run afterwards, too; else only the old one.
    """

    name: str
    plant: Callable[[Bed], str]
    may_be_new: bool = False

    def happen(self, bed: Bed) -> tuple[str, str]:
        """What was told, and "old" or "new"; fails unless one whole release is active and the next push succeeds."""
        old = bed.reset()
        told = self.plant(bed)
        active = state(bed.root)
        assert active == old or (self.may_be_new and active.startswith("2-")), (self.name, active)
        assert bed.push(bed.bundle(2)) == ""
        assert state(bed.root).startswith("2-")
        assert leftovers(bed.root) == []
        return told, "old" if active == old else "new"


def _kill(victim: str, step: str) -> Callable[[Bed], str]:
    def plant(bed: Bed) -> str:
        # New contents, so that there is something to upload; a start that takes a while, so that it can be hit.
        ballast = {"ballast": os.urandom(20_000_000)}
        bundle = bed.file(2, files=ballast, restart="sleep 1", healthy="true", seconds=1.0)
        killed_push(bundle, bed.config, bed.root, victim, step)
        return KILLED

    return plant


def _unsigned(bed: Bed) -> str:
    return bed.push(replace(bed.bundle(2), signature=bytes(64)))


def _altered(bed: Bed) -> str:
    bundle = bed.bundle(2)
    return bed.push(replace(bundle, manifest=bundle.manifest.replace('"number": 2', '"number": 3')))


def _other_key(bed: Bed) -> str:
    other = bed.folder / "other.pem"
    if not other.exists():
        keys.generate(other, None)
    return bed.push(make(bed.model, bed.wheels, bed.root, 2, keys.load(other, None)))


def _truncated(bed: Bed) -> str:
    path = bed.file(2)
    path.write_bytes(path.read_bytes()[:-1000])
    try:
        archive.unpack(path)
    except EdgekitError as error:
        return str(error).replace(str(bed.folder), "…")
    raise AssertionError("a bundle that is cut off must be refused")


def _wrong_bytes(bed: Bed) -> str:
    digest = bed.bundle(2).facts["files"][0]["sha256"]
    try:
        with Session("pi", str(bed.root), bed.options) as device:
            device.ask("put", digest, "5", data=b"other")
    except EdgekitError as error:
        return str(error)
    raise AssertionError("other bytes must be refused")


def _leads_elsewhere(bed: Bed) -> str:
    bundle = bed.bundle(2)
    entry = {"name": "../../evil", "kind": "file", "size": 1, "sha256": bundle.facts["files"][0]["sha256"]}
    return bed.push(resigned(bundle, bed.key, files=[*bundle.facts["files"], entry]))


def _older(bed: Bed) -> str:
    return bed.push(bed.bundle(0))


def _other_machine(bed: Bed) -> str:
    plan = archive.ServicePlan(str(bed.root))
    return bed.push(archive.make(bed.model, bed.wheels, Target("armv7l", "any"), plan, 2, bed.key))


def _fails_its_test(bed: Bed) -> str:
    return bed.push(bed.bundle(2, [small_wheel(bed.folder / "failing", "1.1", fails=True)]))


def _broken_wheel(bed: Bed) -> str:
    broken = bed.folder / "edgekit-1.2-py3-none-any.whl"
    broken.write_bytes(b"no wheel")
    return bed.push(bed.bundle(2, [broken]))


def _missing_wheel(bed: Bed) -> str:
    bundle = bed.bundle(2, [small_wheel(bed.folder / "missing", "1.3")])
    try:
        with Session("pi", str(bed.root), bed.options) as device:
            device.ask("install", data=bundle.signed)
    except EdgekitError as error:
        return str(error)
    raise AssertionError("a wheel that was not uploaded must be missed")


def _does_not_start(bed: Bed) -> str:
    return bed.push(bed.bundle(2, restart="case $(readlink current) in */2-*) echo no camera; false;; esac"))


def _crash_loops(bed: Bed) -> str:
    # It starts, and is gone when somebody looks for the second time.
    service = "echo x >> looked; [ $(wc -l < looked) -lt 2 ]"
    (bed.root / "looked").unlink(missing_ok=True)
    return bed.push(bed.bundle(2, restart="true", healthy=service, seconds=1.0))


def _at_once(bed: Bed) -> str:
    bundle, told = bed.bundle(2), []
    with Session("pi", str(bed.root), bed.options) as device:
        device.ask("missing", data=bundle.signed)
        other = threading.Thread(target=lambda: told.append(bed.push(bundle)))
        other.start()
        other.join(60)
    # Its lock goes with its process.
    time.sleep(0.5)
    return told[0]


def full_disk(folder: Path, config: Path) -> tuple[str, str]:
    """A disk that fills up while a file is on its way, as `Fault.happen`. Needs the right to mount.

    Raises:
        NoSmallDisk: There is none.
    """
    with small_disk(folder, 150) as disk:
        bed = Bed(disk / "bed", config)
        old = bed.reset()
        ballast = {"ballast": os.urandom(10_000_000)}
        fill(disk)
        told = bed.push(bed.bundle(2, files=ballast))
        assert state(bed.root) == old
        (disk / "filler").unlink()
        assert bed.push(bed.bundle(2, files=ballast)) == ""
        assert leftovers(bed.root) == []
    return told, "old"


FAULTS = (
    *(
        Fault(f"kill -9 of the {victim} while {step}", _kill(victim, step), may_be_new=True)
        for victim in ("pusher", "ssh", "remote shell")
        for step in PUSHER_STEPS
    ),
    Fault("bundle without a signature", _unsigned),
    Fault("manifest altered after it was signed", _altered),
    Fault("signed with another key", _other_key),
    Fault("bundle cut off", _truncated),
    Fault("other bytes arrive than were signed", _wrong_bytes),
    Fault("a signed name leads out of its folder", _leads_elsewhere),
    Fault("an older bundle comes again", _older),
    Fault("a bundle for another machine", _other_machine),
    Fault("a wheel that is none", _broken_wheel),
    Fault("a wheel is missing", _missing_wheel),
    Fault("the model's test fails on the device", _fails_its_test),
    Fault("the service does not start", _does_not_start),
    Fault("the service starts and crashes", _crash_loops),
    Fault("two pushes at once: the second one", _at_once),
)
