from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pyarrow import csv, parquet

from passerby.data.datasets import custom_dataset, source_samples
from passerby.data.datasets.table import read_table
from passerby.data.sample import DISTRACTOR, Sample
from passerby.errors import PasserbyError


def write(file: Path, text: str, touch: bool = True) -> Path:
    file.write_text(text)
    for line in text.splitlines()[1:] if touch else ():
        (file.parent / line.split(",")[0]).touch()
    return file


def test_two_columns_are_enough(tmp_path: Path) -> None:
    file = write(tmp_path / "t.csv", "path,identity\nb.jpg,7\na.jpg,0012\n")
    expected = (Sample(tmp_path / "a.jpg", 12, None, "site"), Sample(tmp_path / "b.jpg", 7, None, "site"))
    assert read_table(file, "site") == {"all": expected}


def test_all_columns(tmp_path: Path) -> None:
    text = (
        "note,path,identity,camera,domain,split\n"
        ",0001,anna,door,north,train\n,0002,bob,gate,,gallery\n,0003,-1,,south,gallery\n,0004,bob,door,south,query\n"
    )
    for name in ("0001", "0002", "0003", "0004"):
        (tmp_path / name).touch()
    parts = read_table(write(tmp_path / "t.csv", text, touch=False), "site")
    # Strings count from 0 in sorted order over the whole table, cameras by domain; numbers in paths stay names.
    assert parts == {
        "train": (Sample(tmp_path / "0001", 0, 1, "site/north", "site/north/door"),),
        "query": (Sample(tmp_path / "0004", 1, 2, "site/south", "site/south/door"),),
        "gallery": (
            Sample(tmp_path / "0002", 1, 0, "site", "site/gate"),
            Sample(tmp_path / "0003", DISTRACTOR, None, "site/south"),
        ),
    }


def test_parquet_with_absolute_paths_and_gaps(tmp_path: Path) -> None:
    image, other = tmp_path / "a.jpg", tmp_path / "b.jpg"
    image.touch()
    other.touch()
    (tmp_path / "tables").mkdir()
    file = tmp_path / "tables" / "t.parquet"
    columns = {"path": [str(image), "../b.jpg"], "identity": [3, 4], "camera": [2.0, float("nan")]}
    parquet.write_table(pa.table(columns), file)
    assert [(s.identity, s.camera, s.image.is_file()) for s in read_table(file, "site")["all"]] == [
        (3, 2, True),
        (4, None, True),
    ]


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        st.tuples(
            st.integers(-1, 99_999) | st.integers(0, 5),
            st.none() | st.integers(0, 50),
            st.sampled_from(["train", "query", "gallery"]),
        ),
        min_size=1,
        max_size=8,
    )
)
def test_csv_and_parquet_say_the_same(tmp_path: Path, rows: list[tuple[int, int | None, str]]) -> None:
    names = [f"{index}.jpg" for index in range(len(rows))]
    for name in names:
        (tmp_path / name).touch()
    identities, cameras, splits = (list(column) for column in zip(*rows, strict=True))
    table = pa.table({"path": names, "identity": identities, "camera": cameras, "split": splits})
    csv.write_csv(table, tmp_path / "t.csv")
    parquet.write_table(table, tmp_path / "t.parquet")
    parts = read_table(tmp_path / "t.csv", "site")
    assert parts == read_table(tmp_path / "t.parquet", "site")
    found = {int(s.image.stem): (s.identity, s.camera, part) for part, samples in parts.items() for s in samples}
    assert found == dict(enumerate(rows))


@pytest.mark.parametrize("cameras", [("2", "-1"), ("door", "-1")])
def test_camera_minus_one_is_not_known(tmp_path: Path, cameras: tuple[str, str]) -> None:
    known, unknown = cameras
    file = write(tmp_path / "t.csv", f"path,identity,camera\na.jpg,1,{known}\nb.jpg,1,{unknown}\n")
    samples = read_table(file, "site")["all"]
    assert [s.camera for s in samples] == [2 if known == "2" else 0, None]
    assert [s.seen_by for s in samples] == [known, None]


