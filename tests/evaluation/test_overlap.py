"""Sources and targets must not share a file or a person."""

from pathlib import Path

import pytest

from passerby.data.sample import Sample
from passerby.errors import PasserbyError
from passerby.evaluation.overlap import check_disjoint, check_people


def sample(path: Path | str, identity: int = 1, domain: str = "a") -> Sample:
    return Sample(Path(path), identity, 1, domain)


def test_other_people_and_other_datasets_pass() -> None:
    sources = [sample("a/1.jpg", 1), sample("a/2.jpg", 2), sample("a/0.jpg", -1)]
    # The same number in another dataset is another person; distractors are nobody.
    check_disjoint(sources, [sample("b/1.jpg", 1, "b"), sample("a/3.jpg", 3), sample("a/4.jpg", -1)])
    check_disjoint([], [sample("a/1.jpg")])
    check_disjoint(iter(sources), iter([]))


def test_a_person_on_both_sides_is_refused() -> None:
    sources = [sample(f"a/{n}.jpg", n) for n in range(5)]
    targets = [sample("a/30.jpg", 9), sample("a/31.jpg", 3), sample("a/32.jpg", 3), sample("a/33.jpg", 4)]
    with pytest.raises(PasserbyError, match=r"^a: person 3 is in a source and in a target at once \(2 people in all\)"):
        check_disjoint(sources, targets)


def test_a_file_on_both_sides_is_refused_whatever_its_labels() -> None:
    with pytest.raises(PasserbyError, match=r"^mine: a/1.jpg is in a source and in a target at once \(1 files"):
        check_disjoint([sample("a/1.jpg", 1), sample("a/2.jpg", 2)], [sample("a/1.jpg", 7, "mine")])


@pytest.mark.parametrize("link", ["file", "folder", "dots"])
def test_links_are_followed(tmp_path: Path, link: str) -> None:
    real = tmp_path / "real"
    real.mkdir()
    (real / "1.jpg").touch()
    (real / "2.jpg").touch()
    if link == "file":
        other = tmp_path / "x.jpg"
        other.symlink_to(real / "1.jpg")
    elif link == "folder":
        (tmp_path / "linked").symlink_to(real)
        other = tmp_path / "linked" / "1.jpg"
    else:
        other = tmp_path / "real" / ".." / "real" / "1.jpg"
    check_disjoint([sample(real / "2.jpg")], [sample(other, 9, "mine")])
    with pytest.raises(PasserbyError, match="at once"):
        check_disjoint([sample(real / "1.jpg")], [sample(other, 9, "mine")])


def test_cuhk01_and_cuhk02_show_the_same_people() -> None:
    with pytest.raises(PasserbyError, match="cuhk01: shows people of cuhk02, which was trained on"):
        check_disjoint([sample("a/1.jpg", 10_001, "cuhk02")], [sample("b/1.jpg", 900, "cuhk01")])
    check_disjoint([sample("a/1.jpg", 1, "cuhk03")], [sample("b/1.jpg", 1, "cuhk01")])


def test_parts_of_a_dataset_share_its_people() -> None:
    with pytest.raises(PasserbyError, match="mine: person 3"):
        check_people({"mine": {3}}, [sample("a/1.jpg", 3, "mine/east")])
