"""Puts measured records into the docs: gathers those of a bench folder, and makes every table anew from its records.

python docs/fill_tables.py gather BENCH NAME      # copies BENCH/cells/*/records/*.json to docs/records/NAME
python docs/fill_tables.py gather BENCH NAME WAYS # those alone whose way to adapt is matched by the regular expression WAYS
python docs/fill_tables.py                        # rewrites each table under a line <!-- records: NAME -->
"""

import re
import shutil
import sys
from pathlib import Path

from passerby.evaluation.records import read_record
from passerby.report.table import markdown_table

DOCS = Path(__file__).parent
NOT_NAMED = ("data.sources", "data.domains", "data.images", "trainer.compile")
"""Overrides that the names of records leave out: they are the same for all."""


def gather(bench: Path, name: str, ways: str = ".*") -> None:
    """Copies the records of a bench's cells under names that say what they are of."""
    folder = DOCS / "records" / name
    folder.mkdir(parents=True, exist_ok=True)
    for path in sorted(bench.glob("cells/*/records/*.json")):
        record = read_record(path)
        training = record.training
        assert training is not None
        if not re.fullmatch(ways, record.adapted or ""):
            continue
        changed = [o.split(".", 1)[1] for o in training.overrides if not o.startswith(NOT_NAMED)]
        changed += [f"from-{recipe}" for recipe in training.started_from]
        parts = [training.recipe, *(re.sub(r"[^\w.-]+", "", override) for override in changed), training.budget]
        how = path.stem.removeprefix(record.target)
        shutil.copy(path, folder / f"{'-'.join(parts)}-{record.target}-s{training.seed}{how}.json")


def fill(page: Path) -> None:
    """Makes the tables of a page anew."""

    def table(found: re.Match[str]) -> str:
        records = [read_record(path) for path in sorted((DOCS / "records" / found[1]).glob("*.json"))]
        return f"<!-- records: {found[1]} -->\n{markdown_table(records)}\n"

    text = page.read_text(encoding="utf-8")
    page.write_text(re.sub(r"<!-- records: (\S+) -->\n(?:\|.*\n)*", table, text), encoding="utf-8")


if __name__ == "__main__":
    if sys.argv[1:2] == ["gather"]:
        gather(Path(sys.argv[2]), *sys.argv[3:])
    for page in sorted(DOCS.rglob("*.md")):
        fill(page)
