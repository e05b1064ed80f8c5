"""What viewers of the web page cost the camera: `invoke` with five of them and with none, in turns, in one run.

Frames are made beforehand (capture excluded) and go through the real classifier; the page serves the answers; viewers
are sockets in a process of their own, which read and throw away (a browser elsewhere would do the decoding). Blocks
with and without viewers alternate in random order; blocks without them are compared with each other as well: that is
the noise of the machine.

Viewers may make the median of `invoke` at most BOUND_PERCENT longer. That is met where the whole 95 % interval of the
change is at most that, and missed where all of it is more; else the machine was too noisy to tell.

    python benchmarks/web_viewers.py model.tflite
"""

from __future__ import annotations

import contextlib
import random
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import click
import numpy as np

from benchmarks.support import RESULTS, machine, markdown, write_results
from edgekit import bundle
from edgekit.errors import EdgekitError
from edgekit_deploy.camera import Decision
from edgekit_deploy.classifier import Classifier
from edgekit_deploy.health import Health
from edgekit_deploy.outputs.overlay import Hud
from edgekit_deploy.smoothing import Verdict
from edgekit_deploy.sources.frames import Frame
from edgekit_deploy.web.address import Address
from edgekit_deploy.web.page import WebPage

FRAMES = 30
SETTLE_SECONDS = 0.4
RESAMPLES = 2000
BOUND_PERCENT = 5.0
READER = """
import os, selectors, socket, sys
os.nice(19)
port, count = int(sys.argv[1]), int(sys.argv[2])
selector = selectors.DefaultSelector()
for _ in range(count):
    one = socket.create_connection(("127.0.0.1", port))
    one.sendall(b"GET /live HTTP/1.1\\r\\nHost: localhost\\r\\n\\r\\n")
    selector.register(one, selectors.EVENT_READ)
while True:
    for key, _ in selector.select():
        if not key.fileobj.recv(1 << 20):
            sys.exit()
"""


@dataclass(frozen=True)
class Case:
    """One comparison: threads of the network, and frames per second (0: as fast as they can be classified)."""

    threads: int
    fps: float

    def __str__(self) -> str:
        """For the table."""
        pace = f"{self.fps:.0f} fps" if self.fps else "flat out"
        return f"{self.threads} thread{'s' if self.threads > 1 else ''}, {pace}"


@dataclass(frozen=True)
class Row:
    """Milliseconds, and relative changes in percent with the 95 % interval of a bootstrap over pairs of blocks."""

    case: str
    none_p50: float
    viewers_p50: float
    none_p99: float
    viewers_p99: float
    change: float
    low: float
    high: float
    noise: float
    pictures_per_second: float
    publish_us: float

    @property
    def bound(self) -> str:
        """Whether BOUND_PERCENT is met: "met", "missed", or "unclear" if it lies within the interval."""
        if self.high <= BOUND_PERCENT:
            return "met"
        return "missed" if self.low > BOUND_PERCENT else "unclear"


@click.command()
@click.argument("model", type=click.Path(path_type=Path, exists=True))
@click.option("--viewers", default=5)
@click.option("--pairs", default=8, help="Blocks with viewers, and as many without, for each case.")
@click.option("--seconds", default=3.0, help="Of a block.")
@click.option("--fps", default=30.0, help="Of the paced cases.")
@click.option("--out", type=click.Path(path_type=Path), default=RESULTS / "web_viewers.json")
def main(model: Path, viewers: int, pairs: int, seconds: float, fps: float, out: Path) -> None:
    """Measure MODEL, an int8 file made by edgekit."""
    parsed = bundle.read(model)
    frames = _frames()
    cases = [Case(threads, pace) for threads in (1, 2) for pace in (fps, 0.0)]
    rows = [_measure(Classifier(parsed, case.threads), case, frames, viewers, pairs, seconds) for case in cases]
    settings = {"model": parsed.card.name, "viewers": viewers, "pairs": pairs, "seconds": seconds}
    plain = [asdict(row) | {"bound": row.bound} for row in rows]
    write_results(out, {"machine": machine(), **settings, "rows": plain}, table(rows, viewers))


def table(rows: list[Row], viewers: int) -> str:
    """The rows in Markdown."""
    header = ["case", "invoke p50, none", f"{viewers} viewers", "change", "95 % interval"]
    header += [f"at most +{BOUND_PERCENT:.0f} %", "noise", "p99 none / viewers", "pictures/s", "publish"]
    return markdown(header, [_cells(row) for row in rows])


def _cells(row: Row) -> list[str]:
    return [
        row.case,
        f"{row.none_p50:.3f} ms",
        f"{row.viewers_p50:.3f} ms",
        f"{row.change:+.1f} %",
        f"{row.low:+.1f} … {row.high:+.1f} %",
        row.bound,
        f"{row.noise:.1f} %",
        f"{row.none_p99:.2f} / {row.viewers_p99:.2f} ms",
        f"{row.pictures_per_second:.1f}",
        f"{row.publish_us:.1f} µs",
    ]


