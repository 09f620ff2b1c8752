"""Shards as batches: the right crops on the right side, bounded memory, and any position again."""

import shutil
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import numpy as np
import pytest
import torch

from passerby.data.images import Preprocessing
from passerby.data.video.crops import Crop, StoredCrop
from passerby.data.video.film_loader import FilmLoader, steps_of_crops, steps_of_epochs
from passerby.data.video.film_set import UNKNOWN, FilmSet, _largest
from passerby.data.video.frame_pairs import FramePairSettings, FramePlan, ShotFrames, Visit
from passerby.data.video.listing import film_listing_path
from passerby.data.video.shards import open_shards
from passerby.data.video.writer import FilmWriter, merge_listings
from passerby.errors import PasserbyError

FilmFolder = Callable[..., Path]
SMALL = Preprocessing(height=16, width=8)


@pytest.fixture(scope="module")
def shards(film_folder: FilmFolder) -> Path:
    return film_folder(shots=6, people=4)


def film_set(*folders: Path, processes: int = 1, **settings: int) -> FilmSet:
    return FilmSet(folders, SMALL, FramePairSettings.model_validate({"crops": 12, **settings}), 3, processes)


def test_a_batch_holds_the_crops_of_its_visits(shards: Path) -> None:
    found = film_set(shards).batch([Visit(4, (3, 0)), Visit(1, (2, 4))], 7)
    assert found.step == 7
    assert found.images.shape == (16, 3, 16, 8)
    assert found.images.is_contiguous(memory_format=torch.channels_last)
    assert found.video.tolist() == [4] * 8 + [1] * 8
    assert found.frame.tolist() == ([0] * 4 + [1] * 4) * 2
    assert found.truth.tolist() == [16, 17, 18, 19] * 2 + [4, 5, 6, 7] * 2
    opened = open_shards(shards)
    times = [opened.frames(shot).times[frame] for shot, frame in ((4, 3), (4, 0), (1, 2), (1, 4))]
    assert len(set(times)) == 4
    assert found.time.tolist() == pytest.approx([time for time in times for _ in range(4)])
    assert set(found.film.tolist()) == {0}
    expected = [stored.jpeg for stored in open_shards(shards).read(4, [3])]
    first = FilmSet([shards], SMALL, FramePairSettings(), 0)
    direct = np.stack(
        [first._decode(StoredCrop(open_shards(shards).read(4, [3])[n].crop, expected[n])) for n in range(4)]
    )
    np.testing.assert_array_equal(found.images[:4].permute(0, 2, 3, 1).numpy(), direct)


