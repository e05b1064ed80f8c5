"""MQTT on Debian's mosquitto, looked at with mosquitto's own client. Run by `make test-debian`."""

import json
import os
import signal
import subprocess
import sys
import threading
import time

import pytest
from support.decisions import WAIT_SECONDS, decision, wait_for
from support.mosquitto import Mosquitto, Watcher, retained

from edgekit_deploy.outputs.mqtt import MqttOutput
from edgekit_deploy.outputs.mqtt_broker import Broker

pytestmark = pytest.mark.debian

STATE, AVAILABILITY = "edgekit/porch/state", "edgekit/porch/availability"
DISCOVERY = "homeassistant/sensor/edgekit_porch/label/config"
MOST_CLOSE_SECONDS = 5.0
MOST_FRAME_SECONDS = 0.5


@pytest.fixture
def broker(tmp_path):
    mosquitto = Mosquitto(tmp_path)
    mosquitto.start()
    yield mosquitto
    mosquitto.stop(signal.SIGKILL)


def output(broker, told=None, **options):
    address = Broker("127.0.0.1", broker.port)
    return MqttOutput(address, "porch", warn=(told if told is not None else []).append, **options)


def is_offline(held):
    return held.get(AVAILABILITY) == "offline"


def labels(payloads):
    return [json.loads(payload)["label"] for payload in payloads]


def test_each_change_is_published_and_nothing_else(broker):
    told = []
    with Watcher(broker.port) as watcher, output(broker, told) as mqtt:
        watcher.wait(AVAILABILITY, lambda payloads: payloads == ["online"])
        expected = []
        for label in (None, "cat", "cat", "dog", "dog", None, "cat"):
            mqtt.write(decision(label, 0.5))
            expected += [label] if not expected or expected[-1] != label else []
            watcher.wait(STATE, lambda payloads, expected=tuple(expected): labels(payloads) == [*expected])
        states = [json.loads(payload) for payload in watcher.payloads(STATE)]
    assert [state["previous"] for state in states] == [None, None, "cat", "dog", None]
    assert all(state["probability"] == 0.5 for state in states)
    assert [state["since"] for state in states] == sorted(state["since"] for state in states)
    assert told == []


def test_what_came_while_another_was_leaving_needs_no_further_frame(broker):
    with Watcher(broker.port) as watcher, output(broker) as mqtt:
        watcher.wait(AVAILABILITY, bool)
        for index in range(100):
            mqtt.write(decision(f"label {index}", index=index))
        watcher.wait(STATE, lambda payloads: labels(payloads)[-1:] == ["label 99"])


def test_a_newcomer_is_told_everything_and_the_end_too(broker):
    with output(broker) as mqtt, Watcher(broker.port) as watcher:
        mqtt.write(decision("cät"))
        watcher.wait(STATE, lambda payloads: labels(payloads) == ["cät"])
        held = retained(broker.port, lambda held: len(held) == 3)
        assert held[AVAILABILITY] == "online" and json.loads(held[STATE])["label"] == "cät"
        found = json.loads(held[DISCOVERY])
        mqtt.write(decision("last"))
        start = time.monotonic()
    assert time.monotonic() - start < MOST_CLOSE_SECONDS
    # What Home Assistant needs to make a sensor: https://www.home-assistant.io/integrations/sensor.mqtt
    assert found["state_topic"] == found["json_attributes_topic"] == STATE
    assert found["availability_topic"] == AVAILABILITY and found["unique_id"] == "edgekit_porch_label"
    # Answers are refreshed every ten seconds while there are any.
    assert found["expire_after"] == 60
    assert "value_json.label" in found["value_template"] and found["device"]["identifiers"] == ["edgekit_porch"]
    held = retained(broker.port, is_offline)
    assert json.loads(held[STATE])["label"] == "last"
    assert sorted(held) == sorted([STATE, AVAILABILITY, DISCOVERY])


def test_the_probability_is_refreshed_now_and_then(broker):
    start = time.monotonic()
    with Watcher(broker.port) as watcher, output(broker) as mqtt:
        watcher.wait(AVAILABILITY, bool)
        # Two minutes of frames, by their own clock.
        for second in range(120):
            mqtt.write(decision("cat", second / 128, timestamp=start + second))
            if second % 10 == 0:
                watcher.wait(STATE, lambda payloads, count=1 + second // 10: len(payloads) == count)
        states = [json.loads(payload) for payload in watcher.payloads(STATE)]
    assert len(states) == 12 and len({state["since"] for state in states}) == 1
    assert states[-1]["probability"] == pytest.approx(110 / 128, abs=1e-4)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL], ids=["stopped", "killed"])
def test_a_broker_that_goes_and_comes_back_is_told_what_is_true_now(broker, number):
    told = []
    with output(broker, told) as mqtt:
        with Watcher(broker.port) as watcher:
            mqtt.write(decision("cat"))
            watcher.wait(STATE, lambda payloads: labels(payloads) == ["cat"])
        broker.stop(number)
        wait_for(lambda: told)
        for index in range(2000):
            start = time.monotonic()
            mqtt.write(decision(f"label {index}", index=index))
            assert time.monotonic() - start < MOST_FRAME_SECONDS
        broker.start()
        # The broker has forgotten everything.
        with Watcher(broker.port) as watcher:
            watcher.wait(STATE, lambda payloads: labels(payloads)[-1:] == ["label 1999"])
            watcher.wait(AVAILABILITY, lambda payloads: payloads[-1:] == ["online"])
            watcher.wait(DISCOVERY, bool)
            mqtt.write(decision("dog"))
            watcher.wait(STATE, lambda payloads: labels(payloads)[-1:] == ["dog"])
        wait_for(lambda: len(told) == 2)
    assert "went away" in told[0] and "answers again" in told[1]


