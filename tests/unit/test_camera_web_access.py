"""Who may see the page, from where, and how often: over real sockets."""

import contextlib
import socket

import pytest
from support.web import TOKEN, Viewer, client, decision, page, sockets, wait_until

from edgekit.errors import InputError
from edgekit_deploy.web.address import Address
from edgekit_deploy.web.feeds import Bounds
from edgekit_deploy.web.page import WebPage


@pytest.fixture
def open_page():
    with page() as running:
        running.publish(decision(0))
        yield running


@pytest.fixture
def closed_page():
    """Reachable from everywhere, so it has a token."""
    with page("0.0.0.0", token=TOKEN) as running:
        running.publish(decision(0))
        yield running


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.7.7", "fe80::1"])
def test_beyond_loopback_without_a_token_is_refused_at_start(host):
    with pytest.raises(InputError, match="must have a token") as caught:
        WebPage(Address(host, 8080), "tiny", ("a",))
    assert "EDGEKIT_WEB_TOKEN" in caught.value.remedy


def test_weak_tokens_and_bad_thresholds_are_refused():
    with pytest.raises(InputError, match="16") as caught:
        WebPage(Address("127.0.0.1", 0), "tiny", ("a",), token="hunter2")
    assert "hunter2" not in str(caught.value)
    with pytest.raises(InputError, match="0 to 1"):
        WebPage(Address("127.0.0.1", 0), "tiny", ("a",), threshold=50)


@pytest.mark.parametrize(
    "path", ["/", "/app.js", "/live", "/stream.mjpeg", "/snapshot.jpg", "/metrics", "/config.json", "/x"]
)
def test_without_the_token_nothing_is_shown(closed_page, path):
    answer = client(closed_page).get(path)
    assert answer.status == 401
    assert b"tiny" not in answer.body
    assert len(answer.body) < 2000
    assert (b"<form" in answer.body) == (path == "/")


@pytest.mark.parametrize("path", ["/threshold", "/wrong", "/hold", "/logout"])
def test_without_the_token_nothing_is_changed(closed_page, path):
    assert client(closed_page).post(path, "value=0.9&frame=0").status == 401
    assert closed_page.threshold == 0.0


def test_wrong_token_right_token_and_logout(closed_page):
    one = client(closed_page)
    assert one.get("/login").status == 200
    for wrong in ("", "wrong", TOKEN + "x", TOKEN[:-1], "ß" * 20):
        if wrong.isascii():
            answer = one.log_in(wrong)
            assert answer.status == 401
            assert b"Wrong token" in answer.body
            assert "Set-Cookie" not in answer.headers
    answer = one.log_in()
    assert answer.status == 303
    assert answer.headers["Location"] == "/"
    flags = {part.strip().lower() for part in answer.headers["Set-Cookie"].split(";")[1:]}
    assert {"httponly", "samesite=strict", "path=/"} <= flags
    assert TOKEN not in answer.headers["Set-Cookie"]
    assert one.get("/snapshot.jpg").status == 200
    with Viewer(closed_page, cookie=one.cookie) as viewer:
        assert viewer.record()[0]["frame"] == 0
    gone = one.post("/logout", "")
    assert "edgekit-" in gone.headers["Set-Cookie"] and "Max-Age=0" in gone.headers["Set-Cookie"]


def test_a_cookie_that_was_changed_is_no_cookie(closed_page):
    one = client(closed_page)
    one.log_in()
    name, _, value = one.cookie.partition("=")
    expiry, _, mac = value.partition(".")
    flipped = ("1" if mac[0] != "1" else "2") + mac[1:]
    for wrong in (f"{int(expiry) + 1}.{mac}", f"{expiry}.{flipped}", f"{expiry}.", f".{mac}", "x", "é.é"):
        assert client(closed_page).get("/config.json", Cookie=f"{name}={wrong}").status == 401, wrong
    assert one.get("/config.json").status == 200


def test_programs_show_the_token_in_a_header(closed_page):
    one = client(closed_page)
    assert one.get("/metrics", Authorization=f"Bearer {TOKEN}").status == 200
    assert one.get("/metrics", Authorization=f"bearer {TOKEN}").status == 200
    assert one.get("/metrics", Authorization="Bearer wrong").status == 401
    assert one.get("/metrics", Authorization=f"Basic {TOKEN}").status == 401
    # Never in an address: those end up in logs.
    assert one.get(f"/metrics?token={TOKEN.replace(' ', '+')}").status == 401


def test_guessing_is_slowed_down_and_does_not_lock_out_who_is_in():
    with page("0.0.0.0", token=TOKEN, bounds=Bounds(logins=3)) as running:
        friend, foe = client(running), client(running)
        assert friend.log_in().status == 303
        assert [foe.log_in("guess").status for _ in range(3)] == [401, 401, 401]
        last = foe.log_in("guess")
        assert last.status == 429
        assert 1 <= int(last.headers["Retry-After"]) <= 11
        assert foe.log_in(TOKEN).status == 429
        assert foe.get("/metrics", Authorization=f"Bearer {TOKEN}").status == 429
        assert friend.get("/config.json").status == 200


def test_a_token_on_loopback_is_asked_for_too():
    with page(token=TOKEN) as running:
        assert client(running).get("/config.json").status == 401


