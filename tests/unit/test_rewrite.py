"""Every rule against onnxruntime: the same function, other operators."""

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgekit.errors import InputError
from edgekit_quantize.contract import give_logits, give_vector, weights_not_finite
from edgekit_quantize.export import import_onnx
from edgekit_quantize.rewrite import rewrite_for_int8, simplify
from edgekit_quantize.unsupported import check_operators, naming_nodes, suspects

# The same sums in another order, on values up to a few dozen; a wrong rule is off by tenths.
ATOL = 3e-5
# Weights of all tests; images are drawn anew in each, whatever came before.
rng = np.random.default_rng(11)


def constants(**arrays):
    return [numpy_helper.from_array(np.asarray(array), name) for name, array in arrays.items()]


def model(nodes, weights=(), shape=(1, 4, 9, 9), outputs=("y",), opset=18, output_shape=None):
    """A checked model from "x" to `outputs`."""
    results = [helper.make_tensor_value_info(name, TensorProto.FLOAT, output_shape) for name in outputs]
    source = helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)
    graph = helper.make_graph(nodes, "g", [source], results, list(weights))
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=9)
    made = onnx.shape_inference.infer_shapes(made)
    onnx.checker.check_model(made, full_check=True)
    return made


def node(kind, *inputs, to="y", **attributes):
    return helper.make_node(kind, list(inputs), [to], name=f"the_{kind}_{to}", **attributes)


def run(made, image):
    session = onnxruntime.InferenceSession(made.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {"x": image})[0]


def kinds(made):
    return [n.op_type for n in made.graph.node]


def rewritten(made):
    """The rewritten model, once it has given the same answers as `made` on values across zero."""
    result = rewrite_for_int8(simplify(made))
    onnx.checker.check_model(result, full_check=True)
    shape = [dim.dim_value for dim in made.graph.input[0].type.tensor_type.shape.dim]
    image = np.random.default_rng(12).uniform(-5, 5, shape).astype(np.float32)
    np.testing.assert_allclose(run(result, image), run(made, image), atol=ATOL, rtol=1e-5)
    return kinds(result)


SLOPE = np.array([0.1, 0.4, 0.0, -0.2], np.float32).reshape(4, 1, 1)
PER_CHANNEL = np.array([0.5, -2.0, 3.0, 0.01], np.float32).reshape(1, 4, 1, 1)


