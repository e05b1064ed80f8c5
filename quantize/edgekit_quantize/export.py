"""PyTorch to ONNX, and reading a foreign ONNX file. Either way the result is a checked ONNX classifier."""

from __future__ import annotations

import contextlib
import hashlib
import io
import logging
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import torch
from numpy.typing import NDArray
from onnx import helper, shape_inference, version_converter
from torch import nn

from edgekit.card import InputSpec
from edgekit.errors import EdgekitError, InputError
from edgekit.files import sha256
from edgekit_quantize.contract import give_logits, give_vector, weights_not_finite
from edgekit_quantize.unsupported import check_operators
from edgekit_quantize.workers import ExportWorker

OPSET = 18
_AT_A_TIME = 4
_LEAST_CLASSES = 2
# The rules of `rewrite` read operators as they are from here on.
_OLDEST_OPSET = 13


def export_onnx(network: nn.Module, spec: InputSpec, path: Path) -> None:
    """Write `network` (evaluation mode, whose batch normalization, if any is left, the exporter folds) as ONNX.

    Input `image` (1, 3, height, width) float32 normalized RGB; output `logits` (1, classes).
    """
    example = torch.zeros(1, 3, spec.height, spec.width)
    # The exporter reports its steps on stdout and warns of operators of packages that are not installed.
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        torch.onnx.export(
            network.eval(),
            (example,),
            str(path),
            dynamo=True,
            external_data=False,
            input_names=["image"],
            output_names=["logits"],
            opset_version=OPSET,
            verbose=False,
        )


def export_with(worker: ExportWorker) -> None:
    """`export_onnx` in a process of its own, of a source that is known to be loadable.

    Raises:
        EdgekitError: The exporter failed; its last words are quoted.
    """
    code, _, complained = worker.work()
    if code:
        words = [line for line in complained.splitlines() if line.strip()] or ["no message"]
        raise EdgekitError(f"The network must be exportable to ONNX, got: {words[-1][:300]}.", "Please report it.")


def torch_logits(network: nn.Module, images: NDArray[np.float32]) -> NDArray[np.float32]:
    """Logits (N, classes) of normalized images (N, height, width, 3)."""
    network.eval()
    with torch.inference_mode():
        # A few at a time: all at once would need a gigabyte. NHWC memory seen as NCHW is channels_last: no copy.
        parts = [network(part.permute(0, 3, 1, 2)) for part in torch.split(torch.from_numpy(images), _AT_A_TIME)]
    return np.asarray(torch.cat(parts).numpy(), np.float32)


