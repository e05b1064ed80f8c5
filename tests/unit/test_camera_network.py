"""Network streams against a real MJPEG server on the loopback that stalls, dies, sends garbage and comes back."""

import contextlib
import itertools
import socket
import threading
import time
from itertools import islice

import cv2
import numpy as np
import pytest
from support.streams import MjpegServer, jpeg

from edgekit.errors import InputError
from edgekit_deploy.sources import SourceOptions, mjpeg, open_source
from edgekit_deploy.sources.frames import SourceLost
from edgekit_deploy.sources.masking import masked
from edgekit_deploy.sources.network import OPEN_SECONDS, NetworkSource
from edgekit_deploy.sources.reading import READ_SECONDS

# What JPEG does to a flat grey.
LEVEL_TOLERANCE = 3
# A machine under load may come late, never early.
LATE_SECONDS = 5.0


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch):
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)


def level(index):
    return 10 * (index % 20) + 20


def flat(index):
    return np.full((48, 64, 3), level(index), np.uint8)


def read_until_lost(source, most=10_000):
    """The frames before the loss, and the error; the source must not go on."""
    frames = []
    with pytest.raises(SourceLost) as caught:
        for frame in islice(source, most):
            frames.append(frame)
    return frames, caught.value


def test_frames_arrive_in_order_and_fresh():
    with MjpegServer(flat) as server, open_source(server.url()) as source:
        frames = list(islice(source, 15))
        now = time.monotonic()
    assert isinstance(source, NetworkSource) and source.is_live and not source.lossless
    assert [frame.index for frame in frames] == list(range(15))
    sent = [round((float(frame.image.mean()) - 20) / 10) for frame in frames]
    # Where the machine stalls, some are passed over.
    assert all(0 < (second - first) % 20 < 10 for first, second in itertools.pairwise(sent))
    for frame, index in zip(frames, sent, strict=True):
        assert frame.image.shape == (48, 64, 3) and frame.image.dtype == np.uint8
        assert np.abs(frame.image.astype(int) - level(index)).max() <= LEVEL_TOLERANCE
    stamps = [frame.timestamp for frame in frames]
    assert stamps == sorted(stamps) and stamps[-1] <= now
    assert len({frame.image.ctypes.data for frame in frames}) == 15  # each belongs to whoever receives it


