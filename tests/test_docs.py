"""What the docs say of figures: every table is made from committed records, and every record validates."""

import re
from pathlib import Path

import pytest

from passerby.evaluation.records import read_record
from passerby.report.table import markdown_table

DOCS = Path(__file__).parent.parent / "docs"
TABLE = re.compile(r"<!-- records: (\S+) -->\n((?:\|.*\n)+)")


@pytest.mark.parametrize(
    "path", sorted((DOCS / "records").rglob("*.json")), ids=lambda path: path.relative_to(DOCS).as_posix()
)
def test_committed_records_validate_and_name_no_machine(path: Path) -> None:
    record = read_record(path)
    assert record.training is None or not any("/" in override for override in record.training.overrides)
    assert "/" not in record.model


@pytest.mark.parametrize("page", sorted(DOCS.rglob("*.md")), ids=lambda page: page.relative_to(DOCS).as_posix())
def test_tables_are_made_from_their_records(page: Path) -> None:
    text = page.read_text()
    assert text.count("<!-- records:") == len(TABLE.findall(text)), "a marker is followed by no table"
    for folder, table in TABLE.findall(text):
        records = [read_record(path) for path in sorted((DOCS / "records" / folder).glob("*.json"))]
        assert records, folder
        assert table.strip() == markdown_table(records)


@pytest.mark.parametrize(
    "page",
    sorted([*DOCS.rglob("*.md"), DOCS.parent / "README.md", DOCS.parent / "CONTRIBUTING.md"]),
    ids=lambda page: page.name,
)
def test_links_lead_somewhere(page: Path) -> None:
    for link in re.findall(r"\]\((?!http)([^)#]+)", page.read_text()):
        assert (page.parent / link).exists(), link
