"""A folder of a device, brought home."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path, PurePosixPath

from edgekit.errors import GateError
from edgekit.files import write_whole
from edgekit_deploy.fleet.session import SshOptions, last_line

# The service's user is not the one who logs in.
PACK = '[ -r "$1" ] || become="sudo -n"; exec $become tar --create --file=- --directory "$1" .'


def fetch_folder(host: str, options: SshOptions, remote: str, folder: Path) -> int:
    """Copy the plain files of a folder there; what is here already stays as it is.

    Returns:
        How many are new.

    Raises:
        GateError: The folder cannot be read there.
    """
    done = options.run(host, ["sh", "-c", PACK, "sh", remote])
    if done.returncode:
        raise GateError(f"{host} must have the folder {remote}, got: {last_line(done.stderr)}.")
    count = 0
    with tarfile.open(fileobj=io.BytesIO(done.stdout)) as archive:
        for entry in archive:
            path = PurePosixPath(entry.name)
            # Names come from a device: none may lead out of the folder.
            if not entry.isfile() or path.is_absolute() or ".." in path.parts:
                continue
            target, content = folder / path, archive.extractfile(entry)
            if content is not None and not target.exists():
                write_whole(target, content.read())
                count += 1
    return count
