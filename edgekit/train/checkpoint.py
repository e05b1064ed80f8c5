"""The `.pt` checkpoint: weights and everything needed to use them. Read with `weights_only=True`: no code runs."""

from __future__ import annotations

import io
import pickle
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from edgekit.card import Architecture, InputSpec, from_plain, to_plain
from edgekit.errors import InputError
from edgekit.files import write_whole
from edgekit.models import create

FORMAT = "edgekit-checkpoint-1"


@dataclass(frozen=True)
class Checkpoint:
    """A trained float network.

    Attributes:
        architecture: Name and width.
        stem_stride: Stride of its first convolution.
        input: Size and normalization (float: no quantization).
        labels: Class names in logits order.
        state: The network's `state_dict`.
        resume: What a training run needs to go on (optimizer state, epoch, options); None in a finished checkpoint.
    """

    architecture: Architecture
    input: InputSpec
    labels: tuple[str, ...]
    state: dict[str, Tensor]
    stem_stride: int = 2
    resume: dict[str, Any] | None = None

    def network(self) -> nn.Module:
        """The network with its weights, in evaluation mode.

        Raises:
            InputError: The weights do not fit the architecture.
        """
        network = create(
            self.architecture.name,
            classes=len(self.labels),
            width=self.architecture.width,
            stem_stride=self.stem_stride,
        )
        try:
            network.load_state_dict(self.state, strict=True)
        # Whatever a foreign `state` makes torch raise, it does not fit.
        except Exception as error:
            first = " ".join(str(error).split())[:200]
            raise InputError(f"The checkpoint's weights must fit {self.architecture.name}, got: {first}") from error
        return network.eval()


def save(path: str | Path, checkpoint: Checkpoint) -> None:
    """Write a checkpoint; the file is either whole or untouched.

    Raises:
        InputError: The folder cannot be written or the disk is full.
    """
    content = {
        "format": FORMAT,
        "architecture": to_plain(checkpoint.architecture),
        "stem_stride": checkpoint.stem_stride,
        "input": to_plain(checkpoint.input),
        "labels": list(checkpoint.labels),
        "state": {name: tensor.detach().cpu().contiguous() for name, tensor in checkpoint.state.items()},
        "resume": checkpoint.resume,
    }
    # Given a path, torch names a folder inside the file after it: the same run would give other bytes each time.
    buffer = io.BytesIO()
    torch.save(content, buffer)
    write_whole(path, buffer.getvalue())


def load(path: str | Path) -> Checkpoint:
    """Read a checkpoint.

    Raises:
        InputError: Not a file, not a checkpoint, or one that holds code.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(
            f"The checkpoint {path} must be a file, got {'a folder' if path.is_dir() else 'nothing there'}."
        )
    _check_kind(path)
    content = _read(path)
    try:
        return Checkpoint(
            architecture=from_plain(Architecture, content["architecture"], "architecture"),
            stem_stride=from_plain(int, content["stem_stride"], "stem_stride"),
            input=from_plain(InputSpec, content["input"], "input"),
            labels=from_plain(tuple[str, ...], content["labels"], "labels"),
            state=_tensors(content["state"]),
            resume=content["resume"],
        )
    except KeyError as error:
        raise _not_ours(path, f"one without {error}") from error
    except (InputError, TypeError, ValueError) as error:
        raise _not_ours(path, f"one with a fault: {str(error).rstrip('.')}") from error


def _check_kind(path: Path) -> None:
    """Refuse other files by what they are."""
    with path.open("rb") as file:
        if file.read(8)[4:] == b"TFL3":
            raise _not_ours(path, "a .tflite model: it is already converted")
    if not zipfile.is_zipfile(path):
        raise _not_ours(path, "another or a truncated file")
    try:
        with zipfile.ZipFile(path) as archive:
            pickled = any(name.rpartition("/")[2] == "data.pkl" for name in archive.namelist())
            # torch reads tensors without looking at the archive's checksums.
            damaged = archive.testzip()
    except (zipfile.BadZipFile, EOFError, OSError, ValueError, NotImplementedError, RuntimeError) as error:
        raise _not_ours(path, "a damaged file") from error
    if not pickled:
        raise _not_ours(path, "another file")
    if damaged:
        raise _not_ours(path, "a damaged file")


def _read(path: Path) -> dict[str, Any]:
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise InputError(
            f"{path} must hold tensors and plain values only, got a pickle with code in it; it was not executed.",
            "Use a checkpoint written by edgekit train.",
        ) from error
    # A malformed pickle makes torch's reader raise anything.
    except Exception as error:
        raise _not_ours(path, "a damaged file") from error
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise _not_ours(path, "another PyTorch file")
    return content


def _tensors(state: Any) -> dict[str, Tensor]:
    if not isinstance(state, dict):
        raise InputError(f"state must be an object, got {type(state).__name__}.")
    for name, value in state.items():
        if not isinstance(name, str) or not isinstance(value, Tensor):
            raise InputError(f"state must hold named tensors only, got {name!r}: {type(value).__name__}.")
    return state


def _not_ours(path: Path, got: str) -> InputError:
    return InputError(
        f"{path} must be an edgekit checkpoint, got {got}.", "Make one with: edgekit train ... --out model.pt"
    )
