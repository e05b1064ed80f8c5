"""The doctor on a model: golden samples are replayed for real, and each kind of bad file is a row of its table."""

import json
import warnings
from dataclasses import replace

import numpy as np
import pytest
from click.testing import CliRunner
from support import tiny_model

from edgekit import bundle
from edgekit.errors import GateError, InputError
from edgekit.runtime import Kernels, Network
from edgekit_deploy import doctor, self_test
from edgekit_deploy.checks import Verdict
from edgekit_deploy.classifier import Classifier
from edgekit_deploy.doctor_command import command


@pytest.fixture
def model_file(tmp_path):
    path = tmp_path / "model.tflite"
    path.write_bytes(tiny_model.sealed())
    return path


def test_golden_samples_hold_on_both_kinds_of_kernels():
    model = tiny_model.parsed()
    for kernels in (Kernels.XNNPACK, Kernels.BUILTIN):
        network = Network(model.data, kernels=kernels)
        check = self_test.check_golden(model, network, "x86_64")
        assert check.verdict is Verdict.OK
        assert "3 of 3 bit for bit" in check.found and kernels in check.found
        for sample in model.card.golden:
            assert self_test.replay(sample, model, network).tobytes() == getattr(sample, kernels)


def reseal(change):
    """The tiny model with golden samples changed by `change`."""
    model = tiny_model.parsed()
    card = replace(model.card, golden=tuple(change(sample) for sample in model.card.golden))
    return bundle.parse(bundle.seal(tiny_model.flatbuffer(model.card.input), card, model.images))


def shifted(codes, by):
    moved = np.frombuffer(codes, np.int8).copy()
    # Towards zero, since 127 has no neighbour above it.
    moved[0] += by if moved[0] < 0 else -by
    return moved.tobytes()


@pytest.mark.parametrize(
    ("kernels", "machine", "by", "verdict"),
    [
        (Kernels.XNNPACK, "x86_64", 1, Verdict.BROKEN),
        (Kernels.XNNPACK, "aarch64", 1, Verdict.BROKEN),
        (Kernels.BUILTIN, "x86_64", 1, Verdict.BROKEN),
        (Kernels.BUILTIN, "AMD64", 1, Verdict.BROKEN),
        (Kernels.BUILTIN, "aarch64", 3, Verdict.OK),
        (Kernels.BUILTIN, "armv7l", 4, Verdict.BROKEN),
    ],
)
def test_one_code_off_is_found_where_exactness_is_promised(kernels, machine, by, verdict):
    model = reseal(lambda s: replace(s, xnnpack=shifted(s.xnnpack, by), builtin=shifted(s.builtin, by)))
    check = self_test.check_golden(model, Network(model.data, kernels=kernels), machine)
    assert check.verdict is verdict
    if verdict is Verdict.BROKEN:
        assert f"off by {by}" in check.found


def test_each_kind_of_kernels_has_its_own_expectation():
    only_builtin_wrong = reseal(lambda s: replace(s, builtin=shifted(s.builtin, 9)))
    network = Network(only_builtin_wrong.data)
    assert self_test.check_golden(only_builtin_wrong, network, "x86_64").verdict is Verdict.OK
    network = Network(only_builtin_wrong.data, kernels=Kernels.BUILTIN)
    assert self_test.check_golden(only_builtin_wrong, network, "x86_64").verdict is Verdict.BROKEN


def test_missing_image_or_short_expectation():
    lost = reseal(lambda s: replace(s, image="golden/lost.png"))
    check = self_test.check_golden(lost, Network(lost.data), "x86_64")
    assert check.verdict is Verdict.BROKEN and "lost.png" in check.found
    short = reseal(lambda s: replace(s, xnnpack=s.xnnpack[:-1]))
    assert self_test.check_golden(short, Network(short.data), "x86_64").verdict is Verdict.BROKEN


def test_pictures_that_the_network_does_not_tell_apart_are_a_note():
    first = tiny_model.parsed().card.golden[0]
    alike = reseal(lambda sample: first)
    check = self_test.check_golden(alike, Network(alike.data), "x86_64")
    assert check.verdict is Verdict.NOTE
    assert "3 of 3 bit for bit" in check.found and "the same for all" in check.found


def test_a_model_without_samples_is_a_note():
    data = tiny_model.sealed(golden=0)
    model = bundle.parse(data)
    assert self_test.check_golden(model, Network(data), "x86_64").verdict is Verdict.NOTE


def test_lost_xnnpack_is_broken(monkeypatch, model_file):
    monkeypatch.setattr(Network, "_executed_by", lambda self, output: Kernels.BUILTIN)
    verdicts = {check.name: check.verdict for check in self_test.check_model(model_file)}
    assert verdicts["kernels"] is Verdict.BROKEN


