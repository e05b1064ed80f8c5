"""The answer on an MQTT broker, as Home Assistant likes it.

With the name "porch" and the base "edgekit", all retained:
    edgekit/porch/state           {"label": "cat", "probability": 0.97, "previous": null, "since": "..."}
    edgekit/porch/availability    online | offline (also by the broker, when edgekit dies: last will)
    homeassistant/sensor/edgekit_porch/label/config    discovery: a sensor whose state is the label
`label` is null where nothing is sure; Home Assistant shows "unknown" then. `since` is when it changed (ISO 8601).
"""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Callable
from types import ModuleType
from typing import Any, Self

from edgekit import __version__
from edgekit.errors import MissingError
from edgekit_deploy.outputs.background import Trouble
from edgekit_deploy.outputs.decided import Change, Changes, Decided
from edgekit_deploy.outputs.mqtt_broker import Broker
from edgekit_deploy.outputs.wall_clock import WallClock, iso
from edgekit_deploy.smoothing import Verdict

# A broker that is silent for one and a half times as long is given up, and a client that is gives cause for its will.
KEEP_ALIVE_SECONDS = 15
RECONNECT_SECONDS = (1, 30)
# How often the probability of an answer that stays is brought up to date.
REFRESH_SECONDS = 10.0
CLOSE_SECONDS = 2.0
ONLINE, OFFLINE = "online", "offline"
# Home Assistant takes no longer states; None becomes "None", which it shows as unknown.
STATE_TEMPLATE = "{{ (value_json.label | string)[:255] }}"