def test_a_broker_that_comes_late_is_told(tmp_path):
    broker, told = Mosquitto(tmp_path), []
    with output(broker, told) as mqtt:
        mqtt.write(decision("cat"))
        wait_for(lambda: told)
        broker.start()
        try:
            with Watcher(broker.port) as watcher:
                watcher.wait(STATE, lambda payloads: labels(payloads)[-1:] == ["cat"])
            wait_for(lambda: len(told) == 2)
        finally:
            broker.stop(signal.SIGKILL)
    assert "cannot be reached" in told[0] and "answers again" in told[1]


def test_a_broker_that_stands_still_holds_up_neither_the_loop_nor_the_end(broker):
    told, before = [], threading.active_count()
    with output(broker, told, keep_alive=2) as mqtt:
        with Watcher(broker.port) as watcher:
            mqtt.write(decision("cat"))
            watcher.wait(STATE, bool)
        broker.process.send_signal(signal.SIGSTOP)
        for index in range(20_000):
            start = time.monotonic()
            # Long ones, so that the connection's buffers fill.
            mqtt.write(decision(f"label {index} " + "x" * 5000, index=index))
            assert time.monotonic() - start < MOST_FRAME_SECONDS
        wait_for(lambda: told)
        start = time.monotonic()
    assert time.monotonic() - start < MOST_CLOSE_SECONDS
    assert len(told) == 1
    broker.process.send_signal(signal.SIGCONT)
    wait_for(lambda: threading.active_count() <= before)


CLIENT = """
import sys, time
from support.decisions import decision
from edgekit_deploy.outputs.mqtt import MqttOutput
from edgekit_deploy.outputs.mqtt_broker import Broker
with MqttOutput(Broker("127.0.0.1", int(sys.argv[1])), "porch") as mqtt:
    mqtt.write(decision("cat"))
    time.sleep(600)
"""


def test_the_broker_tells_that_edgekit_was_killed(broker):
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(entry for entry in sys.path if entry)}
    with Watcher(broker.port) as watcher:
        process = subprocess.Popen([sys.executable, "-c", CLIENT, str(broker.port)], env=environment)
        try:
            watcher.wait(AVAILABILITY, lambda payloads: payloads == ["online"])
            watcher.wait(STATE, lambda payloads: labels(payloads) == ["cat"])
        finally:
            process.kill()
            process.wait(WAIT_SECONDS)
        watcher.wait(AVAILABILITY, lambda payloads: payloads == ["online", "offline"])
    retained(broker.port, is_offline)


@pytest.fixture
def guarded(tmp_path):
    """A broker that wants a user and a password, over TLS; and the authority that signed its certificate."""
    (tmp_path / "passwords").touch(mode=0o600)
    subprocess.run(["mosquitto_passwd", "-b", tmp_path / "passwords", "me", "hunter2"], check=True)
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost",
         "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1", "-keyout", tmp_path / "key", "-out", tmp_path / "ca"],
        check=True, capture_output=True,
    )  # fmt: skip
    mosquitto = Mosquitto(
        tmp_path, "allow_anonymous false", f"password_file {tmp_path / 'passwords'}", f"certfile {tmp_path / 'ca'}",
        f"keyfile {tmp_path / 'key'}",
    )  # fmt: skip
    mosquitto.start()
    yield mosquitto, tmp_path / "ca"
    mosquitto.stop(signal.SIGKILL)


def test_with_a_password_over_tls(guarded, monkeypatch):
    broker, authority = guarded
    monkeypatch.setenv("EDGEKIT_MQTT_PASSWORD", "hunter2")
    told = []
    access = ["--cafile", str(authority), "-u", "me", "-P", "hunter2"]
    address = Broker.parse(f"mqtts://me@127.0.0.1:{broker.port}/home", authority=authority)
    with MqttOutput(address, "porch", warn=told.append) as mqtt, Watcher(broker.port, *access) as watcher:
        mqtt.write(decision("cat"))
        watcher.wait("home/porch/state", lambda payloads: labels(payloads) == ["cat"])
    assert told == []
    retained(broker.port, lambda held: held.get("home/porch/availability") == "offline", *access)


@pytest.mark.parametrize(
    ("url", "is_trusted", "reason"),
    [
        ("mqtts://me:wrong@127.0.0.1", True, "refuses: Not authorized"),
        ("mqtts://127.0.0.1", True, "refuses: Not authorized"),
        ("mqtts://me:hunter2@127.0.0.1", False, "CERTIFICATE_VERIFY_FAILED"),
        ("mqtt://me:hunter2@127.0.0.1", True, "went away"),
    ],
)
def test_a_broker_that_refuses_is_told_once_and_without_the_password(guarded, url, is_trusted, reason):
    broker, authority = guarded
    told = []
    address = Broker.parse(f"{url}:{broker.port}", authority=authority if is_trusted else None, environment={})
    with MqttOutput(address, "porch", warn=told.append) as mqtt:
        mqtt.write(decision("cat"))
        wait_for(lambda: told)
        # Another attempt or two.
        time.sleep(2.5)
        start = time.monotonic()
    assert time.monotonic() - start < MOST_CLOSE_SECONDS
    assert len(told) == 1 and reason in told[0], told
    assert "hunter2" not in told[0] and "wrong" not in told[0]
