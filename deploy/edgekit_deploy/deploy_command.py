"""`edgekit deploy`: copy a model to a Raspberry Pi over SSH."""

from __future__ import annotations

from pathlib import Path

import click


@click.group("deploy")
def command() -> None:
    """Copy a model to a Raspberry Pi over SSH.

    \b
    Example:
      edgekit deploy push model.tflite pi@raspberrypi.local:models
    """


@command.command("push")
@click.argument("model", type=click.Path(path_type=Path))
@click.argument("target")
@click.option("--port", type=click.IntRange(1, 65535), help="SSH port; default as configured.")
@click.option("--ssh-config", type=click.Path(path_type=Path), help="Another ssh configuration file.")
@click.option("--remote-edgekit", default="edgekit", help="The edgekit command on the device.")
def push_command(model: Path, target: str, port: int | None, ssh_config: Path | None, remote_edgekit: str) -> None:
    """Copy MODEL to TARGET, verify its hash there, and run `edgekit doctor` on it there.

    TARGET is [user@]host[:folder]; the folder is made if it is missing. The OpenSSH client does the work: your
    ~/.ssh/config counts, keys must be set up (ssh-copy-id), host keys are always checked.

    \b
    Examples:
      edgekit deploy push model.tflite pi@raspberrypi.local
      edgekit deploy push model.tflite pi@10.0.0.7:models --remote-edgekit edgekit-venv/bin/edgekit

    Exit code 1 if the doctor finds something broken there, 3 if the device cannot be reached.
    """
    from edgekit.errors import GateError
    from edgekit_deploy.push import CANNOT_RUN, Ssh, Target, push, run_doctor

    place = Target.parse(target)
    ssh = Ssh(place.host, port, ssh_config)
    path = push(model, place, ssh)
    click.echo(f"{model} is on {place.host} as {path}, with the same sha256.")
    code, output = run_doctor(ssh, path, remote_edgekit)
    if code in CANNOT_RUN:
        click.echo(f"No doctor was run: {place.host} cannot run {remote_edgekit} (see --remote-edgekit).")
        return
    click.echo(output)
    if code:
        raise GateError(f"edgekit doctor must pass on {place.host}, got exit code {code}.", "See its table above.")
