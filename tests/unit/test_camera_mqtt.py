"""MQTT without a broker: addresses, and brokers that are not there, or are, and say nothing."""

import socket
import subprocess
import sys
import threading
import time
import tracemalloc

import pytest
from support.decisions import decision, wait_for

from edgekit.errors import InputError, MissingError
from edgekit_deploy.outputs.mqtt import MqttOutput
from edgekit_deploy.outputs.mqtt_broker import Broker, topic_name

# The promise to users: no output holds up the end longer.
MOST_CLOSE_SECONDS = 5.0
# A frame must not wait for a broker; this is what a loaded machine may need for the rest.
MOST_FRAME_SECONDS = 0.5
# One message of 20,000, and what the interpreter keeps.
MOST_GROWTH_BYTES = 100_000
NOTHING: dict[str, str] = {}


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("mqtt://host", Broker("host", 1883)),
        ("mqtts://host", Broker("host", 8883, is_encrypted=True)),
        ("mqtt://host:1234/home/cameras/", Broker("host", 1234, base="home/cameras")),
        ("mqtt://me:p%40ss%2Fword@host", Broker("host", 1883, user="me", password="p@ss/word")),
        ("mqtt://me@[::1]:1884", Broker("::1", 1884, user="me")),
    ],
)
def test_addresses(url, expected):
    assert Broker.parse(url, environment=NOTHING) == expected


def test_the_environment_fills_what_the_address_lacks():
    environment = {"EDGEKIT_MQTT_USER": "me", "EDGEKIT_MQTT_PASSWORD": "hunter2"}
    broker = Broker.parse("mqtt://host", environment=environment)
    assert (broker.user, broker.password) == ("me", "hunter2")
    broker = Broker.parse("mqtt://you:mine@host", environment=environment)
    assert (broker.user, broker.password) == ("you", "mine")


def test_the_password_is_never_shown():
    broker = Broker.parse("mqtt://me:hunter2@host")
    assert str(broker) == "host:1883" and "hunter2" not in repr(broker)
    assert str(Broker("::1", 1883)) == "[::1]:1883"


@pytest.mark.parametrize(
    ("part", "url"),
    [
        *(("begin", url) for url in ("host", "host:1883", "http://me:hunter2@host", "me:hunter2@host", "")),
        *(
            ("a host", url)
            for url in ("mqtt://", "mqtt://me:hunter2@", "mqtt://me:hunter2@a..b", "mqtt://x:hunter2@[::1")
        ),
        *(("a port", f"mqtt://me:hunter2{rest}") for rest in ("@host:0", "@host:99999", "@host:x", "/@host")),
        *(("first part", f"mqtt://me:hunter2@host{rest}") for rest in ("?x=1", "/a#b")),
        ("topic", "mqtt://host/a/+/b"),
        ("user", "mqtt://:hunter2@host"),
    ],
)
def test_bad_addresses_are_refused_by_the_part_that_is_wrong(part, url):
    with pytest.raises(InputError, match=part) as caught:
        Broker.parse(url, environment=NOTHING)
    assert "hunter2" not in str(caught.value) and "\n" not in str(caught.value)


def test_a_warning_that_fails_does_not_stop_the_loop():
    """paho's thread calls `warn`; were it to die of it, the loop would send, and wait, in its place."""

    def warn(line):
        raise BrokenPipeError

    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    with MqttOutput(Broker("127.0.0.1", port), "porch", warn=warn) as mqtt:
        for index in range(20):
            start = time.monotonic()
            mqtt.write(decision(f"label {index}", index=index))
            assert time.monotonic() - start < MOST_FRAME_SECONDS
            time.sleep(0.01)
        assert any("paho" in thread.name for thread in threading.enumerate())


def test_an_authority_must_hold_certificates(tmp_path):
    (tmp_path / "ca.pem").write_text("nothing")
    for name in ("ca.pem", "none.pem"):
        broker = Broker.parse("mqtts://host", authority=tmp_path / name)
        with pytest.raises(InputError, match="certificates"):
            MqttOutput(broker, "porch")


def test_names_fit_into_topics():
    assert topic_name("front door/#1") == "front_door_1"
    assert topic_name("Büro") == "B_ro"
    assert topic_name("+/#") == "camera"
    assert topic_name() == topic_name(socket.gethostname())


def test_without_paho_it_is_one_line(monkeypatch):
    monkeypatch.setitem(sys.modules, "paho.mqtt", None)
    monkeypatch.setitem(sys.modules, "paho", None)
    with pytest.raises(MissingError, match=r'pip install "edgekit\[mqtt\]"'):
        MqttOutput(Broker("host", 1883), "porch")


def test_paho_is_imported_only_when_it_is_used():
    code = "import sys, edgekit_deploy.outputs.mqtt; sys.exit('paho' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=60).returncode == 0


@pytest.fixture
def silent():
    """A broker that takes connections, reads nothing and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        taken = []

        def take():
            try:
                while True:
                    taken.append(server.accept()[0])
            except OSError:
                return

        thread = threading.Thread(target=take, daemon=True)
        thread.start()
        yield server.getsockname()[1], taken
        server.shutdown(socket.SHUT_RDWR)
        thread.join(5)
        for connection in taken:
            connection.close()


def closed_port():
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


def longest_frame(output, count=2000):
    longest = 0.0
    for index in range(count):
        start = time.monotonic()
        output.write(decision(f"label {index}", index=index))
        longest = max(longest, time.monotonic() - start)
    return longest


def grown_by(work):
    """How many bytes of Python's memory are left in use by `work`."""
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        work()
        return tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()


def test_a_dead_broker_costs_one_warning_no_time_and_no_memory():
    told, port = [], closed_port()
    output = MqttOutput(Broker("127.0.0.1", port), "porch", warn=told.append)
    with output:
        wait_for(lambda: told)
        assert longest_frame(output) < MOST_FRAME_SECONDS
        assert grown_by(lambda: longest_frame(output, 20_000)) < MOST_GROWTH_BYTES
        # Another attempt or two.
        time.sleep(2.5)
        start = time.monotonic()
    assert time.monotonic() - start < MOST_CLOSE_SECONDS
    assert told == [f"The MQTT broker 127.0.0.1:{port} cannot be reached: Connection refused. Trying on."]


def test_a_broker_that_says_nothing_costs_one_warning_no_time_and_no_memory(silent):
    port, taken = silent
    told = []
    output = MqttOutput(Broker("127.0.0.1", port), "porch", warn=told.append, keep_alive=1)
    with output:
        wait_for(lambda: taken)
        assert longest_frame(output) < MOST_FRAME_SECONDS
        assert grown_by(lambda: longest_frame(output, 20_000)) < MOST_GROWTH_BYTES
        wait_for(lambda: len(taken) >= 2)
        start = time.monotonic()
    assert time.monotonic() - start < MOST_CLOSE_SECONDS
    assert len(told) == 1 and f"127.0.0.1:{port} went away" in told[0]


def test_a_name_that_does_not_exist_is_told():
    told = []
    with MqttOutput(Broker("no-such-host.invalid", 1883), "porch", warn=told.append):
        wait_for(lambda: told)
    assert "no-such-host.invalid:1883 cannot be reached" in told[0]