def test_films_may_be_called_in_any_script(film_folder: FilmFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tarfile.TarFile.encoding", "latin-1")  # whatever the system's is
    names = ["фильм_один", "фильм_два", "電" * 26]
    found = film_set(*(film_folder(name, seed=seed) for seed, name in enumerate(names)))
    assert [shards.films[0].name for shards in found.shards] == names
    batch = found.batch([Visit(4 * n, (0, 1)) for n in range(3)], 0)
    assert len(set(batch.film.tolist())) == 3


def test_pixels_are_those_of_every_other_road(shards: Path, tmp_path: Path) -> None:
    (stored, *_) = open_shards(shards).read(2, [1])
    (tmp_path / "crop.jpg").write_bytes(stored.jpeg)
    ours = film_set(shards).batch([Visit(2, (1, 0))], 0).images[0].permute(1, 2, 0).numpy()
    np.testing.assert_array_equal(ours, SMALL.read(tmp_path / "crop.jpg"))


def test_several_sets_count_through(shards: Path, film_folder: FilmFolder) -> None:
    other = film_folder("other", shots=3, truth=False)
    both = film_set(shards, other)
    assert both.names == ["film", "other"]
    assert both.plan.shots == tuple(range(9))
    found = both.batch([Visit(0, (0,)), Visit(8, (1,))], 0)
    assert set(found.video.tolist()) == {0, 8}
    assert set(found.truth[found.video == 8].tolist()) == {UNKNOWN}
    assert torch.equal(found.film, (found.video == 8).long())
    assert len(set(both.digests)) == 2
    assert film_set(shards).digests == film_set(shards).digests == both.digests[:1]


def test_films_count_through_sets_and_names(film_folder: FilmFolder, tmp_path: Path) -> None:
    two = film_folder("one", shots=2)
    shutil.copytree(film_folder("two", shots=2), two, dirs_exist_ok=True)
    merge_listings(two, ["one", "two"])
    namesake = shutil.copytree(film_folder("one", shots=2, seed=1), tmp_path / "namesake")
    found = film_set(two, namesake).batch([Visit(shot, (0,)) for shot in range(6)], 0)
    assert found.film[::3].tolist() == [0, 0, 1, 1, 2, 2]


def test_frames_of_different_crowds_are_told_apart_and_the_largest_count(shards: Path, tmp_path: Path) -> None:
    stored = open_shards(shards).read(2)
    counts = [4, 1, 3, 0, 2]
    kept = [c for frame, count in enumerate(counts) for c in stored[4 * frame : 4 * frame + count]]
    with FilmWriter(tmp_path, "film", source="s", settings="t") as writer:
        writer.add([StoredCrop(c.crop.model_copy(update={"shot": 0}), c.jpeg) for c in kept], {})
        writer.finish({})
    merge_listings(tmp_path, ["film"])
    everybody = film_set(tmp_path).batch([Visit(0, (0, 1, 2, 3))], 0)
    assert everybody.truth.tolist() == [8, 9, 10, 11, 8, 8, 9, 10, 8, 9]
    assert everybody.frame.tolist() == [0] * 4 + [1] + [2] * 3 + [3] * 2
    few = film_set(tmp_path, crops=2).batch([Visit(0, (0, 1, 2, 3))], 0)
    assert few.truth.tolist() == [10, 11, 8, 9, 10, 8, 9]  # boxes grow with the number


def test_a_film_that_two_sets_hold_is_named(shards: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(shards, tmp_path / "copy")
    with pytest.raises(PasserbyError, match=r"the film 'film' in \S+/film is the film 'film' in \S+/copy; ingest all"):
        film_set(shards, copy)
    listing = film_listing_path(copy, "film")
    listing.write_text(listing.read_text().replace('"source":"film0"', '"source":"film0-boxes"'))
    with pytest.raises(PasserbyError, match="is the film 'film'"):  # the same pictures with boxes of their own
        film_set(shards, copy)


def test_memory_is_bounded_and_does_not_show(shards: Path) -> None:
    tight, roomy = film_set(shards), film_set(shards)
    tight._settings = tight._settings.model_copy(update={"memory": 0})
    for step in range(3):
        visits = tight.plan.super_frame(0, step)
        assert torch.equal(tight.batch(visits, step).images, roomy.batch(visits, step).images)
        assert tight._bytes == 0
    assert roomy._bytes == sum(pixels.nbytes for pixels, _ in roomy._decoded.values()) > 0
    assert not tight._decoded


def test_what_was_seen_last_is_forgotten_last(shards: Path) -> None:
    film = film_set(shards)
    for wanted in ([(0, 0), (0, 1), (0, 2)], [(0, 0)]):
        film._load(wanted)
    one = film._bytes // 3
    film._settings = film._settings.model_copy(update={"memory": 2 * one / 2**20})
    film._forget()
    assert list(film._decoded) == [(0, 2), (0, 0)]
    assert film._bytes == 2 * one


def ends(batches: list[object]) -> list[object]:
    return [(b.step, b.video.tolist(), b.frame.tolist(), int(b.images.sum())) for b in batches]  # type: ignore[attr-defined]


def test_a_loader_goes_through_epochs_and_is_taken_up_anywhere(shards: Path) -> None:
    film = film_set(shards, visits=2)
    an_epoch = film.plan.steps(0)
    steps = an_epoch + film.plan.steps(1) + 2
    loader = FilmLoader(film, steps)
    assert len(loader) == steps
    whole = ends(list(loader))
    assert [entry[0] for entry in whole] == list(range(steps))  # type: ignore[index]
    assert whole[0][1:] != whole[an_epoch][1:]  # type: ignore[index]
    for cut in (0, 1, an_epoch, an_epoch + 1, steps - 1):
        first, second = FilmLoader(film, steps), FilmLoader(film_set(shards, visits=2), steps)
        begun = ends(list(islice(first, cut)))
        second.load_state_dict(first.state_dict())
        assert first.state_dict() == {"step": cut}  # though the next one is decoded already
        assert begun + ends(list(second)) == whole


def test_processes_see_super_frames_of_their_own(shards: Path) -> None:
    alone = film_set(shards, visits=2)
    shared = [film_set(shards, visits=2, processes=2) for _ in range(2)]
    steps = shared[0].plan.steps(0)
    parts = [ends(list(FilmLoader(film, steps, rank))) for rank, film in enumerate(shared)]
    whole = ends(list(FilmLoader(alone, 2 * steps)))
    for step in range(steps):
        for rank in range(2):
            assert parts[rank][step][1:] == whole[2 * step + rank][1:]  # type: ignore[index]


def test_steps_by_epochs_and_by_crops(shards: Path) -> None:
    plan = film_set(shards, visits=2).plan
    assert steps_of_epochs(plan, 3) == sum(plan.steps(epoch) for epoch in range(3))
    counts = np.concatenate([plan.crops(epoch) for epoch in range(4)])
    for crops in (1, int(counts[0]), int(counts[0]) + 1, 500):
        steps = steps_of_crops(plan, crops)
        assert counts[:steps].sum() >= crops > counts[: steps - 1].sum()


def test_an_epoch_without_a_step_for_all_processes_is_passed_over() -> None:
    shot = ShotFrames([0.0, 0.5, 1.0, 1.5], [1, 4, 2, 2])
    plan = FramePlan([shot] * 3, FramePairSettings(crops=10, visits=1), 3, 2)
    counts = [plan.crops(epoch).tolist() for epoch in range(50)]
    assert counts[1] == []
    later = next(epoch for epoch in range(1, 50) if counts[epoch])
    assert steps_of_crops(plan, counts[0][0]) == 1
    assert steps_of_crops(plan, counts[0][0] + 1) == 2
    film = cast(FilmSet, SimpleNamespace(plan=plan))
    assert list(FilmLoader(film, 2)._places()) == [(0, 0, 0), (1, later, 0)]


def test_of_a_crowd_the_largest_count() -> None:
    def crop(index: int, sides: tuple[float, float] | None) -> StoredCrop:
        box = None if sides is None else (5.0, 7.0, 5 + sides[0], 7 + sides[1])
        return StoredCrop(Crop(film="f", shot=0, frame=0, index=index, time=0, box=box), b"")

    boxed = [crop(n, sides) for n, sides in enumerate([(3, 1), (3, 3), (1, 4), (4, 1.5)])]
    assert [stored.crop.index for stored in _largest(boxed, 2)] == [1, 3]
    assert _largest(boxed, 4) == boxed
    assert [stored.crop.index for stored in _largest([crop(n, None) for n in range(3)], 2)] == [0, 1]


def test_a_damaged_crop_is_named(shards: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    film = film_set(shards)
    crops = film.shards[0].read(0, [0])
    monkeypatch.setattr(
        type(film.shards[0]), "read", lambda *_: [StoredCrop(stored.crop, b"no picture") for stored in crops]
    )
    with pytest.raises(PasserbyError, match=r"film/00000/00000000-000\.jpg: cannot be read as an image"):
        film.batch([Visit(0, (0,))], 0)
