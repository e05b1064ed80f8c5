"""benchmarks/training.md: what training gave, gathered from the records that the runs themselves left.

    python -m benchmarks.training

The records are in benchmarks/results/training/ (`*.run.json`, and `*.report.json` where the network was converted and
judged), the other tables in benchmarks/results/. `python -m benchmarks.training add runs/model.run.json` adds a run.
"""

from __future__ import annotations

import json
import math
import statistics
from pathlib import Path
from typing import Any

import click

from benchmarks.support import RESULTS, machine_line, markdown
from edgekit import shipped
from edgekit.files import write_whole

RUNS = RESULTS / "training"
SHIPPED = RESULTS / "shipped_models.md"
# Top-1 in per cent that was asked of the int8 files.
AIMS = {"cifar10": 94.0, "cifar10-small": 93.0, "cifar10-v1": 92.0}
OUT = Path(__file__).parent / "training.md"
# Tables of other scripts, in this order, with the script and what to say about it.
OTHERS = {
    "food_photos": "Fine-tuning on 225 photos of three dishes at 224 px, from ImageNet weights, judged by 75 others",
    "training_speed": "The loop beside a bare forward, backward and step on tensors that are there already; "
    "same batch; 95 % intervals. What the allocator saves is between two processes in turn: a few per cent are noise",
    "training_memory": "Memory of `edgekit train` on a folder, V2 0.25 at 32 px, one epoch",
}
HOW = """The test images were looked at after every epoch and when recipes were chosen, so these figures are a little
kinder than images that nobody has seen would be. Where there is an int8 figure, *float* is the checkpoint that is kept,
with weights in half precision, from which the int8 file was made by `int8-qat --labelled`; else it is the last epoch's.

A commit with + had changes that are in none; where there is no commit, the command was given outside of a repository,
by versions of edgekit that did not write down their own. Chance is drawn otherwise since then: to run them again
gives other bits, and figures as near as other seeds would. A record's SHA-256 is of the file before its weights were
halved.

The commands, by the name of the record in `benchmarks/results/training/`. Files lay under other names then; which
network follows from which says `benchmarks/shipped_models.py`, and `cifar` is the folder that
`benchmarks/cifar10_folders.py` writes:"""
NOT_MEASURED = """
Not measured, because no accelerator was at hand: V2 1.0 and V1 1.0 from random weights at 32 px over the 200 epochs of
`--recipe native` (ten are above, which ran beside other work, and with images shifted by parts of pixels, which blurred
them), anything on a GPU, ImageNet. Nor `--recipe scratch` on CIFAR-10, `distill` with its own rate and epochs, and what
`--qat-epochs`, `--range-penalty` and `--randaugment` gain.
"""


@click.group(invoke_without_command=True)
@click.pass_context
def main(context: click.Context) -> None:
    """Write benchmarks/training.md."""
    if context.invoked_subcommand:
        return
    write_whole(SHIPPED, _shipped() + "\n")
    write_whole(OUT, page())


def page() -> str:
    """The text of benchmarks/training.md."""
    parts = ["# Training, measured", "", "Written by `python -m benchmarks.training`."]
    for table in (_shipped(), _aims(), _runs()):
        parts += ["", table]
    for name, title in OTHERS.items():
        file = RESULTS / f"{name}.md"
        if file.exists():
            parts += [
                "",
                f"{title} (`python -m benchmarks.{name}`; {machine_line(name)}):",
                "",
                file.read_text().strip(),
            ]
    return "\n".join([*parts, NOT_MEASURED])


@main.command()
@click.argument("records", nargs=-1, required=True, type=click.Path(path_type=Path, exists=True))
def add(records: tuple[Path, ...]) -> None:
    """Keep RECORDS, without the paths of this machine."""
    for path in records:
        keep_record(path)


def keep_record(path: Path) -> None:
    """Keep a training's record."""
    RUNS.mkdir(parents=True, exist_ok=True)
    found = json.loads(path.read_text(encoding="utf-8"))
    found["command"] = ["edgekit", *(_last_part(word) for word in found["command"][1:])]
    for key in ("teacher", "weights"):
        found["options"][key] = _last_part(str(found["options"].get(key, "")))
    write_whole(RUNS / path.name, json.dumps(found, indent=1, ensure_ascii=False) + "\n")


def _last_part(word: str) -> str:
    return word.rpartition("/")[2] if word.startswith("/") else word


def _runs() -> str:
    rows = []
    for path in sorted(RUNS.glob("*.run.json")):
        record = json.loads(path.read_text(encoding="utf-8"))
        report = path.with_name(path.name.replace(".run.", ".report."))
        rows.append(_row(record, json.loads(report.read_text(encoding="utf-8")) if report.exists() else None))
    header = (
        "CIFAR-10, 10,000 test images",
        "start",
        "epochs",
        "float",
        "int8",
        "drop, points",
        "training",
        "on",
        "finished",
        "commit",
    )
    commands = "\n".join(
        f"    {path.name.partition('.')[0]}: {' '.join(json.loads(path.read_text())['command'])}"
        for path in sorted(RUNS.glob("*.run.json"))
    )
    return f"{markdown(header, rows)}\n\n{HOW}\n\n{commands}"


