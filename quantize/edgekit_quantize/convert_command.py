"""`edgekit convert`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from edgekit.errors import InputError

if TYPE_CHECKING:
    from edgekit.preprocess import Image
    from edgekit_quantize.choose import Limit
    from edgekit_quantize.recipe import Recipe

# What `--recipe auto` tries, the fastest first.
AUTO = ("int8-minmax", "int8", "int8-qat")


def _triple(_: click.Context, option: click.Parameter, value: str | None) -> tuple[float, float, float] | None:
    """One number for all channels, or three separated by commas (R,G,B)."""
    if value is None:
        return None
    try:
        numbers = [float(part) for part in value.split(",")]
    except ValueError:
        numbers = []
    if len(numbers) == 1:
        numbers *= 3
    if len(numbers) != 3:
        raise InputError(f"--{option.name} must be one number or three separated by commas, got {value!r}.")
    return numbers[0], numbers[1], numbers[2]


@click.command(
    epilog="The model is checked stage by stage. Nothing is written if a check fails; a few calibration images, made "
    "small, go into the file as golden samples."
)
@click.argument("source")
@click.option("--calibration", required=True, metavar="DIR", help="Folder of typical images, labels not needed.")
@click.option(
    "--labelled", is_flag=True, help="The sub-folders of --calibration are the classes; int8-qat learns them."
)
@click.option("--out", required=True, metavar="FILE", help="The .tflite to write.")
@click.option(
    "--recipe",
    default="int8",
    show_default=True,
    metavar="NAME|FILE",
    help="int8, int8-qat, int8-minmax; auto: the best of these; for comparison int16x8, dynamic, fp16, fp32; or your "
    "own .toml.",
)
@click.option(
    "--budget",
    default=40.0,
    show_default=True,
    metavar="MINUTES",
    help="Of auto: recipes that take longer are left out.",
)
@click.option(
    "--max-drop", type=float, metavar="POINTS", help="Top-1 that may be lost, 95 % surely; needs --evaluation. Exit 1."
)
@click.option(
    "--evaluation", metavar="DIR", help="Labelled images to judge by, a folder per class (or its val/ or test/)."
)
@click.option("--name", default=None, help="Name of the model in its card.  [default: the output's file name]")
@click.option("--onnx", "onnx_out", default=None, metavar="FILE", help="Keep the ONNX file here as well.")
@click.option(
    "--explain", "explain_out", default=None, metavar="FILE", help="Write a page (.html) on where int8 loses, by layer."
)
@click.option(
    "--mean", metavar="R,G,B", callback=_triple, help="Of an .onnx model, pixels scaled to 0…1.  [default: 0.5]"
)
@click.option("--std", metavar="R,G,B", callback=_triple, help="Likewise.  [default: 0.5]")
@click.option("--crop", type=float, default=None, help="Likewise: centred part of the image used.  [default: 1.0]")
@click.option(
    "--mediapipe",
    "mediapipe_out",
    default=None,
    metavar="FILE",
    help="Write a second file for MediaPipe Tasks' ImageClassifier (.tflite), which takes no int8 input.",
)
@click.option(
    "--golden",
    default=None,
    metavar="DIR",
    help="Pictures that may travel with the model as its golden samples, four "
    "at most.  [default: four calibration images]",
)
@click.option("--labels", default=None, metavar="FILE", help="Likewise: class names, one per line.")
@click.option("--seed", default=0, show_default=True, help="Of the choice of calibration images and of tuning.")
@click.option("--threads", default=None, type=click.IntRange(1, 256), help="[default: all cores]")
def command(
    source: str,
    calibration: str,
    out: str,
    onnx_out: str | None,
    explain_out: str | None,
    mediapipe_out: str | None,
    **options: Any,
) -> None:
    """Convert SOURCE to one self-describing .tflite, fully int8 unless --recipe says otherwise.

    SOURCE is a checkpoint (model.pt), an ONNX file (model.onnx), or mobilenet_v2:imagenet.

    With --recipe auto the model closest to float is kept, measured on a fifth of the calibration images that is held
    back; with --max-drop and --evaluation, the first recipe that keeps the limit.

    \b
    Examples:
      edgekit convert model.pt --calibration photos/train --out model.tflite
      edgekit convert mobilenet_v2:imagenet --calibration photos/ --out imagenet.tflite
      edgekit convert net.onnx --mean 0.485,0.456,0.406 --std 0.229,0.224,0.225 --labels names.txt \\
        --calibration photos/ --out net.tflite
      edgekit convert model.pt --calibration photos/train --recipe auto --max-drop 0.5 --evaluation photos/val \\
        --out model.tflite
    """
    from pathlib import Path

    from edgekit import bundle
    from edgekit.files import check_writable, write_all
    from edgekit.images import labelled_folder, unlabelled_folder
    from edgekit_quantize.recipe import load_recipe
    from edgekit_quantize.workers import is_onnx, start_workers

    if not out.endswith(".tflite"):
        raise InputError(f"--out must end in .tflite, got {out}.")
    # Written so that "not a number" is refused as well.
    if not options["budget"] >= 0.0:
        raise InputError(f"--budget must be at least 0 minutes, got {options['budget']:g}.")
    names = AUTO if options["recipe"] == "auto" else (options["recipe"],)
    recipes = [load_recipe(name) for name in names]
    images = (labelled_folder if options["labelled"] else unlabelled_folder)(calibration)
    labels = _read_labels(options["labels"])
    golden = _golden(options["golden"])
    if explain_out is not None:
        _check_int8("--explain", ".html", explain_out, recipes)
    if mediapipe_out is not None:
        _check_int8("--mediapipe", ".tflite", mediapipe_out, recipes)
    outputs = {"--out": out, "--onnx": onnx_out, "--explain": explain_out, "--mediapipe": mediapipe_out}
    given = {name: path for name, path in outputs.items() if path is not None}
    _check_different({"SOURCE": source} | given)
    for path in given.values():
        check_writable(path)
    limit = _limit(options["max_drop"], options["evaluation"])

    # They load their libraries while this process loads its own.
    with start_workers(source) as workers:
        from edgekit.progress import console
        from edgekit.runtime import available_cores
        from edgekit_quantize.convert import convert
        from edgekit_quantize.convert_table import show
        from edgekit_quantize.mediapipe_file import for_mediapipe
        from edgekit_quantize.source import ForeignOptions

        foreign = ForeignOptions(options["mean"], options["std"], options["crop"], labels)
        if is_onnx(source) and Path(source).is_file():
            for name in ("mean", "std"):
                if options[name] is None:
                    console.print(f"[yellow]No --{name} given: assuming {name} = 0.5.[/yellow]")
        result = convert(
            workers,
            images,
            recipes,
            foreign=foreign,
            name=options["name"] or Path(out).stem,
            explain=explain_out is not None,
            seed=options["seed"],
            threads=options["threads"] or available_cores(),
            budget=60.0 * options["budget"],
            limit=limit,
            golden=golden,
        )
    contents: dict[str, bytes | str] = {"--out": result.data, "--onnx": result.onnx, "--explain": result.page or ""}
    if mediapipe_out is not None:
        contents["--mediapipe"] = for_mediapipe(bundle.parse(result.data))
    write_all({path: contents[name] for name, path in given.items()})
    show(result, out)
    if explain_out is not None:
        console.print(f"Layer by layer: {explain_out}", markup=False)


def _golden(folder: str | None) -> tuple[Image, ...]:
    """The first images of a folder."""
    if folder is None:
        return ()
    from edgekit.images import unlabelled_folder
    from edgekit_quantize.calibration_images import GOLDEN_IMAGES

    found = unlabelled_folder(folder)
    return tuple(found.image(index) for index in range(min(GOLDEN_IMAGES, len(found.paths))))


def _check_different(paths: dict[str, str]) -> None:
    """One file must not take the place of another, least of all of the user's own."""
    from pathlib import Path

    taken: dict[Path, str] = {}
    for name, path in paths.items():
        other = taken.setdefault(Path(path).resolve(), name)
        if other != name:
            raise InputError(f"{name} must be another file than {other}, got {path} for both.")


