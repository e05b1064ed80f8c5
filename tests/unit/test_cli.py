"""The command line: thin, lazy, and honest about what is missing."""

import os
import signal
import subprocess
import sys
import time

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
