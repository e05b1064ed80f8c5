"""The "wrong!" button: the frame as it came, and what was said of it, in a folder for retraining."""

from __future__ import annotations

import json
import shutil
from datetime import UTC, datetime
from typing import Any

from edgekit.errors import InputError
from edgekit.files import check_writable, write_all
from edgekit_deploy.camera import Decision
from edgekit_deploy.web.feeds import ReportBounds
from edgekit_deploy.web.pictures import snapshot_jpeg


class FullError(InputError):
    """The folder holds as much as it may, or the disk is nearly full."""


class Reports:
    """Saves pairs of `TIME-FRAME.jpg` and `.json`; what lies in the folder already counts.

    Args:
        bounds: The folder and its limits.
        model: Name of the model, for the prediction.

    Raises:
        InputError: The folder cannot be written.
    """

    def __init__(self, bounds: ReportBounds, model: str) -> None:
        self._bounds, self._model = bounds, model
        check_writable(bounds.folder / "report.json")

    def save(self, decision: Decision) -> str:
        """Save one frame; gives the name of the picture. Pressing twice for one frame saves it once.

        Raises:
            FullError: A limit is reached.
            InputError: The folder cannot be written.
        """
        jpeg = snapshot_jpeg(decision)
        text = json.dumps(self._plain(decision), indent=1, ensure_ascii=False) + "\n"
        folder = self._bounds.folder
        earlier = next(folder.glob(f"*-{decision.frame.index}.jpg"), None)
        if earlier is not None and earlier.read_bytes() == jpeg:
            return earlier.name
        self._check_room(len(jpeg) + len(text.encode()))
        # Milliseconds, so that two frames have two names whatever their numbers.
        stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%S.%f")[:-3]
        stem = folder / f"{stamp}Z-{decision.frame.index}"
        write_all({f"{stem}.jpg": jpeg, f"{stem}.json": text})
        return f"{stem.name}.jpg"

    def _check_room(self, more: int) -> None:
        bounds = self._bounds
        sizes = {file.name: file.stat().st_size for file in bounds.folder.iterdir() if file.is_file()}
        if sum(name.endswith(".jpg") for name in sizes) >= bounds.files:
            raise FullError(f"{bounds.folder} must hold fewer than {bounds.files} pictures.", "Move some away.")
        if sum(sizes.values()) + more > bounds.total_bytes:
            raise FullError(f"{bounds.folder} must hold at most {bounds.total_bytes >> 20} MiB.", "Move some away.")
        if shutil.disk_usage(bounds.folder).free - more < bounds.free_bytes:
            raise FullError(f"The disk of {bounds.folder} must have {bounds.free_bytes >> 20} MiB free.")

    def _plain(self, decision: Decision) -> dict[str, Any]:
        """What is known of the frame: for whoever labels it later."""
        frame, result, verdict = decision.frame, decision.result, decision.verdict
        return {
            "model": self._model,
            "reported": "wrong",
            # As in the log of decisions. Null where nothing was sure: that may be what was wrong.
            "label": verdict.label,
            "probability": round(verdict.probability, 6),
            # Of this frame alone; the answer is smoothed.
            "top": [[guess.label, round(guess.probability, 6)] for guess in result.top],
            # Of the decision: the slider may stand elsewhere by now.
            "threshold": decision.threshold,
            "frame": frame.index,
            "media_time": round(frame.media_time, 3),
            **({"name": frame.name} if frame.name else {}),
            "saved": datetime.now(UTC).isoformat(timespec="milliseconds"),
        }
