"""`edgekit convert` as a user calls it: reproducible, offline, and clear about every bad input."""

import os
import signal
import subprocess
import sys

import cv2
import numpy as np
import onnx
import psutil
import pytest
import torch
from onnx import TensorProto, helper
from support.workers import wait_until, workers_of

from edgekit import bundle
from edgekit.cli import run


def convert(source, photos, out, *more):
    return run(["convert", str(source), "--calibration", str(photos), "--out", str(out), *map(str, more)])


def refused(capsys, tmp_path, code, *words, source=None, photos=None, out=None, more=()):
    """The call fails with `code`, one line that holds all `words`, and leaves no file behind."""
    folder = tmp_path / "out"
    folder.mkdir(exist_ok=True)
    capsys.readouterr()
    got = convert(source, photos, out or folder / "m.tflite", *more)
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("Error")]
    assert got == code, lines
    assert len(lines) == 1
    assert all(word in lines[0] for word in words), lines[0]
    assert list(folder.iterdir()) == []


def test_the_same_input_gives_the_same_bytes_with_no_request(tmp_path, photos, converted):
    """A planted guard ends any process of the conversion that looks up a host or connects to one."""
    guard = tmp_path / "guard"
    guard.mkdir()
    (guard / "sitecustomize.py").write_text(
        "import os, socket, sys\n"
        "def refuse(event, arguments):\n"
        "    if event in ('socket.getaddrinfo', 'socket.connect', 'socket.gethostbyname'):\n"
        "        open(os.environ['GUARD_LOG'], 'a').write(f'{event} {arguments}\\n'); os._exit(99)\n"
        "sys.addaudithook(refuse)\n"
    )
    log, out = tmp_path / "requests.log", tmp_path / "tiny.tflite"
    command = [sys.executable, "-m", "edgekit.cli", "convert", str(converted.checkpoint)]
    command += ["--calibration", str(photos), "--out", str(out)]
    environment = os.environ | {"PYTHONPATH": str(guard), "GUARD_LOG": str(log)}
    # The guard works: a look-up under it is stopped and logged.
    probe = [sys.executable, "-c", "import socket; socket.getaddrinfo('localhost', 80)"]
    assert subprocess.run(probe, env=environment, check=False).returncode == 99
    log.unlink()
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert not log.exists()
    assert out.read_bytes() == converted.model.read_bytes()


def small_net(classes=4):
    torch.manual_seed(1)
    conv, norm = torch.nn.Conv2d(3, 8, 3, 2, 1), torch.nn.BatchNorm2d(8)
    head = [torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten(), torch.nn.Linear(8, classes)]
    return torch.nn.Sequential(conv, norm, torch.nn.Hardswish(), *head).eval()


def export(network, path, shape=(1, 3, 40, 40), dynamic=None):
    torch.onnx.export(
        network,
        (torch.zeros(shape),),
        str(path),
        dynamo=True,
        external_data=False,
        verbose=False,
        dynamic_shapes=dynamic,
    )
    return path


def test_a_foreign_onnx_with_a_free_batch_size(tmp_path, photos, capsys):
    path = export(small_net(), tmp_path / "net.onnx", (2, 3, 40, 56), ({0: torch.export.Dim("batch")},))
    labels = tmp_path / "names.txt"
    labels.write_text("ash\nbeech\ncedar\ndouglas fir\n")
    out = tmp_path / "net.tflite"
    more = ("--labels", labels, "--mean", "0.485,0.456,0.406", "--std", "0.229,0.224,0.225", "--crop", 0.9)
    assert convert(path, photos, out, *more) == 0
    card = bundle.read(out).card
    assert card.labels == ("ash", "beech", "cedar", "douglas fir")
    assert (card.input.height, card.input.width, card.input.crop_fraction) == (40, 56, 0.9)
    assert card.input.mean == (0.485, 0.456, 0.406)


def test_a_network_with_one_answer_to_everything_is_warned_of(tmp_path, photos, capsys):
    network = small_net()
    with torch.no_grad():
        network[-1].bias[2] += 100.0
    labels = tmp_path / "names.txt"
    labels.write_text("ash\nbeech\n[red]cedar\ndouglas fir\n")
    path = export(network, tmp_path / "net.onnx")
    more = ("--labels", labels, "--mean", "0.5", "--std", "0.5", "--recipe", "int8-minmax")
    assert convert(path, photos, tmp_path / "net.tflite", *more) == 0
    shown = " ".join(capsys.readouterr().err.split())
    assert "images that it was checked on '[red]cedar'" in shown


@pytest.fixture
def onnx_file(tmp_path):
    return export(small_net(), tmp_path / "net.onnx")


