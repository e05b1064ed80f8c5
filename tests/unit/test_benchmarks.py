"""The benchmarks' pure parts: tables, recipes with changed keys, lists of labelled images, scores."""

import sys
import time
import tomllib
from types import SimpleNamespace

import numpy as np
import pytest

from benchmarks import (
    ablation,
    cifar10_folders,
    conversion_speed,
    evaluation,
    pi_instructions,
    quantization,
    support,
    workshop,
)
from benchmarks.support import Usage, short
from edgekit.errors import EdgekitError, GateError, InputError
from edgekit.images import ArraySet, labelled_folder
from edgekit_quantize.recipe import Format, RangeRule, load_recipe
from edgekit_quantize.report.statistics import Estimate

SHIPPED = {"name": "x", "equalization": 0.5, "tuning": {"steps": 100, "flip": True}}


def test_an_override_changes_its_key_and_nothing_else():
    changed = ablation.override(SHIPPED, {"tuning.steps": lambda steps: steps // 2, "equalization": 0.0})
    assert changed == {"name": "x", "equalization": 0.0, "tuning": {"steps": 50, "flip": True}}
    assert SHIPPED["tuning"]["steps"] == 100


def test_an_override_removes_a_table_or_does_without_it():
    assert ablation.override(SHIPPED, {"tuning": None}) == {"name": "x", "equalization": 0.5}
    assert ablation.override({"name": "x"}, {"tuning.flip": False}) is None


def test_toml_is_read_back_as_it_was():
    content = SHIPPED | {"description": 'a "quoted" one – with a dash', "calibration_images": 256, "low": 1e-7}
    assert tomllib.loads(ablation.to_toml(content)) == content


def test_variants_are_valid_and_each_differs_from_all_others(tmp_path, monkeypatch):
    recipe = {"description": "d", "format": "int8", "calibration_images": 9, "activation_range": "mse"}
    (tmp_path / "r.toml").write_text(ablation.to_toml(recipe | {"tuning": {"steps": 10}}))
    monkeypatch.setattr("edgekit_quantize.recipe.recipe_folder", lambda: tmp_path)
    monkeypatch.setattr(ablation, "recipe_folder", lambda: tmp_path)
    variants = {name: load_recipe(path) for name, path in ablation.write_variants("r", tmp_path).items()}
    # The recipe has neither equalization nor varied images: taking these away makes no variant.
    assert set(variants) == {
        "r, nothing",
        "r, mse ranges only",
        "r, ranges not tuned",
        "r, weights not tuned",
        "r, biases not tuned",
        "r, images not varied",
        "r, half the tuning steps",
    }
    assert variants["r, nothing"].activation_range is RangeRule.MINMAX
    assert variants["r, mse ranges only"].tuning is None
    assert variants["r, half the tuning steps"].tuning.steps == 5
    assert variants["r, ranges not tuned"].tuning.range_rate == 0.0
    assert all(variant.format is Format.INT8 for variant in variants.values())


def test_labels_csv_gives_files_and_output_indices(tmp_path):
    for name in ("a.jpg", "b.jpg"):
        (tmp_path / name).touch()
    (tmp_path / "labels.csv").write_text("file,imagenet_index,name\na.jpg,7,hen\nb.jpg,3,shark\n")
    images = evaluation.read_evaluation(tmp_path)
    assert [path.name for path in images.paths] == ["a.jpg", "b.jpg"]
    assert evaluation.targets_of(images, tuple("abcdefgh")).tolist() == [7, 3]
    with pytest.raises(InputError, match="must be below 7, got 7"):
        evaluation.targets_of(images, tuple("abcdefg"))


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("file,class\na.jpg,7\n", "columns file and imagenet_index"),
        ("file,imagenet_index\n", "got none"),
        ("file,imagenet_index\nb.jpg,7\n", "got b.jpg with '7'"),
        ("file,imagenet_index\na.jpg,hen\n", "got a.jpg with 'hen'"),
        ("file,imagenet_index\na.jpg\n", "got a.jpg with ''"),
    ],
)
def test_a_wrong_labels_csv_is_refused(tmp_path, text, complaint):
    (tmp_path / "a.jpg").touch()
    (tmp_path / "labels.csv").write_text(text)
    with pytest.raises(InputError, match=complaint):
        evaluation.read_evaluation(tmp_path)