def mixed(by: int) -> bundle.Bundle:
    """A model that XNNPACK runs in part only; its builtin expectation is `by` codes off, the other one far off."""
    model = tiny_model.parsed()
    front = tiny_model.flatbuffer(model.card.input, hard_swish=True)
    network = Network(front)
    golden = []
    for sample in model.card.golden:
        codes = self_test.replay(sample, model, network).tobytes()
        golden.append(replace(sample, xnnpack=shifted(codes, 50), builtin=shifted(codes, by)))
    return bundle.parse(bundle.seal(front, replace(model.card, golden=tuple(golden)), model.images))


@pytest.mark.parametrize(("by", "verdict"), [(3, Verdict.OK), (4, Verdict.BROKEN)])
def test_mixed_kernels_promise_the_bound_only(tmp_path, by, verdict):
    path = tmp_path / "mixed.tflite"
    path.write_bytes(mixed(by).data)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        checks = {check.name: check for check in self_test.check_model(path)}
    assert checks["kernels"].verdict is Verdict.NOTE and "a part of the network" in checks["kernels"].found
    assert checks["golden samples"].verdict is verdict
    assert "within 3 codes" in checks["golden samples"].found and "builtin" in checks["golden samples"].found
    assert checks["camera path"].verdict is Verdict.OK


def test_a_missing_golden_image_is_a_broken_row_everywhere(tmp_path):
    path = tmp_path / "lost.tflite"
    path.write_bytes(reseal(lambda s: replace(s, image="golden/lost.png")).data)
    done = CliRunner().invoke(command, [str(path), "--json"])
    assert isinstance(done.exception, GateError)
    verdicts = {check["name"]: check["verdict"] for check in json.loads(done.stdout)["checks"]}
    assert (verdicts["model"], verdicts["golden samples"], verdicts["camera path"]) == ("ok", "broken", "broken")


def test_a_card_that_contradicts_its_network_is_a_broken_row(tmp_path):
    path = tmp_path / "odd.tflite"
    card = tiny_model.card_for(tiny_model.input_spec(16, 32))
    path.write_bytes(bundle.seal(tiny_model.flatbuffer(tiny_model.input_spec()), card, {}))
    checks = list(self_test.check_model(path))
    assert [check.name for check in checks] == ["model", "card"]
    assert checks[-1].verdict is Verdict.BROKEN and "input size" in checks[-1].found


def test_without_golden_samples_the_camera_path_is_compared_on_noise(monkeypatch, tmp_path):
    path = tmp_path / "bare.tflite"
    path.write_bytes(tiny_model.sealed(golden=0))
    check = list(self_test.check_model(path))[-1]
    assert check.verdict is Verdict.OK and "noise" in check.found
    monkeypatch.setattr(Classifier, "output_codes", lambda self: np.full(5, 99, np.int8))
    assert list(self_test.check_model(path))[-1].verdict is Verdict.BROKEN


def test_all_checks_of_a_good_model_pass(model_file):
    verdicts = {check.name: check.verdict for check in self_test.check_model(model_file)}
    names = ("model", "kernels", "golden samples", "camera path")
    assert verdicts == dict.fromkeys(names, Verdict.OK)


def test_command_table_and_json(model_file):
    done = CliRunner().invoke(command, [str(model_file)])
    assert done.exit_code == 0, done.output
    assert "golden samples" in done.output
    done = CliRunner().invoke(command, [str(model_file), "--json"])
    plain = json.loads(done.stdout)
    assert plain["ok"] is True
    assert {check["name"] for check in plain["checks"]} >= {"Python", "kernels", "golden samples"}


def test_command_exits_1_when_something_is_broken(tmp_path):
    model = reseal(lambda s: replace(s, xnnpack=shifted(s.xnnpack, 5), builtin=shifted(s.builtin, 5)))
    path = tmp_path / "odd.tflite"
    path.write_bytes(model.data)
    done = CliRunner().invoke(command, [str(path), "--json"])
    assert isinstance(done.exception, GateError) and done.exception.exit_code == 1
    assert json.loads(done.stdout)["ok"] is False


@pytest.mark.parametrize("content", [b"nothing", tiny_model.sealed()[:-50]])
def test_command_with_a_bad_file_has_its_table(tmp_path, content):
    (tmp_path / "bad.tflite").write_bytes(content)
    done = CliRunner().invoke(command, [str(tmp_path / "bad.tflite"), "--json"])
    assert isinstance(done.exception, GateError)
    last = json.loads(done.stdout)["checks"][-1]
    assert (last["name"], last["verdict"]) == ("model", "broken")


def test_command_without_a_file_is_an_input_error(tmp_path):
    assert isinstance(CliRunner().invoke(command, [str(tmp_path / "nothing.tflite")]).exception, InputError)


def test_model_is_not_looked_at_on_a_broken_machine(monkeypatch, model_file):
    monkeypatch.setattr(doctor, "installed_versions", lambda names, path: {})
    done = CliRunner().invoke(command, [str(model_file), "--json"])
    assert isinstance(done.exception, GateError)
    last = json.loads(done.stdout)["checks"][-1]
    assert (last["name"], last["found"]) == ("model", "not looked at")