def _check_int8(option: str, suffix: str, path: str, recipes: list[Recipe]) -> None:
    """Some outputs are about int8 models only."""
    from edgekit_quantize.recipe import Format

    if not path.endswith(suffix):
        raise InputError(f"{option} must end in {suffix}, got {path}.")
    for recipe in recipes:
        if recipe.format is not Format.INT8:
            raise InputError(f"{option} must go with an int8 recipe, got {recipe.name}.", f"Leave out {option}.")


def _limit(max_drop: float | None, evaluation: str | None) -> Limit | None:
    if (max_drop is None) != (evaluation is None):
        raise InputError("--max-drop and --evaluation must go together, got one of them.")
    if max_drop is None or evaluation is None:
        return None

    from edgekit_quantize.choose import Limit
    from edgekit_quantize.report.gate import check_limit
    from edgekit_quantize.report.labels import held_out_folder

    check_limit(max_drop)
    return Limit(max_drop, held_out_folder(evaluation))


def _read_labels(path: str | None) -> tuple[str, ...] | None:
    from pathlib import Path

    if path is None:
        return None
    try:
        # Windows begins files with a mark. Other ends of lines may be within a name, as the card allows.
        lines = Path(path).read_text(encoding="utf-8-sig").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"--labels must be a readable text file, got {path}: {error}.") from error
    return tuple(line.strip() for line in lines if line.strip())
