"""The writer: Market-1501's layout and names, identity-disjoint halves, nothing half done."""

import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from passerby.data.synthetic import SyntheticDomain, write_market
from passerby.errors import PasserbyError

NAME = re.compile(r"(\d{4})_c(\d)s1_(\d{6})_(\d{2})\.jpg")


def write(out: Path, **changed: object) -> None:
    arguments: dict[str, object] = {"domains": ["neutral"], "identities": 7, "images_per_camera": 2, "progress": False}
    write_market(out, **(arguments | changed))  # type: ignore[arg-type]


def test_layout(tmp_path: Path) -> None:
    write(tmp_path, domains=["neutral", "old-parking"], workers=2)
    assert {p.name for p in tmp_path.iterdir()} == {"neutral", "old-parking"}
    for name in ("neutral", "old-parking"):
        data = SyntheticDomain(name, 7, images_per_camera=2)
        found = {
            part: sorted((tmp_path / name / part).iterdir())
            for part in ("bounding_box_train", "query", "bounding_box_test")
        }
        assert sum(map(len, found.values())) == len(data)
        read = {part: [NAME.fullmatch(path.name) for path in paths] for part, paths in found.items()}
        assert all(match is not None for matches in read.values() for match in matches)
        people = {part: {int(m[1]) for m in matches if m} for part, matches in read.items()}
        assert people["bounding_box_train"] == {1, 2, 3}
        assert people["query"] == people["bounding_box_test"] == {4, 5, 6, 7}
        visits = [(m[1], m[2]) for m in read["query"] if m]
        assert len(set(visits)) == len(visits)
        test = data.identity >= 3
        assert set(visits) == {
            (f"{i + 1:04d}", str(c + 1)) for i, c in zip(data.identity[test], data.camera[test], strict=True)
        }


def test_written_pictures_are_the_rendered_ones(tmp_path: Path) -> None:
    write(tmp_path, seed=5)
    data = SyntheticDomain("neutral", 7, images_per_camera=2, seed=5)
    first = min((tmp_path / "neutral" / "bounding_box_train").glob("0001_*.jpg"), key=lambda p: p.name)
    image = np.asarray(Image.open(first)).astype(float)
    rendered = data.render(np.flatnonzero((data.identity == 0) & (data.camera == int(first.name[6]) - 1)))
    assert np.abs(image - rendered).mean(axis=(1, 2, 3)).min() < 3


def test_same_seed_same_files(tmp_path: Path) -> None:
    for run in ("a", "b"):
        write(tmp_path / run)
    files = sorted(p.relative_to(tmp_path / "a") for p in (tmp_path / "a").rglob("*.jpg"))
    assert len(files) > 20
    assert all((tmp_path / "a" / f).read_bytes() == (tmp_path / "b" / f).read_bytes() for f in files)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"identities": 1}, "identities=1 to write: must be 2 to 9999"),
        ({"identities": 10_000}, "identities=10000"),
        ({"images_per_camera": 1}, "images_per_camera=1"),
        ({"domains": []}, "domains to write: none"),
        ({"domains": ["neutral", "neutral"]}, "each once"),
        ({"domains": ["neutrall"]}, "did you mean 'neutral'"),
    ],
)
def test_bad_input(tmp_path: Path, changed: dict[str, object], message: str) -> None:
    with pytest.raises(PasserbyError, match=message):
        write(tmp_path / "out", **changed)
    assert not (tmp_path / "out").exists()


def test_what_is_there_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "neutral").mkdir()
    (tmp_path / "neutral" / "mine.txt").write_text("mine")
    with pytest.raises(PasserbyError, match="is already there"):
        write(tmp_path)
    assert (tmp_path / "neutral" / "mine.txt").read_text() == "mine"
    (tmp_path / "file").write_text("")
    with pytest.raises(PasserbyError, match="is a file"):
        write(tmp_path / "file")