def test_pictures_that_come_faster_than_they_are_decoded_do_not_pile_up(monkeypatch):
    """Fifty a second, of which a slow board decodes ten: each answer is of the newest, not of seconds ago."""
    decode = cv2.imdecode
    monkeypatch.setattr(mjpeg.cv2, "imdecode", lambda *words: time.sleep(0.1) or decode(*words))
    # Larger than what is read at a time.
    stamped, noise = {}, np.random.default_rng(4).integers(0, 256, (240, 320, 3), np.uint8)

    def picture(index):
        stamped[index] = time.monotonic()
        both = noise.copy()
        both[:48, :160], both[:48, 160:] = 10 * (index % 24) + 10, 10 * (index // 24) + 10
        return both

    ages = []
    with MjpegServer(picture) as server, open_source(server.url()) as source:
        for frame in islice(source, 20):
            ones, tens = (round((float(half.mean()) - 10) / 10) for half in np.hsplit(frame.image[:48], 2))
            ages.append(time.monotonic() - stamped[ones + 24 * tens])
    # Decoding and a picture's time; in order of their coming they would be 1.6 s old in the end.
    assert np.median(ages[-5:]) < 0.8


def test_what_was_opened_is_described():
    with MjpegServer(flat) as server, open_source(server.url("admin:geheim@")) as source:
        assert source.describe() == f"{server.url('***@')}: MJPEG over HTTP"


def test_colours_are_bgr():
    with MjpegServer(lambda i: np.full((48, 64, 3), (250, 20, 10), np.uint8)) as server, open_source(server.url()) as s:
        frame = next(iter(s))
    assert np.abs(frame.image.reshape(-1, 3).mean(axis=0) - (250, 20, 10)).max() <= LEVEL_TOLERANCE


def test_a_killed_server_is_a_loss_and_it_can_come_back():
    with MjpegServer(flat) as server:
        with open_source(server.url()) as source:
            frames = iter(source)
            assert next(frames).index == 0
            server.kill()
            start = time.monotonic()
            _, lost = read_until_lost(frames)
            assert time.monotonic() - start < LATE_SECONDS
            assert "must keep delivering" in lost.message
        with pytest.raises(SourceLost, match="connection refused"), open_source(server.url()):
            pass
        server.start()
        with open_source(server.url()) as source:
            assert next(iter(source)).index == 0


def test_a_stalled_server_is_a_loss_in_time():
    with MjpegServer(flat) as server, open_source(server.url()) as source:
        frames = iter(source)
        next(frames)
        server.stalled.set()
        start = time.monotonic()
        read_until_lost(frames)
        elapsed = time.monotonic() - start
    assert READ_SECONDS - 0.1 <= elapsed < READ_SECONDS + LATE_SECONDS


def test_a_server_that_accepts_and_says_nothing():
    with MjpegServer(flat) as server:
        server.stalled.set()
        start = time.monotonic()
        with pytest.raises(SourceLost, match="no answer in time"), open_source(server.url()):
            pass
        elapsed = time.monotonic() - start
    assert OPEN_SECONDS - 0.1 <= elapsed < OPEN_SECONDS + LATE_SECONDS


def test_a_host_that_speaks_first_and_nonsense():
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def talk():
            with contextlib.suppress(OSError):
                while True:
                    connection, _ = listener.accept()
                    with connection:
                        connection.sendall(b"SSH-2.0-OpenSSH_9.2\r\n" * 50)

        threading.Thread(target=talk, daemon=True).start()
        for scheme in ("http", "rtsp", "tcp"):
            url = f"{scheme}://127.0.0.1:{listener.getsockname()[1]}/live"
            with pytest.raises(SourceLost, match="must answer with video"), open_source(url):
                pass


def test_a_refusal_is_told_with_its_number():
    with MjpegServer(flat) as server:
        server.status = 404
        with pytest.raises(SourceLost, match="HTTP 404"), open_source(server.url()):
            pass
        server.status, server.login = 200, "admin:right"
        for user in ("", "admin:wrong@"):
            with pytest.raises(SourceLost, match="HTTP 401") as caught, open_source(server.url(user)):
                pass
            assert "wrong" not in str(caught.value)


def test_garbage_instead_of_parts_is_a_loss():
    with MjpegServer(flat) as server, open_source(server.url()) as source:
        frames = iter(source)
        next(frames)
        server.garbage.set()
        start = time.monotonic()
        read_until_lost(frames)
        assert time.monotonic() - start < LATE_SECONDS


def test_corrupt_pictures_are_skipped_and_their_index_is_missing():
    noise = jpeg(np.random.default_rng(5).integers(0, 256, (48, 64, 3), np.uint8))
    corrupt = [b"rubbish", b"\xff\xd8\xff\xd9", b"", noise[:100]]

    def picture(index):
        return flat(index) if index % 3 else corrupt[index // 3 % 4]

    with MjpegServer(lambda i: picture(i + 1)) as server, open_source(server.url()) as source:
        frames = list(islice(source, 40))
    assert all(np.ptp(frame.image) <= LEVEL_TOLERANCE for frame in frames)
    # "rubbish" and nothing at all are no picture that could be missed; the other two leave a gap each.
    indices = [frame.index for frame in frames]
    assert indices == sorted(set(indices)) and 5 <= indices[-1] + 1 - len(frames) <= 20


def test_only_corrupt_pictures_are_a_loss():
    with MjpegServer(lambda i: flat(i) if i < 3 else b"rubbish") as server, open_source(server.url()) as source:
        start = time.monotonic()
        frames, lost = read_until_lost(source)
        assert time.monotonic() - start < 2 * LATE_SECONDS
    assert len(frames) == 3
    assert "after 3" in lost.message


def test_other_sized_and_grey_pictures_go_on():
    shapes = [(48, 64, 3), (32, 40, 3), (48, 64), (20, 30, 3)]
    with MjpegServer(lambda i: np.full(shapes[i % 4], 90, np.uint8)) as server, open_source(server.url()) as source:
        frames = list(islice(source, 12))
    assert {frame.image.shape for frame in frames} == {(*shape[:2], 3) for shape in shapes}
    assert all(np.abs(frame.image.astype(int) - 90).max() <= LEVEL_TOLERANCE for frame in frames)


def test_the_password_reaches_the_server_and_nothing_else(capfd):
    with MjpegServer(flat) as server:
        server.login = "admin:Geheim/1@3"
        url = server.url("admin:Geheim%2F1%403@", "/live?token=Geheim456")
        with open_source(url) as source:
            frames = iter(source)
            next(frames)
            server.kill()
            _, lost = read_until_lost(frames)
        with pytest.raises(SourceLost) as refused, open_source(url):
            pass
        told = [source.name, *source.notes, str(lost), str(refused.value), repr(refused.value), *capfd.readouterr()]
        assert any("Basic" in (authorization or "") for _, authorization in server.requests)
        assert "/live?token=Geheim456" in [path for path, _ in server.requests]
    assert not any("Geheim" in text or "admin" in text for text in told)
    assert "***@127.0.0.1" in source.name


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("rtsp://cam/live", "rtsp://cam/live"),
        ("rtsp://admin:secret@cam:554/live", "rtsp://***@cam:554/live"),
        ("rtsp://secret@cam/live", "rtsp://***@cam/live"),
        ("rtsp://admin:s@cret@cam/live", "rtsp://***@cam/live"),
        ("rtsp://admin:secret/5@cam/live", "rtsp://***@cam/live"),
        ("rtsp://admin:5/secret@cam/live", "rtsp://***@cam/live"),
        ("rtsp://admin:secret#?@cam/live", "rtsp://***@cam/live"),
        ("http://cam/v.cgi?user=me&pwd=secret&fps=5", "http://cam/v.cgi?user=***&pwd=***&fps=***"),
        ("http://cam/v.cgi?access_token=secret", "http://cam/v.cgi?access_token=***"),
        ("rtspsrc location=rtsp://u:secret@c/x user-pw=secret !", "rtspsrc location=rtsp://***@c/x user-pw=*** !"),
        ('rtspsrc user-pw="secret secret" ! appsink', "rtspsrc user-pw=*** ! appsink"),
        ("http://cam/@home/live", "http://cam/@home/live"),
        ("folder/me@home.mp4", "folder/me@home.mp4"),
    ],
)  # fmt: skip
def test_masking(text, shown):
    assert masked(text) == shown
    assert "secret" not in masked(text)


