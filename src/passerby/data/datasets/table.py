"""Custom data as a CSV or Parquet table, one row an image."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from passerby.data.sample import DISTRACTOR, Sample
from passerby.errors import PasserbyError, nearest

REQUIRED = ("path", "identity")
SPLITS = ("train", "query", "gallery")


def read_table(file: Path, name: str) -> dict[str, tuple[Sample, ...]]:
    """Samples by part of a table (.csv or .parquet).

    Columns: `path` (relative to the table's folder, or absolute), `identity`, and optionally `camera` (empty or -1: not
    known), `domain` (empty: none; otherwise the sample's domain is `name/domain`) and `split` (train, query or gallery;
    without the column all images are the part `all`). Identities and cameras are whole numbers, which are kept, or
    strings, which count from 0 in sorted order over the whole table; a camera's name is kept beside its number. The same
    identity is the same person in all domains; a camera belongs to its domain, and with several domains cameras are counted
    through anew, and are named `name/domain/camera`. Identity -1 is a distractor. No image stands in
    two rows: as query and as gallery it would find itself. Other columns are passed over.

    Raises:
        PasserbyError: when the table cannot be read, is empty, lacks a column, or rows do not fit.
    """
    table = _Table(file, name, _read_columns(file, name))
    table.require(REQUIRED)
    paths = [file.parent / str(path) for path in table.columns["path"]]
    table.refuse([not path.is_file() for path in paths], "a path that is not there", shown="path")
    table.refuse(_repeated(paths), "a path that an earlier row has", shown="path")
    identities = table.numbers("identity")
    table.refuse([identity < DISTRACTOR for identity in identities], "an identity below -1", shown="identity")
    cameras = table.numbers("camera") if "camera" in table.columns else [None] * len(paths)
    cameras = [None if camera is None or camera < 0 else camera for camera in cameras]
    names = [
        cell if isinstance(cell, str) and camera is not None else None
        for cell, camera in zip(table.optional("camera"), cameras, strict=True)
    ]
    domains = [name if domain is None else f"{name}/{domain}" for domain in table.optional("domain")]
    if len(set(domains)) > 1:
        names = [None if c is None else f"{d}/{n or c}" for d, n, c in zip(domains, names, cameras, strict=True)]
        cameras = _count_through(cameras, domains)
    parts: dict[str, list[Sample]] = {part: [] for part in (*SPLITS, "all")}
    for part, *row in zip(table.splits(), paths, identities, cameras, domains, names, strict=True):
        parts[part].append(Sample(*row))
    return {part: tuple(sorted(samples, key=lambda s: s.image.parts)) for part, samples in parts.items() if samples}


@dataclass(frozen=True)
class _Table:
    """Columns of a table (empty cells are None), and how to speak of it."""

    file: Path
    name: str
    columns: dict[str, list[Any]]

    def require(self, columns: tuple[str, ...]) -> None:
        """Raises unless these columns are there and full, with at least one row."""
        missing = [column for column in columns if column not in self.columns]
        if missing:
            raise PasserbyError(
                f"{self.name}: {self.file} has no column {' and no column '.join(missing)}; "
                f"its columns are {', '.join(self.columns)}"
            )
        if not self.columns[columns[0]]:
            raise PasserbyError(f"{self.name}: {self.file} has no row; give one row an image")
        for column in columns:
            self.refuse([value is None for value in self.columns[column]], f"no {column}")

    def optional(self, column: str) -> list[Any]:
        """The column, or as many None where the table does not have it."""
        return self.columns.get(column) or [None] * len(self.columns["path"])

    def numbers(self, column: str) -> list[Any]:
        """Whole numbers as they are, strings counted in sorted order ('-1' stays -1), empty cells as None."""
        values = self.columns[column]
        given = {value for value in values if value is not None}
        if all(isinstance(value, int | float) and float(value).is_integer() for value in given):
            return [None if value is None else int(value) for value in values]
        wrong = [value is not None and not isinstance(value, str) for value in values]
        self.refuse(wrong, f"neither a whole number nor a string as {column}", shown=column)
        number = {value: index for index, value in enumerate(sorted(given - {str(DISTRACTOR)}))}
        number[str(DISTRACTOR)] = DISTRACTOR
        return [None if value is None else number[value] for value in values]

    def splits(self) -> list[str]:
        """The part of each row: its split, or `all` without that column."""
        if "split" not in self.columns:
            return ["all"] * len(self.columns["path"])
        splits = [str(split) for split in self.columns["split"]]
        unknown = next((split for split in splits if split not in SPLITS), "")
        self.refuse(
            [split not in SPLITS for split in splits], f"an unknown split ({nearest(unknown, SPLITS)})", "split"
        )
        return splits

    def refuse(self, wrong: list[bool], what: str, shown: str | None = None) -> None:
        """Raises one line about the rows that are wrong, if any, showing a cell of the first (rows count from 1)."""
        if not any(wrong):
            return
        first = wrong.index(True)
        cell = f" ({shown} '{self.columns[shown][first]}')" if shown else ""
        have = f"{sum(wrong)} rows have" if sum(wrong) > 1 else "one row has"
        raise PasserbyError(f"{self.name}: {self.file}: {have} {what}, first row {first + 1}{cell}; mend the table")


def _read_columns(file: Path, name: str) -> dict[str, list[Any]]:
    import pyarrow
    from pyarrow import csv, parquet

    if file.suffix.lower() not in {".csv", ".parquet"}:
        raise PasserbyError(f"{name}: {file} is no table that is read here; give .csv or .parquet")
    try:
        if file.suffix.lower() == ".csv":
            # Numbers in these columns are names all the same: 0007 must not become 7.
            strings = dict.fromkeys(("path", "domain", "split"), pyarrow.string())
            table = csv.read_csv(file, convert_options=csv.ConvertOptions(column_types=strings))
        else:
            table = parquet.read_table(file)
    except (pyarrow.ArrowException, OSError) as error:
        reason = str(error).splitlines()[0]
        raise PasserbyError(f"{name}: {file} cannot be read as a table ({reason}); write it again") from error
    if len(set(table.column_names)) < len(table.column_names):
        raise PasserbyError(f"{name}: {file} has a column twice; its columns are {', '.join(table.column_names)}")
    return {column: [_cell(value) for value in table[column].to_pylist()] for column in table.column_names}


def _cell(value: Any) -> Any:
    """None for what tables mean by an empty cell: null, an empty string, not-a-number (which differs from itself)."""
    return None if value is None or value == "" or value != value else value


def _count_through(cameras: list[int | None], domains: list[str]) -> list[int | None]:
    """Numbers from 0 in the order of (domain, camera): camera 1 of one domain is not camera 1 of another."""
    pairs = sorted({(d, c) for c, d in zip(cameras, domains, strict=True) if c is not None})
    number = {pair: index for index, pair in enumerate(pairs)}
    return [None if c is None else number[d, c] for c, d in zip(cameras, domains, strict=True)]


def _repeated(paths: list[Path]) -> list[bool]:
    first: dict[Path, int] = {}
    return [first.setdefault(path, row) != row for row, path in enumerate(paths)]