@pytest.mark.parametrize(
    ("made", "expected"),
    [
        (model([node("HardSwish", "x")]), ["Add", "Clip", "Mul", "Mul"]),
        (model([node("HardSwish", "x")], shape=(1, 12)), ["Clip", "Mul", "Mul", "Sub"]),
        (model([node("HardSigmoid", "x", alpha=1 / 6)]), ["Add", "Clip", "Mul"]),
        (model([node("HardSigmoid", "x")]), ["Add", "Clip", "Mul", "Mul"]),
        (model([node("LeakyRelu", "x", alpha=0.2)]), ["Add", "Mul", "Mul", "Relu"]),
        (model([node("PRelu", "x", "s")], constants(s=SLOPE)), ["Add", "Conv", "Conv", "Relu"]),
        (model([node("Clip", "x", "a", "b")], constants(a=np.float32(0), b=np.float32(1))), ["Clip", "Mul", "Mul"]),
        (
            model([node("Clip", "x", "a", "b")], constants(a=np.float32(-1), b=np.float32(3))),
            ["Add", "Add", "Clip", "Mul", "Mul"],
        ),
        # It stands alone: nothing before it can take it in.
        (model([node("Clip", "x", "a", "b")], constants(a=np.float32(0), b=np.float32(6))), ["Clip", "Conv"]),
        (model([node("AveragePool", "x", kernel_shape=[2, 3], strides=[2, 1])]), ["Conv"]),
        (
            model([node("AveragePool", "x", kernel_shape=[3, 3], pads=[1, 1, 1, 1], count_include_pad=1)]),
            ["Conv"],
        ),
        # Its weights differ at the border.
        (model([node("AveragePool", "x", kernel_shape=[3, 3], pads=[1, 1, 1, 1])]), ["AveragePool"]),
        (model([node("AveragePool", "x", kernel_shape=[9, 9])]), ["GlobalAveragePool"]),
        (model([node("ReduceMean", "x", "a")], constants(a=np.array([-1, 2]))), ["GlobalAveragePool"]),
        (
            model([node("ReduceMean", "x", "a", keepdims=0)], constants(a=np.array([2, 3]))),
            ["Flatten", "GlobalAveragePool"],
        ),
        (model([node("ReduceMean", "x", "a")], constants(a=np.array([1]))), ["ReduceMean"]),
        # TensorFlow's SAME is that padding at stride 1, another one at stride 2.
        (model([node("MaxPool", "x", kernel_shape=[3, 3], pads=[1, 1, 1, 1])]), ["MaxPool"]),
        (
            model([node("MaxPool", "x", kernel_shape=[3, 3], pads=[1, 1, 1, 1], strides=[2, 2])], shape=(1, 4, 8, 8)),
            ["Concat", "Concat", "MaxPool", "Slice", "Slice", "Slice", "Slice"],
        ),
        (
            model(
                [
                    node("Relu", "x", to="r"),
                    node("MaxPool", "r", kernel_shape=[3, 3], pads=[1, 1, 1, 1], strides=[2, 2]),
                ],
                shape=(1, 4, 8, 8),
            ),
            ["MaxPool", "Pad", "Relu"],
        ),
        (model([node("Mul", "x", "c")], constants(c=PER_CHANNEL)), ["Conv"]),
        (model([node("Sub", "x", "m", to="d"), node("Div", "d", "c")], constants(m=SLOPE, c=PER_CHANNEL)), ["Conv"]),
        (model([node("Mul", "c", "x", to="d"), node("Add", "m", "d")], constants(m=SLOPE, c=PER_CHANNEL)), ["Conv"]),
        (model([node("Relu", "x", to="r"), node("Sum", "x", "r")]), ["Add", "Relu"]),
        # Behind a convolution they become part of it.
        (
            model(
                [node("Conv", "x", "w", to="k"), node("Mul", "k", "c", to="d"), node("Sub", "d", "m")],
                constants(m=SLOPE, c=PER_CHANNEL, w=rng.normal(size=(4, 4, 3, 3)).astype(np.float32)),
            ),
            ["Conv"],
        ),
        (
            model(
                [node("BatchNormalization", "x", *"gbmv")],
                constants(**{name: rng.uniform(0.5, 2, 4).astype(np.float32) for name in "gbmv"}),
            ),
            ["Conv"],
        ),
    ],
    ids=lambda value: "-".join(kinds(value)) if isinstance(value, onnx.ModelProto) else "",
)
def test_a_rule_keeps_the_function(made, expected):
    assert sorted(rewritten(made)) == expected


def test_a_hard_swish_in_parts_is_recognized():
    numbers = constants(three=np.float32(3), zero=np.float32(0), six=np.float32(6))
    parts = [
        node("Add", "x", "three", to="a"),
        node("Clip", "a", "zero", "six", to="c"),
        node("Mul", "x", "c", to="m"),
        node("Div", "m", "six"),
    ]
    assert sorted(rewritten(model(parts, numbers))) == ["Add", "Clip", "Mul", "Mul"]


def gated(gate_of):
    """Squeeze-and-excite: x · gate(x), then a 1×1 convolution."""
    weights = constants(
        w=rng.normal(size=(4, 4, 1, 1)).astype(np.float32), v=np.eye(4, dtype=np.float32)[..., None, None]
    )
    nodes = [
        node("HardSwish", "x", to="h"),
        node("GlobalAveragePool", "h", to="p"),
        node("Conv", "p", "v", to="s"),
        node("HardSigmoid", "s", to="g", alpha=1 / 6),
        node("Mul", *gate_of, to="m"),
        node("Conv", "m", "w"),
    ]
    return model(nodes, weights)


def test_factors_go_into_the_weights_behind_them():
    assert rewritten(gated(("h", "g"))).count("Mul") == 2, "the product of hard-swish and the one with the gate"


def test_a_factor_on_both_sides_of_a_product_stays():
    assert rewritten(gated(("h", "h"))).count("Mul") > 2


@pytest.mark.parametrize("shared", ["weight", "output", "sum"])
def test_a_factor_stays_where_somebody_else_would_see_it(shared):
    weights = constants(w=rng.normal(size=(4, 4, 1, 1)).astype(np.float32), s=np.float32(0.3))
    nodes = [node("Mul", "x", "s", to="m"), node("Conv", "m", "w", to="c")]
    last = {
        "weight": [node("Conv", "x", "w", to="d"), node("Add", "c", "d")],
        "output": [node("Identity", "c")],
        "sum": [node("Add", "c", "m")],
    }[shared]
    made = model([*nodes, *last], weights, outputs=("y", "m") if shared == "output" else ("y",))
    assert "Mul" in rewritten(made)