def _shipped() -> str:
    """The models that come with edgekit."""
    rows = []
    for name, file in shipped.MODELS.items():
        stem = Path(file).stem
        record, report = (json.loads((RUNS / f"{stem}.{kind}.json").read_text()) for kind in ("run", "report"))
        network, _, _, _, int8, drop, *_ = _row(record, report)
        reference = f"{report['float']['top1']['value']:.2f} %"
        reached = float(int8.removesuffix(" %")) >= AIMS[name]
        aim = f"{AIMS[name]:g} %" + ("" if reached else ", not reached")
        rows.append((f"`{name}`", network, int8, aim, reference, drop, f"{report['bytes'] / 1e6:.2f}"))
    return markdown(("model", "network", "int8", "asked for", "float", "drop, points", "MB"), rows)


def _aims() -> str:
    """What else was asked of training, and what was measured."""
    runs = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(RUNS.glob("*.run.json"))]
    food, speed, memory = (json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8")) for name in OTHERS)
    pairs = [
        zip(case["kept"]["bare"], case["kept"]["loop"], strict=True) for case in speed["images_per_second"].values()
    ]
    ratios = [statistics.median(ours / bare for bare, ours in pair) for pair in pairs]
    few, many = memory["runs"][0], memory["runs"][-1]
    native = {"weights": "none", "size": 32, "width": 1.0}
    v1, v2 = (_best(runs, arch=arch, **native) for arch in ("mobilenet_v1", "mobilenet_v2"))
    transferred = _best(runs, 3600.0, arch="mobilenet_v2", weights="imagenet", size=96, width=1.0)
    rows = [
        ("V2 1.0 from ImageNet's weights at 96 px, in an hour on two cores", "94 %", transferred),
        ("the same with an accelerator", "96.5 %", "not measured"),
        ("V2 1.0 from random weights at 32 px, with an accelerator", "95 %", f"not measured; on two cores {v2}"),
        ("V1 1.0, likewise", "94 %", f"not measured; on two cores {v1}"),
        (
            "225 food photos, mean of three seeds",
            "92 %, 4 minutes",
            f"{100 * statistics.mean(run['top1'] for run in food['runs']):.2f} %, "
            f"{max(run['command'] for run in food['runs']):.0f} s at most",
        ),
        ("the loop beside a bare one, on CPU", "0.93", f"{min(ratios):.2f} … {max(ratios):.2f}, medians"),
        ("the same on a GPU", "0.90", "not measured"),
        (
            f"memory on {many['images']:,} images",
            "flat",
            f"{many['anonymous_mb']:.0f} MB; {few['anonymous_mb']:.0f} MB on {few['images']:,}",
        ),
    ]
    return markdown(("else asked for", "at least", "measured"), rows)


def _best(runs: list[dict[str, Any]], most_seconds: float = math.inf, **options: Any) -> str:
    """What the best of the runs with these options gave."""
    fitting = [run for run in runs if options.items() <= run["options"].items() and run["seconds"] <= most_seconds]
    best = max(fitting, key=lambda run: float(run["epochs"][-1]["validation"]))
    epochs = best["epochs"]
    return f"{100 * epochs[-1]['validation']:.2f} % after {len(epochs)} epochs, {best['seconds'] / 60:.0f} min"


def _row(record: dict[str, Any], report: dict[str, Any] | None) -> tuple[str, ...]:
    options, machine = record["options"], record["machine"]
    name = f"{options['arch'].replace('mobilenet_v', 'MobileNetV')} {options['width']:g}, {options['size']} px"
    start = options["weights"] + (", taught" if options.get("teacher") else "")
    top1 = f"{100 * record['epochs'][-1]['validation']:.2f} %"
    if report is not None:
        top1 = f"{report['float']['top1']['value']:.2f} %"
    int8, drop = "–", "–"
    if report is not None:
        judged = report["int8"]
        int8 = f"{judged['top1']['value']:.2f} %"
        drop = "{value:.2f} ({low:.2f} … {high:.2f})".format_map(judged["drop"]).replace("-", "−")
    where = f"{machine['threads']} threads, {machine['processor']}"
    if machine.get("device", "cpu") != "cpu":
        where = machine["device"]
    minutes = f"{record['seconds'] / 60:.0f} min"
    when = (record["finished"].partition("T")[0], _commit(record))
    return (name, start, str(len(record["epochs"])), top1, int8, drop, minutes, where, *when)


def _commit(record: dict[str, Any]) -> str:
    git = record.get("edgekit_git") or record.get("git")
    return "–" if git is None else git["commit"][:7] + "+" * git["is_changed"]


if __name__ == "__main__":
    main()
