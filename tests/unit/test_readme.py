"""What the README and docs/measured.md say was measured is what the benchmarks' result files say."""

from pathlib import Path

import pytest

from benchmarks import training

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
