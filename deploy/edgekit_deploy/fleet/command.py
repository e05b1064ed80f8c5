"""`edgekit deploy`: signed releases to Raspberry Pis over SSH."""

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
    from edgekit_deploy.fleet.session import SshOptions

A_FILE = click.Path(path_type=Path, dir_okay=False)
A_FOLDER = click.Path(path_type=Path, file_okay=False)
PASSPHRASE = "EDGEKIT_KEY_PASSPHRASE"  # noqa: S105 - the name of a variable


@click.group("deploy")
def command() -> None:
    """Bring signed releases to Raspberry Pis over SSH, and back by themselves if one does not do well.

    \b
    Once:      edgekit deploy keygen fleet.pem
    Example:   edgekit deploy build model.tflite --key fleet.pem --out app.ekb
               edgekit deploy push app.ekb pi@porch pi@gate
               edgekit deploy status pi@porch pi@gate

    Your own ssh configuration, agent and known hosts count; host keys are always checked, passwords never asked for.
    """


def _ssh_config(function: Any) -> Any:
    """Of everything that goes to a device."""
    return click.option("--ssh-config", type=A_FILE, help="Another ssh configuration file.")(function)


def _root(function: Any) -> Any:
    """Of everything that has no bundle which tells."""
    return click.option("--root", default=unit.ROOT, show_default=True, help="The folder of releases there.")(function)


@command.command("keygen")
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


@command.command("build")
@model_argument()
@click.option("--out", type=A_FILE, required=True, help="The bundle, .ekb.")
@click.option("--key", type=A_FILE, required=True, help="What keygen made.")
@click.option("--camera", metavar="OPTIONS", help=f'Of edgekit camera, in one word.  [default: "{unit.CAMERA}"]')
@click.option("--wheel", type=A_FILE, help="Of edgekit; what it needs is fetched by pip.  [default: built from here]")
@click.option("--wheels", type=A_FOLDER, help="A folder of all wheels, instead.")
@click.option("--machine", default="aarch64", show_default=True, help="As uname -m tells on the device.")
@click.option("--python", default="3.11", show_default=True, help="On the device: Bookworm has 3.11, Trixie 3.13.")
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


def _plan(root: str, camera: str | None, restart: str | None, healthy: str, watch: float, **others: Any) -> ServicePlan:
    from edgekit.errors import InputError
    from edgekit_deploy.fleet.archive import ServicePlan

    if not root.startswith("/") or root == "/":
        raise InputError(f"--root must be an absolute folder, got {root}.", f"Example: {unit.ROOT}")
    if restart is None:
        if healthy:
            raise InputError("--healthy must go with --restart, got it alone.")
        words = unit.checked(unit.CAMERA if camera is None else camera)
        files = unit.files(words, root)
        return ServicePlan(
            root, files, "picamera2" in words, unit.has_network(words), unit.RESTART, unit.HEALTHY, watch
        )
    if camera is not None:
        raise InputError("--camera must go without --restart, got both.")
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


@command.command("push")
@click.argument("bundle", type=A_FILE)
@click.argument("hosts", nargs=-1)
@click.option("--hosts", "hosts_file", type=A_FILE, help="A file that names hosts, one a line.")
@click.option(
    "--canary", type=click.IntRange(0), default=0, help="So many hosts first; the others only if all is well."
)
@click.option("--allow-downgrade", is_flag=True, help="Also where a newer release runs.")
@_ssh_config
def push_command(
    bundle: Path,
    hosts: tuple[str, ...],
    hosts_file: Path | None,
    canary: int,
    allow_downgrade: bool,
    ssh_config: Path | None,
) -> None:
    """Bring BUNDLE to HOSTS ([user@]host), let it run there, and go back where it does not do well.

    Each device checks the signature and every hash, installs into a folder of its own, replays the model's golden
    samples, switches by one rename, restarts the service and watches it. The first key that a device sees is the one
    that it trusts from then on.

    \b
    Examples:
      edgekit deploy push app.ekb pi@porch
      edgekit deploy push app.ekb --hosts fleet.txt --canary 1

    Exit code 1 if a device did not take it; the others go on.
    """
    from rich.live import Live

    from edgekit.errors import GateError, InputError
    from edgekit.progress import console
    from edgekit_deploy.fleet.archive import unpack
    from edgekit_deploy.fleet.push import push, read_hosts
    from edgekit_deploy.fleet.session import SshOptions
    from edgekit_deploy.fleet.table import States

    names = [*hosts, *(read_hosts(hosts_file) if hosts_file else [])]
    if not names:
        raise InputError("At least one host must be given, got none.", "Example: pi@raspberrypi.local")
    archive, states = unpack(bundle), States(names)
    with Live(get_renderable=states.table, console=console, refresh_per_second=4):
        done = push(
            archive,
            names,
            SshOptions(ssh_config),
            states.tell,
            canaries=canary,
            allow_downgrade=allow_downgrade,
        )
    failed = [pushed for pushed in done if pushed.complaint]
    for pushed in failed:
        click.echo(pushed.complaint, err=True)
    if failed:
        raise GateError(f"All {len(done)} devices must take the release, got {len(failed)} that did not.")


