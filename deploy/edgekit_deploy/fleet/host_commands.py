"""`edgekit deploy push`, `status`, `rollback`, `logs`, `bench` and `pull-wrong`: what is asked of devices."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgekit_deploy.fleet import unit

if TYPE_CHECKING:
    from edgekit_deploy.fleet.session import SshOptions

A_FILE = click.Path(path_type=Path, dir_okay=False)
A_FOLDER = click.Path(path_type=Path, file_okay=False)


def _ssh_config(function: Any) -> Any:
    """Of everything that goes to a device."""
    return click.option("--ssh-config", type=A_FILE, help="Another ssh configuration file.")(function)


def _root(function: Any) -> Any:
    """Of everything that has no bundle which tells."""
    return click.option("--root", default=unit.ROOT, show_default=True, help="The folder of releases there.")(function)


@click.command("push")
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


@click.command("status")
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


@click.command("rollback")
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


@click.command("logs")
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


@click.command("bench", context_settings={"ignore_unknown_options": True})
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


@click.command("pull-wrong")
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
