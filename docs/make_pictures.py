"""Make the README's pictures from a finished demo: python docs/make_pictures.py [runs/demo].

The camera frame and the web page show a drawing made here, and the report is cut off above its photos: CIFAR-10's
images are not ours to publish. Needs Chromium (Debian: apt-get install chromium).
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np

DOCS = Path(__file__).parent
CHROMIUM = ["chromium", "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--no-first-run"]
REPORT_WIDTH, REPORT_HEIGHT = 1160, 1480
PAGE_SIZE = 1000, 640
# Until the chart shows something.
PAGE_SECONDS = 12.0


def draw_ship() -> np.ndarray:
    """A cargo ship at sea, BGR uint8 (480, 640, 3)."""
    rows = np.linspace(0.0, 1.0, 480)[:, None]
    sky = np.array([235, 206, 170]) * (1 - rows) + np.array([245, 235, 225]) * rows
    frame = np.repeat(sky[:, None], 640, axis=1).astype(np.uint8).reshape(480, 640, 3)
    frame[310:] = (120, 84, 40)
    for row in range(316, 480, 9):
        cv2.line(frame, ((row * 37) % 90, row), (640, row), (138, 100, 54), 1)
    hull = np.array([[110, 270], [540, 270], [505, 345], [150, 345]])
    cv2.fillPoly(frame, [hull], (52, 40, 110))
    cv2.rectangle(frame, (110, 262), (540, 272), (225, 225, 225), -1)
    for left, colour in ((215, (60, 110, 190)), (275, (150, 90, 60)), (335, (90, 140, 80)), (395, (60, 110, 190))):
        cv2.rectangle(frame, (left, 222), (left + 56, 262), colour, -1)
    cv2.rectangle(frame, (135, 170), (195, 262), (235, 235, 235), -1)
    cv2.rectangle(frame, (150, 140), (182, 172), (52, 40, 110), -1)
    for left in (143, 160, 177):
        cv2.rectangle(frame, (left, 182), (left + 10, 194), (120, 90, 60), -1)
    cv2.line(frame, (490, 262), (490, 150), (60, 60, 60), 4)
    return cv2.GaussianBlur(frame, (0, 0), 1.5)


def write_clip(path: Path, frames: int) -> None:
    """The ship, drifting, at 30 frames per second."""
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), 30, (640, 480))
    ship = draw_ship()
    for shift in range(frames):
        writer.write(np.roll(ship, shift // 4, axis=1))
    writer.release()


def camera_frame(model: Path) -> None:
    """Run the camera loop over the drawing and keep a frame of its recording."""
    with tempfile.TemporaryDirectory() as scratch:
        clip, recorded = Path(scratch) / "clip.mp4", Path(scratch) / "recorded.mp4"
        write_clip(clip, 60)
        command = [sys.executable, "-m", "edgekit.cli", "camera", str(model), "--source", str(clip), "--headless"]
        subprocess.run([*command, "--record", str(recorded)], check=True)
        video = cv2.VideoCapture(str(recorded))
        video.set(cv2.CAP_PROP_POS_FRAMES, 45)
        _, frame = video.read()
        cv2.imwrite(str(DOCS / "frame.png"), frame)


def web_page(model: Path) -> None:
    """A screenshot of the camera's page while the drawing is classified."""
    sys.path.insert(0, str(DOCS.parent / "tests"))
    from support.devtools import Browser

    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        write_clip(folder / "clip.mp4", 30 * 60)
        command = [sys.executable, "-m", "edgekit.cli", "camera", str(model), "--source", str(folder / "clip.mp4")]
        command += ["--headless", "--serve", "0", "--wrong", str(folder / "wrong")]
        with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as camera, Browser(folder) as browser:
            url = next(line for line in camera.stderr or () if "Watch at" in line).split()[-1]
            browser.resize(*PAGE_SIZE, is_phone=False)
            browser.open(url)
            time.sleep(PAGE_SECONDS)
            cv2.imwrite(str(DOCS / "page.png"), browser.shot())
            camera.terminate()


def report_page(page: Path) -> None:
    """A screenshot of the report's upper part, which holds no photo."""
    with tempfile.TemporaryDirectory() as scratch:
        size = f"--window-size={REPORT_WIDTH},{REPORT_HEIGHT}"
        target = f"--screenshot={DOCS / 'report.png'}"
        command = [*CHROMIUM, size, target, f"--user-data-dir={scratch}", page.resolve().as_uri()]
        subprocess.run(command, check=True, stderr=subprocess.DEVNULL)  # it complains of a missing desktop


if __name__ == "__main__":
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else "runs/demo")
    camera_frame(folder / "model.tflite")
    web_page(folder / "model.tflite")
    report_page(folder / "report.html")
