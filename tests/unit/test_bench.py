"""The bench: plausible figures from real runs, quickly."""

import json
import re
import time
from dataclasses import replace
from io import StringIO
from types import SimpleNamespace

import pytest
from click.testing import CliRunner
from rich.console import Console
from support import tiny_model

from edgekit import bundle, files
from edgekit.cpu import read_cpu
from edgekit.errors import EdgekitError, InputError
from edgekit_deploy import cold_start, sustained
from edgekit_deploy.bench import LEAST_RUNS, SCHEMA_VERSION, BenchResult, describe_model, run_bench
from edgekit_deploy.bench_command import command
from edgekit_deploy.bench_report import report
from edgekit_deploy.classifier import Classifier
from edgekit_deploy.cold_start import ColdStart, measure_cold_start
from edgekit_deploy.health import Health, Throttling
from edgekit_deploy.machine import Machine, read_system, this_machine
from edgekit_deploy.noise import noise_frame
from edgekit_deploy.sustained import Point, Sustained, run_sustained
from edgekit_deploy.versions import installed_versions

QUICK = ("--seconds", "0.1", "--cold-start", "0")


@pytest.fixture
def model_file(tmp_path):
    path = tmp_path / "model.tflite"
    path.write_bytes(tiny_model.sealed())
    return path


def run(*arguments):
    done = CliRunner().invoke(command, list(map(str, arguments)))
    assert done.exit_code == 0, done.output
    return done


def plant(root, files):
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(content)
    return root


def test_figures(model_file):
    bench = run_bench(model_file, threads=1, seconds=0.2)
    assert bench.kernels == "xnnpack"
    for line in (bench.invoke, bench.frame):
        assert line.count >= LEAST_RUNS
        assert 0.0 < line.p50 <= line.p90 <= line.p99 <= line.max
    # A whole frame includes the network.
    assert bench.frame.p50 > bench.invoke.p50
    assert bench.load_ms > 0.0 and bench.first_ms > 0.0


def test_frame_is_fixed():
    assert noise_frame().shape == (480, 640, 3)
    assert (noise_frame() == noise_frame()).all()


def test_machine(tmp_path):
    machine = this_machine()
    assert machine.board and machine.python and machine.cores >= 1 and machine.bits in (32, 64)
    assert machine.runtime.startswith(("ai-edge-litert", "tflite-runtime"))
    assert machine.runtime.split()[1] in machine.packages.values()
    planted = plant(
        tmp_path,
        {
            "proc/device-tree/model": "Raspberry Pi 5 Model B Rev 1.0\0",
            "proc/cpuinfo": "processor\t: 0\nBogoMIPS\t: 108.00\nCPU part\t: 0xd0b\nCPU revision\t: 1\n",
            "etc/os-release": 'NAME="Debian"\nPRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\n',
        },
    )
    machine = this_machine(planted)
    assert machine.board == "Raspberry Pi 5 Model B Rev 1.0"
    assert (machine.cpu, machine.system) == ("Cortex-A76", "Debian GNU/Linux 12 (bookworm)")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("model name\t: AMD EPYC 9B14\n", "AMD EPYC 9B14"),
        ("model name\t: ARMv7 Processor rev 3 (v7l)\nCPU part\t: 0xd08\n", "Cortex-A72"),
        ("CPU part\t: 0xfff\n", "ARM part 0xfff"),
        ("nothing\n", None),
    ],
)
def test_processor(tmp_path, text, expected):
    assert read_cpu(plant(tmp_path, {"proc/cpuinfo": text})) == expected


def test_a_root_without_files_has_no_names(tmp_path):
    assert read_cpu(tmp_path) is None and read_system(tmp_path) is None


def test_versions_of_planted_packages(tmp_path):
    for name, version in (("numpy", "2.0.1"), ("opencv_python", "4.11.0.86")):
        folder = f"{name}-{version}.dist-info/METADATA"
        plant(tmp_path, {folder: f"Metadata-Version: 2.1\nName: {name.replace('_', '-')}\nVersion: {version}\n"})
    found = installed_versions(["numpy", "opencv-python", "ai-edge-litert"], [str(tmp_path)])
    assert found == {"numpy": "2.0.1", "opencv-python": "4.11.0.86"}