@pytest.mark.parametrize("text", ["ftp://me:secret@host/x", "://", "rtsp:/cam", "file:///tmp/x.mp4"])
def test_urls_of_nothing(text):
    with pytest.raises(InputError, match="--source") as caught:
        open_source(text)
    assert "secret" not in str(caught.value)


def test_a_password_that_tears_the_url_is_not_shown():
    with pytest.raises(SourceLost) as caught, open_source("rtsp://admin:secret/x@127.0.0.1:1/live"):
        pass
    assert "secret" not in str(caught.value)


def test_a_host_that_does_not_exist():
    with (
        pytest.raises(SourceLost, match="host name without an address"),
        open_source("rtsp://nowhere.invalid/"),
    ):
        pass


def test_wishes_that_a_stream_cannot_fulfil():
    for options in (SourceOptions(size=(64, 48)), SourceOptions(fps=5.0), SourceOptions(fourcc="MJPG")):
        with pytest.raises(InputError, match="left out"):
            open_source("rtsp://admin:secret@cam/live", options)


def test_a_recording_on_a_server_ends_as_a_file_does(tmp_path):
    import http.server
    from functools import partial

    from support.clips import colour_pictures, write_clip

    write_clip(tmp_path / "clip.mp4", colour_pictures([(10, 200, 30)], 20), fps=50.0)
    handler = partial(http.server.SimpleHTTPRequestHandler, directory=str(tmp_path))
    handler.log_message = lambda *arguments: None
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        start = time.monotonic()
        with open_source(f"http://127.0.0.1:{server.server_address[1]}/clip.mp4") as source:
            frames = list(source)
        server.shutdown()
    assert not source.is_live and len(frames) == 20
    assert time.monotonic() - start >= 0.38  # in real time
    assert cv2.norm(frames[5].image.reshape(-1, 3).mean(axis=0) - (10, 200, 30)) < 20
