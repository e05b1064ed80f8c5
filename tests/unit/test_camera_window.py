"""Windows and status lines, where there may be neither display nor terminal."""

import subprocess
import sys

import cv2
import numpy as np
import pytest
from rich.console import Console

from edgekit import progress
from edgekit_deploy.camera import Decision
from edgekit_deploy.classifier import Guess, Result, Timings
from edgekit_deploy.health import Health
from edgekit_deploy.outputs import status_line, window
from edgekit_deploy.outputs.overlay import Hud
from edgekit_deploy.smoothing import Verdict
from edgekit_deploy.sources.frames import Frame

PICTURE = np.zeros((4, 4, 3), np.uint8)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux names its display in the environment")
def test_no_display_named_is_known_without_a_probe(monkeypatch):
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    monkeypatch.setattr(subprocess, "run", lambda *a, **k: pytest.fail("no probe is needed"))
    assert "DISPLAY is not set" in window.display_problem()


@pytest.mark.parametrize("probe", ["import os; os.abort()", "raise SystemExit(1)", "import time; time.sleep(60)"])
def test_a_probe_that_dies_or_hangs_is_a_reason_not_a_crash(monkeypatch, probe):
    monkeypatch.setenv("DISPLAY", ":0")
    monkeypatch.setattr(window, "PROBE", probe)
    monkeypatch.setattr(window, "PROBE_SECONDS", 0.5)
    assert window.display_problem()


def test_a_probe_that_succeeds_means_a_window(monkeypatch):
    monkeypatch.setenv("DISPLAY", ":0")
    monkeypatch.setattr(window, "PROBE", "pass")
    assert window.display_problem() == ""


@pytest.mark.parametrize(
    ("key", "visible", "goes_on"),
    [(-1, 1.0, True), (ord("q"), 1.0, False), (27, 1.0, False), (ord("x"), 1.0, True), (-1, 0.0, False)],
)
def test_keys_and_close_button(monkeypatch, key, visible, goes_on):
    calls = []
    monkeypatch.setattr(cv2, "namedWindow", lambda *a: calls.append("open"))
    monkeypatch.setattr(cv2, "destroyAllWindows", lambda: calls.append("close"))
    monkeypatch.setattr(cv2, "imshow", lambda title, image: calls.append("show"))
    monkeypatch.setattr(cv2, "waitKey", lambda delay: key)
    monkeypatch.setattr(cv2, "getWindowProperty", lambda title, prop: visible)
    with window.Window("edgekit") as shown:
        assert shown.show(PICTURE) is goes_on
    assert calls == ["open", "show", "close"]


def decision(accuracy=None) -> Decision:
    result = Result((Guess(0, "cat [x]", 0.876, 9),), Timings(0.0, 0.0, 0.0))
    verdict = Verdict(0, result.label, result.probability)
    return Decision(
        Frame(PICTURE, 0.0, 7, 0.2), result, verdict, 0.3, None, Hud(29.97, 12.34, 3), 42, accuracy, Health()
    )


def test_line_tells_answer_and_figures():
    assert status_line.line(decision()) == "cat [x] 88 %  ·  30.0 fps  ·  12.3 ms  ·  42 inferred, 3 dropped"
    assert status_line.line(decision(0.5)).endswith("accuracy 50.0 %")


@pytest.mark.parametrize("terminal", [True, False])
def test_shown_now_and_then_on_terminals_and_in_logs(monkeypatch, terminal, capsys):
    monkeypatch.setattr(progress, "console", Console(stderr=True, force_terminal=True, width=100))
    monkeypatch.setattr(status_line, "_is_terminal", lambda: terminal)
    monkeypatch.setattr(status_line, "TERMINAL_SECONDS", 0.0)
    monkeypatch.setattr(status_line, "LOG_SECONDS", 0.0)
    with status_line.StatusLine() as status:
        for _ in range(3):
            status.update(decision())
    assert "cat [x] 88 %" in capsys.readouterr().err


def test_not_shown_for_every_frame(monkeypatch, capsys):
    with status_line.StatusLine() as status:
        for _ in range(100):
            status.update(decision())
    assert capsys.readouterr().err == ""
