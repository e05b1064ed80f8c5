"""Labelled images from folders and CSVs: classes by name, never by place."""

import numpy as np
import pytest
import report_samples as samples

from edgekit.errors import InputError
from edgekit_quantize.report.data import open_images, read_tags

LABELS = ("red", "green", "blue")


@pytest.fixture
def folder(tmp_path):
    return samples.write_folder(tmp_path / "data", samples.colour_images(12, seed=1))


def _classes(images) -> dict[str, str]:
    return {name: images.labels[t] for name, t in zip(images.names, images.targets, strict=True)}


def _write(path, text: str):
    path.write_text(text, encoding="utf-8")
    return path


def test_a_folder_per_class_whatever_the_models_order(folder):
    for labels in (LABELS, ("blue", "unused", "red", "green")):
        images = open_images(str(folder), labels)
        assert images.labels == labels
        found = _classes(images)
        assert len(found) == 12
        assert all(name.split("/")[0] == label for name, label in found.items())


def test_val_is_taken_and_names_are_relative_to_it(tmp_path):
    samples.write_folder(tmp_path / "set" / "val", samples.colour_images(6, seed=1))
    samples.write_folder(tmp_path / "set" / "train", samples.colour_images(9, seed=2))
    images = open_images(str(tmp_path / "set"), LABELS)
    assert len(images.names) == 6
    assert images.names[0] == "blue/002.png"


def test_a_folder_that_is_no_class_is_named(folder):
    samples.write_folder(folder, samples.colour_images(3, seed=1))
    (folder / "red").rename(folder / "rouge")
    with pytest.raises(InputError, match=r"among the model's 3 \(red, green, blue\), got rouge"):
        open_images(str(folder), LABELS)


def test_an_empty_class_is_warned_of(folder, capsys):
    for path in (folder / "red").iterdir():
        path.unlink()
    images = open_images(str(folder), LABELS)
    assert "Without an image: red." in capsys.readouterr().err
    assert set(images.targets.tolist()) == {1, 2}


def test_only_empty_classes_are_refused(tmp_path):
    for label in LABELS:
        (tmp_path / label).mkdir()
    with pytest.raises(InputError, match="empty class folders only"):
        open_images(str(tmp_path), LABELS)


def test_a_csv_with_paths_relative_to_it(folder):
    rows = [f"data/{path.parent.name}/{path.name},{path.parent.name}" for path in sorted(folder.rglob("*.png"))]
    listing = _write(folder.parent / "list.csv", "\n".join(["file,label", *rows]) + "\n")
    images = open_images(str(listing), LABELS)
    found = _classes(images)
    assert len(found) == 12
    assert all(name.split("/")[1] == label for name, label in found.items())
    assert images.image(0).shape == (24, 20, 3)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("file,label\na.png,violet\n", "got violet"),
        ("file,label\na.png,0\n", "got 0"),
        ("file,label\na.png,\nb.png,red\n", "every file a label, got none for a.png"),
        ("file,class\na.png,red\n", "columns file, label, got class, file"),
        ("file,label\n", "must list images, got none"),
        ("", "columns file, label, got none"),
        ("file,label\na.png,red\na.png,blue\n", "once, got a.png"),
    ],
)
def test_a_csv_that_does_not_fit_is_refused(tmp_path, text, message):
    with pytest.raises(InputError, match=message):
        open_images(str(_write(tmp_path / "list.csv", text)), LABELS)


def test_what_is_no_csv_is_refused(tmp_path):
    (tmp_path / "list.csv").write_bytes(b"\xff\xfe\x00\x01file")
    with pytest.raises(InputError, match="CSV in UTF-8"):
        open_images(str(tmp_path / "list.csv"), LABELS)
    with pytest.raises(InputError, match="readable CSV"):
        open_images(str(tmp_path / "nothing.csv"), LABELS)


@pytest.fixture
def wnids(tmp_path, folder):
    for label, wnid in zip(LABELS, ("n03", "n01", "n02"), strict=True):
        (folder / label).rename(folder / wnid)
    return folder


