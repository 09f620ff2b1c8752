"""Targets made of listings: sizes, no leak, and what is said when images are missing."""

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from passerby.data.datasets import get_dataset
from passerby.data.datasets.base import Listing
from passerby.data.sample import Sample
from passerby.errors import PasserbyError
from passerby.evaluation.splits import PEOPLE, StoredSplits, stored_splits
from passerby.evaluation.targets import Target, left_out_target, make_target, open_target

REPOSITORY = Path(__file__).parents[2]
DATA_ROOT = Path(os.environ.get("PASSERBY_DATA_ROOT", REPOSITORY.parent / "shared" / "data"))


def image(domain: str, part: str, person: int, camera: int | None, shot: int = 0) -> Sample:
    return Sample(Path("/data", domain, part, f"{person:04d}_{shot:03d}.png"), person, camera, domain)


def two_sides(domain: str, sides: dict[str, list[int]]) -> Listing:
    return Listing(
        {
            part: tuple(image(domain, part, person, camera, shot) for shot, person in enumerate(people))
            for camera, (part, people) in enumerate(sides.items(), start=1)
        }
    )


def viper() -> Listing:
    return two_sides("viper", {"cam_a": [*PEOPLE["viper"]], "cam_b": [*PEOPLE["viper"]]})


def prid(others: int = 1_000) -> Listing:
    strangers = [others + person for person in range(201, 750)]
    return two_sides("prid", {"cam_a": [*range(1, 386)], "cam_b": [*range(1, 201), *strangers]})


def grid() -> Listing:
    return two_sides("grid", {"probe": [*range(1, 251)], "gallery": [*range(1, 251), *[-1] * 775]})


def ilids(images: int = 4) -> Listing:
    people = [image("ilids", "all", person, None, shot) for person in range(1, 120) for shot in range(images)]
    return Listing({"all": tuple(people)})


LISTINGS = {"viper": viper(), "prid": prid(), "grid": grid(), "ilids": ilids()}
SIZES = {"viper": (316, 316, 632), "prid": (100, 649, 385), "grid": (125, 900, 250), "ilids": (60, 60, 356)}


def make(name: str, listing: Listing, partitions: StoredSplits | None = None) -> Target:
    return make_target(get_dataset(name), listing, partitions)


def check_single_shot(target: Target) -> None:
    assert len(target.splits) == 10
    for split in target.splits:
        assert (len(split.query), len(split.gallery), len(split.left_over)) == SIZES[target.name]
        used = {*split.query, *split.gallery}
        assert len(used) == len(split.query) + len(split.gallery)
        assert used.isdisjoint(split.left_over)
        people = [s.identity for s in split.gallery]
        for query in split.query:
            assert people.count(query.identity) == 1
    assert len({split.query for split in target.splits}) == 10


@pytest.mark.parametrize("name", sorted(LISTINGS))
def test_small_targets(name: str) -> None:
    target = make(name, LISTINGS[name])
    check_single_shot(target)
    assert target.split_id == stored_splits(name).split_id
    assert target.name == name
    assert not target.single_gallery_shot
    for split, people in zip(target.splits, stored_splits(name).people, strict=True):
        assert tuple(query.identity for query in split.query) == people


def test_cam_a_queries_cam_b() -> None:
    for name in ("viper", "prid"):
        target = make(name, LISTINGS[name])
        assert target.direction == "cam_a -> cam_b"
        for split in target.splits:
            assert {s.image.parent.name for s in split.query} == {"cam_a"}
            assert {s.image.parent.name for s in split.gallery} == {"cam_b"}


def test_what_is_left_over_of_the_query_s_camera() -> None:
    for name, part, count in (("viper", "cam_a", 316), ("prid", "cam_a", 285), ("grid", "probe", 125)):
        for split in make(name, LISTINGS[name]).splits:
            assert sum(s.image.parent.name == part for s in split.left_over) == count


def test_prid_s_other_people_are_nobody_s_query_however_they_are_numbered() -> None:
    for others in (0, 1_000):
        check_single_shot(make("prid", prid(others)))
    distractors = two_sides("prid", {"cam_a": [*range(1, 386)], "cam_b": [*range(1, 201), *[-1] * 549]})
    check_single_shot(make("prid", distractors))