def test_markdown_aligns_all_but_the_first_column_to_the_right():
    assert support.markdown(["a", "b, s"], [["x", "1"]]) == "| a | b, s |\n| --- | ---: |\n| x | 1 |"


def test_a_score_counts_images():
    reference = np.eye(4, dtype=np.float32)
    answers = np.eye(4, dtype=np.float32)[[0, 1, 2, 2]]
    row = quantization.score(reference, answers, np.arange(4))
    assert [row[name].value for name in ("top1", "drop", "same")] == [75.0, 25.0, 75.0]
    # One row of four is wrong by 2 of the signal's 4 in total: 10 log10(4 / 2).
    assert row["sqnr_db"] == pytest.approx(3.0103, abs=1e-4)
    assert quantization.score(reference, reference, np.arange(4))["sqnr_db"] is None


def test_other_answers_are_counted():
    first, second = np.eye(4, dtype=np.float32), np.eye(4, dtype=np.float32)[[0, 1, 3, 2]]
    assert quantization.different(first, second).value == 50.0
    assert quantization.different(first, None) is None


def test_a_file_is_made_again_only_by_another_command(tmp_path):
    shop = workshop.open_workshop("x", {}, str(tmp_path), tmp_path)
    count = "import pathlib; pathlib.Path('a.tflite').touch(); open('runs', 'a').write('x')"
    first = shop._measure("a", [sys.executable, "-c", count])
    assert shop._measure("a", [sys.executable, "-c", count]) == first
    assert (tmp_path / "runs").read_text() == "x"
    shop._measure("a", [sys.executable, "-c", count + "  # other"])
    assert (tmp_path / "runs").read_text() == "xx"
    (tmp_path / "a.tflite").unlink()
    shop._measure("a", [sys.executable, "-c", count + "  # other"])
    assert (tmp_path / "runs").read_text() == "xxx"


def test_recipes_with_several_seeds_are_told_apart_and_averaged():
    jobs = quantization.seeded(["int8", "fp16"], "0,3")
    assert jobs == {f"{recipe}, seed {seed}": (recipe, seed) for recipe in ("int8", "fp16") for seed in (0, 3)}
    drops = dict(zip(jobs, (0.25, 0.5, 0.0, -0.5), strict=True))
    rows = {name: SimpleNamespace(drop=Estimate(drop, -1.0, 1.0)) for name, drop in drops.items()}
    assert quantization.mean_drops(rows, jobs).endswith("in points: int8 0.38, fp16 −0.25.")
    one = quantization.seeded(["int8"], "7")
    assert one == {"int8": ("int8", 7)}
    assert quantization.mean_drops({"int8": rows["int8, seed 0"]}, one) == ""
    with pytest.raises(InputError, match="got 0,x"):
        quantization.seeded(["int8"], "0,x")


def test_folders_hold_every_image_without_loss(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (4, 8, 8, 3), np.uint8)
    images = ArraySet(pixels, np.array([0, 1, 1, 0]), ("cat", "dog"))
    cifar10_folders.write_folders(images, tmp_path)
    read = labelled_folder(str(tmp_path))
    assert [read.labels[target] for target in read.targets] == ["cat", "cat", "dog", "dog"]
    assert np.array_equal(np.stack([read.image(i) for i in range(4)]), pixels[[0, 3, 1, 2]])


