"""Viewers that vanish, stall or say nothing, and a loop that ends: nothing is left behind."""

import contextlib
import gc
import re
import socket
import struct
import threading
import time

import numpy as np
import pytest
from support.web import (
    TOKEN,
    Viewer,
    client,
    decision,
    page,
    sockets,
    threads,
    wait_until,
)

from edgekit_deploy.web.feeds import Bounds

FORM = b"Host: localhost\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: 100\r\n\r\n"
GET = b"GET /live HTTP/1.1\r\nHost: localhost\r\n\r\n"


def noise(index):
    return decision(index, np.random.default_rng(index).integers(0, 256, (480, 640, 3), np.uint8))


def test_viewers_that_vanish_leave_nothing():
    with page() as running:
        running.publish(decision(0))
        client(running).get("/config.json")
        gc.collect()
        sockets_before, threads_before = sockets(), threading.active_count()
        for round_number in range(3):
            raws = []
            for _ in range(4):
                raw = socket.create_connection(("127.0.0.1", client(running).port), timeout=30)
                raw.sendall(GET)
                assert raw.recv(100)
                raws.append(raw)
            assert running.viewers == 4
            for raw in raws:
                # A reset, as when a browser is killed.
                raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, round_number % 2))
                raw.close()
            running.publish(decision(round_number + 1))
            assert wait_until(lambda: running.viewers == 0)
        # Fewer: what an earlier test left to the garbage collector may go meanwhile.
        assert wait_until(lambda: sockets() <= sockets_before)
        # The encoder's thread may have come meanwhile; there is one.
        assert threading.active_count() <= threads_before + 1
        assert running.warnings == []


def test_a_viewer_that_stands_still_is_cut_off():
    with page(bounds=Bounds(stall_seconds=0.5)) as running:
        with socket.create_connection(("127.0.0.1", client(running).port), timeout=30) as raw:
            raw.sendall(GET)
            assert wait_until(lambda: running.viewers == 1)
            index = 0
            deadline = time.monotonic() + 30
            while running.viewers and time.monotonic() < deadline:
                running.publish(noise(index))
                index += 1
                time.sleep(0.02)
            assert running.viewers == 0
        assert client(running).get("/config.json").status == 200


def test_a_slow_viewer_sees_no_old_pictures():
    with page() as running:
        raw = socket.socket()
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        raw.settimeout(30)
        raw.connect(("127.0.0.1", client(running).port))
        raw.sendall(GET)
        assert wait_until(lambda: running.viewers == 1)
        # Encoded and offered, but not read.
        for index in range(40):
            running.publish(noise(index))
            encoded = running.encoded
            assert wait_until(lambda before=encoded: running.encoded > before)
        seen = []
        data = b""
        while not seen or seen[-1] != 39:
            data += raw.recv(65536)
            seen = [int(number) for number in re.findall(rb'"frame":(\d+)', data)]
        raw.close()
    # What was on its way comes first: about one picture in each buffer. Then the newest.
    assert len(seen) <= 8, seen


def test_connections_that_ask_nothing_are_cut_off():
    with page(bounds=Bounds(stall_seconds=0.3)) as running:
        port = client(running).port
        silent = socket.create_connection(("127.0.0.1", port), timeout=30)
        half = socket.create_connection(("127.0.0.1", port), timeout=30)
        half.sendall(b"GET / HTTP/1.1\r\nHost: local")
        again = socket.create_connection(("127.0.0.1", port), timeout=30)
        again.sendall(b"GET /config.json HTTP/1.1\r\nHost: localhost\r\n\r\nGET /conf")
        assert b" 200 " in again.recv(100)
        for raw in (silent, half, again):
            with raw:
                try:
                    while raw.recv(4096):
                        pass
                except ConnectionResetError:
                    pass
        with Viewer(running) as viewer:
            # A viewer that waits for a picture asks nothing either, and stays.
            for _ in range(2):
                viewer.record()


@pytest.mark.parametrize("path", [b"/login", b"/threshold"])
@pytest.mark.parametrize("part", [b"", b"token=half"])
def test_half_a_body_is_cut_off(path, part):
    with page(bounds=Bounds(stall_seconds=0.3)) as running:
        with socket.create_connection(("127.0.0.1", client(running).port), timeout=30) as raw:
            raw.sendall(b"POST " + path + b" HTTP/1.1\r\n" + FORM + part)
            answer = b""
            # To the end: the camera closes, we do not.
            while more := raw.recv(4096):
                answer += more
        assert answer.startswith(b"HTTP/1.1 408 ")
        assert b"connection: close" in answer.lower()
        assert running.warnings == []


def test_a_body_that_trickles_is_cut_off_too():
    with (
        page(bounds=Bounds(stall_seconds=0.5)) as running,
        socket.create_connection(("127.0.0.1", client(running).port), timeout=0.05) as raw,
    ):
        raw.sendall(b"POST /login HTTP/1.1\r\n" + FORM)
        answer = b""
        for _ in range(99):
            raw.sendall(b"x")
            with contextlib.suppress(TimeoutError):
                answer = raw.recv(100)
                break
        assert answer.startswith(b"HTTP/1.1 408 ")


def test_who_hangs_up_in_the_middle_of_a_body_is_not_worth_a_line():
    with page() as running:
        client(running).get("/config.json")
        before = sockets()
        for _ in range(5):
            with socket.create_connection(("127.0.0.1", client(running).port), timeout=30) as raw:
                raw.sendall(b"POST /login HTTP/1.1\r\n" + FORM + b"token=half")
        # After these, since they are in the same queue.
        assert client(running).post("/login", "token=x").status == 303
        assert wait_until(lambda: sockets() <= before)
        assert running.warnings == []


def test_the_page_closes_with_the_loop():
    before, fds = threads(), sockets()
    with page("0.0.0.0", token=TOKEN) as running:
        one = client(running)
        one.log_in()
        running.publish(decision(0))
        viewer = Viewer(running, cookie=one.cookie)
        viewer.record()
        stuck = socket.create_connection(("127.0.0.1", one.port), timeout=30)
        stuck.sendall(b"GET / HT")
        start = time.monotonic()
    assert time.monotonic() - start < 5.0
    with pytest.raises(EOFError):
        while True:
            viewer.record()
    with pytest.raises(OSError):
        socket.create_connection(("127.0.0.1", one.port), timeout=5)
    viewer.__exit__()
    stuck.close()
    assert threads() == before
    assert wait_until(lambda: sockets() <= fds)
    # The port is free at once.
    with socket.create_server(("127.0.0.1", one.port), reuse_port=False):
        pass


def test_an_error_in_the_loop_closes_the_page_too():
    with pytest.raises(KeyError), page() as running:
        raise KeyError
    assert not threads()
    assert running.viewers == 0