def test_json_can_be_handed_in(model_file):
    plain = json.loads(run(model_file, "--threads", "1,2,1", *QUICK, "--json").stdout)
    assert plain["schema"] == SCHEMA_VERSION
    assert [result["threads"] for result in plain["results"]] == [1, 2]
    assert plain["best_threads"] in (1, 2)
    assert plain["results"][0]["invoke"]["p99"] > 0
    assert plain["cold_start"] is None and plain["sustained"] is None
    assert plain["profile"]["available"] is False and "not available" in plain["profile"]["reason"]
    model = plain["model"]
    assert (model["name"], model["input"], model["classes"]) == ("tiny colours", [32, 32, 3], 5)
    assert model["sha256"] == files.sha256(model_file)
    assert model["flatbuffer_sha256"] == tiny_model.parsed().card.flatbuffer_sha256
    for key in ("board", "cpu", "cores", "kernel", "system", "python", "runtime"):
        assert plain["machine"][key]


def test_json_tells_nothing_about_its_owner(model_file):
    import getpass
    import platform

    text = run(model_file, "--threads", "1", *QUICK, "--json").stdout
    assert str(model_file.parent) not in text and model_file.name not in text
    words = set(re.findall(r'"([^"]*)"', text))
    assert not words & {getpass.getuser(), platform.node()}


def test_auto_tries_all_cores(model_file, monkeypatch):
    monkeypatch.setattr("edgekit.runtime.available_cores", lambda: 3)
    plain = json.loads(run(model_file, *QUICK, "--json").stdout)
    assert [result["threads"] for result in plain["results"]] == [1, 2, 3]


def test_tables_of_a_whole_run(model_file):
    done = run(model_file, "--threads", "1", "--seconds", "0.1", "--cold-start", "1", "--minutes", "0.02")
    for word in ("network", "frame to top 5", "edgekit camera", "bare script", "pace", "Per operator: not available"):
        assert word in done.stdout, word


@pytest.mark.parametrize("threads", ["0", "a", "1,,2", "", "-1", "1;2", "auto,1", "65"])
def test_bad_threads(model_file, threads):
    done = CliRunner().invoke(command, [str(model_file), "--threads", threads])
    assert done.exit_code == 2
    assert "threads" in done.output


def test_what_cannot_run_is_refused_without_a_progress_bar(tmp_path):
    path = tmp_path / "odd.tflite"
    card = tiny_model.card_for(tiny_model.input_spec(16, 32))
    path.write_bytes(bundle.seal(tiny_model.flatbuffer(tiny_model.input_spec()), card, {}))
    done = CliRunner().invoke(command, [str(path)])
    assert isinstance(done.exception, InputError) and "input size" in str(done.exception)
    assert done.output == ""


def test_cold_start_runs_two_kinds_of_processes(model_file):
    steps = []
    cold = measure_cold_start(model_file, threads=1, repeats=2, step=lambda: steps.append(1))
    assert cold.repeats == 2 == len(steps)
    # Python with numpy and OpenCV starts in no less, and takes no less.
    assert 20.0 < cold.bare_milliseconds < 60_000.0 and 20.0 < cold.milliseconds < 60_000.0
    assert cold.bare_peak is not None and 20.0 < cold.bare_peak < 2000.0
    assert cold.peak is not None and cold.peak > 20.0
    assert cold.ratio == cold.milliseconds / cold.bare_milliseconds
    assert cold.peak_ratio == pytest.approx(cold.peak / cold.bare_peak)


def test_the_time_ends_with_the_answer_and_the_peak_is_the_childs_own(monkeypatch):
    code = "import sys, time\nblock = bytearray(100 * 2**20)\nprint('answer', flush=True)\ntime.sleep(2.0)\ncode = 0\n"
    begun = time.monotonic()
    start = cold_start._start(code + cold_start.PEAK, [])
    assert start.seconds < time.monotonic() - begun - 1.0
    assert start.peak is not None and 100.0 < start.peak < 150.0


@pytest.mark.parametrize("code", ["print('answer'); raise ValueError('odd')", "code = 0"])
def test_a_process_that_fails_or_is_silent_is_an_error(code):
    with pytest.raises(EdgekitError, match=r"must give an answer, got [01]: (ValueError: odd|no message)"):
        cold_start._start("import sys\n" + code, [])


HOT = {
    "sys/class/thermal/thermal_zone0/type": "cpu-thermal\n",
    "sys/class/thermal/thermal_zone0/temp": "50000\n",
    "sys/devices/system/cpu/cpufreq/policy0/scaling_cur_freq": "1500000\n",
    "sys/devices/platform/soc/soc:firmware/get_throttled": "0\n",
}


class FakeClassifier:
    """On a clock of its own: a frame takes `before` seconds until the clock says `change`, then `after`."""

    threads = 1

    def __init__(self, monkeypatch, change, before, after):
        self.now, self.change, self.before, self.after = 100.0, 100.0 + change, before, after
        monkeypatch.setattr(sustained, "time", SimpleNamespace(perf_counter=lambda: self.now))

    def classify(self, frame):
        self.now += self.before if self.now < self.change else self.after


