"""`edgekit deploy`: signed releases to Raspberry Pis over SSH."""

from __future__ import annotations

import click

from edgekit_deploy.fleet import bundle_commands, host_commands


@click.group(
    "deploy",
    commands=[
        bundle_commands.keygen_command,
        bundle_commands.build_command,
        host_commands.push_command,
        host_commands.status_command,
        host_commands.rollback_command,
        host_commands.logs_command,
        host_commands.bench_command,
        host_commands.pull_wrong_command,
    ],
)
def command() -> None:
    """Bring signed releases to Raspberry Pis over SSH, and back by themselves if one does not do well.

    \b
    Once:      edgekit deploy keygen fleet.pem
    Example:   edgekit deploy build model.tflite --key fleet.pem --out app.ekb
               edgekit deploy push app.ekb pi@porch pi@gate
               edgekit deploy status pi@porch pi@gate

    Your own ssh configuration, agent and known hosts count; host keys are always checked, passwords never asked for.
    """
