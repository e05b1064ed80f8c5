"""`edgekit deploy keygen` and `build`: what happens here, before any device is asked."""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgekit.shipped import model_argument
from edgekit_deploy.fleet import unit

if TYPE_CHECKING:
    from edgekit_deploy.fleet.archive import ServicePlan, Target

A_FILE = click.Path(path_type=Path, dir_okay=False)
A_FOLDER = click.Path(path_type=Path, file_okay=False)
PASSPHRASE = "EDGEKIT_KEY_PASSPHRASE"  # noqa: S105 - the name of a variable


@click.command("keygen")
@click.argument("key", type=A_FILE)
@click.option("--passphrase", is_flag=True, help="Ask for one, and encrypt the private key with it.")
def keygen_command(key: Path, passphrase: bool) -> None:
    """Make the key that bundles are signed with: KEY (private; keep it), and its public half beside it (.pub.pem).

    \b
    Example:
      edgekit deploy keygen fleet.pem --passphrase

    Where nobody can be asked, EDGEKIT_KEY_PASSPHRASE holds the passphrase, here and for `build`.
    """
    from edgekit_deploy.fleet.keys import fingerprint, generate

    public = generate(key, _passphrase(asks=passphrase, confirms=True))
    click.echo(f"{key} (private), {public}: {fingerprint(public.read_bytes())[:12]}")


@click.command("build")
@model_argument()
@click.option("--out", type=A_FILE, required=True, help="The bundle, .ekb.")
@click.option("--key", type=A_FILE, required=True, help="What keygen made.")
@click.option("--camera", metavar="OPTIONS", help=f'Of edgekit camera, in one word.  [default: "{unit.CAMERA}"]')
@click.option(
    "--network",
    is_flag=True,
    help="Give the service a network that its options do not ask for: for EDGEKIT_MQTT or a camera's URL in the "
    "device's /etc/edgekit/secrets. (Without --source among its options it has one.)",
)
@click.option("--wheel", type=A_FILE, help="Of edgekit; what it needs is fetched by pip.  [default: built from here]")
@click.option("--wheels", type=A_FOLDER, help="A folder of all wheels, instead.")
@click.option("--machine", default="aarch64", show_default=True, help="As uname -m tells on the device.")
@click.option(
    "--python",
    type=click.Choice(("3.11", "3.12", "3.13")),
    default="3.11",
    show_default=True,
    help="On the device: Bookworm has 3.11, Trixie 3.13.",
)
@click.option("--root", default=unit.ROOT, show_default=True, help="The folder of releases on the device.")
@click.option("--restart", metavar="COMMAND", help="Starts what runs the model, instead of the systemd unit.")
@click.option("--healthy", default="", metavar="COMMAND", help="With --restart: succeeds while it does well.")
@click.option("--watch", default=10.0, show_default=True, help="Seconds in which it must do well after a switch.")
@click.option(
    "--number",
    type=click.IntRange(0),
    envvar="SOURCE_DATE_EPOCH",
    help="Devices take no smaller one.  [default: the time]",
)
def build_command(model: Path, out: Path, key: Path, **options: Any) -> None:
    """Put MODEL, all wheels for the device, and the systemd unit that runs the camera into one signed bundle.

    The same files, options and --number (or SOURCE_DATE_EPOCH) give the same bytes. With --restart there is no unit:
    the command is run in the folder of releases, where current/model.tflite and current/environment/bin/edgekit are
    what runs; --restart "" if nothing needs to be restarted.

    \b
    Examples:
      edgekit deploy build model.tflite --key fleet.pem --out app.ekb
      edgekit deploy build model.tflite --key fleet.pem --out app.ekb --python 3.13 \\
        --camera "--source picamera2 --serve 0.0.0.0:8080 --headless"
    """
    from edgekit.files import write_whole
    from edgekit_deploy.fleet import archive
    from edgekit_deploy.fleet.keys import is_encrypted, load

    target = archive.Target(options["machine"], options["python"])
    number = int(time.time()) if options["number"] is None else options["number"]
    private, plan = load(key, _passphrase(asks=is_encrypted(key))), _plan(**options)
    with _wheels(target, plan, options["wheel"], options["wheels"]) as wheels:
        made = archive.make(model, wheels, target, plan, number, private)
    write_whole(out, archive.pack(made))
    click.echo(f"{out}: release {number}, {len(wheels)} wheels for {target.machine}, Python {target.python}")


def _plan(
    root: str, camera: str | None, network: bool, restart: str | None, healthy: str, watch: float, **others: Any
) -> ServicePlan:
    from edgekit.errors import InputError
    from edgekit_deploy.fleet.archive import ServicePlan

    if not root.startswith("/") or root == "/":
        raise InputError(f"--root must be an absolute folder, got {root}.", f"Example: {unit.ROOT}")
    if restart is None:
        if healthy:
            raise InputError("--healthy must go with --restart, got it alone.")
        words = unit.checked(unit.CAMERA if camera is None else camera)
        network = network or unit.has_network(words)
        files, has_module = unit.files(words, root, network), unit.has_camera_module(words)
        return ServicePlan(root, files, has_module, network, unit.RESTART, unit.HEALTHY, watch)
    if camera is not None or network:
        raise InputError(f"{'--network' if camera is None else '--camera'} must go without --restart, got both.")
    return ServicePlan(root, restart=restart, healthy=healthy, seconds=watch)


@contextlib.contextmanager
def _wheels(target: Target, plan: ServicePlan, wheel: Path | None, folder: Path | None) -> Iterator[list[Path]]:
    import tempfile

    from edgekit.errors import InputError
    from edgekit.progress import console
    from edgekit_deploy.fleet.wheels import build, fetch

    if wheel is not None and folder is not None:
        raise InputError("Either --wheel or --wheels must be given, got both.")
    if folder is not None:
        yield sorted(folder.glob("*.whl"))
        return
    with tempfile.TemporaryDirectory(prefix="edgekit-") as scratch:
        with console.status("fetching wheels …"):
            wheel = wheel or build(Path(scratch) / "own")
            paths = fetch(wheel, target, Path(scratch) / "others", plan.has_network, plan.has_system_packages)
        yield paths


def _passphrase(asks: bool, confirms: bool = False) -> bytes | None:
    from edgekit.errors import InputError

    value = os.environ.get(PASSPHRASE, "")
    if not value and asks:
        if not sys.stdin.isatty():
            raise InputError("A passphrase must be typed at a terminal, got none.", f"Or set {PASSPHRASE}.")
        value = click.prompt("Passphrase", hide_input=True, confirmation_prompt=confirms)
    return value.encode() or None