def test_a_table_is_a_dataset(tmp_path: Path) -> None:
    file = write(tmp_path / "t.csv", "path,identity\na.jpg,x\nb.jpg,-1\n")
    dataset = custom_dataset("site", file)
    assert len(dataset.scan(tmp_path).samples) == 2
    assert [s.identity for s in source_samples(dataset, tmp_path, "all")] == [0]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("image,identity\na.jpg,1\n", r"t.csv has no column path; its columns are image, identity"),
        ("image,person\na.jpg,1\n", "no column path and no column identity"),
        ("path,identity\n", r"t.csv has no row"),
        ("", "cannot be read as a table"),
        ("path,identity\na.jpg,1,2\n", "cannot be read as a table"),
        ("path,identity,path\na.jpg,1,b.jpg\n", "has a column twice"),
        ("path,identity\na.jpg,1\n,2\n", r"one row has no path, first row 2"),
        ("path,identity\na.jpg,1\nb.jpg,\n", r"one row has no identity, first row 2"),
        ("path,identity\na.jpg,1\na.jpg,2\n", r"a path that an earlier row has, first row 2 \(path 'a.jpg'\)"),
        ("path,identity\na.jpg,-2\n", r"an identity below -1, first row 1 \(identity '-2'\)"),
        ("path,identity\na.jpg,1.5\n", r"one row has neither a whole number nor a string as identity"),
        ("path,identity,split\na.jpg,1,training\n", r"an unknown split \(did you mean 'train'\?\), first row 1"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_one_clear_line(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "a.jpg").touch()
    (tmp_path / "b.jpg").touch()
    file = write(tmp_path / "t.csv", text, touch=False)
    with pytest.raises(PasserbyError, match=message) as error:
        read_table(file, "site")
    assert str(error.value).startswith("site: ")
    assert "\n" not in str(error.value)


def test_paths_that_are_not_there(tmp_path: Path) -> None:
    file = write(tmp_path / "t.csv", "path,identity\na.jpg,1\nb.jpg,2\nc.jpg,3\n", touch=False)
    (tmp_path / "a.jpg").touch()
    with pytest.raises(PasserbyError, match=r"2 rows have a path that is not there, first row 2 \(path 'b.jpg'\)"):
        read_table(file, "site")


def test_other_kinds_of_files(tmp_path: Path) -> None:
    file = write(tmp_path / "t.xlsx", "", touch=False)
    with pytest.raises(PasserbyError, match=r"give .csv or .parquet"):
        read_table(file, "site")
    file.rename(tmp_path / "t.parquet")
    with pytest.raises(PasserbyError, match="cannot be read as a table"):
        read_table(tmp_path / "t.parquet", "site")


def test_cameras_belong_to_their_domain_and_people_to_the_table(tmp_path: Path) -> None:
    rows = []
    for name, identity, camera, domain in (
        ("a", 1, 1, "east"),
        ("b", 1, 1, "west"),
        ("c", 2, 2, "east"),
        ("d", 3, "", ""),
    ):
        (tmp_path / f"{name}.jpg").touch()
        rows.append(f"{name}.jpg,{identity},{camera},{domain}")
    (tmp_path / "t.csv").write_text("\n".join(["path,identity,camera,domain", *rows]) + "\n")
    samples = read_table(tmp_path / "t.csv", "mine")["all"]
    assert [(s.identity, s.camera, s.seen_by, s.domain, s.dataset) for s in samples] == [
        (1, 0, "mine/east/1", "mine/east", "mine"),
        (1, 2, "mine/west/1", "mine/west", "mine"),
        (2, 1, "mine/east/2", "mine/east", "mine"),
        (3, None, None, "mine", "mine"),
    ]