def graph_file(path, shape, output=(1, 4), kind=TensorProto.FLOAT):
    """An ONNX file whose only node is the identity."""
    source = helper.make_tensor_value_info("x", kind, shape)
    target = helper.make_tensor_value_info("y", kind, output)
    graph = helper.make_graph([helper.make_node("Identity", ["x"], ["y"])], "g", [source], [target])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9), str(path))
    return path


@pytest.mark.parametrize(
    ("shape", "kind", "words"),
    [
        ((1, 3, "h", "w"), TensorProto.FLOAT, ("fixed height and width", "h, w")),
        ((1, 16), TensorProto.FLOAT, ("float image",)),
        ((1, 1, 32, 32), TensorProto.FLOAT, ("(1, 1, 32, 32)", "three colours")),
        ((1, 3, 32, 32), TensorProto.INT64, ("float image", "INT64")),
        ((1, 3, 32, 32), TensorProto.FLOAT, ("class vector",)),
    ],
)
def test_an_onnx_that_is_no_image_classifier(tmp_path, photos, capsys, shape, kind, words):
    path = graph_file(tmp_path / "odd.onnx", shape, shape, kind)
    refused(capsys, tmp_path, 2, *words, source=path, photos=photos)


@pytest.mark.parametrize(
    ("shape", "kind", "words"),
    [((1, 1), TensorProto.FLOAT, "at least 2 classes"), ((1, 4), TensorProto.INT64, "float class vector")],
)
def test_an_answer_that_is_no_vector_of_scores(tmp_path, photos, capsys, shape, kind, words):
    image = helper.make_tensor_value_info("x", TensorProto.FLOAT, (1, 3, 32, 32))
    answer = helper.make_tensor_value_info("y", kind, shape)
    axes = helper.make_tensor("axes", TensorProto.INT64, [2], [2, 3])
    nodes = [helper.make_node("ReduceMean", ["x", "axes"], ["m"], keepdims=0)]
    weight = helper.make_tensor("w", TensorProto.FLOAT, [3, shape[1]], [0.1] * 3 * shape[1])
    nodes.append(helper.make_node("MatMul", ["m", "w"], ["z"]))
    nodes.append(helper.make_node("Cast", ["z"], ["y"], to=kind))
    graph = helper.make_graph(nodes, "g", [image], [answer], [axes, weight])
    path = tmp_path / "odd.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9), str(path))
    refused(capsys, tmp_path, 2, words, source=path, photos=photos)


def test_no_file_takes_the_place_of_another(tmp_path, photos, capsys, onnx_file):
    before = onnx_file.read_bytes()
    refused(
        capsys, tmp_path, 2, "--onnx must be another file", source=onnx_file, photos=photos, more=("--onnx", onnx_file)
    )
    same = ("--onnx", tmp_path / "out" / "m.tflite")
    refused(capsys, tmp_path, 2, "other", "--out", source=onnx_file, photos=photos, more=same)
    assert onnx_file.read_bytes() == before


def test_files_that_are_not_what_they_say(tmp_path, photos, capsys):
    noise = tmp_path / "noise.onnx"
    noise.write_bytes(b"\x00 not a model " * 50)
    refused(capsys, tmp_path, 2, "must be an ONNX model", source=noise, photos=photos)
    noise.rename(noise := tmp_path / "noise.pt")
    refused(capsys, tmp_path, 2, "must be an edgekit checkpoint", source=noise, photos=photos)
    refused(capsys, tmp_path, 2, "nothing there", source=tmp_path / "absent.onnx", photos=photos)
    refused(capsys, tmp_path, 2, "nothing there", source=tmp_path / "absent.pt", photos=photos)
    refused(capsys, tmp_path, 2, "mobilenet_v2:imagenet", source="mobilenet_v9:imagenet", photos=photos)


def test_a_pickle_with_code_is_not_executed(tmp_path, photos, capsys):
    class Payload:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "executed"),)

    evil = tmp_path / "evil.pt"
    torch.save({"format": "edgekit-checkpoint-1", "state": Payload()}, evil)
    refused(capsys, tmp_path, 2, "was not executed", source=evil, photos=photos)
    assert not (tmp_path / "executed").exists()


def test_calibration_folders_that_cannot_be_used(tmp_path, capsys, onnx_file):
    empty, broken, same = tmp_path / "empty", tmp_path / "broken", tmp_path / "same"
    for folder in (empty, broken, same):
        folder.mkdir()
    (broken / "a.jpg").write_bytes(b"")
    (broken / "b.png").write_bytes(b"no image")
    for number in range(3):
        cv2.imwrite(str(same / f"{number}.png"), np.full((50, 50, 3), 90, np.uint8))
    refused(capsys, tmp_path, 2, "must hold images", source=onnx_file, photos=empty)
    refused(capsys, tmp_path, 2, "must be a folder", source=onnx_file, photos=tmp_path / "absent")
    refused(capsys, tmp_path, 2, "readable, got none of 2", source=onnx_file, photos=broken)
    refused(capsys, tmp_path, 2, "must differ", source=onnx_file, photos=same)


