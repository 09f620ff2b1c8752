"""Custom data as a CSV or Parquet table, one row an image."""

from pathlib import Path
from typing import Any

from passerby.data.sample import DISTRACTOR, Sample
from passerby.errors import PasserbyError, nearest

REQUIRED = ("path", "identity")
OPTIONAL = ("camera", "domain", "split")
SPLITS = ("train", "query", "gallery")
TABLE_SUFFIXES = (".csv", ".parquet")


def read_table(file: Path, name: str) -> dict[str, tuple[Sample, ...]]:
    """Samples by part of a table.

    Columns: `path` (relative to the table's folder, or absolute), `identity`, and optionally `camera` (empty: not
    known), `domain` (empty: none; otherwise the sample's domain is `name/domain`) and `split` (train, query or gallery;
    without the column all images are the part `all`). Identities and cameras are whole numbers, which are kept, or
    strings, which count from 0 in sorted order over the whole table. Identity -1 is a distractor. Other columns are
    passed over.

    Raises:
        PasserbyError: when the table cannot be read, is empty, lacks a column, or a row does not fit.
    """
    columns = _read_columns(file)
    missing = [column for column in REQUIRED if column not in columns]
    if missing:
        raise PasserbyError(
            f"{name}: {file} has no column {' and no column '.join(missing)}; it has {', '.join(columns)}"
        )
    rows = len(columns["path"])
    if not rows:
        raise PasserbyError(f"{name}: {file} has no row; give one row an image")
    for column in REQUIRED:
        _refuse(file, name, [value is None or value == "" for value in columns[column]], f"no {column}")
    identities = _numbers(columns["identity"], file, name, "identity")
    cameras = _numbers(columns["camera"], file, name, "camera") if "camera" in columns else [None] * rows
    domains = [f"{name}/{value}" if value not in (None, "") else name for value in columns.get("domain", [None] * rows)]
    splits = [str(value) for value in columns["split"]] if "split" in columns else ["all"] * rows
    if "split" in columns:
        wrong = [split not in SPLITS for split in splits]
        hint = nearest(splits[wrong.index(True)], SPLITS) if any(wrong) else ""
        _refuse(file, name, wrong, f"a split other than {', '.join(SPLITS)} ({hint})")
    paths = [file.parent / str(path) for path in columns["path"]]
    _refuse(file, name, [not path.is_file() for path in paths], "a path that is not there", columns["path"])
    _refuse(
        file, name, _repeated(list(zip(paths, splits, strict=True))), "a path that an earlier row has", columns["path"]
    )
    _refuse(
        file, name, [identity is not None and identity < DISTRACTOR for identity in identities], "an identity below -1"
    )
    parts: dict[str, list[Sample]] = {}
    for path, identity, camera, domain, split in zip(paths, identities, cameras, domains, splits, strict=True):
        assert identity is not None
        parts.setdefault(split, []).append(Sample(path, identity, camera, domain))
    order = (*SPLITS, "all")
    return {part: tuple(sorted(parts[part], key=lambda s: s.image.parts)) for part in order if part in parts}


def _read_columns(file: Path) -> dict[str, list[Any]]:
    import pyarrow
    import pyarrow.csv
    import pyarrow.parquet

    try:
        match file.suffix.lower():
            case ".csv":
                table = pyarrow.csv.read_csv(file)
            case ".parquet":
                table = pyarrow.parquet.read_table(file)
            case _:
                raise PasserbyError(f"{file}: not a table that is read here; give {' or '.join(TABLE_SUFFIXES)}")
    except (pyarrow.ArrowException, OSError) as error:
        message = str(error).splitlines()[0]
        raise PasserbyError(
            f"{file}: cannot be read as a table ({message}); give {' or '.join(TABLE_SUFFIXES)}"
        ) from error
    return {column: table[column].to_pylist() for column in table.column_names}


def _numbers(values: list[Any], file: Path, name: str, column: str) -> list[int | None]:
    """Whole numbers as they are, strings counted in sorted order, empty cells as None."""
    given = [value for value in values if value not in (None, "")]
    if all(isinstance(value, int | float) and float(value).is_integer() for value in given):
        return [None if value in (None, "") else int(value) for value in values]
    if not all(isinstance(value, str) for value in given):
        raise PasserbyError(f"{name}: {file} has {column} values that are neither whole numbers nor strings")
    number = {value: index for index, value in enumerate(sorted(set(given) - {str(DISTRACTOR)}))}
    number[str(DISTRACTOR)] = DISTRACTOR
    return [number[value] if value not in (None, "") else None for value in values]


def _repeated(values: list[Any]) -> list[bool]:
    first: dict[Any, int] = {}
    return [first.setdefault(value, index) != index for index, value in enumerate(values)]


def _refuse(file: Path, name: str, wrong: list[bool], what: str, shown: list[Any] | None = None) -> None:
    """Raises one line about the rows that are wrong, if any (rows count from 1, the header apart)."""
    if any(wrong):
        first = wrong.index(True)
        example = f" ('{shown[first]}')" if shown is not None else ""
        rows = f"{sum(wrong)} of {len(wrong)} rows have" if sum(wrong) > 1 else "one row has"
        raise PasserbyError(f"{name}: {file}: {rows} {what}, first row {first + 1}{example}; mend the table")
