"""The layer view against numbers found another way, and what its page shows."""

import subprocess
import sys
from dataclasses import replace
from unittest.mock import Mock

import numpy as np
import pytest
import torch
from ai_edge_litert import schema_py_generated as schema
from support import foreign_networks
from support.browser import shown
from support.photos import CLASSES, picture

from edgekit import cli
from edgekit.card import InputSpec, Quantization
from edgekit.errors import EdgekitError
from edgekit.preprocess import normalize
from edgekit.quant import sqnr_db
from edgekit.runtime import Kernels, Network
from edgekit_quantize import convert
from edgekit_quantize.calibrate import Histogram, Range, collect
from edgekit_quantize.explain import page, wording
from edgekit_quantize.explain.measure import IMAGES, TensorView, measure
from edgekit_quantize.export import export_onnx
from edgekit_quantize.graph import Graph, name_of, unpack
from edgekit_quantize.inference import PixelNetwork
from edgekit_quantize.plan import plan_for, quantization_of
from edgekit_quantize.quantizer import input_quantization, quantize
from edgekit_quantize.recipe import Format, RangeRule, load_recipe
from edgekit_quantize.tflite import convert_onnx, tflite_logits
from edgekit_quantize.twin import Twin
from edgekit_quantize.verify import Check

SPEC = InputSpec(foreign_networks.SIZE, foreign_networks.SIZE)
# Float32 sums against float64 ones.
EXACT_DB = 0.01
# Two builds of the builtin kernels round a few sums the other way: measured 0.2 dB on the logits.
KERNELS_DB = 1.0
# PyTorch's activations differ in the last bits: values on the border of a range may lie on either side.
SHARE = 1e-4


@pytest.fixture(scope="module")
def pixels():
    rng = np.random.default_rng(6)
    return np.stack([picture(kind, rng, foreign_networks.SIZE) for _ in range(8) for kind in CLASSES])


@pytest.fixture(scope="module")
def float_model(tmp_path_factory, pixels):
    path = tmp_path_factory.mktemp("network") / "network.onnx"
    images = torch.from_numpy(normalize(pixels, SPEC)).permute(0, 3, 1, 2)
    export_onnx(foreign_networks.create("efficientnet_lite", images), SPEC, path)
    return convert_onnx(path, pixels)


@pytest.fixture(scope="module")
def plan(float_model, pixels):
    histograms = collect(float_model, normalize(pixels, SPEC), Histogram)
    ranges = {name: Range(seen.low, max(seen.high, 1e-3)) for name, seen in histograms.items()}
    return plan_for(Graph(float_model), ranges, input_quantization(SPEC))


@pytest.fixture(scope="module")
def spoilt(float_model, plan):
    """One layer's weights on a grid thirty times coarser, another's output clipped at a third of its range."""
    layers = list(Graph(float_model).layers())
    coarse, clipped = layers[3], layers[6]
    limits = {**plan.weight_limits, coarse.weight: 30.0 * plan.weight_limits[coarse.weight]}
    old = plan.ranges[clipped.output]
    ranges = {**plan.ranges, clipped.output: Range(old.low / 3.0, old.high / 3.0)}
    return replace(plan, weight_limits=limits, ranges=ranges), coarse, clipped


@pytest.fixture(scope="module")
def file(float_model, spoilt):
    return quantize(float_model, spoilt[0])


@pytest.fixture(scope="module")
def judged(pixels):
    return pixels[:IMAGES]


@pytest.fixture(scope="module")
def views(float_model, file, pixels, judged):
    return measure(float_model, file, pixels, judged, SPEC)


def by_name(views):
    return {view.name: view for view in views}


def test_the_spoilt_layer_comes_first(views, spoilt):
    _, coarse, _ = spoilt
    assert views[0].name == coarse.output
    assert wording.cause(views[0]) is wording.Cause.WEIGHTS
    layers = [view for view in views if view.own_error is not None]
    assert views[: len(layers)] == sorted(layers, key=lambda view: -view.own_error)
    assert sum(view.own_share for view in layers) == pytest.approx(1.0)


def test_every_operator_that_computes_something_new_is_there(views, float_model):
    nodes = [node for node in Graph(float_model).nodes() if node.operator not in ("PAD", "RESHAPE")]
    assert {view.name for view in views} == {Graph(float_model).input, *(node.outputs[0] for node in nodes)}
    assert sorted(view.depth for view in views) == list(range(len(views)))


