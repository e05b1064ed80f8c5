"""The systemd unit of a release: the least that its command line needs."""

from __future__ import annotations

import re
import shlex
from importlib import resources

from edgekit.errors import InputError

NAME = "edgekit-camera"
ROOT = "/opt/edgekit"
# Without a word about options: the first camera, and what it measured, at the end.
CAMERA = "--source 0 --headless --json /var/lib/edgekit/stats.json"
# Of /etc/systemd/system; Raspberry Pi OS lets its first user use sudo without a password.
# Where it fails, the service's own last words say why.
SAY_WHY = f"{{ journalctl --quiet --no-pager --lines 5 --output cat --unit {NAME}; false; }}"
RESTART = f"""sudo -n sh -c '
install -m 644 current/{NAME}.service /etc/systemd/system/{NAME}.service &&
systemctl daemon-reload && systemctl enable --quiet {NAME} && systemctl restart {NAME} 2>/dev/null || {SAY_WHY}'"""
HEALTHY = f"systemctl is-active --quiet {NAME} || {SAY_WHY}"
# What the camera module needs beside /dev/video*.
LIBCAMERA = ("char-media", "char-dma_heap", "char-drm")


def files(words: list[str], root: str, network: bool = False) -> dict[str, bytes]:
    """The unit, and the options of the camera which it reads.

    Args:
        words: Options of `edgekit camera`, see `checked`.
        root: The folder of releases on the device.
        network: Whether it gets one in any case.

    Returns:
        Contents by name.
    """
    text = resources.files(__package__).joinpath(f"{NAME}.service").read_text("utf-8")
    text = text.replace(ROOT, root)
    if network or has_network(words):
        text = _replaced(text, "PrivateNetwork=yes", "PrivateNetwork=no")
        text = _replaced(text, "RestrictAddressFamilies=AF_UNIX", "RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6")
    if has_camera_module(words):
        lines = "\n".join(["DeviceAllow=char-video4linux rw", *(f"DeviceAllow={device} rw" for device in LIBCAMERA)])
        text = _replaced(text, "DeviceAllow=char-video4linux rw", lines)
    return {f"{NAME}.service": text.encode(), "camera.env": f'EDGEKIT_CAMERA="{" ".join(words)}"\n'.encode()}


def checked(camera: str) -> list[str]:
    """The words of a command line of `edgekit camera`.

    Raises:
        InputError: It is none, or has options that systemd would cut in pieces.
    """
    import click

    from edgekit_deploy.camera_command import command

    try:
        words = shlex.split(camera)
        command.make_context("camera", ["model.tflite", *words])
    except (click.ClickException, ValueError) as error:
        reason = error.format_message() if isinstance(error, click.ClickException) else str(error)
        raise InputError(f"--camera must be options of edgekit camera, got {camera!r}: {reason}") from error
    if any(character in word for word in words for character in "\"'\\$ \t\n"):
        raise InputError(f"--camera must do without spaces, quotes and $ inside of options, got {camera!r}.")
    return words


def has_network(words: list[str]) -> bool:
    """Does this command line need a network? Without --source the device may have a network camera's URL."""
    is_named = any(word.startswith("--source") for word in words)
    return not is_named or any(word.startswith(("--serve", "--mqtt")) or "://" in word for word in words)


def has_camera_module(words: list[str]) -> bool:
    """Does it read a camera module, by the system's picamera2?"""
    return any(re.fullmatch(r"(--source=)?picamera2(:\d+)?", word) for word in words)


def _replaced(text: str, old: str, new: str) -> str:
    if f"\n{old}\n" not in text:
        raise ValueError(f"The unit must have the line {old}.")
    return text.replace(f"\n{old}\n", f"\n{new}\n")
