"""What `edgekit camera` opens for its output options, and what is told of each decision."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from edgekit.card import Card
from edgekit_deploy.camera import Decision, Monitor
from edgekit_deploy.outputs.line_stream import STDOUT
from edgekit_deploy.outputs.status_line import StatusLine, tell
from edgekit_deploy.outputs.together import Together
from edgekit_deploy.signals import StopSignals
from edgekit_deploy.smoothing import Decider

if TYPE_CHECKING:
    from edgekit_deploy.outputs.json_lines import DecisionLog
    from edgekit_deploy.outputs.recorder import Recorder
    from edgekit_deploy.outputs.window import Window

BYTES_PER_MB = 1_000_000


class Outputs:
    """The outputs that were asked for; use as a context manager.

    Args:
        options: Of the command.
        card: The model's.
        decider: Whose threshold the web page sets.
        signals: Asked to stop when nobody reads the output any more.
        is_lossless: Every frame counts: rather slow the loop down than lose a line.

    Attributes:
        recorder: None: no recording.
        window: None: none.
        monitor: For the loop to fill in; the web page shows it.
    """

    def __init__(
        self, options: dict[str, Any], card: Card, decider: Decider, signals: StopSignals, is_lossless: bool
    ) -> None:
        self.recorder: Recorder | None = None
        self.window: Window | None = None
        self.monitor = Monitor()
        self._options, self._card, self._signals, self._is_lossless = options, card, signals, is_lossless
        self._decider = decider
        self._stack = contextlib.ExitStack()
        self._log: DecisionLog | None = None
        self._observers: list[Callable[[Decision], None]] = []

    def __enter__(self) -> Self:
        """Open them, the most delicate first.

        Raises:
            InputError: One cannot be opened.
            MissingError: Its extra is not installed.
        """
        with contextlib.ExitStack() as stack:
            self._open(stack)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *exception: object) -> None:
        """Finish and close them."""
        self._stack.close()

    def observe(self, decision: Decision) -> None:
        """Tell all of them of a decision. Only lines to a pipe that is not read, and those of a lossless run, wait."""
        for observer in self._observers:
            observer(decision)
        if self._log is not None and self._log.is_closed:
            self._signals.ask("output closed")

    @property
    def lines_lost(self) -> int:
        """Decisions that stand in no line of --jsonl; final once closed."""
        return self._log.lost if self._log else 0

    def _open(self, stack: contextlib.ExitStack) -> None:
        options = self._options
        if not options["headless"]:
            self.window = _window(stack, self._card.name)
        if options["record"]:
            from edgekit_deploy.outputs.parts import Parts
            from edgekit_deploy.outputs.recorder import Recorder

            minutes = options["record_minutes"]
            parts = Parts(minutes, options["record_keep"]) if minutes else None
            self.recorder = stack.enter_context(Recorder(options["record"], parts=parts, warn=tell))
        if options["jsonl"] != STDOUT:
            self._observers.append(stack.enter_context(StatusLine()).update)
        together = stack.enter_context(Together())
        if options["jsonl"]:
            self._log = together.enter(self._open_log(options["jsonl"], options["jsonl_max_mb"]))
            self._observers.append(self._log.write)
        if options["serve"] is not None:
            self._observers.append(self._open_page(together, options["serve"]))
        if options["mqtt"]:
            self._observers.append(self._open_mqtt(together, options["mqtt"]))
        if options["on_change"]:
            from edgekit_deploy.outputs.hook import Hook

            self._observers.append(together.enter(Hook(options["on_change"], warn=tell)).write)

    def _open_log(self, path: Path, most_mb: float | None) -> DecisionLog:
        from edgekit_deploy.outputs.json_lines import DecisionLog

        most_bytes = None if most_mb is None else round(most_mb * BYTES_PER_MB)
        return DecisionLog(
            path,
            warn=tell,
            most_bytes=most_bytes,
            is_lossless=self._is_lossless,
            is_stopping=lambda: bool(self._signals.received),
        )

    def _open_mqtt(self, together: Together, url: str) -> Callable[[Decision], None]:
        from edgekit_deploy.outputs.mqtt import MqttOutput
        from edgekit_deploy.outputs.mqtt_broker import Broker, topic_name

        broker = Broker.parse(url, authority=self._options["mqtt_ca"])
        name = topic_name(self._options["mqtt_name"] or "")
        output = MqttOutput(broker, name, model=self._card.name, warn=tell)
        return together.enter(output).write

    def _open_page(self, together: Together, address: str) -> Callable[[Decision], None]:
        from edgekit_deploy.web.address import Address, read_token
        from edgekit_deploy.web.feeds import Feeds, ReportBounds
        from edgekit_deploy.web.page import WebPage

        folder = self._options["wrong"]
        page = WebPage(
            Address.parse(address),
            self._card.name,
            self._card.labels,
            token=read_token(self._options["token_file"]),
            threshold=self._decider.threshold,
            feeds=Feeds(
                lambda: self.monitor.stats(), lambda: self.monitor.health.temperature, lambda: self.monitor.status
            ),
            reports=ReportBounds(folder) if folder else None,
            hosts=self._options["serve_host"],
            warn=tell,
        )
        together.enter(page)
        tell(f"Watch at {page.url}")

        def observe(decision: Decision) -> None:
            if page.threshold != self._decider.threshold:
                self._decider.set_threshold(page.threshold)
            page.publish(decision)

        return observe


def _window(stack: contextlib.ExitStack, title: str) -> Window | None:
    """A window, or a line on why there is none."""
    from edgekit_deploy.outputs.window import Window, display_problem

    if problem := display_problem():
        tell(f"No window: {problem}. Running headless.")
        return None
    return stack.enter_context(Window(f"edgekit: {title}"))