@pytest.mark.parametrize("kind", ["Softmax", "LogSoftmax", "Sigmoid"])
@pytest.mark.parametrize("behind", [[], [node("Flatten", "p")]])
def test_a_final_softmax_is_left_out(kind, behind):
    shape = (1, 5, 1, 1) if behind else (1, 5)
    axis = {} if kind == "Sigmoid" else {"axis": 1}
    made = model([node("Relu", "x", to="r"), node(kind, "r", to="p" if behind else "y", **axis), *behind], shape=shape)
    before = [dim.dim_value for dim in made.graph.output[0].type.tensor_type.shape.dim]
    note = give_logits(made)
    assert kind in note
    assert ("exclusive" in note) == (kind == "Sigmoid")
    image = np.random.default_rng(12).normal(size=shape).astype(np.float32)
    np.testing.assert_array_equal(run(made, image).ravel(), np.maximum(image, 0).ravel())
    assert list(run(made, image).shape) == before


def test_an_old_file_lists_its_weights_among_the_inputs(tmp_path):
    """Opset 9 and IR version 3, where a clip has its bounds as attributes."""
    rng = np.random.default_rng(12)
    weight = constants(w=rng.normal(size=(5, 3, 8, 8)).astype(np.float32))
    source, weight_input, result = (
        helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
        for name, shape in (("x", (1, 3, 8, 8)), ("w", (5, 3, 8, 8)), ("y", (1, 5, 1, 1)))
    )
    nodes = [node("Conv", "x", "w", to="k"), node("Clip", "k", min=-1.0, max=2.0)]
    graph = helper.make_graph(nodes, "old", [source, weight_input], [result], weight)
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 9)], ir_version=3)
    old, new = tmp_path / "old.onnx", tmp_path / "new.onnx"
    onnx.save(made, str(old))
    imported = import_onnx(old, new)
    assert (imported.height, imported.width, imported.classes) == (8, 8, 5)
    image = rng.uniform(-1, 1, (1, 3, 8, 8)).astype(np.float32)
    np.testing.assert_allclose(run(onnx.load(str(new)), image), run(made, image).reshape(1, 5), atol=ATOL)
    assert "Add" in rewritten(onnx.load(str(new)))


def test_a_softmax_in_the_middle_stays():
    made = model([node("Softmax", "x", to="s"), node("Relu", "s")])
    assert give_logits(made) is None
    assert kinds(made) == ["Softmax", "Relu"]


def test_an_output_of_one_pixel_is_flattened():
    made = model([node("Relu", "x")], shape=(1, 5, 1, 1))
    give_vector(made)
    onnx.checker.check_model(made, full_check=True)
    assert run(made, np.ones((1, 5, 1, 1), np.float32)).shape == (1, 5)
    other = model([node("Relu", "x")])
    give_vector(other)
    assert kinds(other) == ["Relu"]


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_weights_that_are_not_finite_are_named(value):
    made = model(
        [node("Mul", "x", "good", to="m"), node("Concat", "bad", "bad", axis=0)],
        constants(good=PER_CHANNEL, bad=np.array([0.5, value], np.float32)),
    )
    assert weights_not_finite(made) == ["bad"]


def test_a_node_without_int8_form_is_named(tmp_path):
    path = tmp_path / "cos.onnx"
    made = model([node("Relu", "x", to="r"), node("Cos", "r")])
    onnx.save(made, str(path))
    assert [n.op_type for n in suspects(made)] == ["Cos"]
    words = r"got COS left in float; the cause may be Cos \(node 'the_Cos_y'\)\."
    with pytest.raises(InputError, match=words) as raised, naming_nodes(path):
        raise InputError("Every operator must have an int8 form, got COS left in float.", "The remedy.")
    assert raised.value.remedy == "The remedy."


def test_without_a_suspect_the_error_stays(tmp_path):
    path = tmp_path / "relu.onnx"
    onnx.save(model([node("Relu", "x")]), str(path))
    with pytest.raises(InputError, match=r"^As it was$"), naming_nodes(path):
        raise InputError("As it was")


def test_what_no_recipe_converts_is_refused_by_name():
    made = model([node("Relu", "x")])
    made.graph.node[0].domain, made.graph.node[0].op_type = "com.acme", "Magic"
    with pytest.raises(InputError, match=r"got com.acme.Magic \(node 'the_Relu_y'\)"):
        check_operators(made)