def test_grid_takes_official_partitions_and_says_when_it_has_none() -> None:
    seeded = make("grid", LISTINGS["grid"])
    assert seeded.note is not None
    assert "not the official partitions" in seeded.note
    assert seeded.direction == "probe -> gallery"
    own = tuple(tuple(range(first, first + 125)) for first in range(1, 11))
    official = make("grid", LISTINGS["grid"], StoredSplits(target="grid-official", people=own))
    check_single_shot(official)
    assert official.note is None
    assert official.split_id.startswith("grid-official-10-")
    assert [split.query[0].identity for split in official.splits] == list(range(1, 11))


@given(st.integers(2, 6))
def test_ilids_picks_two_images_by_the_stored_numbers(images: int) -> None:
    listing = ilids(images)
    target = make("ilids", listing)
    picks = stored_splits("ilids").picks
    assert picks is not None
    for split, numbers in zip(target.splits, picks, strict=True):
        for query, found, (u, v) in zip(split.query, split.gallery, numbers, strict=True):
            own = [s for s in listing.parts["all"] if s.identity == query.identity]
            assert query == own[int(u * images)]
            assert found == [s for s in own if s != query][int(v * (images - 1))]


def test_ilids_draws_every_image() -> None:
    target = make("ilids", LISTINGS["ilids"])
    pairs = [
        (q.image.name[-5], g.image.name[-5])
        for split in target.splits
        for q, g in zip(split.query, split.gallery, strict=True)
    ]
    assert {pair: pairs.count(pair) >= 30 for pair in pairs} == {(a, b): True for a in "0123" for b in "0123" if a != b}


@pytest.mark.parametrize(("name", "part"), [("viper", "cam_b"), ("prid", "cam_a"), ("grid", "gallery")])
def test_a_missing_person_is_named(name: str, part: str) -> None:
    gone = stored_splits(name).people[0][3]
    parts = dict(LISTINGS[name].parts)
    parts[part] = tuple(s for s in parts[part] if s.identity != gone)
    with pytest.raises(PasserbyError, match=rf"^{name}: {part} has no image of person {gone} \(1 of \d+ people"):
        make(name, Listing(parts))


def test_other_incomplete_downloads() -> None:
    with pytest.raises(PasserbyError, match="viper: its folder cam_b is not there"):
        make("viper", Listing({"cam_a": LISTINGS["viper"].parts["cam_a"]}))
    for name, count in (("prid", 548), ("grid", 774)):
        part = "cam_b" if name == "prid" else "gallery"
        parts = {**LISTINGS[name].parts, part: LISTINGS[name].parts[part][:-1]}
        with pytest.raises(PasserbyError, match=rf"{name}: {part} has {count} images of people who are nobody's query"):
            make(name, Listing(parts))
    with pytest.raises(PasserbyError, match="ilids: 1 images of person 2, two are needed"):
        make("ilids", ilids(1))


def test_two_images_where_one_is_official() -> None:
    parts = dict(LISTINGS["viper"].parts)
    parts["cam_a"] += (image("viper", "cam_a", 5, 1, shot=999),)
    with pytest.raises(PasserbyError, match=r"viper: cam_a has two images of person 5, .*0005_999.png; remove"):
        make("viper", Listing(parts))


def large() -> Listing:
    people = {"train": range(1, 4), "query": range(4, 7), "gallery": range(4, 8)}
    cameras = {"train": 1, "query": 1, "gallery": 2}
    parts = {part: tuple(image("market1501", part, n, cameras[part]) for n in people[part]) for part in people}
    parts["gallery"] += (image("market1501", "gallery", -1, 2),)
    return Listing(parts)


def test_official_query_and_gallery() -> None:
    listing = large()
    target = make("market1501", listing)
    assert (target.split_id, target.direction) == ("official", "query -> gallery")
    (split,) = target.splits
    assert (split.query, split.gallery) == (listing.parts["query"], listing.parts["gallery"])
    assert split.left_over == listing.parts["train"]
    assert target.samples == (*split.query, *split.gallery)


def test_a_dataset_without_its_official_parts_is_not_split_by_rule_in_silence() -> None:
    parts = large().parts
    with pytest.raises(PasserbyError, match="market1501: no image of its official query and gallery; unpack"):
        make("market1501", Listing({"train": parts["train"]}))
    with pytest.raises(PasserbyError, match="market1501: no image of its official gallery; unpack"):
        make("market1501", Listing({"train": parts["train"], "query": parts["query"], "gallery": ()}))


