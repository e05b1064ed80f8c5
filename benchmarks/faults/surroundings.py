"""Faults of what is around the camera: disks, pipes, brokers, viewers, the clock, the model's file, the display."""

from __future__ import annotations

import fcntl
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import time
import urllib.request
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

from support.browser import FLAGS
from support.mosquitto import Mosquitto
from support.small_disk import fill, free, small_disk

from benchmarks.faults.run import PATIENCE, Failed, Outcome, Run
from benchmarks.faults.sources import WATCHED, Case, write

DISK_MEGABYTES = 20
FILM = ("--source", "long.mp4")
HOUR = 3600.0
LOOK_SECONDS = 0.5
MOST_SECONDS_OF_FILM = 60.0


def full_disk_recording(folder: Path) -> Outcome:
    """Another program fills the disk of a recording."""
    with (
        small_disk(folder / "disk", DISK_MEGABYTES) as disk,
        Run(folder, *FILM, *WATCHED, "--record", disk / "out.mp4") as run,
    ):
        run.goes_on()
        run.plant(lambda: fill(disk), "disk", goes_on=True)
        run.goes_on()
        return run.finish()


def full_disk_lines(folder: Path) -> Outcome:
    """The disk of the JSON lines is full for a while; afterwards no line may be missing."""
    with small_disk(folder / "disk", DISK_MEGABYTES) as disk:
        lines = disk / "lines.jsonl"
        with Run(folder, *FILM, "--jsonl", lines) as run:
            run.wait(lambda: lines.exists() and lines.stat().st_size > 0, "lines")
            run.plant(lambda: fill(disk), "cannot be written")
            free(disk)
            run.says("can be written again")
            outcome = run.finish()
        frames = [json.loads(line)["frame"] for line in lines.read_text().splitlines()]
    inferred = outcome.counts[1] if outcome.counts else -1
    if len(frames) != inferred or frames != sorted(set(frames)):
        raise Failed(f"The file must hold {inferred} lines, got {len(frames)}.")
    return outcome


def broken_pipe(folder: Path) -> Outcome:
    """Who reads the answers goes away."""
    with Run(folder, *FILM, *WATCHED, hang_up_after=20) as run:
        run.goes_on(10)
        run.plant(lambda: run.wait(lambda: len(run.answers) >= 20, "20 answers"), "output closed")
        return run.finish(None)


def broker_killed(folder: Path) -> Outcome:
    """A real mosquitto is killed, and started again."""
    broker = Mosquitto(folder)
    broker.start()
    try:
        with Run(folder, *FILM, *WATCHED, "--mqtt", f"mqtt://127.0.0.1:{broker.port}") as run:
            run.goes_on()
            run.plant(lambda: broker.stop(signal.SIGKILL), "went away|cannot be reached", goes_on=True)
            broker.start()
            run.says("answers again")
            return run.finish()
    finally:
        broker.stop()