def onnx_logits(path: Path, images: NDArray[np.float32]) -> NDArray[np.float32]:
    """Logits (N, classes) of normalized images (N, height, width, 3), one at a time under onnxruntime."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    rows = [session.run(None, {name: image.transpose(2, 0, 1)[None]})[0] for image in images]
    return np.asarray(np.concatenate(rows), np.float32)


@dataclass(frozen=True)
class Imported:
    """A foreign classifier as it was written.

    Attributes:
        height: Of the input, in pixels.
        width: Of the input, in pixels.
        classes: Length of the output.
        note: What was changed about its answer, for the user; None if nothing.
    """

    height: int
    width: int
    classes: int
    note: str | None


def import_onnx(source: Path, path: Path) -> Imported:
    """Check a foreign ONNX classifier and write it to `path` with batch size 1 and logits (1, classes).

    Raises:
        InputError: Not ONNX, weights that are not finite, or not one image (N, 3, height, width) in and one vector
            (N, classes) or (N, classes, 1, 1) out.
    """
    model = _modern(_load(source), source)
    check_operators(model)
    check_finite(model, str(source))
    inputs = model.graph.input
    if len(inputs) != 1 or len(model.graph.output) != 1:
        raise InputError(
            f"{source} must have one input and one output, got {len(inputs)} and {len(model.graph.output)}."
        )
    _fix_batch(model, inputs[0])
    shape = _shape(inputs[0])
    if inputs[0].type.tensor_type.elem_type != onnx.TensorProto.FLOAT or len(shape) != 4 or shape[1] != 3:
        raise InputError(
            f"{source} must take a float image (1, 3, height, width), got {inputs[0].name} {_describe(inputs[0])}.",
            "Export the network with channels first and three colours.",
        )
    if not isinstance(shape[2], int) or not isinstance(shape[3], int):
        raise InputError(
            f"{source} must have an input of fixed height and width, got {_describe(inputs[0])}.",
            "Export it without dynamic axes.",
        )
    note = give_logits(model)
    model = _infer(model, source)
    give_vector(model)
    result = model.graph.output[0]
    output = _shape(result)
    is_float = result.type.tensor_type.elem_type == onnx.TensorProto.FLOAT
    if len(output) != 2 or not isinstance(output[1], int) or not is_float:
        raise InputError(f"{source} must give a float class vector (1, classes), got {_describe(result)}.")
    if output[1] < _LEAST_CLASSES:
        raise InputError(
            f"{source} must give at least {_LEAST_CLASSES} classes, got {_describe(result)}.",
            "Give a yes-or-no network two outputs, the other one 0.",
        )
    onnx.save(model, str(path))
    return Imported(shape[2], shape[3], output[1], note)


def onnx_sha256(source: Path) -> str:
    """SHA-256 of an ONNX file; where initializers lie in files beside it, over the hashes of all of them.

    Raises:
        InputError: Not ONNX, or such a file is not there.
    """
    model = _load(source, weights=False)
    entries = [entry for tensor in model.graph.initializer for entry in tensor.external_data]
    files = sorted({entry.value for entry in entries if entry.key == "location"})
    if not files:
        return sha256(source)
    _load(source)  # it knows which places are allowed
    hashes = [sha256(path) for path in (source, *(source.parent / name for name in files))]
    return hashlib.sha256("".join(hashes).encode()).hexdigest()


def check_finite(model: onnx.ModelProto, name: str) -> None:
    """Raises `InputError` if a weight holds NaN or infinity, and names it."""
    broken = weights_not_finite(model)
    if broken:
        raise InputError(
            f"The weights of {name} must be finite, got NaN or infinity in {', '.join(broken[:3])}.", "Train again."
        )


def _load(source: Path, weights: bool = True) -> onnx.ModelProto:
    if not source.is_file():
        raise InputError(f"The model {source} must be a file, got nothing there.")
    try:
        model = onnx.load(str(source), load_external_data=weights)
        if weights:
            onnx.checker.check_model(model)
    except Exception as error:  # protobuf and the checker have no common base
        first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise InputError(f"{source} must be an ONNX model, got: {first}") from error
    return model


def _modern(model: onnx.ModelProto, source: Path) -> onnx.ModelProto:
    """The model as exporters write it today, without its weights among the inputs."""
    weights = {tensor.name for tensor in model.graph.initializer}
    images = [value for value in model.graph.input if value.name not in weights]
    del model.graph.input[:]
    model.graph.input.extend(images)
    # Before IR version 4 a weight had to be an input.
    model.ir_version = max(model.ir_version, 4)
    if all(entry.version >= _OLDEST_OPSET for entry in model.opset_import if entry.domain in ("", "ai.onnx")):
        return model
    try:
        return version_converter.convert_version(model, _OLDEST_OPSET)
    except RuntimeError as error:
        first = str(error).strip().splitlines()[0]
        raise InputError(
            f"{source} must be convertible to opset {_OLDEST_OPSET}, got: {first}", "Export it anew."
        ) from error


def _fix_batch(model: onnx.ModelProto, value: onnx.ValueInfoProto) -> None:
    """A free batch size becomes 1: the device sees one frame at a time."""
    dims = value.type.tensor_type.shape.dim
    if len(dims) and not (dims[0].HasField("dim_value") and dims[0].dim_value == 1):
        dims[0].dim_value = 1
        del model.graph.value_info[:]
        for output in model.graph.output:
            if output.type.tensor_type.shape.dim:
                output.type.tensor_type.shape.dim[0].dim_value = 1


def _infer(model: onnx.ModelProto, source: Path) -> onnx.ModelProto:
    try:
        return shape_inference.infer_shapes(model, check_type=True, strict_mode=True, data_prop=True)
    except shape_inference.InferenceError as error:
        first = str(error).strip().splitlines()[0]
        raise InputError(f"{source} must be a consistent graph, got: {first}") from error


def _shape(value: onnx.ValueInfoProto) -> list[int | str]:
    dims = value.type.tensor_type.shape.dim
    return [dim.dim_value if dim.HasField("dim_value") else dim.dim_param or "?" for dim in dims]


def _describe(value: onnx.ValueInfoProto) -> str:
    kind = helper.tensor_dtype_to_string(value.type.tensor_type.elem_type).rpartition(".")[2]
    return f"({', '.join(map(str, _shape(value)))}) {kind}"