def test_weight_error_is_that_of_rounding_by_the_formula(views, float_model, spoilt):
    plan, *_ = spoilt
    graph, found = Graph(float_model), by_name(views)
    for layer in graph.layers():
        weight, step = graph.constant(layer.weight), plan.weight_limits[layer.weight] / 127.0
        expected = sqnr_db(weight, np.clip(np.round(weight / step), -127, 127) * step)
        assert found[layer.output].weight_sqnr_db == pytest.approx(expected, abs=EXACT_DB)


def test_saturated_share_is_that_of_pytorch_activations(views, float_model, spoilt, judged):
    plan, _, clipped = spoilt
    shares = {}

    def look(name, values):
        inside, half = plan.ranges[name], quantization_of(plan.ranges[name]).scale / 2.0
        # The file's zero point is a whole number, which moves both ends by less than half a step.
        shares[name] = [
            float(((values < inside.low - a * half) | (values > inside.high + a * half)).float().mean()) for a in (0, 2)
        ]
        return values

    with torch.inference_mode():
        Twin(float_model)(torch.from_numpy(normalize(judged, SPEC)), edit=look)
    for view in views:
        most, least = shares[view.name]
        assert least - SHARE <= view.saturated <= most + SHARE
    assert by_name(views)[clipped.output].saturated > 0.01
    assert wording.cause(by_name(views)[clipped.output]) is wording.Cause.CLIPPED


def test_running_error_of_the_logits_is_that_of_another_runtime(views, float_model, file, judged):
    network = PixelNetwork(Network(file, kernels=Kernels.BUILTIN), SPEC)
    logits = np.stack([network.logits(image) for image in judged])
    expected = sqnr_db(tflite_logits(float_model, normalize(judged, SPEC), 1), logits)
    assert by_name(views)[Graph(float_model).output].sqnr_db == pytest.approx(expected, abs=KERNELS_DB)


def test_error_of_the_input_is_that_of_rounding_pixels(views, judged):
    image = normalize(judged, SPEC)
    scale, zero_point = input_quantization(SPEC).scale, input_quantization(SPEC).zero_point
    rounded = scale * (np.clip(judged.astype(int) - 128, -128, 127) - zero_point)
    (view,) = [view for view in views if view.operator == "INPUT"]
    assert view.sqnr_db == pytest.approx(sqnr_db(image, rounded), abs=EXACT_DB)


def test_scale_and_zero_point_are_those_of_the_file(views, file):
    tensors = {name_of(tensor): tensor for tensor in unpack(file).subgraphs[0].tensors}
    for view in views:
        tensor = tensors[view.name]
        assert tensor.type == schema.TensorType.INT8
        assert view.quantization.scale == pytest.approx(tensor.quantization.scale[0])
        assert view.quantization.zero_point == tensor.quantization.zeroPoint[0]


# --- wording ---


def view_of(values, scale=1.0 / 255.0, zero_point=-128, **changes) -> TensorView:
    histogram = Histogram()
    histogram.add(np.asarray(values, np.float32))
    plain = TensorView(
        1, "a", "CONV_2D", (4, 4, 8), Quantization(scale, zero_point), 20.0, 0.0, histogram, 0.1, 1.0, 40
    )
    return replace(plain, **changes)


def test_a_long_tail_is_told_from_an_even_spread():
    even = np.linspace(0.0, 1.0, 100_000)
    tailed = np.concatenate([even / 10.0, [1.0]])
    # Bins are 1/2048 of the range at worst.
    assert wording.bulk_share(view_of(even)) == pytest.approx(0.9995, abs=1e-3)
    assert wording.bulk_share(view_of(tailed)) == pytest.approx(0.09995, abs=1e-3)
    assert wording.cause(view_of(even)) is wording.Cause.LEVELS
    assert wording.cause(view_of(tailed)) is wording.Cause.TAIL


def test_remedies_fit_the_recipe():
    plain, tuned = load_recipe("int8-minmax"), load_recipe("int8")
    levels, tail = view_of(np.linspace(0, 1, 1000)), view_of(np.concatenate([np.linspace(0, 0.1, 5000), [1.0]]))
    assert wording.remedies([levels, levels], plain) == wording.remedies([levels], plain)
    assert "--recipe int8:" in wording.remedies([levels], plain)[0]
    assert "int8-qat" in wording.remedies([levels], tuned)[0]
    assert '"mse"' in wording.remedies([tail], plain)[0]
    assert '"mse"' not in wording.remedies([tail], replace(plain, activation_range=RangeRule.MSE))[0]


