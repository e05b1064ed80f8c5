"""Where a report is written, and what it must never replace."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path

from edgekit.errors import InputError

# Of `Document.to_json`, whatever its version.
_KEYS = {"schema_version", "model", "stages"}
# The last line of `markdown.to_markdown`.
_LAST_LINE = re.compile(r"<sub>model `[0-9a-f]+`, images `[0-9a-f]+`, edgekit [^<]*</sub>\s*\Z")


def places(out: Path, json_path: Path | None, markdown_path: Path | None, inputs: Sequence[Path]) -> list[Path]:
    """HTML, JSON and Markdown; what was not named lies beside the HTML.

    Raises:
        InputError: Two are one file, one is an input, or one that was not named is there and is no report.
    """
    outputs = [out, json_path or out.with_suffix(".json"), markdown_path or out.with_suffix(".md")]
    resolved = [path.resolve() for path in outputs]
    if len(set(resolved)) < len(resolved):
        names = ", ".join(map(str, outputs))
        raise InputError(f"--out, --json and --markdown must be different files, got {names}.")
    for path in inputs:
        if path.resolve() in resolved:
            raise InputError(f"The output must not be an input, got {path} as both.", "Choose another --out or --json.")
    for option, named, path in zip(("--json", "--markdown"), (json_path, markdown_path), outputs[1:], strict=True):
        if named is None and path.is_file() and not _is_report(path):
            raise InputError(
                f"{path}, beside --out, must be free or an older report, got another file.",
                f"Name the file to write with {option}, or choose another --out.",
            )
    return outputs


def _is_report(path: Path) -> bool:
    try:
        text = path.read_text("utf-8")
    except OSError as error:
        raise InputError(f"{path} must be readable, got: {error.strerror}.", "Choose another --out.") from error
    except UnicodeDecodeError:
        return False
    return bool(_LAST_LINE.search(text)) or _is_document(text)


def _is_document(text: str) -> bool:
    try:
        plain = json.loads(text)
    except (ValueError, RecursionError):
        return False
    return isinstance(plain, dict) and plain.keys() >= _KEYS
