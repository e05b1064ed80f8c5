"""A shell command at each new answer: real shells, real processes."""

import os
import threading
import time

import pytest
from support.decisions import decision, wait_for

from edgekit.errors import InputError
from edgekit_deploy.outputs.hook import Hook

# The promise to users: no output holds up the end longer.
MOST_CLOSE_SECONDS = 5.0
RECORD = 'printf "%s|%s|%s\\n" "$EDGEKIT_LABEL" "$EDGEKIT_PROBABILITY" "$EDGEKIT_PREVIOUS" >> calls'


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def calls(folder):
    path = folder / "calls"
    return path.read_text().splitlines() if path.exists() else []


def test_each_change_calls_the_command(folder):
    told = []
    with Hook(RECORD, warn=told.append) as hook:
        answers = [None, "cat", "cat", "dog", None, None, "dog"]
        for count, label in enumerate(answers):
            hook.write(decision(label, 0.5 + count / 64))
            expected = sum(now != before for now, before in zip(answers[: count + 1], [None, *answers], strict=False))
            wait_for(lambda expected=expected: len(calls(folder)) == expected)
    assert calls(folder) == ["cat|0.515625|", "dog|0.546875|cat", "|0.562500|dog", "dog|0.593750|"]
    assert (hook.runs, hook.failures, told) == (4, 0, [])


def test_a_label_is_never_part_of_the_command(folder):
    nasty = "$(touch broken); `touch broken`\n\"'; touch broken #\0\ud800"
    with Hook('printf "%s" "$EDGEKIT_LABEL" > label') as hook:
        hook.write(decision(nasty))
    assert (folder / "label").read_text() == nasty.replace("\0", "").replace("\ud800", "?")
    assert not (folder / "broken").exists()


def test_one_at_a_time_and_the_newest_wins(folder):
    os.mkfifo(folder / "gate")
    command = f"mkdir running || touch overlap; {RECORD}; read line < gate; rmdir running"
    with Hook(command) as hook:
        hook.write(decision("cat"))
        wait_for(lambda: len(calls(folder)) == 1)
        # Meanwhile the answer goes to and fro: the loop is not held up, and only the last one counts.
        start = time.monotonic()
        for label in ("dog", "owl", "cat", "dog", "owl"):
            hook.write(decision(label))
        assert time.monotonic() - start < 1.0
        (folder / "gate").write_text("go\n")
        wait_for(lambda: len(calls(folder)) == 2)
        # Back to what the command was last called with: nothing to tell it.
        for label in ("cat", "owl"):
            hook.write(decision(label))
        (folder / "gate").write_text("go\n")
    assert calls(folder) == ["cat|0.750000|", "owl|0.750000|cat"]
    assert not (folder / "overlap").exists() and hook.runs == 2


def test_a_failing_command_is_told_once(folder):
    told = []
    with Hook(f"{RECORD}; exit 7", warn=told.append) as hook:
        for count, label in enumerate(["cat", "dog", "cat"], 1):
            hook.write(decision(label))
            wait_for(lambda count=count: hook.failures == count)
    assert len(told) == 1 and "exit code 7" in told[0]
    assert len(calls(folder)) == 3


def test_a_command_that_takes_too_long_is_killed_with_its_children(folder):
    told = []
    with Hook("sleep 600 & echo $! > child; echo $$ > parent; wait", warn=told.append, limit=0.5) as hook:
        for label in ("cat", "dog"):
            hook.write(decision(label))
            wait_for(lambda label=label: hook.failures == (1 if label == "cat" else 2))
    assert len(told) == 1 and "took more than 0.5 s" in told[0]
    for name in ("child", "parent"):
        wait_for(lambda name=name: is_gone(int((folder / name).read_text())), name)


def is_gone(process):
    try:
        with open(f"/proc/{process}/stat") as file:
            return file.read().rsplit(")", 1)[1].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


def test_a_command_that_hangs_does_not_hold_up_the_end(folder):
    told, before = [], threading.active_count()
    hook = Hook("echo $$ > parent; sleep 600", warn=told.append, limit=600.0)
    with hook:
        hook.write(decision("cat"))
        wait_for(lambda: (folder / "parent").exists() and (folder / "parent").read_text().endswith("\n"))
        hook.write(decision("dog"))
        start = time.monotonic()
    assert time.monotonic() - start < MOST_CLOSE_SECONDS
    assert len(told) == 1 and "still running at the end" in told[0]
    wait_for(lambda: is_gone(int((folder / "parent").read_text())))
    wait_for(lambda: threading.active_count() <= before)
    assert hook.runs == 1


def test_the_last_change_is_told_before_the_end(folder):
    with Hook(f"sleep 0.2; {RECORD}") as hook:
        hook.write(decision("cat"))
        wait_for(lambda: hook.runs == 1)
        hook.write(decision("dog"))
    assert [call.split("|")[0] for call in calls(folder)] == ["cat", "dog"]


def test_secrets_stay_at_home_and_standard_output_stays_clean(folder, monkeypatch, capfd):
    monkeypatch.setenv("EDGEKIT_MQTT_PASSWORD", "hunter2")
    monkeypatch.setenv("EDGEKIT_WEB_TOKEN", "hunter2")
    monkeypatch.setenv("EDGEKIT_DEBUG_LEVEL", "kept")
    with Hook("env > environment; echo printed") as hook:
        hook.write(decision("cat"))
    environment = (folder / "environment").read_text()
    assert "hunter2" not in environment and "EDGEKIT_DEBUG_LEVEL" not in environment and "PATH=" in environment
    captured = capfd.readouterr()
    assert captured.out == "" and "printed" in captured.err


def test_a_shell_that_cannot_be_started_is_told_once(folder, monkeypatch):
    told = []
    # Too long for any environment.
    with Hook(RECORD, warn=told.append) as hook:
        hook.write(decision("x" * 10_000_000))
        wait_for(lambda: told)
        hook.write(decision("y" * 10_000_000))
    assert len(told) == 1 and told[0].startswith("--on-change failed: OSError")


@pytest.mark.parametrize(("command", "limit"), [("", 1.0), ("  ", 1.0), ("a\0b", 1.0), ("true", 0.0)])
def test_what_cannot_work_is_refused(command, limit):
    with pytest.raises(InputError, match="--on-change must be"):
        Hook(command, limit=limit)
