"""All of edgekit beside others, into benchmarks/RESULTS.md.

    PYTHONPATH=tests python -m benchmarks.side_by_side.everything --calibration photos --evaluation labelled

Without the two folders (ImageNet's classes; see `benchmarks/evaluation.py`) only our CIFAR-10 networks are compared.
The page holds what was measured here, and nothing else: results that came with a clone are removed first. A step that
fails is told, and the others go on. After an interruption the same line goes on: a step that ended well here is not
taken again, until code, network, images or machine change, or with --again.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import click

from benchmarks.side_by_side.conversion import WORK
from benchmarks.side_by_side.environments import LOCKS, make_all
from benchmarks.side_by_side.inputs import check_folders
from benchmarks.side_by_side.routes import PEERS, ROOT, digest, edgekit_sources
from benchmarks.side_by_side.subjects import COUNTED, FOREIGN, SUBJECTS, Subject
from benchmarks.support import RESULTS, where
from edgekit.errors import EdgekitError, GateError, InputError
from edgekit.files import sha256, write_whole
from edgekit.progress import console

# These say what was measured; all else here measures.
WRITERS = ("page.py", "photos.py", "plots.py", "remedies.py", "standings.py")
# What steps use besides.
BESIDE = ("support", "evaluation", "foreign_networks", "seeded_model", "pi_instructions")
TEST_SUPPORT = ("streams", "virtual_pi")


@dataclass(frozen=True)
class Step:
    """A command that writes one result.

    Attributes:
        name: Of the result.
        words: The command, from the module's name on.
        depends: A hash of what it is given; called when its turn comes.
        after: The name of the step whose files it takes.
    """

    name: str
    words: Sequence[str]
    depends: Callable[[], str] = str
    after: str = ""


@click.command()
@click.option("--calibration", help="Folder of photos.")
@click.option("--evaluation", help="Folder of labelled photos, ImageNet's classes.")
@click.option("--emulated/--not-emulated", default=True, help="Count instructions too (root, after make test-pi).")
@click.option("--again", is_flag=True, help="Make and measure everything, also what ended well here.")
def main(calibration: str | None, evaluation: str | None, emulated: bool, again: bool) -> None:
    """Measure, and write the page."""
    if (calibration is None) != (evaluation is None):
        raise InputError(
            "CALIBRATION= and EVALUATION= (--calibration, --evaluation) must go together, got one of them.",
            "Give both folders, or neither to compare our CIFAR-10 networks alone.",
        )
    folders: list[str] = []
    if calibration and evaluation:
        check_folders(calibration, evaluation)
        folders = ["--calibration", calibration, "--evaluation", evaluation]
    else:
        console.print("Without CALIBRATION= and EVALUATION= only our CIFAR-10 networks are compared.")
    subjects = {name: subject for name, subject in SUBJECTS.items() if folders or not subject.is_imagenet}
    if again:
        shutil.rmtree(WORK, ignore_errors=True)
    make_all()
    fetch(subjects)
    planned = steps(subjects, folders, emulated)
    forget({step.name for step in planned if (WORK / "done" / step.name).exists()})
    failed: list[str] = []
    for step in planned:
        if step.after in failed or not take(step):
            failed.append(step.name)
    if not run("page"):
        failed.append("page")
    if failed:
        raise GateError(f"Every step must end well, got {len(failed)} that did not: {', '.join(failed)}.")


def steps(subjects: dict[str, Subject], folders: list[str], emulated: bool) -> list[Step]:
    """All of them, in their order."""
    found = []
    for name, subject in subjects.items():
        images = folders if subject.is_imagenet else []
        words = ["conversion", "--name", name, "--source", subject.source, *subject.options, *images]
        made = Step(f"conversion-{name}", words, partial(contents, subject, images))
        found += [made, Step(f"inference-{name}", ["inference", "--name", name], partial(_text, made), made.name)]
        if emulated and name == COUNTED:
            found.append(Step(f"pi_cores-{name}", ["pi_cores", "--name", name], partial(_text, made), made.name))
    return [*found, Step("cameras", ["cameras"])]


def _text(made: Step) -> str:
    """Its result, which tells when its files were made anew."""
    return (RESULTS / f"side_by_side-{made.name}.json").read_text(encoding="utf-8")


def fetch(subjects: dict[str, Subject]) -> None:
    """What is not there yet, now and not hours later.

    Raises:
        InputError: Our own networks are not there.
        GateError: Others' cannot be fetched.
    """
    sources = [Path(subject.source) for subject in subjects.values() if ":" not in subject.source]
    foreign = [source for source in sources if source.is_relative_to(FOREIGN)]
    if lost := [str(source) for source in sources if source not in foreign and not source.exists()]:
        raise InputError(f"Our own networks must be there, got no {', '.join(lost)}.")
    if all(source.with_suffix(suffix).exists() for source in foreign for suffix in (".onnx", ".pt2")):
        return
    words = [sys.executable, "-m", "benchmarks.foreign_networks", str(FOREIGN)]
    if subprocess.run(words, check=False).returncode:
        raise GateError("The networks of others must be fetched, got an error, see above.")


def contents(subject: Subject, folders: list[str]) -> str:
    """A hash of a network's files, and of what is in the folders of images, by name and size."""
    files = [path for path in (Path(subject.source), Path(subject.source).with_suffix(".pt2")) if path.is_file()]
    images = [path for folder in folders for path in sorted(Path(folder).rglob("*")) if path.is_file()]
    return digest([*map(sha256, files), *(f"{path} {path.stat().st_size}" for path in images)])


def forget(here: set[str]) -> None:
    """Remove the results of all steps that did not end well here."""
    others = [path for path in RESULTS.glob("side_by_side-*.*") if path.stem.removeprefix("side_by_side-") not in here]
    if others:
        console.print(f"Removing {len(others)} results of another run from {RESULTS.name}/; git has them.")
    for path in others:
        path.unlink()


def take(step: Step) -> bool:
    """Run it, unless it ended well here with the same code, words, machine and `depends`; did it end well?"""
    done, key = WORK / "done" / step.name, digest([_key(step.words), step.depends()])
    results = list(RESULTS.glob(f"side_by_side-{step.name}.*"))
    if results and done.exists() and done.read_text() == key:
        return True
    for path in (*results, done):
        path.unlink(missing_ok=True)
    if not run(*step.words):
        return False
    done.parent.mkdir(parents=True, exist_ok=True)
    write_whole(done, key)
    return True


def _key(words: Sequence[str]) -> str:
    own = [path for path in Path(__file__).parent.glob("*.py") if path.name not in WRITERS]
    beside = [ROOT / "benchmarks" / f"{name}.py" for name in BESIDE]
    support = [ROOT / "tests" / "support" / f"{name}.py" for name in TEST_SUPPORT]
    pi = [path for path in (ROOT / "benchmarks" / "pi").iterdir() if path.is_file()]
    paths = [*own, *PEERS.rglob("*.py"), *LOCKS.glob("*.txt"), *beside, *support, *pi]
    texts = [path.read_text(encoding="utf-8") for path in sorted(paths)]
    return digest([*words, where(), edgekit_sources(), *texts])


def run(*words: str) -> bool:
    """A module of this folder; did it end well?"""
    console.rule(" ".join(words[:3]))
    command = [sys.executable, "-m", f"benchmarks.side_by_side.{words[0]}", *words[1:]]
    return subprocess.run(command, check=False).returncode == 0


if __name__ == "__main__":
    try:
        main()
    except EdgekitError as error:
        sys.exit(f"{error}")
