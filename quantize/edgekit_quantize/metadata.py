"""Standard TFLite Metadata, so that Netron, LiteRT tools and MediaPipe understand the file without edgekit.

Written field by field with the flatbuffers builder, because the package that generates the classes is no longer
maintained. Field numbers and enumerators: metadata_schema.fbs of TFLite Support, file identifier M001.
"""

from __future__ import annotations

from typing import Any

import flatbuffers
from ai_edge_litert import schema_py_generated as schema

from edgekit.bundle import LABELS_NAME, METADATA_MARK
from edgekit.card import InputSpec
from edgekit.preprocess import normalized_range
from edgekit_quantize.graph import pack, unpack

_TENSOR_AXIS_LABELS = 2  # AssociatedFileType
_RGB = 1  # ColorSpaceType
_IMAGE_PROPERTIES = 2  # ContentProperties
_FEATURE_PROPERTIES = 1
_NORMALIZATION_OPTIONS = 1  # ProcessUnitOptions
_MIN_PARSER_VERSION = "1.0.0"


def attach(flatbuffer: bytes, name: str, description: str, spec: InputSpec) -> bytes:
    """The same model with a TFLITE_METADATA entry and the signature `serving_default`: image → logits.

    Labels are expected in the zip tail as labels.txt.

    Args:
        flatbuffer: A TFLite model.
        name: Of the model.
        description: One sentence.
        spec: The image input; mean and std are written in pixel units (0 … 255).

    Returns:
        The flatbuffer with metadata.
    """
    model = unpack(flatbuffer)
    mark = METADATA_MARK
    model.metadata = [entry for entry in model.metadata or [] if bytes(entry.name) != mark]
    buffer = schema.BufferT()
    buffer.data = _build(name, description, spec)
    model.buffers.append(buffer)
    entry = schema.MetadataT()
    entry.name, entry.buffer = mark, len(model.buffers) - 1
    model.metadata.append(entry)
    model.description = name
    model.signatureDefs = [_signature(model.subgraphs[0])]
    return pack(model)


def _signature(subgraph: Any) -> Any:
    signature = schema.SignatureDefT()
    signature.signatureKey, signature.subgraphIndex = b"serving_default", 0
    signature.inputs = [_tensor_map(b"image", subgraph.inputs[0])]
    signature.outputs = [_tensor_map(b"logits", subgraph.outputs[0])]
    return signature


def _tensor_map(name: bytes, index: int) -> Any:
    entry = schema.TensorMapT()
    entry.name, entry.tensorIndex = name, int(index)
    return entry


def _build(name: str, description: str, spec: InputSpec) -> bytes:
    b = flatbuffers.Builder(1024)
    subgraph = _table(
        b,
        11,
        {
            0: b.CreateString(name),
            2: _vector(b, [_image_tensor(b, spec)]),
            3: _vector(b, [_logits_tensor(b)]),
        },
    )
    root = _table(
        b,
        8,
        {
            0: b.CreateString(name),
            1: b.CreateString(description),
            3: _vector(b, [subgraph]),
            7: b.CreateString(_MIN_PARSER_VERSION),
        },
    )
    b.Finish(root, b"M001")
    return bytes(b.Output())


def _image_tensor(b: flatbuffers.Builder, spec: InputSpec) -> int:
    b.StartObject(2)  # ImageSize
    b.PrependUint32Slot(0, spec.width, 0)
    b.PrependUint32Slot(1, spec.height, 0)
    size = b.EndObject()
    b.StartObject(2)  # ImageProperties
    b.PrependInt8Slot(0, _RGB, 0)
    b.PrependUOffsetTRelativeSlot(1, size, 0)
    image = b.EndObject()
    normalization = _table(
        b, 2, {0: _floats(b, [255.0 * m for m in spec.mean]), 1: _floats(b, [255.0 * s for s in spec.std])}
    )
    unit = _union(b, _NORMALIZATION_OPTIONS, normalization)
    lows, highs = normalized_range(spec)
    stats = _table(b, 2, {0: _floats(b, highs), 1: _floats(b, lows)})
    return _table(
        b,
        7,
        {
            0: b.CreateString("image"),
            1: b.CreateString("RGB image."),
            3: _union(b, _IMAGE_PROPERTIES, image, fields=3),
            4: _vector(b, [unit]),
            5: stats,
        },
    )


def _logits_tensor(b: flatbuffers.Builder) -> int:
    name, description = b.CreateString(LABELS_NAME), b.CreateString("Class names in output order.")
    b.StartObject(5)  # AssociatedFile
    b.PrependUOffsetTRelativeSlot(0, name, 0)
    b.PrependUOffsetTRelativeSlot(1, description, 0)
    b.PrependInt8Slot(2, _TENSOR_AXIS_LABELS, 0)
    labels = b.EndObject()
    b.StartObject(0)  # FeatureProperties
    feature = b.EndObject()
    return _table(
        b,
        7,
        {
            0: b.CreateString("logits"),
            1: b.CreateString("Logits, one per class, before softmax."),
            3: _union(b, _FEATURE_PROPERTIES, feature, fields=3),
            6: _vector(b, [labels]),
        },
    )


def _table(b: flatbuffers.Builder, fields: int, offsets: dict[int, int]) -> int:
    """A table whose given fields are all offsets. They are built by the caller, before the table is opened."""
    b.StartObject(fields)
    for slot, offset in offsets.items():
        b.PrependUOffsetTRelativeSlot(slot, offset, 0)
    return int(b.EndObject())


def _union(b: flatbuffers.Builder, kind: int, value: int, fields: int = 2) -> int:
    """A table that begins with a union (type in slot 0, value in slot 1)."""
    b.StartObject(fields)
    b.PrependUint8Slot(0, kind, 0)
    b.PrependUOffsetTRelativeSlot(1, value, 0)
    return int(b.EndObject())


def _vector(b: flatbuffers.Builder, offsets: list[int]) -> int:
    b.StartVector(4, len(offsets), 4)
    for offset in reversed(offsets):
        b.PrependUOffsetTRelative(offset)
    return int(b.EndVector())


def _floats(b: flatbuffers.Builder, values: list[float]) -> Any:
    b.StartVector(4, len(values), 4)
    for value in reversed(values):
        b.PrependFloat32(value)
    return b.EndVector()
