"""What the README says it measured is what the benchmarks' result files say."""

from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_the_measured_tables_are_those_of_the_results():
    section = (ROOT / "README.md").read_text(encoding="utf-8").partition("### Measured")[2].partition("\n## ")[0]
    quoted = [line for line in section.splitlines() if line.startswith("|")]
    results = [path.read_text(encoding="utf-8") for path in (ROOT / "benchmarks" / "results").glob("*.md")]
    known = {line for text in results for line in text.splitlines()}
    assert len(quoted) > 20
    assert [line for line in quoted if line not in known] == []
