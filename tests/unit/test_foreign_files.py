"""Files of other people's networks: class names from Windows, weights beside the graph."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgekit.errors import InputError
from edgekit.files import sha256
from edgekit_quantize.convert_command import _read_labels
from edgekit_quantize.export import onnx_sha256


def test_names_may_begin_with_a_mark_and_end_as_windows_has_it(tmp_path):
    path = tmp_path / "names.txt"
    path.write_bytes("\N{ZERO WIDTH NO-BREAK SPACE}cat\r\ndog\r\n\r\nline\N{LINE SEPARATOR}separator\r\n".encode())
    assert _read_labels(str(path)) == ("cat", "dog", "line\N{LINE SEPARATOR}separator")


def save(folder, seed, beside=True):
    """A classifier whose weights lie in another file, as PyTorch's exporter leaves it."""
    folder.mkdir(exist_ok=True)
    weights = np.random.default_rng(seed).normal(size=(4, 3)).astype(np.float32)
    node = helper.make_node("Gemm", ["x", "w"], ["y"], transB=1)
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, (1, size)) for name, size in (("x", 3), ("y", 4))]
    graph = helper.make_graph([node], "g", ends[:1], ends[1:], [numpy_helper.from_array(weights, "w")])
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    path = folder / "net.onnx"
    onnx.save(made, str(path), save_as_external_data=beside, location="net.onnx.data", size_threshold=0)
    return path


def test_a_networks_hash_covers_weights_beside_it(tmp_path):
    first, again, other = save(tmp_path / "a", 1), save(tmp_path / "b", 1), save(tmp_path / "c", 2)
    assert sha256(first) == sha256(other)
    assert onnx_sha256(first) == onnx_sha256(again) != onnx_sha256(other)
    whole = save(tmp_path / "d", 1, beside=False)
    assert onnx_sha256(whole) == sha256(whole)
    (tmp_path / "a" / "net.onnx.data").unlink()
    with pytest.raises(InputError, match="must be an ONNX model"):
        onnx_sha256(first)
