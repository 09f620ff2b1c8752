"""The rule for a left-out source, against the rule written out as loops."""

import random
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from passerby.data.sample import Sample
from passerby.evaluation.left_out import leave_out, matched, one_to_four

labels = st.tuples(st.integers(-1, 4), st.sampled_from([None, 1, 2, 3]))
sources = st.lists(labels, min_size=1, max_size=40)


def samples_of(rows: list[tuple[int, int | None]], root: str = "/data") -> list[Sample]:
    return [Sample(Path(root, "set", f"{n:03d}.jpg"), person, camera, "set") for n, (person, camera) in enumerate(rows)]


def is_match(query: Sample, image: Sample) -> bool:
    same_camera = query.camera is not None and query.camera == image.camera
    return query.identity != -1 and query.identity == image.identity and not same_camera


@given(sources, sources)
def test_matched_is_the_camera_rule(query: list[tuple[int, int | None]], gallery: list[tuple[int, int | None]]) -> None:
    queries, images = samples_of(query), samples_of(gallery)
    assert matched(queries, images).tolist() == [any(is_match(q, image) for image in images) for q in queries]


def test_without_queries_nothing_is_matched() -> None:
    assert matched([], samples_of([(1, 1)])).tolist() == []


@given(sources, st.integers(0, 5))
def test_one_image_of_each_person_and_camera_is_a_query(rows: list[tuple[int, int | None]], seed: int) -> None:
    samples = samples_of(rows)
    query, gallery = leave_out(samples, seed)
    assert set(query).isdisjoint(gallery)
    groups = {(s.identity, s.camera) for s in samples if s.identity != -1}
    drawn = set(samples) - set(gallery)
    assert sorted((s.identity, s.camera or 0) for s in drawn) == sorted((i, c or 0) for i, c in groups)
    # Of those drawn, exactly the ones that can be found are queries.
    assert set(query) == {s for s in drawn if any(is_match(s, image) for image in gallery)}


@given(sources, st.integers(0, 5), st.randoms(use_true_random=False))
def test_neither_order_nor_place_matters(
    rows: list[tuple[int, int | None]], seed: int, shuffler: random.Random
) -> None:
    query, gallery = leave_out(samples_of(rows), seed)
    elsewhere = samples_of(rows, root="/mnt/zzz/other")
    shuffler.shuffle(elsewhere)
    moved = leave_out(elsewhere, seed)
    assert [s.image.name for s in moved[0]] == [s.image.name for s in query]
    assert [s.image.name for s in moved[1]] == [s.image.name for s in gallery]


def test_the_folder_s_name_does_not_matter() -> None:
    def names(first: str, second: str) -> list[str]:
        folders = [first, second] * 10
        samples = [Sample(Path(folder, f"{n:03d}.jpg"), 1, n % 4 // 2, "set") for n, folder in enumerate(folders)]
        return [s.image.name for s in leave_out(samples, 0)[0]]

    assert names("train", "test") == names("a", "b")


def test_the_seed_draws_every_image_alike() -> None:
    samples = samples_of([(1, 1)] * 4 + [(1, 2)] * 4)
    times = dict.fromkeys(samples, 0)
    for seed in range(400):
        for query in leave_out(samples, seed)[0]:
            times[query] += 1
    # Each of four images is drawn with probability 1/4: 100 of 400, deviation 8.7.
    assert all(60 < count < 140 for count in times.values())


def test_the_draw_is_pinned() -> None:
    samples = samples_of([(person, camera) for person in (1, 2) for camera in (1, 2) for _ in range(5)])
    assert [s.image.name for s in leave_out(samples, 0)[0]] == ["003.jpg", "008.jpg", "011.jpg", "015.jpg"]


@given(sources, st.integers(0, 5), st.randoms(use_true_random=False))
def test_a_fifth_of_the_images_are_queries(
    rows: list[tuple[int, int | None]], seed: int, shuffler: random.Random
) -> None:
    samples = samples_of(rows)
    query, gallery = one_to_four(samples, seed)
    drawn = set(samples) - set(gallery)
    people = [s for s in samples if s.identity != -1]
    assert len(drawn) == len(people) // 5
    assert all(s.identity != -1 for s in drawn)
    assert set(query) == {s for s in drawn if any(is_match(s, image) for image in gallery)}
    shuffler.shuffle(samples)
    assert one_to_four(samples, seed) == (query, gallery)


def test_every_image_may_be_a_query() -> None:
    samples = samples_of([(n // 4, 1 + n % 2) for n in range(20)])
    drawn = [one_to_four(samples, seed)[0] for seed in range(60)]
    assert {len(query) for query in drawn} <= {2, 3, 4}
    assert {s for query in drawn for s in query} == set(samples)
