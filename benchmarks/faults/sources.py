"""Faults of cameras, streams and files."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from support.clips import read_clip
from support.streams import MjpegServer, jpeg
from support.tiny_model import BGR

from benchmarks.faults.run import Failed, Outcome, Run

LOST = "must keep delivering|must answer with video|must open"
SYSTEM_PYTHON = "/usr/bin/python3"
RTSP_SERVER = Path(__file__).parents[2] / "tests" / "support" / "rtsp_server.py"
PICTURE = np.full((48, 64, 3), BGR["red"], np.uint8)
WATCHED = ("--jsonl", "-")
AWAY_SECONDS = 1.0


def camera(folder: Path, state: str) -> Outcome:
    """A USB camera that gets into `state`, and out of it again."""

    def become(state: str) -> None:
        write(folder / "state", state)

    become("well")
    with Run(folder, "--source", "0", *WATCHED, FAULT_CAMERA=str(folder)) as run:
        run.goes_on()
        run.plant(lambda: become(state), LOST)
        time.sleep(AWAY_SECONDS)
        run.mend(lambda: become("well"))
        run.says("is back")
        return run.finish()


def stuck(folder: Path) -> Outcome:
    """A USB camera whose driver never returns from the first opening, but from the next."""
    write(folder / "state", "stuck")
    with Run(folder, "--source", "0", *WATCHED, FAULT_CAMERA=str(folder)) as run:
        # Slow cameras need the 10 s; signals, the page and the outputs do not wait for them.
        run.tells("must open within 10 s")
        run.mend(lambda: write(folder / "state", "well"))
        return run.finish()


def other_pictures(folder: Path, state: str) -> Outcome:
    """A USB camera whose pictures are suddenly others, which is no reason to stop: nothing to be told, all go on."""
    write(folder / "state", "well")
    with Run(folder, "--source", "0", *WATCHED, FAULT_CAMERA=str(folder)) as run:
        run.goes_on()
        write(folder / "state", state)
        run.goes_through(2 * AWAY_SECONDS)
        return run.finish()


def absent(folder: Path) -> Outcome:
    """A network camera that is not there at the start."""
    with MjpegServer(lambda _: PICTURE) as server:
        url = server.url()
        server.kill()
        with Run(folder, "--source", url, *WATCHED) as run:
            run.tells("Waiting for it")
            run.mend(server.start)
            return run.finish()


def killed(folder: Path) -> Outcome:
    """An HTTP server that is killed and comes back."""
    with MjpegServer(lambda _: PICTURE) as server, Run(folder, "--source", server.url(), *WATCHED) as run:
        run.goes_on()
        run.plant(server.kill, LOST)
        time.sleep(AWAY_SECONDS)
        run.mend(server.start)
        run.says("is back")
        return run.finish()


def ailing(folder: Path, fault: str) -> Outcome:
    """An HTTP server that keeps the connection but sends nothing ("stalled"), or noise ("garbage")."""
    with MjpegServer(lambda _: PICTURE) as server, Run(folder, "--source", server.url(), *WATCHED) as run:
        run.goes_on()
        run.plant(getattr(server, fault).set, LOST)
        run.mend(getattr(server, fault).clear)
        run.says("is back")
        return run.finish()


def corrupt(folder: Path) -> Outcome:
    """Every second JPEG of a stream is cut off, or has bytes changed; the others count."""
    whole = jpeg(np.random.default_rng(0).integers(0, 256, (48, 64, 3), np.uint8))
    torn = bytearray(whole)
    torn[len(torn) // 2 : len(torn) // 2 + 40] = bytes(40)
    bad = (whole[: len(whole) // 2], bytes(torn), b"", whole[:20])
    is_bad = False

    def part(index: int) -> bytes:
        return bad[index // 2 % len(bad)] if is_bad and index % 2 else whole

    with MjpegServer(part) as server, Run(folder, "--source", server.url(), *WATCHED) as run:
        run.goes_on()
        is_bad = True
        run.goes_through(2 * AWAY_SECONDS)
        run.tells_in_the_end("pictures could not be read")
        return run.finish()


def truncated(folder: Path, suffix: str) -> Outcome:
    """The first part of a video file: an .avi plays up to there, an .mp4 lacks its index, which is at its end."""
    whole, part = folder / f"clip{suffix}", folder / f"part{suffix}"
    part.write_bytes(whole.read_bytes()[: whole.stat().st_size * 6 // 10])
    is_playable = suffix == ".avi"
    with Run(folder, "--source", part, "--fast", *WATCHED, expect=0 if is_playable else 2) as run:
        run.tells_in_the_end("may be truncated")
        outcome = run.finish(None)
    frames = len(read_clip(part)[0]) if is_playable else 0
    if len(run.answers) != frames:
        raise Failed(f"The {frames} frames of {part.name} must be classified, got {len(run.answers)}.")
    return outcome


def short_stdin(folder: Path) -> Outcome:
    """Raw frames on standard input, the last of them cut off."""
    with Run(folder, "--source", "-", "--size", "64x48", "--fast", *WATCHED) as run:
        _feed(run, PICTURE.tobytes() * 20 + PICTURE.tobytes()[:1000])
        run.tells_in_the_end("ended inside a frame")
        outcome = run.finish(None)
    if len(run.answers) != 20:
        raise Failed(f"20 whole frames must be classified, got {len(run.answers)}.")
    return outcome


def _feed(run: Run, data: bytes) -> None:
    if run.process.stdin is not None:
        run.process.stdin.write(data)
        run.process.stdin.close()


def rtsp(folder: Path, stop: int) -> Outcome:
    """GStreamer's RTSP server, killed and started again, or stopped (it hangs) and continued."""
    with contextlib.ExitStack() as stack:
        process, port = stack.enter_context(_rtsp_server())
        with Run(folder, "--source", f"rtsp://127.0.0.1:{port}/live", *WATCHED) as run:
            run.goes_on()
            run.plant(lambda: process.send_signal(stop), LOST)
            if stop == signal.SIGKILL:
                process.wait()
                run.mend(lambda: stack.enter_context(_rtsp_server(port)))
            else:
                run.mend(lambda: process.send_signal(signal.SIGCONT))
            run.says("is back")
            return run.finish()