def test_unreadable_images_are_skipped_and_listed(tmp_path, capsys, onnx_file, photos):
    mixed = tmp_path / "mixed"
    mixed.mkdir()
    for picture in sorted((photos / "blobs").iterdir())[:6]:
        (mixed / picture.name).write_bytes(picture.read_bytes())
    (mixed / "zero.jpg").write_bytes(b"")
    assert convert(onnx_file, mixed, tmp_path / "m.tflite") == 0
    told = capsys.readouterr().err
    assert "1 calibration images skipped" in told
    assert "zero.jpg" in told.replace("\n", "")


def test_wrong_options(tmp_path, photos, capsys, onnx_file, checkpoint_file):
    labels = tmp_path / "names.txt"
    labels.write_text("one\ntwo\n")
    refused(capsys, tmp_path, 2, "4 classes", "got 2", source=onnx_file, photos=photos, more=("--labels", labels))
    refused(capsys, tmp_path, 2, "which knows its own", source=checkpoint_file, photos=photos, more=("--mean", 0.5))
    refused(capsys, tmp_path, 2, "end in .tflite", source=onnx_file, photos=photos, out=tmp_path / "out" / "model.bin")
    refused(capsys, tmp_path, 2, "recipe must be one of", source=onnx_file, photos=photos, more=("--recipe", "int9"))
    refused(capsys, tmp_path, 2, "must be writable", source=onnx_file, photos=photos, out="/proc/none/m.tflite")


def test_weights_that_are_not_finite(tmp_path, photos, capsys):
    network = small_net()
    with torch.no_grad():
        network[5].weight[0, 0] = float("nan")
    path = export(network, tmp_path / "nan.onnx")
    refused(capsys, tmp_path, 2, "finite", source=path, photos=photos)


def test_a_full_disk_leaves_nothing(tmp_path, photos, capsys, onnx_file):
    """A real one: a file system of 16 KiB."""
    small = tmp_path / "small"
    small.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16k", "tmpfs", str(small)], check=False)
    if mounted.returncode:
        pytest.skip("mounting a small file system needs root")
    try:
        # Not the file on the other disk either.
        more = ("--onnx", tmp_path / "out" / "net.onnx")
        refused(capsys, tmp_path, 2, "full", source=onnx_file, photos=photos, out=small / "m.tflite", more=more)
        assert list(small.iterdir()) == []
    finally:
        subprocess.run(["umount", str(small)], check=True)


@pytest.mark.parametrize("count", [2, 1, 0])
def test_ctrl_c_leaves_nothing_behind(tmp_path, photos, checkpoint_file, count):
    """When both workers are at it, when ONNX is written, and when float TFLite is: while int8 is being tuned."""
    scratch, out = tmp_path / "scratch", tmp_path / "out"
    scratch.mkdir()
    out.mkdir()
    command = [sys.executable, "-m", "edgekit.cli", "convert", str(checkpoint_file)]
    command += ["--calibration", str(photos), "--out", str(out / "m.tflite")]
    environment = os.environ | {"TMPDIR": str(scratch)}
    process = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True, start_new_session=True)
    wait_until(lambda: len(workers_of(psutil.Process(process.pid))) == 2)
    wait_until(lambda: len(workers_of(psutil.Process(process.pid))) == count)
    os.killpg(process.pid, signal.SIGINT)  # what a terminal does: to the whole process group
    _, told = process.communicate(timeout=60)
    assert process.returncode == 130, told
    assert told.strip().splitlines()[-1] == "Interrupted."
    assert list(out.iterdir()) == []
    assert [path for path in scratch.iterdir() if path.name.startswith("edgekit-")] == []


def test_golden_samples_can_be_other_pictures(tmp_path, photos, checkpoint_file):
    """Nothing of the calibration images travels with the model then."""
    folder = tmp_path / "golden"
    folder.mkdir()
    drawn = [np.full((40, 50, 3), value, np.uint8) for value in (10, 200)]
    for number, image in enumerate(drawn):
        cv2.imwrite(str(folder / f"{number}.png"), image)
    out = tmp_path / "m.tflite"
    assert convert(checkpoint_file, photos, out, "--recipe", "int8-minmax", "--golden", folder) == 0
    found = bundle.read(out)
    images = [cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_COLOR) for png in found.images.values()]
    assert len(found.card.golden) == len(images) == 2
    assert all(np.array_equal(image, expected) for image, expected in zip(images, drawn, strict=True))
    assert run(["doctor", str(out)]) == 0