def test_the_ratio_is_that_of_the_medians():
    runs = {
        conversion_speed.OURS: [Usage(1.0, 10.0), Usage(9.0, 10.0), Usage(2.0, 30.0)],
        conversion_speed.THEIRS: [Usage(4.0, 40.0), Usage(8.0, 20.0), Usage(8.0, 50.0)],
    }
    ratios = conversion_speed.ratio_of_medians(runs)
    assert (ratios.seconds, ratios.peak_mb) == (0.25, 0.25)


def test_measuring_sees_the_memory_of_children_and_the_time():
    child = "import time; held = bytearray(100_000_000); held[::4096] = b'x' * len(held[::4096]); time.sleep(0.4)"
    parent = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {child!r}])"
    usage = support.measure([sys.executable, "-c", parent])
    assert 100.0 < usage.peak_mb < 200.0
    assert 0.4 < usage.seconds < 20.0


def test_a_failed_command_is_an_error_with_its_last_words():
    with pytest.raises(EdgekitError, match="exit code 3:\nfirst\nlast"):
        support.measure([sys.executable, "-c", "print('first\\nlast'); raise SystemExit(3)"])


def test_a_reason_in_a_table_is_what_the_command_said():
    failed = EdgekitError("python x.py must succeed, got exit code 1:\nno\x00\n tool | here")
    assert short(failed) == "no tool / here"
    assert short(InputError("X must be Y, got Z.")) == "X must be Y, got Z."
    marked = "    run(it)\n    ^^^^^^^\nRuntimeError: " + "long " * 100 + "end"
    assert short(InputError(marked)).startswith("…long long")
    assert "^" not in short(InputError(marked))


def test_the_register_is_that_of_the_core():
    # Cortex-A72 r0p3, as Linux names it on a Raspberry Pi 4.
    text = "processor\t: 0\nCPU implementer\t: 0x41\nCPU variant\t: 0x0\nCPU part\t: 0xd08\nCPU revision\t: 3\n\n"
    assert pi_instructions.midr(text + "processor\t: 1\n") == 0x410FD083


def test_one_percent_more_instructions_fail_and_fewer_do_not():
    before = {"cortex-a72": {"invoke": 100_000_000, "frame": 103_000_000}}
    pi_instructions.compare({"cortex-a72": {"invoke": 100_900_000, "frame": 50_000_000}}, before)
    with pytest.raises(GateError, match=r"got frame on cortex-a72: 103.00 → 104.20 M\."):
        pi_instructions.compare({"cortex-a72": {"invoke": 99_000_000, "frame": 104_200_000}}, before)


def test_a_command_that_hangs_is_killed_with_its_children(tmp_path):
    beat = tmp_path / "beat"
    child = f"import time\nwhile True: open({str(beat)!r}, 'w').write(str(time.time())); time.sleep(0.05)"
    parent = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {child!r}])"
    with pytest.raises(EdgekitError, match=r"must end within 2 s, and was killed"):
        support.measure([sys.executable, "-c", parent], limit=2.0)
    last = beat.read_text()
    time.sleep(0.5)
    assert beat.read_text() == last


def test_every_round_has_its_own_order_and_every_run_the_same():
    orders = [support.shuffled("abcdef", number) for number in range(20)]
    assert all(sorted(order) == list("abcdef") for order in orders)
    assert orders == [support.shuffled("abcdef", number) for number in range(20)]
    # Nobody is always behind the same one: of 20 rounds, each is behind most others.
    before = {letter: {order[order.index(letter) - 1] for order in orders if order[0] != letter} for letter in "abcdef"}
    assert all(len(found) >= 4 for found in before.values())
    assert support.shuffled([], 2) == []


# The order statistics of Conover's table for the median: of 9 values the 2nd and 8th hold it with 96.1 %.
@pytest.mark.parametrize(("count", "low", "high"), [(3, 1, 3), (5, 1, 5), (6, 1, 6), (8, 1, 8), (9, 2, 8), (20, 6, 15)])
def test_the_interval_of_a_median(count, low, high):
    values = list(np.random.default_rng(count).permutation(np.arange(1, count + 1)))
    assert support.interval(values) == (low, high)