def test_the_token_appears_nowhere(closed_page, capfd, caplog):
    one = client(closed_page)
    for _ in range(2):
        one.log_in()
        one.get("/metrics", Authorization=f"Bearer {TOKEN}")
        one.log_in(TOKEN + "!")
    written = capfd.readouterr()
    everything = written.out + written.err + caplog.text + "".join(closed_page.warnings)
    assert TOKEN not in everything and "correct+horse" not in everything
    assert written.out + written.err == ""


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://127.0.0.1:1"},
        {"Origin": ""},
        {"Sec_Fetch_Site": "cross-site"},
        {"Sec_Fetch_Site": "same-site"},
        {"Sec_Fetch_Site": "cross-site", "Sec_Fetch_Mode": "navigate", "Sec_Fetch_Dest": "document"},
    ],
)
def test_posts_of_other_origins_are_refused(open_page, headers):
    one = client(open_page)
    assert one.post("/threshold", "value=0.9", **headers).status == 403
    assert open_page.threshold == 0.0
    assert one.post("/threshold", "value=0.9", Origin=f"http://127.0.0.1:{one.port}").status == 200
    assert open_page.threshold == 0.9


def test_pictures_are_not_for_other_pages_but_links_are(open_page):
    one = client(open_page)
    embedded = {"Sec_Fetch_Site": "cross-site", "Sec_Fetch_Mode": "no-cors", "Sec_Fetch_Dest": "image"}
    assert one.get("/stream.mjpeg", **embedded).status == 403
    framed = {"Sec_Fetch_Site": "cross-site", "Sec_Fetch_Mode": "navigate", "Sec_Fetch_Dest": "iframe"}
    assert one.get("/", **framed).status == 403
    linked = {"Sec_Fetch_Site": "cross-site", "Sec_Fetch_Mode": "navigate", "Sec_Fetch_Dest": "document"}
    assert one.get("/", **linked).status == 200


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:8080", "127.0.0.1.evil.example", "localhost.evil", "", "a@localhost", "[::1"]
)
def test_other_names_are_refused(open_page, host):
    answer = client(open_page).get("/config.json", Host=host)
    assert 400 <= answer.status < 500
    assert b"tiny" not in answer.body


def test_own_names_are_fine(open_page, closed_page):
    for host in ("localhost", "LOCALHOST:9", "127.0.0.1", "[::1]:8080"):
        assert client(open_page).get("/config.json", Host=host).status == 200
    assert client(open_page).get("/config.json", Host="192.168.1.5").status == 421
    for host in ("192.168.1.5:8080", "[fe80::1]", socket.gethostname()):
        assert client(closed_page).get("/login", Host=host).status == 200
    with page(hosts=("Camera.Example",)) as running:
        assert client(running).get("/config.json", Host="camera.example").status == 200


def test_big_bodies_are_refused(open_page):
    one = client(open_page)
    assert one.post("/threshold", b"value=0.5&x=" + b"y" * 5000).status == 413
    # Announced only: refused before a byte of it is read.
    with socket.create_connection(("127.0.0.1", one.port), timeout=30) as raw:
        raw.sendall(b"POST /threshold HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000000\r\n\r\n")
        assert b" 413 " in raw.recv(100)
    # Without a length.
    chunks = b"".join(b"400\r\n" + b"x" * 1024 + b"\r\n" for _ in range(8)) + b"0\r\n\r\n"
    answer = one.post("/threshold", chunks, Transfer_Encoding="chunked")
    assert answer.status == 413
    assert open_page.threshold == 0.0


def test_a_head_without_end_is_cut_off(open_page):
    with socket.create_connection(("127.0.0.1", client(open_page).port), timeout=30) as raw:
        raw.sendall(b"GET / HTTP/1.1\r\nX: ")
        sent = 0
        with contextlib.suppress(ConnectionError):
            while sent < 64 * 2**20:
                sent += raw.send(b"x" * 65536)
    assert sent < 64 * 2**20
    assert client(open_page).get("/config.json").status == 200


def test_requests_in_a_loop_are_slowed_down():
    with page(bounds=Bounds(per_second=0.5, burst=5)) as running:
        one = client(running)
        statuses = [one.get("/config.json").status for _ in range(8)]
        assert statuses[:5] == [200] * 5
        assert 429 in statuses[5:]


def connect(running, number, count):
    """Idle connections of one more client: Linux has all of 127.0.0.0/8."""
    port, source = client(running).port, (f"127.0.0.{number}", 0)
    return [socket.create_connection(("127.0.0.1", port), timeout=30, source_address=source) for _ in range(count)]


def is_open(raw):
    """Whether the other side has not ended this connection; it must answer to be believed."""
    try:
        raw.sendall(b"HEAD /config.json HTTP/1.1\r\nHost: localhost\r\n\r\n")
        return raw.recv(100).startswith(b"HTTP/1.1 200 ")
    except ConnectionError:
        return False


def test_one_client_holds_few_connections():
    with page() as running:
        before = sockets()
        raws = connect(running, 2, 40)
        try:
            # 40 of our own are in this process too.
            assert wait_until(lambda: sockets() <= before + 40 + 12)
            assert sum(is_open(raw) for raw in raws) == 12
            # Nobody else notices.
            assert client(running).get("/config.json").status == 200
        finally:
            for raw in raws:
                raw.close()
        # Places become free again.
        assert wait_until(lambda: sockets() <= before)
        with connect(running, 2, 1)[0] as raw:
            assert is_open(raw)
        assert running.warnings == []


def test_all_clients_together_hold_a_bounded_number_of_connections():
    with page() as running:
        before = sockets()
        raws = [raw for number in range(2, 11) for raw in connect(running, number, 12)]
        try:
            assert wait_until(lambda: sockets() <= before + 108 + 64)
            assert sum(is_open(raw) for raw in raws) == 64
        finally:
            for raw in raws:
                raw.close()
        assert wait_until(lambda: sockets() <= before)
        assert client(running).get("/config.json").status == 200
