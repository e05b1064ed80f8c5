"""All of edgekit beside others, into benchmarks/RESULTS.md.

    PYTHONPATH=tests python -m benchmarks.side_by_side.everything --calibration photos --evaluation labelled

Without the two folders (ImageNet's classes; see `benchmarks/evaluation.py`) only our CIFAR-10 networks are compared. A
step that fails is told, and the others go on. After an interruption the same line goes on: a step that ended well here
is not taken again, until code, network, images or machine change, or with --again.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import click

from benchmarks.side_by_side.conversion import WORK
from benchmarks.side_by_side.environments import LOCKS, make_all
from benchmarks.side_by_side.routes import PEERS, digest, edgekit_sources
from benchmarks.side_by_side.subjects import COUNTED, FOREIGN, SUBJECTS, Subject
from benchmarks.support import RESULTS, machine
from edgekit.errors import GateError, InputError
from edgekit.files import sha256, write_whole
from edgekit.progress import console


@click.command()
@click.option("--calibration", help="Folder of photos.")
@click.option("--evaluation", help="Folder of labelled photos, ImageNet's classes.")
@click.option("--emulated/--not-emulated", default=True, help="Count instructions too (root, after make test-pi).")
@click.option("--again", is_flag=True, help="Take every step, also those that ended well here.")
def main(calibration: str | None, evaluation: str | None, emulated: bool, again: bool) -> None:
    """Measure, and write the page."""
    if (calibration is None) != (evaluation is None):
        raise InputError("--calibration and --evaluation must go together, got one of them.")
    folders = ["--calibration", calibration, "--evaluation", evaluation] if calibration and evaluation else []
    subjects = {name: subject for name, subject in SUBJECTS.items() if folders or not subject.is_imagenet}
    make_all()
    failed = _fetch(subjects)
    for name, subject in subjects.items():
        words = [
            "conversion",
            "--name",
            name,
            "--source",
            subject.source,
            *subject.options,
            *(folders if subject.is_imagenet else []),
        ]
        converted = _once(f"conversion-{name}", again, *words, depends=_contents(subject, folders))
        failed += converted
        if not converted:
            failed += _once(f"inference-{name}", again, "inference", "--name", name, depends=_conversion(name))
    failed += _once("cameras", again, "cameras")
    if emulated and COUNTED in subjects:
        failed += _once(f"pi_cores-{COUNTED}", again, "pi_cores", "--name", COUNTED, depends=_conversion(COUNTED))
    failed += _run("page")
    if failed:
        raise GateError(f"Every step must end well, got {len(failed)} that did not: {'; '.join(failed)}.")


def _fetch(subjects: dict[str, Subject]) -> list[str]:
    """What is not there yet, now and not hours later; the command if it fails."""
    sources = [Path(subject.source) for subject in subjects.values() if ":" not in subject.source]
    foreign = [source for source in sources if source.is_relative_to(FOREIGN)]
    if all(source.with_suffix(suffix).exists() for source in foreign for suffix in (".onnx", ".pt2")):
        failed = []
    else:
        words = [sys.executable, "-m", "benchmarks.foreign_networks", str(FOREIGN)]
        failed = ["foreign_networks"] if subprocess.run(words, check=False).returncode else []
    if lost := [str(source) for source in sources if source not in foreign and not source.exists()]:
        raise InputError(f"Our own networks must be there, got no {', '.join(lost)}.")
    return failed


def _contents(subject: Subject, folders: list[str]) -> str:
    """A hash of a network's files, and of what is in the folders of images, by name and size."""
    files = [path for path in (Path(subject.source), Path(subject.source).with_suffix(".pt2")) if path.is_file()]
    images = [path for folder in folders for path in sorted(Path(folder).rglob("*")) if path.is_file()]
    return digest([*map(sha256, files), *(f"{path} {path.stat().st_size}" for path in images)])


def _conversion(name: str) -> str:
    """What a step depends on that takes the files of a conversion: its result, which tells when it was made anew."""
    path = RESULTS / f"side_by_side-conversion-{name}.json"
    return path.read_text(encoding="utf-8") if path.exists() else ""


def _once(result: str, again: bool, *words: str, depends: str = "") -> list[str]:
    """The command if it fails; not run if it ended well here, with the same code, words, machine and `depends`."""
    done, key = WORK / "done" / result, digest([_key(*words), depends])
    is_done = (RESULTS / f"side_by_side-{result}.json").exists() and done.exists() and done.read_text() == key
    if is_done and not again:
        return []
    failed = _run(*words)
    if not failed:
        done.parent.mkdir(parents=True, exist_ok=True)
        write_whole(done, key)
    return failed


def _key(*words: str) -> str:
    own = [*Path(__file__).parent.glob("*.py"), *PEERS.rglob("*.py"), *LOCKS.glob("*.txt")]
    texts = [path.read_text(encoding="utf-8") for path in sorted(own) if path.name not in ("page.py", "standings.py")]
    where = machine()
    return digest([*words, json.dumps([where["processor"], where["cores"]]), edgekit_sources(), *texts])


def _run(*words: str) -> list[str]:
    """The command if it fails."""
    console.rule(" ".join(words[:3]))
    done = subprocess.run([sys.executable, "-m", f"benchmarks.side_by_side.{words[0]}", *words[1:]], check=False)
    return [" ".join(words[:3])] if done.returncode else []


if __name__ == "__main__":
    main()