def test_a_left_out_source() -> None:
    samples = [image("cuhk01", "campus", n, 1 + shot // 2, shot) for n in range(1, 9) for shot in range(4)]
    samples.append(image("cuhk01", "campus", 99, 1))
    target = left_out_target("cuhk01", samples, seed=3)
    (split,) = target.splits
    # Two cameras of two images for each of eight people; the ninth has no match: drawn, dropped, left over.
    assert (len(split.query), len(split.gallery)) == (16, 16)
    assert [s.identity for s in split.left_over] == [99]
    assert target.split_id.startswith("left-out-3-")
    assert left_out_target("cuhk01", samples[::-1], seed=3) == Target(
        target.name, (type(split)(split.query, split.gallery, split.left_over),), target.split_id, target.direction
    )
    assert left_out_target("cuhk01", samples, seed=4).split_id[11:] != target.split_id[11:]
    made = make_target(get_dataset("cuhk01"), Listing({"all": tuple(samples)}), seed=3)
    assert made == target


@pytest.mark.parametrize("camera", [1, None])
def test_no_query_with_a_match_is_an_error(camera: int | None) -> None:
    # One image a person, or all by one camera.
    samples = [image("mine", "all", n, camera, shot) for n in range(3) for shot in range(2 if camera else 1)]
    with pytest.raises(PasserbyError, match="mine: no query has a match when it is left out; it takes") as error:
        left_out_target("mine", samples, seed=0)
    assert "\n" not in str(error.value)
    query, gallery = (tuple(image("mine", part, n, 1) for n in range(3)) for part in ("query", "gallery"))
    with pytest.raises(
        PasserbyError, match=r"mine: no query has a match in the gallery \(3 queries, 3 gallery images\)"
    ):
        make_target(get_dataset("mine=folder"), Listing({"query": query, "gallery": gallery}))


def test_custom_data_are_opened_by_path(tmp_path: Path) -> None:
    for part, cameras in (("query", (1,)), ("bounding_box_test", (2, 3))):
        (tmp_path / "market" / part).mkdir(parents=True)
        for n in range(1, 4):
            for camera in cameras:
                for shot in range(2):
                    (tmp_path / "market" / part / f"{n:04d}_c{camera}s1_{shot:06d}_00.jpg").touch()
    spec = f"mine={tmp_path / 'market'}"
    target = open_target(spec, tmp_path)
    assert (target.name, target.split_id) == ("mine", "official")
    assert [len(target.splits[0].query), len(target.splits[0].gallery)] == [6, 12]
    held_out = open_target(spec, tmp_path, held_out=True, seed=1)
    assert held_out.split_id.startswith("left-out-1-")
    assert [len(held_out.splits[0].query), len(held_out.splits[0].gallery)] == [9, 9]
    with pytest.raises(PasserbyError, match="no dataset 'vipre': did you mean 'viper'"):
        open_target("vipre", tmp_path)


def test_held_out_goes_before_official_parts(tmp_path: Path) -> None:
    folder = tmp_path / "market1501" / "Market-1501-v15.09.15"
    for part, person, shots in (("bounding_box_train", 2, 3), ("query", 7, 1), ("bounding_box_test", 7, 2)):
        (folder / part).mkdir(parents=True)
        for camera in (1, 2):
            for shot in range(shots):
                (folder / part / f"{person:04d}_c{camera}s1_{shot + 10 * len(part):06d}_00.jpg").touch()
    assert open_target("market1501", tmp_path).split_id == "official"
    (split,) = open_target("market1501", tmp_path, held_out=True).splits
    # Both people, each seen three times by two cameras, wherever the files lie.
    assert (len(split.query), len(split.gallery)) == (4, 8)


def test_grid_on_disk_without_partitions(tmp_path: Path) -> None:
    folder = tmp_path / "grid" / "underground_reid"
    for part, people in (("probe", [*range(1, 251)]), ("gallery", [*range(1, 251), *[0] * 775])):
        (folder / part).mkdir(parents=True)
        for shot, person in enumerate(people):
            (folder / part / f"{person:04d}_{1 if part == 'probe' else 2}_{shot}_1_1_1_1.jpeg").touch()
    target = open_target("grid", tmp_path)
    check_single_shot(target)
    assert target.note is not None
    (folder / "features_and_partitions.mat").write_bytes(b"nothing")
    with pytest.raises(PasserbyError, match="does not hold 10 official partitions"):
        open_target("grid", tmp_path)


@pytest.mark.parametrize("name", ["viper", "prid"])
def test_real_data(name: str) -> None:
    if not any((DATA_ROOT / folder).is_dir() for folder in get_dataset(name).folders):
        pytest.skip(f"no {name} under {DATA_ROOT} (set PASSERBY_DATA_ROOT)")
    check_single_shot(open_target(name, DATA_ROOT))