@contextlib.contextmanager
def _rtsp_server(port: int = 0) -> Iterator[tuple[subprocess.Popen[str], int]]:
    command = [SYSTEM_PYTHON, str(RTSP_SERVER), str(port), "h264", "0xC83C28"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            if process.stdout is None or not (words := process.stdout.readline().split())[:1] == ["ready"]:
                raise Failed("The RTSP server must start, got nothing from it.")
            yield process, int(words[1])
        finally:
            process.send_signal(signal.SIGCONT)
            process.kill()


def write(file: Path, text: str) -> None:
    """Replace a file at once: who reads it never sees a part."""
    temporary = file.with_suffix(".new")
    temporary.write_text(text)
    temporary.replace(file)


Case = tuple[str, str, Callable[[Path], Outcome]]
RTSP = "rtsp"
CASES: list[Case] = [
    ("USB camera unplugged for 1 s", "", lambda folder: camera(folder, "unplugged")),
    ("USB camera: a read that never returns", "", lambda folder: camera(folder, "blocked")),
    ("USB camera: an opening that never returns", "", stuck),
    ("USB camera: empty pictures", "", lambda folder: camera(folder, "empty")),
    ("USB camera: pictures that OpenCV cannot decode", "", lambda folder: camera(folder, "broken")),
    ("USB camera: suddenly grey pictures", "", lambda folder: other_pictures(folder, "grey")),
    ("USB camera: suddenly smaller pictures", "", lambda folder: other_pictures(folder, "resized")),
    ("network camera not there at the start", "", absent),
    ("HTTP server killed for 1 s", "", killed),
    ("HTTP server sends nothing more", "", lambda folder: ailing(folder, "stalled")),
    ("HTTP server sends garbage", "", lambda folder: ailing(folder, "garbage")),
    ("MJPEG: every second picture torn", "", corrupt),
    ("RTSP server killed and restarted", RTSP, lambda folder: rtsp(folder, signal.SIGKILL)),
    ("RTSP server hangs", RTSP, lambda folder: rtsp(folder, signal.SIGSTOP)),
    ("truncated .mp4", "", lambda folder: truncated(folder, ".mp4")),
    ("truncated .avi", "", lambda folder: truncated(folder, ".avi")),
    ("raw frames on stdin end inside one", "", short_stdin),
]
