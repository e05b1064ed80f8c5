"""The command line: thin, lazy, and honest about what is missing."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import click
import pytest

from edgekit import cli
from edgekit.cli import COMMANDS, run

HEAVY = ("torch", "tensorflow", "onnx", "onnx2tf", "cv2", "matplotlib", "scipy", "numpy", "ai_edge_litert")


def python(code, **environment):
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=os.environ | environment, check=False
    )


def test_help_imports_nothing_heavy_and_names_every_command():
    code = f"import sys; from edgekit.cli import run; run(['--help']); print([m for m in {HEAVY} if m in sys.modules])"
    done = python(code)
    assert done.stdout.strip().endswith("[]"), done.stdout
    assert all(f"  {name} " in done.stdout for name in COMMANDS)


def test_help_takes_less_than_0_3_seconds():
    def once():
        start = time.perf_counter()
        subprocess.run([sys.executable, "-m", "edgekit.cli", "--help"], stdout=subprocess.DEVNULL, check=True)
        return time.perf_counter() - start

    # The least of five: a busy machine can only make it slower.
    assert min(once() for _ in range(5)) < 0.3


@pytest.mark.parametrize("name", COMMANDS)
def test_each_commands_help_is_quick_to_import_and_shows_an_example(name):
    code = (
        "import sys; from edgekit.cli import run; code = run([sys.argv[1], '--help']);"
        "print([m for m in ('torch', 'tensorflow', 'onnx', 'matplotlib') if m in sys.modules], code)"
    )
    done = subprocess.run([sys.executable, "-c", code, name], capture_output=True, text=True, check=False)
    assert done.stdout.strip().endswith("[] 0"), done.stdout + done.stderr
    assert f"edgekit {name}" in done.stdout


@pytest.mark.parametrize(
    ("module", "arguments", "extra"),
    [
        ("torch", ["train", "{photos}", "--out", "{out}/m.pt", "--weights", "none"], "train"),
        ("onnxruntime", ["convert", "m.onnx", "--calibration", "{photos}", "--out", "{out}/m.tflite"], "convert"),
        ("cv2", ["camera", "m.tflite"], "deploy"),
    ],
)
def test_a_missing_extra_is_named_with_the_command_that_installs_it(module, arguments, extra, photos, tmp_path):
    arguments = [part.format(photos=photos, out=tmp_path) for part in arguments]
    code = f"import sys; sys.modules['{module}'] = None; from edgekit.cli import run; sys.exit(run({arguments!r}))"
    done = python(code)
    assert done.returncode == 3, done.stderr
    assert f'pip install "edgekit[{extra}]"' in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_unknown_commands_and_options_are_usage_errors(capsys):
    assert run(["fly"]) == 2
    assert run(["convert", "--no-such-option"]) == 2
    assert "No such" in capsys.readouterr().err
    assert run(["trian", "photos/"]) == 2
    assert "Did you mean train?" in capsys.readouterr().err
    assert run(["bench", "cifar"]) == 2
    assert (
        "MODEL must be a .tflite file or one of cifar10, cifar10-small, cifar10-v1, got cifar."
        in capsys.readouterr().err
    )


def test_a_reader_that_leaves_is_no_crash():
    script = f"{sys.executable} -m edgekit.cli --help | true; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=False)
    assert "Traceback" not in done.stderr


def test_an_interrupt_that_a_library_turned_into_its_own_error_is_still_one(monkeypatch, capsys):
    def swallow(**_):
        try:
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(5)
        except KeyboardInterrupt as error:
            raise RuntimeError("export failed") from error

    monkeypatch.setattr(cli.cli, "main", swallow)
    assert run([]) == 130
    assert capsys.readouterr().err == "Interrupted.\n"
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


@pytest.mark.parametrize(("number", "code"), [("SIGINT", 130), ("SIGTERM", 143), ("SIGHUP", 129)])
def test_an_interrupt_within_a_string_that_is_executed_ends_with_its_code(number, code, tmp_path):
    """As where a dataclass is being made; CPython would end such a `python -m` by SIGINT."""
    (tmp_path / "interrupted.py").write_text(
        "import os, signal\nfrom edgekit import cli\n"
        f"strike = 'import time; os.kill(os.getpid(), signal.{number}); time.sleep(5)'\n"
        "cli.cli.main = lambda **_: exec(strike)\n"
        "cli.main([])\n"
    )
    done = subprocess.run([sys.executable, "-m", "interrupted"], cwd=tmp_path, check=False)
    assert done.returncode == code


@pytest.mark.parametrize(
    ("error", "code", "expected"),
    [
        (ImportError("libGL.so.1: cannot open shared object file", name="cv2"), 3, "apt-get install libgl1 libglib2.0"),
        (ImportError("libgthread-2.0.so.0: cannot open", name="cv2"), 3, "sudo apt-get install libgl1 libglib2.0-0"),
        (ImportError("DLL load failed", name="torch._C"), 3, "torch is installed but cannot be loaded, got: DLL"),
        (ImportError("libfoo.so.3: cannot open"), 3, "edgekit doctor"),
        (ImportError("cannot import name 'x'", name="edgekit.card"), 4, "edgekit failed inside: ImportError"),
    ],
)
def test_a_package_that_cannot_be_loaded_is_no_defect(monkeypatch, capsys, error, code, expected):
    def fail(**_):
        raise error

    monkeypatch.setattr(cli.cli, "main", fail)
    assert run([]) == code
    assert expected in capsys.readouterr().err


def test_a_terminated_conversion_leaves_no_temporary_files(checkpoint_file, photos, tmp_path):
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    arguments = ["convert", checkpoint_file, "--calibration", photos, "--out", tmp_path / "m.tflite"]
    process = subprocess.Popen(
        [sys.executable, "-m", "edgekit.cli", *map(str, arguments)],
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"TMPDIR": str(scratch)},
    )
    deadline = time.monotonic() + 120
    while not any(scratch.glob("edgekit-*")):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(signal.SIGTERM)
    _, stderr = process.communicate(timeout=120)
    assert process.returncode == 143
    assert stderr.strip().splitlines()[-1] == "Terminated."
    assert list(scratch.glob("edgekit-*")) == []
    assert [path.name for path in tmp_path.iterdir()] == ["scratch"]


def test_the_examples_never_score_the_images_that_were_trained_on():
    done = python("from edgekit.cli import run; run(['--help'])")
    assert "edgekit convert model.pt --calibration photos/train --out" in done.stdout
    assert "--reference model.pt --data photos/test --out report.html" in done.stdout


# Of other programs: pip, npm, tar, journalctl, git, torchrun, mount, rpicam-vid, python -m venv; and of CSS.
FOREIGN = frozenset((
    "--abi", "--codec", "--create", "--dest", "--directory", "--disable-pip-version-check", "--fetch-retries",
    "--file", "--force-reinstall", "--help", "--ignore-scripts", "--implementation", "--list-cameras",
    "--message--", "--no-deps", "--no-index", "--no-input", "--no-pager", "--no-python", "--nproc-per-node",
    "--only-binary", "--output", "--pack-destination", "--platform", "--porcelain", "--python-version", "--quiet",
    "--rbind", "--retries", "--shm-size", "--system-site-packages", "--timeout", "--unit", "--untracked-files",
    "--wheel-dir",
))  # fmt: skip


def options(command, context):
    """Of a command and all below it."""
    found = {name for parameter in command.params for name in (*parameter.opts, *parameter.secondary_opts)}
    if isinstance(command, click.Group):
        found |= {
            name
            for sub in command.list_commands(context)
            for name in options(command.get_command(context, sub), context)
        }
    return found


def test_every_option_that_a_message_names_exists():
    root = Path(__file__).parents[2]
    known = options(cli.cli, click.Context(cli.cli)) | FOREIGN
    sources = [path for top in ("edgekit", "quantize", "deploy") for path in (root / top).rglob("*.py")]
    assert len(sources) > 100
    named = {
        (word, path.name) for path in sources for word in re.findall(r"(?<![\w-])--[a-z][a-z0-9-]+", path.read_text())
    }
    assert {(word, name) for word, name in named if word not in known} == set()