def test_sustained_run_follows_the_board(tmp_path, monkeypatch):
    """The board gets hot after the first stretch."""
    root = plant(tmp_path, HOT)

    def heat(point):
        (root / "sys/class/thermal/thermal_zone0/temp").write_text("83000\n")
        (root / "sys/devices/system/cpu/cpufreq/policy0/scaling_cur_freq").write_text("600000\n")
        (root / "sys/devices/platform/soc/soc:firmware/get_throttled").write_text("c000c\n")

    run = run_sustained(FakeClassifier(monkeypatch, 60.0, 0.25, 0.5), 180.0, root, heat)
    assert run.points[0].temperature == 50.0 and run.points[1].temperature == 83.0
    assert (run.hottest, run.slowest_clock) == (83.0, 600.0)
    assert run.throttled == ("soft temperature limit", "throttled")
    assert (run.seconds, run.span, len(run.points)) == (180.0, 60.0, 120)
    assert (run.first.count, run.last.count) == (240, 120)
    assert run.slowdown == pytest.approx(2.0, rel=0.02)
    assert (run.points[0].at, run.points[-1].at) == (1.5, 180.0)
    json.dumps(run.to_plain())


def test_sustained_run_where_the_machine_tells_nothing(tmp_path):
    run = run_sustained(Classifier(tiny_model.parsed()), 0.1, tmp_path, least_interval=0.05)
    assert (run.hottest, run.slowest_clock, run.throttled) == (None, None, ())


def test_a_short_run_is_halved(tmp_path, monkeypatch):
    run = run_sustained(FakeClassifier(monkeypatch, 5.0, 0.1, 0.3), 10.0, tmp_path)
    assert run.span == 5.0 and run.slowdown == pytest.approx(3.0, rel=0.02)


def made_up(**changes):
    """A result on a board that throttles."""
    machine = Machine(
        "Raspberry Pi 4", "Cortex-A72", 4, 1500.0, "aarch64", 64, "6.6", "Debian 12", "glibc 2.36", "3.11", "x 1", {}
    )
    health = Health(temperature=81.25, throttling=Throttling(("under-voltage",), ("under-voltage",)))
    summary = BENCH.invoke
    slow = replace(summary, p50=2.0 * summary.p50)
    points = tuple(Point(float(at), 5.0, 60.0, 1500.0, Throttling()) for at in range(1, 100))
    last = Point(100.0, 10.0, 82.0, 600.0, Throttling(("throttled",)))
    cold = ColdStart(3, 1300.0, 1000.0, None, None)
    run = Sustained(1, 100.0, 50.0, summary, slow, (*points, last))
    model = {"name": "tiny"}
    return replace(BenchResult(machine, model, (BENCH, replace(BENCH, threads=2)), health, cold, run), **changes)


BENCH = None


@pytest.fixture(autouse=True, scope="module")
def some_figures(tmp_path_factory):
    global BENCH
    path = tmp_path_factory.mktemp("bench") / "model.tflite"
    path.write_bytes(tiny_model.sealed())
    BENCH = run_bench(path, 1, 0.05)


def shown(result, width=120):
    console = Console(file=StringIO(), width=width, highlight=False)
    console.print(report(result))
    return console.file.getvalue()


def test_report_of_a_board_that_throttles():
    text = shown(made_up())
    assert "★ 1" in text
    assert "Raspberry Pi 4" in text and "Cortex-A72, 4 cores at 1500 MHz" in text
    assert "81.2 °C" in text and "Slowed down now: under-voltage" in text
    assert "1.30×" in text
    assert "loses its pace, 2.00×" in text
    # The last stretch is always among the rows, and the rows are few.
    assert re.search(r"1\.67 .* 10\.000 .* 82\.0 .* 600 .* throttled", text)
    assert text.count("60.0") <= 12


def test_report_fits_a_terminal_of_80_columns():
    slow = replace(
        BENCH, load_ms=12345.6, invoke=replace(BENCH.invoke, p50=999.9, p90=5432.1, p99=9876.5, count=123456)
    )
    lines = shown(made_up(benches=(slow, replace(slow, threads=16))), width=80).splitlines()
    assert not any("…" in line for line in lines)
    assert any(all(figure in line for figure in ("12345.6", "999.9", "5432.1", "9876.5", "123456")) for line in lines)


def test_report_of_the_least():
    text = shown(made_up(cold_start=None, sustained=None, health=Health(), benches=(BENCH,)))
    assert "★" not in text and "pace" not in text and "bare" not in text and "°C" not in text


def test_a_model_is_described_by_its_card(model_file):
    assert describe_model(model_file)["recipe"] == "int8"
