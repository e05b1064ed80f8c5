"""Milliseconds of one image on this machine, with one thread and two; everyone takes turns in one run.

python -m benchmarks.side_by_side.inference --name cifar10          (after conversion)
"""

from __future__ import annotations

import json
import statistics
import subprocess
import threading
import time
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import click

from benchmarks.side_by_side import provenance
from benchmarks.side_by_side.conversion import WORK
from benchmarks.side_by_side.routes import FLOAT, INT8, OURS, Route, peers_environment
from benchmarks.support import RESULTS, cannot, interval, markdown, ratios, short, shuffled, write_results
from edgekit.errors import EdgekitError, InputError
from edgekit.progress import tracked

THREADS = (1, 2)
# Until a runtime has the file open, which for a compiler takes minutes, and until it answers.
OPEN_SECONDS, ANSWER_SECONDS = 600.0, 60.0
# Between turns: threads of some runtimes wait for more work, at full speed, for so long.
PAUSE = 0.2


class Peer:
    """A runtime with a file open, which works when it is told to; use as a context manager.

    Raises:
        EdgekitError: It cannot open the file; its last words are quoted.
    """

    def __init__(self, words: list[str | Path]) -> None:
        self._process = subprocess.Popen(
            [str(word) for word in words],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=peers_environment(words),
        )
        self._said: list[str] = []
        self._listener = threading.Thread(target=self._listen, daemon=True)
        self._listener.start()

    def __enter__(self) -> Self:
        """Wait until it is ready."""
        try:
            self._line(OPEN_SECONDS)
        except EdgekitError:
            self._end()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """No more turns."""
        self._end()

    def work(self, seconds: float) -> list[float]:
        """Seconds of each run on one image in that time."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(f"{seconds}\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            pass
        taken: list[float] = json.loads(self._line(seconds + ANSWER_SECONDS))
        return taken

    def _line(self, seconds: float) -> str:
        """Its next line; libraries may print others before."""
        timer = threading.Timer(seconds, self._process.kill)
        timer.start()
        try:
            assert self._process.stdout is not None
            for line in self._process.stdout:
                if line.startswith(("ready", "[")):
                    return line
        finally:
            timer.cancel()
        code = self._process.wait()
        # Its last words may still be on their way.
        self._listener.join(1.0)
        raise EdgekitError(f"exit code {code}: {' '.join(self._said[-8:])}")

    def _listen(self) -> None:
        assert self._process.stderr is not None
        for line in self._process.stderr:
            self._said = [*self._said[-20:], line]

    def _end(self) -> None:
        self._process.kill()
        self._process.wait()


@click.command()
@click.option("--name", required=True, help="As for conversion, which comes first.")
@click.option("--rounds", default=9, show_default=True)
@click.option("--seconds", default=0.5, show_default=True, help="Of each in each round.")
def main(name: str, rounds: int, seconds: float) -> None:
    """Measure, and write benchmarks/results/side_by_side-inference-NAME.json and .md."""
    began, folder = provenance.facts(), (WORK / name).resolve()
    converted = json.loads((RESULTS / f"side_by_side-conversion-{name}.json").read_text(encoding="utf-8"))
    failed = {
        title: row["failed"] for title, row in (converted["rows"] | converted["float_files"]).items() if "failed" in row
    }
    routes = [route for route in (*INT8, *FLOAT) if route.title not in failed]
    for route in routes:
        kept = folder / "made" / f"{route.slug}.json"
        if not kept.exists() or json.loads(kept.read_text())["mark"] != route.mark(converted["inputs"]):
            raise InputError(f"{route.title}'s file must be that of the results, got another.", "Run conversion first.")
    rows = [in_turns(routes, folder, threads, rounds, seconds) for threads in THREADS]
    content = began | {
        "network": name,
        "seconds": seconds,
        "inputs": converted["inputs"],
        "rows": rows,
        "failed": failed,
    }
    write_results(RESULTS / f"side_by_side-inference-{name}.json", content, table(name, rows, failed))


def in_turns(routes: list[Route], folder: Path, threads: int, rounds: int, seconds: float) -> dict[str, Any]:
    """Median milliseconds of each in each round; each round has another order, and all stay open to the end."""
    medians: dict[str, list[float]] = {}
    failed: dict[str, str] = {}
    with ExitStack() as stack:
        peers: dict[str, Peer] = {}
        for route in tracked(f"Opening, threads: {threads}", routes, len(routes), unit="peers"):
            try:
                peers[route.title] = stack.enter_context(Peer(route.time(folder, threads)))
            except EdgekitError as error:
                failed[route.title] = short(error)
        titles = list(peers)
        for number in tracked(f"Rounds, threads: {threads}", range(rounds), rounds, unit="rounds"):
            for title in shuffled(titles, number):
                if title in failed:
                    continue
                time.sleep(PAUSE)
                try:
                    medians.setdefault(title, []).append(1e3 * statistics.median(peers[title].work(seconds)))
                except (EdgekitError, statistics.StatisticsError) as error:
                    failed[title] = short(error)
                    medians.pop(title, None)
    ordered = {route.title: medians[route.title] for route in routes if route.title in medians}
    return {"threads": threads, "ms": ordered, "failed": failed}


def table(name: str, rows: list[dict[str, Any]], failed: dict[str, str]) -> str:
    """Medians over the rounds, and of their ratios to edgekit's in the same rounds, with its interval."""
    titles = dict.fromkeys(title for row in rows for title in (*row["ms"], *row["failed"]))
    lines = [(title, *(cell for row in rows for cell in _cells(row, title))) for title in titles]
    lines += [cannot(title, reason, 2 * len(rows) - 1) for title, reason in failed.items()]
    header = [cell for row in rows for cell in (f"threads: {row['threads']}, ms", "ratio")]
    return markdown((name, *header), lines)


def _cells(row: dict[str, Any], title: str) -> tuple[str, str]:
    if title not in row["ms"]:
        return f"cannot: {row['failed'].get(title, 'not tried')}", ""
    ours = row["ms"].get(OURS)
    ratio = "–"
    if ours:
        found = ratios(ours, row["ms"][title])
        low, high = interval(found)
        ratio = f"{statistics.median(found):.2f} ({low:.2f} … {high:.2f})"
    return f"{statistics.median(row['ms'][title]):.2f}", ratio


if __name__ == "__main__":
    main()