def broker_absent(folder: Path) -> Outcome:
    """Nobody listens where the broker should be."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    with Run(folder, *FILM, *WATCHED, "--mqtt", f"mqtt://127.0.0.1:{port}") as run:
        run.tells("cannot be reached")
        run.goes_through(2.0)
        return run.finish()


def viewers_gone(folder: Path) -> Outcome:
    """Five viewers of the page stop reading; then they vanish without a word."""
    with Run(folder, *FILM, *WATCHED, "--serve", "0") as run:
        port = int(re.findall(r":(\d+)", run.says("Watch at"))[-1])
        run.goes_on()
        viewers = [socket.create_connection(("127.0.0.1", port)) for _ in range(5)]
        for viewer in viewers:
            viewer.sendall(b"GET /live HTTP/1.1\r\nHost: localhost\r\n\r\n")
            viewer.recv(4096)
        run.goes_through(2.0)
        for viewer in viewers:
            # A reset, as when a phone leaves the network.
            viewer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            viewer.close()
        run.goes_through(1.0)
        return run.finish()


def browser_killed(folder: Path) -> Outcome:
    """A real Chromium that shows the page is killed, with all its processes."""
    with Run(folder, *FILM, *WATCHED, "--serve", "0") as run:
        url = run.says("Watch at").split()[-1]
        command = ["chromium", *FLAGS, f"--user-data-dir={folder / 'profile'}", "--remote-debugging-port=0", url]
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        with subprocess.Popen(command, start_new_session=True, **quiet) as browser:
            try:
                run.wait(lambda: _viewers(url) == 1, "a viewer")
                run.goes_through(1.0)
            finally:
                os.killpg(browser.pid, signal.SIGKILL)
        run.wait(lambda: _viewers(url) == 0, "no viewer any more")
        run.goes_through(1.0)
        return run.finish()


def _viewers(url: str) -> int:
    # The page allows each client a few requests a second.
    time.sleep(LOOK_SECONDS)
    with urllib.request.urlopen(f"{url}metrics", timeout=PATIENCE) as answer:
        found = re.search(r"^edgekit_viewers (\d+)$", answer.read().decode(), re.MULTILINE)
    return int(found[1]) if found else -1


def clock_back(folder: Path) -> Outcome:
    """The time of day jumps back by an hour; the times in the answers must go on rising at their own pace."""
    clock = folder / "clock"
    clock.write_text("0")
    with Run(folder, *FILM, *WATCHED, FAULT_CLOCK=str(clock)) as run:
        run.goes_on()
        run.plant(lambda: write(clock, f"{-HOUR}"), "set back by 3600 s", goes_on=True)
        run.goes_through(2.0)
        outcome = run.finish()
    times = run.times
    if times != sorted(times) or _seconds(times[0], times[-1]) > MOST_SECONDS_OF_FILM:
        raise Failed(f"The times of day must rise with the frames, got {times[0]} to {times[-1]}.")
    return outcome


def model_replaced(folder: Path) -> Outcome:
    """The model's file is overwritten with garbage in place, and then deleted: the old one goes on."""
    shutil.copy(folder / "model.tflite", folder / "other.tflite")
    with Run(folder, *FILM, *WATCHED, model="other.tflite") as run:
        run.goes_on()
        with (folder / "other.tflite").open("r+b") as file:
            file.write(os.urandom(4096))
            file.truncate(4096)
        run.goes_through(1.0)
        (folder / "other.tflite").unlink()
        run.goes_through(1.0)
        return run.finish()


def no_display(folder: Path, name: str) -> Outcome:
    """No display, or one that is named and dead."""
    with Run(folder, *FILM, *WATCHED, is_headless=False, **({"DISPLAY": name} if name else {})) as run:
        run.tells("Running headless")
        run.goes_on()
        return run.finish()


def all_hang(folder: Path) -> Outcome:
    """Everything hangs at the end: camera, reader of the answers, broker, hook; a page and a recording are open."""
    (folder / "state").write_text("well")
    pipe = folder / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    fcntl.fcntl(reader, fcntl.F_SETPIPE_SZ, 4096)
    with socket.create_server(("127.0.0.1", 0)) as silent, Run(
        folder, "--source", "0", "--jsonl", pipe, "--mqtt", f"mqtt://127.0.0.1:{silent.getsockname()[1]}",
        "--on-change", "sleep 60", "--serve", "0", "--record", folder / "hung.mp4", FAULT_CAMERA=str(folder),
    ) as run:  # fmt: skip
        run.says("Watch at")
        # A pipe of 4 KiB is full after some twenty answers, and the hook runs after the first.
        time.sleep(3.0)
        write(folder / "state", "blocked")
        time.sleep(0.5)
        run.plant(lambda: run.process.send_signal(signal.SIGTERM), "still running at the end")
        outcome = run.finish(None)
    os.close(reader)
    pipe.unlink()
    return outcome


def _seconds(first: str, last: str) -> float:
    return (datetime.fromisoformat(last) - datetime.fromisoformat(first)).total_seconds()


ROOT, MOSQUITTO, CHROMIUM = "root", "mosquitto", "chromium"
_NO_DISPLAY: Callable[[Path], Outcome] = lambda folder: no_display(folder, "")  # noqa: E731
CASES: list[Case] = [
    ("full disk while recording", ROOT, full_disk_recording),
    ("full disk under the JSON lines", ROOT, full_disk_lines),
    ("broken pipe on stdout", "", broken_pipe),
    ("MQTT broker killed and restarted", MOSQUITTO, broker_killed),
    ("MQTT broker not there", "", broker_absent),
    ("five viewers stop reading, then vanish", "", viewers_gone),
    ("browser that shows the page killed", CHROMIUM, browser_killed),
    ("clock jumps back by an hour", "", clock_back),
    ("model file overwritten, then deleted", "", model_replaced),
    ("no display", "", _NO_DISPLAY),
    ("a display that does not answer", "", lambda folder: no_display(folder, ":987")),
    ("all hang at the end: camera, reader, broker, hook", "", all_hang),
]