def _measure(
    classifier: Classifier, case: Case, frames: list[np.ndarray], viewers: int, pairs: int, seconds: float
) -> Row:
    order = random.Random(0)
    blocks: dict[bool, list[list[float]]] = {False: [], True: []}
    publishing: list[float] = []
    encoded, watched = 0, 0.0
    with WebPage(Address("127.0.0.1", 0), classifier.card.name, classifier.card.labels) as page:
        for _ in range(pairs):
            for is_watched in order.sample([False, True], 2):
                with _watching(page, viewers) if is_watched else contextlib.nullcontext():
                    _block(classifier, case, frames, page, SETTLE_SECONDS)
                    before, start = page.encoded, time.monotonic()
                    invokes, publishes = _block(classifier, case, frames, page, seconds)
                    if is_watched:
                        encoded += page.encoded - before
                        watched += time.monotonic() - start
                        publishing += publishes
                    elif page.encoded != before:
                        raise EdgekitError("Nobody watched, and pictures were encoded.")
                blocks[is_watched].append(invokes)
    return _row(case, blocks[False], blocks[True], encoded / watched, 1e6 * statistics.median(publishing))


def _block(
    classifier: Classifier, case: Case, frames: list[np.ndarray], page: WebPage, seconds: float
) -> tuple[list[float], list[float]]:
    """Classify for a while; milliseconds of each invoke, and seconds of each publish."""
    invokes, publishes = [], []
    start = time.monotonic()
    index = 0
    while (now := time.monotonic()) - start < seconds:
        frame = Frame(frames[index % len(frames)], now, index, now - start)
        result = classifier.classify(frame.image)
        age = time.monotonic() - now
        verdict = Verdict(result.index, result.label, result.probability)
        decision = Decision(frame, result, verdict, 0.0, None, Hud(case.fps, 1e3 * age, 0), index + 1, None, Health())
        before = time.perf_counter()
        page.publish(decision)
        publishes.append(time.perf_counter() - before)
        invokes.append(1e3 * result.timings.invoke)
        index += 1
        if case.fps:
            time.sleep(max(0.0, start + index / case.fps - time.monotonic()))
    return invokes, publishes


def _row(case: Case, none: list[list[float]], some: list[list[float]], rate: float, publish_us: float) -> Row:
    def change(pairs: list[tuple[list[float], list[float]]]) -> float:
        without, with_them = ([time for block in side for time in block] for side in zip(*pairs, strict=True))
        return 100.0 * (statistics.median(with_them) / statistics.median(without) - 1.0)

    pairs = list(zip(none, some, strict=True))
    order = random.Random(1)
    changes = sorted(change(order.choices(pairs, k=len(pairs))) for _ in range(RESAMPLES))
    low, high = (changes[round(share * (RESAMPLES - 1))] for share in (0.025, 0.975))
    halves = list(zip(none[::2], none[1::2], strict=False))
    plain, watched = ([time for block in side for time in block] for side in (none, some))
    return Row(
        str(case),
        statistics.median(plain),
        statistics.median(watched),
        float(np.percentile(plain, 99)),
        float(np.percentile(watched, 99)),
        change(pairs),
        low,
        high,
        abs(change(halves)),
        rate,
        publish_us,
    )


@contextlib.contextmanager
def _watching(page: WebPage, viewers: int) -> Iterator[None]:
    port = re.search(r":(\d+)/", page.url)[1]  # type: ignore[index]
    with subprocess.Popen([sys.executable, "-c", READER, port, str(viewers)]) as reader:
        try:
            _until(page, viewers)
            yield
            if page.viewers != viewers or reader.poll() is not None:
                raise EdgekitError(f"There must be {viewers} viewers to the end, got {page.viewers}.")
        finally:
            reader.kill()
    _until(page, 0)


def _until(page: WebPage, viewers: int) -> None:
    deadline = time.monotonic() + 20.0
    while page.viewers != viewers:
        if time.monotonic() > deadline:
            raise EdgekitError(f"There must be {viewers} viewers, got {page.viewers}.")
        time.sleep(0.01)


def _frames() -> list[np.ndarray]:
    """Moving stripes under the noise of a camera's sensor, (480, 640, 3) uint8: about 60 KB each as a JPEG."""
    rng = np.random.default_rng(0)
    ramp = np.arange(640)[None, :, None] * np.array([1.0, 0.7, 0.4]) + np.arange(480)[:, None, None]
    waves = [110.0 + 90.0 * np.sin((ramp + 20 * step) / 40.0) for step in range(FRAMES)]
    return [np.clip(wave + rng.normal(0.0, 8.0, wave.shape), 0, 255).astype(np.uint8) for wave in waves]


if __name__ == "__main__":
    try:
        main()
    except EdgekitError as error:
        sys.exit(str(error))
