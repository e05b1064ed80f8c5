"""The published JSON Schema of a report, made from the dataclasses and their docstrings.

`python -m edgekit_quantize.report.schema` writes it into `schema.json`, which lies in the package.
"""

from __future__ import annotations

import dataclasses
import inspect
import json
import re
import types
import typing
from enum import StrEnum
from pathlib import Path
from typing import Any

from edgekit_quantize.report.document import SCHEMA_VERSION, Document

PUBLISHED = Path(__file__).with_name("schema.json")
_SIMPLE = {str: "string", int: "integer", float: "number", bool: "boolean"}


def make_schema() -> dict[str, Any]:
    """JSON Schema (draft 2020-12) of `Document.to_json`; unknown keys are refused."""
    definitions: dict[str, Any] = {}
    root = _schema_of(Document, definitions)
    top = definitions.pop("Document")
    top["properties"]["schema_version"] = {"const": SCHEMA_VERSION}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": f"urn:edgekit:report:{SCHEMA_VERSION}",
        "title": f"edgekit report, version {SCHEMA_VERSION}",
        **(top if root["$ref"].endswith("/Document") else root),
        "$defs": dict(sorted(definitions.items())),
    }


def _schema_of(kind: Any, definitions: dict[str, Any]) -> dict[str, Any]:
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin in (types.UnionType, typing.Union):
        inner = next(option for option in arguments if option is not type(None))
        return {"anyOf": [_schema_of(inner, definitions), {"type": "null"}]}
    if origin is tuple:
        return {"type": "array", "items": _schema_of(arguments[0], definitions)}
    if origin is dict:
        return {"type": "object", "additionalProperties": _schema_of(arguments[1], definitions)}
    if dataclasses.is_dataclass(kind) and isinstance(kind, type):
        if kind.__name__ not in definitions:
            definitions[kind.__name__] = {}
            definitions[kind.__name__] = _object(kind, definitions)
        return {"$ref": f"#/$defs/{kind.__name__}"}
    if isinstance(kind, type) and issubclass(kind, StrEnum):
        return {"enum": [item.value for item in kind]}
    return {"type": _SIMPLE[kind]}


def _object(kind: type, definitions: dict[str, Any]) -> dict[str, Any]:
    hints, notes = typing.get_type_hints(kind), _notes(kind)
    names = [f.name for f in dataclasses.fields(kind)]
    return {
        "description": (inspect.getdoc(kind) or "").partition("\n")[0],
        "type": "object",
        "properties": {
            name: _schema_of(hints[name], definitions) | ({"description": notes[name]} if name in notes else {})
            for name in names
        },
        "required": names,
        "additionalProperties": False,
    }


def _notes(kind: type) -> dict[str, str]:
    """The lines under "Attributes:", by name."""
    text = (inspect.getdoc(kind) or "").partition("Attributes:\n")[2]
    found = re.findall(r"^ {4}(\w+): (.*(?:\n {8}.*)*)", text, re.MULTILINE)
    return {name: " ".join(note.split()) for name, note in found}


def to_text() -> str:
    """As it is published."""
    return json.dumps(make_schema(), indent=1, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    PUBLISHED.write_text(to_text(), "utf-8")