@command.command("status")
@click.argument("hosts", nargs=-1, required=True)
@_root
@_ssh_config
def status_command(hosts: tuple[str, ...], root: str, ssh_config: Path | None) -> None:
    """What runs on HOSTS; nothing is changed there.

    \b
    Example:
      edgekit deploy status pi@porch pi@gate

    Exit code 3 if one of them cannot be reached; the others are shown.
    """
    from edgekit.errors import EdgekitError, MissingError
    from edgekit.progress import console
    from edgekit_deploy.fleet.session import Session, SshOptions
    from edgekit_deploy.fleet.table import status_table

    rows, complaints = {}, []
    for host in hosts:
        try:
            with Session(host, root, SshOptions(ssh_config)) as device:
                rows[host] = device.ask("probe")
        except EdgekitError as error:
            complaints.append(str(error))
    if rows:
        console.print(status_table(rows))
    if complaints:
        raise MissingError("\n".join(complaints))


@command.command("rollback")
@click.argument("host")
@_root
@_ssh_config
def rollback_command(host: str, root: str, ssh_config: Path | None) -> None:
    """Let the release before run again on HOST; a second time brings the newer one back.

    \b
    Example:
      edgekit deploy rollback pi@porch
    """
    from edgekit_deploy.fleet.session import Session, SshOptions

    with Session(host, root, SshOptions(ssh_config)) as device:
        click.echo(f"{host} runs {device.ask('rollback')['current']}")


@command.command("logs")
@click.argument("host")
@click.option("--service", default=unit.NAME, show_default=True, help="The systemd service.")
@click.option("--lines", default=100, show_default=True, help="The newest ones.")
@_ssh_config
def logs_command(host: str, service: str, lines: int, ssh_config: Path | None) -> None:
    """The journal of the service on HOST.

    \b
    Example:
      edgekit deploy logs pi@porch --lines 20
    """
    from edgekit_deploy.fleet.session import SshOptions

    words = ["journalctl", "--no-pager", "--lines", str(lines), "--unit", service]
    # Raspberry Pi OS shows it to its first user; others need sudo.
    words = ["sh", "-c", '"$@" || sudo -n "$@"', "sh", *words]
    click.echo(_output(SshOptions(ssh_config), host, "show its journal", words).decode(errors="replace"), nl=False)


@command.command("bench", context_settings={"ignore_unknown_options": True})
@click.argument("host")
@click.argument("options", nargs=-1)
@click.option("--json", "json_path", type=A_FILE, required=True, help="Where the result goes, here.")
@_root
@_ssh_config
def bench_command(host: str, options: tuple[str, ...], json_path: Path, root: str, ssh_config: Path | None) -> None:
    """Run `edgekit bench` (with its OPTIONS) on what HOST runs, and bring the result home.

    \b
    Example:
      edgekit deploy bench pi@porch --json porch.json --minutes 10
    """
    import json

    from edgekit.errors import GateError
    from edgekit.files import write_whole
    from edgekit.progress import console
    from edgekit_deploy.fleet.session import SshOptions

    words = [f"{root}/current/environment/bin/edgekit", "bench", f"{root}/current/model.tflite", "--json", *options]
    with console.status(f"{host}: measuring …"):
        result = _output(SshOptions(ssh_config), host, "run the benchmark", words)
    try:
        json.loads(result)
    except ValueError as error:
        raise GateError(f"{host} must answer with the JSON of edgekit bench, got something else.") from error
    write_whole(json_path, result)
    click.echo(f"{host}: {json_path}")


@command.command("pull-wrong")
@click.argument("host")
@click.argument("folder", type=A_FOLDER)
@click.option("--from", "remote", default="/var/lib/edgekit/wrong", show_default=True, help="What --wrong named there.")
@_ssh_config
def pull_wrong_command(host: str, folder: Path, remote: str, ssh_config: Path | None) -> None:
    """Fetch the frames that viewers called wrong from HOST into FOLDER; they stay on the device.

    \b
    Example:
      edgekit deploy pull-wrong pi@porch photos/wrong
    """
    from edgekit_deploy.fleet.fetching import fetch_folder
    from edgekit_deploy.fleet.session import SshOptions

    count = fetch_folder(host, SshOptions(ssh_config), remote, folder)
    click.echo(f"{host}: {count} new files in {folder}")


def _output(options: SshOptions, host: str, what: str, words: list[str]) -> bytes:
    from edgekit.errors import GateError
    from edgekit_deploy.fleet.session import last_line

    done = options.run(host, words)
    if done.returncode:
        raise GateError(f"{host} must {what}, got: {last_line(done.stderr)}.")
    return bytes(done.stdout)


def _passphrase(asks: bool, confirms: bool = False) -> bytes | None:
    from edgekit.errors import InputError

    value = os.environ.get(PASSPHRASE, "")
    if not value and asks:
        if not sys.stdin.isatty():
            raise InputError("A passphrase must be typed at a terminal, got none.", f"Or set {PASSPHRASE}.")
        value = click.prompt("Passphrase", hide_input=True, confirmation_prompt=confirms)
    return value.encode() or None