class MqttOutput:
    """Publishes the answer when it changes; use as a context manager.

    Connecting, sending and reconnecting (after 1 to 30 s) happen in paho's own thread. A message is handed over only
    while there is a connection and the one before has left; what came meanwhile is replaced by the newest answer. So
    the loop never waits, nothing piles up, and a broker that comes back is told what is true now.

    Args:
        broker: Where, and with which name and password.
        name: Of this camera, in topics: letters, digits, - and _ (see `mqtt_broker.topic_name`).
        model: The model's name, for Home Assistant.
        warn: Called with one line, from any thread: when the broker cannot be reached, and when it can again.
        clock: Tells the time of day.
        keep_alive: Seconds between signs of life on a silent connection.

    Raises:
        MissingError: paho-mqtt is not installed.
        InputError: The broker's certificate authority cannot be read.
    """

    def __init__(
        self,
        broker: Broker,
        name: str,
        *,
        model: str = "",
        warn: Callable[[str], None] | None = None,
        clock: WallClock | None = None,
        keep_alive: int = KEEP_ALIVE_SECONDS,
    ) -> None:
        self._broker, self._name, self._model = broker, name, model
        self._keep_alive = keep_alive
        self._clock = clock or WallClock()
        self._trouble = Trouble(warn or (lambda line: None))
        self._base = f"{broker.base}/{name}"
        # Guards what follows, and is held while a message is handed over: paho must not reconnect at that moment.
        self._lock = threading.Lock()
        self._is_connected = self._is_over = False
        self._payload: str | None = None
        self._is_sent = True
        # The number of the state that paho is still sending.
        self._leaving: int | None = None
        self._changes = Changes()
        self._change = Change(None, 0.0, None)
        self._since = 0.0
        self._refresh_at = -float("inf")
        self._client = self._make_client(_paho())

    def __enter__(self) -> Self:
        """Begin to connect, in the background."""
        self._client.connect_async(self._broker.host, self._broker.port, self._keep_alive)
        self._client.loop_start()
        return self

    def __exit__(self, *exception: object) -> None:
        """Say goodbye, for CLOSE_SECONDS at most."""
        with self._lock:
            if self._is_connected:
                self._leaving = None
                self._publish_pending()
                self._client.publish(f"{self._base}/availability", OFFLINE, retain=True)
            self._is_over = True
        self._client.disconnect()
        # It waits for paho's thread without a limit, which a broker that hangs can make long.
        stopper = threading.Thread(target=self._client.loop_stop, name="edgekit mqtt end", daemon=True)
        stopper.start()
        stopper.join(CLOSE_SECONDS)

    def write(self, decision: Decided) -> None:
        """Publish the answer if it is another one, or if it is time to refresh its probability. Does not wait."""
        now = decision.frame.timestamp
        change = self._changes.of(decision.verdict)
        if change is None and now < self._refresh_at:
            return
        self._refresh_at = now + REFRESH_SECONDS
        if change is not None or self._payload is None:
            self._change = change or Change(None, decision.verdict.probability, None)
            self._since = self._clock.at(now)
        with self._lock:
            self._payload = _state(decision.verdict, self._change.previous, self._since)
            self._is_sent = False
            self._publish_pending()

    def _publish_pending(self) -> None:
        """Hand the newest state over if the one before has left. With the lock held."""
        if self._is_sent or not self._is_connected or self._leaving is not None:
            return
        self._leaving = self._client.publish(f"{self._base}/state", self._payload, retain=True).mid
        self._is_sent = True

    def _make_client(self, paho: ModuleType) -> Any:
        # A name of its own for each process: a broker throws out a client whose name comes again.
        client = paho.Client(paho.CallbackAPIVersion.VERSION2, client_id=f"edgekit-{self._name}-{time.time_ns():x}")
        client.will_set(f"{self._base}/availability", OFFLINE, retain=True)
        client.reconnect_delay_set(*RECONNECT_SECONDS)
        if self._broker.user is not None:
            client.username_pw_set(self._broker.user, self._broker.password)
        if self._broker.is_encrypted:
            client.tls_set_context(self._broker.tls_context())
        # Else an error in `warn` would end paho's thread, and the loop would send, and wait, in its place.
        client.suppress_exceptions = True
        client.on_connect, client.on_disconnect = self._connected, self._disconnected
        client.on_connect_fail, client.on_publish = self._failed, self._published
        return client

    def _connected(self, client: Any, data: Any, flags: Any, reason: Any, properties: Any) -> None:
        """In paho's thread: tell everything anew, for the broker may have forgotten it."""
        if reason.is_failure:
            self._trouble.begins(f"{self._where} refuses: {reason}. Trying on.")
            return
        with self._lock:
            if self._is_over:
                client.disconnect()
                return
            client.publish(*self._discovery(), retain=True)
            client.publish(f"{self._base}/availability", ONLINE, retain=True)
            self._is_connected = True
            self._leaving = None
            self._is_sent = self._payload is None
            self._publish_pending()
        self._trouble.ends(f"{self._where} answers again.")

    def _published(self, client: Any, data: Any, number: int, reason: Any, properties: Any) -> None:
        """In paho's thread: a message has left, and what came meanwhile may follow."""
        with self._lock:
            if number == self._leaving:
                self._leaving = None
                self._publish_pending()

    def _disconnected(self, client: Any, data: Any, flags: Any, reason: Any, properties: Any) -> None:
        with self._lock:
            self._is_connected = False
            is_over = self._is_over
        if not is_over:
            self._trouble.begins(f"{self._where} went away: {reason}. Trying on.")

    def _failed(self, client: Any, data: Any) -> None:
        # paho calls this while it handles the error.
        error = sys.exc_info()[1]
        reason = getattr(error, "strerror", None) or error or "no answer"
        self._trouble.begins(f"{self._where} cannot be reached: {reason}. Trying on.")

    @property
    def _where(self) -> str:
        return f"The MQTT broker {self._broker}"

    def _discovery(self) -> tuple[str, str]:
        """Topic and payload by which Home Assistant finds the sensor."""
        identifier = f"edgekit_{self._name}"
        payload = {
            "name": "Label",
            "unique_id": f"{identifier}_label",
            "state_topic": f"{self._base}/state",
            "value_template": STATE_TEMPLATE,
            "json_attributes_topic": f"{self._base}/state",
            "availability_topic": f"{self._base}/availability",
            # Without a camera there are no answers: then the last one is none any more.
            "expire_after": round(6 * REFRESH_SECONDS),
            "icon": "mdi:camera-iris",
            "device": {
                "identifiers": [identifier],
                "name": f"Edgekit {self._name}",
                "manufacturer": "edgekit",
                **({"model": self._model} if self._model else {}),
                "sw_version": __version__,
            },
            "origin": {"name": "edgekit", "sw_version": __version__},
        }
        return f"{self._broker.discovery}/sensor/{identifier}/label/config", json.dumps(payload)


def _state(verdict: Verdict, previous: str | None, since: float) -> str:
    probability = round(verdict.probability, 4)
    return json.dumps({"label": verdict.label, "probability": probability, "previous": previous, "since": iso(since)})


def _paho() -> ModuleType:
    try:
        from paho.mqtt import client
    except ImportError as error:
        raise MissingError("--mqtt needs paho-mqtt.", 'Run: pip install "edgekit[mqtt]"') from error
    return client
