"""The pages: what they say was measured is what the benchmarks' result files say, and their commands can be given."""

import re
import shlex
from pathlib import Path

import click
import pytest

from benchmarks import training
from edgekit.cli import cli

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(("page", "least"), [("README.md", 8), ("docs/measured.md", 80)])
def test_the_measured_tables_are_those_of_the_results(page, least):
    section = (ROOT / page).read_text(encoding="utf-8").partition("# Measured")[2].partition("\n## Map")[0]
    quoted = [line for line in section.splitlines() if line.startswith("|")]
    pages = [*(ROOT / "benchmarks" / "results").glob("*.md"), ROOT / "benchmarks" / "RESULTS.md"]
    results = [path.read_text(encoding="utf-8") for path in pages]
    known = {line for text in results for line in text.splitlines()}
    assert len(quoted) > least
    assert [line for line in quoted if line not in known] == []


def test_the_page_on_training_is_its_scripts():
    assert (ROOT / "benchmarks" / "training.md").read_text(encoding="utf-8") == training.page()


def test_the_readme_leaves_out_nothing_that_edgekit_is_behind_in():
    results = (ROOT / "benchmarks" / "RESULTS.md").read_text(encoding="utf-8")
    behind = [line for line in results.splitlines() if line.startswith("| ") and line.endswith("| behind |")]
    quoted = (ROOT / "README.md").read_text(encoding="utf-8").splitlines()

    def kinds(lines):
        return {line.removeprefix("| ").split(",")[0].split(" |")[0] for line in lines}

    assert kinds(behind) <= kinds(line for line in behind if line in quoted)


def commands_of(text):
    """Lines that begin with edgekit, as a shell would take them apart; what follows > or | is not ours."""
    joined = re.sub(r"\\\n\s*", " ", text)
    for line in re.findall(r"^\s+(?:torchrun .*--no-python )?(edgekit [a-z-].*)$", joined, re.MULTILINE):
        words = shlex.split(line, comments=True)
        end = next((place for place, word in enumerate(words) if word in (">", "|")), len(words))
        yield words[1:end]


def refuse_unknown(words):
    """Raise what click would, but for files that are not there."""
    command, context = cli, click.Context(cli)
    while isinstance(command, click.Group):
        name, words = words[0], words[1:]
        found = command.get_command(context, name)
        assert found is not None, name
        command, context = found, click.Context(found, parent=context, **found.context_settings)
    given, left, _ = command.make_parser(context).parse_args(list(words))
    assert not left or command.context_settings.get("ignore_unknown_options")
    for parameter in command.params:
        value = given.get(parameter.name)
        if value is not None and isinstance(value, str) and not isinstance(parameter.type, click.Path):
            parameter.type_cast_value(context, value)


@pytest.mark.parametrize("page", ["README.md", "docs/*.md", "deploy/README.md"])
def test_the_pages_commands_can_be_given(page):
    found = [words for path in sorted(ROOT.glob(page)) for words in commands_of(path.read_text(encoding="utf-8"))]
    assert len(found) >= 10
    for words in found:
        refuse_unknown(words)


def test_commands_that_cannot_be_given_are_found():
    for line in ("train photos/ --widht 0.5", "train photos/ --width half", "trian photos/", "train photos/ --width"):
        with pytest.raises((click.UsageError, AssertionError)):
            refuse_unknown(shlex.split(line))