def test_wnids_need_a_mapping_and_are_never_guessed(wnids, tmp_path):
    with pytest.raises(InputError, match="got n01, n02, n03") as caught:
        open_images(str(wnids), LABELS)
    assert "--classes" in caught.value.remedy
    mapping = _write(tmp_path / "classes.csv", "wnid,label\nn01,green\nn02,blue\nn03,red\n")
    found = _classes(open_images(str(wnids), LABELS, mapping))
    assert {name.split("/")[0]: label for name, label in found.items()} == {"n01": "green", "n02": "blue", "n03": "red"}


def test_labels_that_are_wnids_need_no_mapping(wnids):
    images = open_images(str(wnids), ("n02", "n03", "n01"))
    assert all(name.split("/")[0] == label for name, label in _classes(images).items())


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["n01,green,1", "n02,blue,0", "n03,red,2"], "n02 = blue, which the model calls red and n03 = red"),
        (["n01,green,", "n02,violet,", "n03,red,"], "n02 = violet, which the model has not"),
        (["n01,green,", "n03,red,"], "got none for n02"),
        (["n01,green,", "n02,green,", "n03,red,"], "got green twice"),
        (["n01,green,7", "n02,blue,", "n03,red,"], "between 0 and 2, got '7'"),
    ],
)
def test_a_wrong_mapping_is_refused_by_name(wnids, tmp_path, lines, message):
    mapping = _write(tmp_path / "classes.csv", "\n".join(["wnid,label,index", *lines]) + "\n")
    with pytest.raises(InputError) as caught:
        open_images(str(wnids), LABELS, mapping)
    assert message.replace(" and ", ", ") in caught.value.message.replace(" and ", ", ")


def test_a_label_that_stands_twice_needs_its_index(wnids, tmp_path):
    labels = ("crane", "red", "crane")
    mapping = _write(tmp_path / "classes.csv", "wnid,label\nn01,crane\nn02,red\nn03,crane\n")
    with pytest.raises(InputError, match="or twice"):
        open_images(str(wnids), labels, mapping)
    _write(mapping, "wnid,label,index\nn01,crane,2\nn02,red,\nn03,crane,0\n")
    images = open_images(str(wnids), labels, mapping)
    found = {name.split("/")[0]: int(t) for name, t in zip(images.names, images.targets, strict=True)}
    assert found == {"n01": 2, "n02": 1, "n03": 0}
    (wnids / "n01").rename(wnids / "crane")
    with pytest.raises(InputError, match="got crane twice or more"):
        open_images(str(wnids), labels)


@pytest.mark.data
def test_cifar10_is_matched_by_name():
    from edgekit.train import cifar10

    labels = tuple(reversed(cifar10.LABELS))
    images = open_images("cifar10", labels)
    assert len(images.names) == cifar10.TEST
    np.testing.assert_array_equal(9 - images.targets, cifar10.load()[1].targets)
    with pytest.raises(InputError, match="got airplane"):
        open_images("cifar10", LABELS)


def test_tags_follow_the_images(tmp_path):
    path = _write(tmp_path / "tags.csv", "light,file,site\nday,a.png,north\nnight,b/c.png,south\ndusk,other.png,\n")
    assert read_tags(path, ["b/c.png", "a.png"]) == (
        {"light": "night", "site": "south"},
        {"light": "day", "site": "north"},
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("file,light\na.png,day\n", "every image, got none for b.png"),
        ("file,light\na.png,day\na.png,night\nb.png,day\n", "once, got a.png"),
        ("file\na.png\nb.png\n", "column of tags"),
        ("name,light\na.png,day\n", "column"),
    ],
)
def test_tags_that_do_not_fit_are_refused(tmp_path, text, message):
    with pytest.raises(InputError, match=message):
        read_tags(_write(tmp_path / "tags.csv", text), ["a.png", "b.png"])