# --- the page ---

CHECK = Check(Format.INT8, Kernels.XNNPACK, None, None, 20.0, 0.98, 50)


@pytest.fixture
def html(tmp_path, views):
    path = tmp_path / "layers.html"
    path.write_text(page.draw("net", load_recipe("int8"), CHECK, views, 16, is_held_back=True, is_tuned=True))
    return path


def test_the_summary_names_the_three_worst(html, views):
    text = html.read_text().replace("\u00a0", " ")
    assert "int8 and float give the same answer on 98.0 % of 50 images; the logits are off by 10.0 % of" in text
    summary = text[text.index("<ol") : text.index("</ol>")]
    places = [summary.index(wording.title(view)) for view in views[:3]]
    assert places == sorted(places)
    assert text.count("<tr>") == 1 + len(views)


def test_foreign_names_are_escaped(views):
    name = "<script>alert(1)</script>{{ 7 * 7 }}$x^2$"
    hostile = [replace(view, name=name, operator="<b>", sqnr_db=float("inf")) for view in views]
    text = page.draw(name, load_recipe("int8"), CHECK, hostile, 16, is_held_back=False, is_tuned=True)
    assert "<script" not in text
    assert "<b>&lt;b&gt;" not in text
    assert "#1 <b>" not in text
    assert "&lt;script&gt;" in text
    assert "{{ 7 * 7 }}" in text


def test_the_same_numbers_give_the_same_page(html, views):
    again = page.draw("net", load_recipe("int8"), CHECK, views, 16, is_held_back=True, is_tuned=True)
    assert again == html.read_text()


@pytest.mark.parametrize("kept", [0, 1])
def test_layers_that_cannot_be_looked_at_alone_are_counted(views, kept):
    bare = [replace(view, own_error=None, own_share=None) for view in views[kept:]]
    text = page.draw("net", load_recipe("int8"), CHECK, [*views[:kept], *bare], 16, is_held_back=True, is_tuned=True)
    hidden = sum(view.weight_sqnr_db is not None for view in bare)
    assert f"<b>{hidden} of the layers with weights cannot" in text
    assert ("None of the layers" in text) == (kept == 0)


@pytest.mark.browser
@pytest.mark.parametrize("width", [500, 1200])
def test_a_real_browser_shows_the_page_without_complaint(html, tmp_path, width):
    assert shown(html, tmp_path, width).std() > 10


# --- the command ---


@pytest.fixture
def run(checkpoint_file, photos, tmp_path):
    def call(recipe, explain="layers.html"):
        arguments = ["convert", checkpoint_file, "--calibration", photos, "--out", tmp_path / "m.tflite"]
        return cli.run([*map(str, arguments), "--recipe", recipe, "--explain", str(tmp_path / explain)])

    return call


def test_the_command_writes_the_page(converted):
    text = converted.explained.read_text()
    assert "tiny: where int8 loses" in text
    # MobileNetV2: 52 convolutions and the classifier.
    assert "over 53 layers with weights" in text


def test_nothing_is_written_if_the_last_stage_fails(run, tmp_path, monkeypatch, capsys):
    """The stages before it are stand-ins: another conversion would take its time."""

    def fail(*_, **__):
        raise EdgekitError("Sealing must work, got a fault.")

    for stage in ("_float_model", "choose", "_prove", "_measurements"):
        monkeypatch.setattr(convert, stage, Mock())
    monkeypatch.setattr(convert, "seal", fail)
    assert run("int8-minmax") == 4
    assert "Sealing must work" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_conversion_without_the_page_does_not_load_what_draws_it():
    code = "import sys, edgekit_quantize.convert; sys.exit('matplotlib' in sys.modules or 'markupsafe' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


@pytest.mark.parametrize(
    ("recipe", "path", "told"),
    [("fp16", "a.html", "must go with an int8 recipe, got fp16"), ("int8", "a.txt", "must end in .html")],
)
def test_what_cannot_be_explained_is_refused_at_once(run, capsys, recipe, path, told):
    assert run(recipe, path) == 2
    assert told in " ".join(capsys.readouterr().err.split())
