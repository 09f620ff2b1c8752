"""Street scenes: people walk, hide each other and leave; boxes and tracks are exact; the seed fixes everything."""

import itertools
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from passerby.data.synthetic import DOMAINS, StreetFilm, shifted_domain, write_street
from passerby.data.synthetic.camera import Cameras, draw_cameras
from passerby.data.synthetic.draws import Floats
from passerby.data.synthetic.scene import Scene, paint_panorama
from passerby.data.synthetic.sensor import develop
from passerby.data.synthetic.street import StreetFrame, boxes_of
from passerby.data.synthetic.street_camera import StreetCamera
from passerby.data.synthetic.street_sprites import Sprite
from passerby.data.synthetic.street_video import VIDEO, street_domain
from passerby.data.synthetic.street_walks import at, draw_ground, draw_walks
from passerby.errors import PasserbyError


def film(**changed: object) -> StreetFilm:
    arguments: dict[str, object] = {"shots": 2, "seconds": 6, "fps": 5, "people": 6, "size": (120, 160)}
    return StreetFilm(shifted_domain(1.0, 4), 7, **(arguments | changed))  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def frames() -> list[StreetFrame]:
    return list(film().frames())


def test_frames_and_boxes_fit(frames: list[StreetFrame]) -> None:
    assert len(frames) == len(film()) == 60
    for frame in frames:
        assert frame.image.shape == (120, 160, 3)
        assert frame.image.dtype == np.uint8
        for box in frame.boxes:
            assert 0 <= box.left < box.right <= 160
            assert 0 <= box.top < box.bottom <= 120
            assert 0 <= box.visible <= 1
        assert len({b.person for b in frame.boxes}) == len(frame.boxes)


def test_any_frame_alone_is_as_in_the_film(frames: list[StreetFrame]) -> None:
    wanted = [3, 29, 30, 58]
    for number, alone in zip(wanted, film().frames(wanted), strict=True):
        assert np.array_equal(alone.image, frames[number].image)
        assert alone.boxes == frames[number].boxes


def test_the_seed_and_the_place_decide(frames: list[StreetFrame]) -> None:
    other = StreetFilm(shifted_domain(1.0, 4), 8, shots=2, seconds=6, fps=5, people=6, size=(120, 160))
    place = StreetFilm(shifted_domain(1.0, 5), 7, shots=2, seconds=6, fps=5, people=6, size=(120, 160))
    for changed in (other, place):
        (frame,) = changed.frames([0])
        assert frame.boxes != frames[0].boxes


def test_people_walk_hide_each_other_come_and_go(frames: list[StreetFrame]) -> None:
    first = frames[:30]
    seen = [{b.person for b in f.boxes} for f in first]
    assert 3 <= np.mean([len(s) for s in seen]) <= 11
    everybody = set().union(*seen)
    assert len(everybody) > max(map(len, seen))  # not all at once
    assert any(b.visible < 0.7 and b.left > 5 and b.right < 155 for f in first for b in f.boxes)
    middle: dict[int, list[float]] = {}
    for f in first:
        for b in f.boxes:
            middle.setdefault(b.person, []).append((b.left + b.right) / 2)
    assert sum(np.ptp(m) > 10 for m in middle.values()) > len(middle) / 2
    # Nobody jumps: within a fifth of a second a person covers no more than 0.4 of the body height.
    for a, b in itertools.pairwise(first):
        now = {x.person: x for x in b.boxes}
        for x in a.boxes:
            if x.person in now and min(x.left, now[x.person].left) > 0 and max(x.right, now[x.person].right) < 160:
                step = abs((x.left + x.right) / 2 - (now[x.person].left + now[x.person].right) / 2)
                assert step < 0.4 * (x.bottom - x.top) + 3


def test_shots_show_other_people_through_other_cameras(frames: list[StreetFrame]) -> None:
    first, second = ({b.person for f in part for b in f.boxes} for part in (frames[:30], frames[30:]))
    assert not first & second
    change = np.abs(frames[30].image.astype(int) - frames[29].image).mean()
    assert change > 2 * np.abs(frames[29].image.astype(int) - frames[28].image).mean()


def test_shots_of_one_camera_show_other_walks() -> None:
    domain = shifted_domain(1.0, 4)
    again = film(shots=domain.cameras + 1, people=8)
    assert again.camera_of(domain.cameras) == again.camera_of(0) == 0
    first, later = again._walks[0], again._walks[domain.cameras]
    assert not np.array_equal(first.moment, later.moment)


def test_each_shot_is_of_its_camera_and_nobody_stands_in_the_background(monkeypatch: pytest.MonkeyPatch) -> None:
    domain = shifted_domain(1.0, 4)
    assert domain.scene.clutter > 0
    assert domain.cameras > 1
    noise: list[float] = []
    clutter: list[float] = []

    def camera(view: Floats, row: Cameras, seed: int) -> StreetCamera:
        noise.extend(row.noise.tolist())
        return StreetCamera(view, row, seed)

    def panorama(scene: Scene, *rest: Any) -> Floats:
        clutter.append(scene.clutter)
        return paint_panorama(scene, *rest)

    monkeypatch.setattr("passerby.data.synthetic.street.StreetCamera", camera)
    monkeypatch.setattr("passerby.data.synthetic.street.paint_panorama", panorama)
    list(film().frames([0, 30]))
    assert noise == draw_cameras(domain, 7).noise[:2].tolist()
    assert len(set(noise)) == 2
    assert clutter == [0, 0]


def test_films_are_of_places_of_their_own() -> None:
    assert street_domain(0, 3) == street_domain(0, 3)
    assert len({street_domain(film, seed).name for film in (0, 1) for seed in (3, 4)}) == 4


def test_boxes_hold_the_people() -> None:
    """Where somebody walks, and only there, a frame differs from one without people."""
    with_people, empty = film(people=8), film(people=0)
    for frame, bare in zip(with_people.frames([4, 20]), empty.frames([4, 20]), strict=True):
        assert not bare.boxes
        differs = np.abs(frame.image.astype(int) - bare.image).sum(axis=2) > 60
        inside = np.zeros(differs.shape, bool)
        for b in frame.boxes:
            inside[max(0, b.top - 2) : b.bottom + 6, max(0, b.left - 6) : b.right + 6] = True  # the shadow, the blur
            if b.visible > 0.9:
                assert differs[b.top : b.bottom, b.left : b.right].mean() > 0.1
        assert not differs[~inside].mean() > 0.002


def test_visibility_counts_pixels() -> None:
    def sprite(person: int, window: tuple[slice, slice], pixels: int) -> Sprite:
        shape = window[0].stop - window[0].start, window[1].stop - window[1].start
        return Sprite(person, window, np.zeros((3, *shape)), np.ones(shape), np.ones(shape, bool), pixels)

    crowd = [
        sprite(5, (slice(0, 10), slice(0, 4)), 40),
        sprite(6, (slice(5, 10), slice(0, 8)), 80),  # half of it outside
        sprite(7, (slice(0, 0), slice(3, 3)), 50),  # all of it
    ]
    boxes = boxes_of(crowd, (20, 20))
    assert [(b.person, b.left, b.top, b.right, b.bottom, b.visible) for b in boxes] == [
        (5, 0, 0, 4, 10, 0.5),
        (6, 0, 5, 8, 10, 0.5),
    ]


def test_the_camera_develops_as_the_sensor_does() -> None:
    """Background and people mapped apart are what `sensor.develop` makes of the whole, but for blur and noise."""
    rng = np.random.default_rng(0)
    cameras = draw_cameras(DOMAINS["evening-market"], 0).take(np.array([1]))
    cameras.noise[:] = 0
    cameras.defocus[:] = 0
    view = rng.uniform(0, 1.2, (3, 40, 64)).astype(np.float32)
    window = slice(5, 35), slice(10, 30)
    cover = rng.uniform(0, 1, (30, 20)).astype(np.float32)
    light = rng.uniform(0, 1, (3, 30, 20)).astype(np.float32) * cover
    sprite = Sprite(0, window, light, cover, cover > 0.5, 600)
    shown = StreetCamera(view.copy(), cameras, 0).frame([sprite], np.random.default_rng(1)).astype(float)
    whole = view.copy()
    whole[:, *window] = whole[:, *window] * (1 - cover) + light
    expected = 255 * develop(whole[None], cameras, np.ones(1, np.float32))[0].transpose(1, 2, 0)
    shown -= np.median(shown - expected)  # the flicker
    assert np.abs(shown - expected).max() < 4
    assert np.abs(shown - expected).mean() < 0.7


@pytest.mark.parametrize("people", [2.0, 12.0])
def test_as_many_people_as_were_asked_for(people: float) -> None:
    counts = []
    for seed in range(12):
        rng = np.random.default_rng(seed)
        ground = draw_ground((360, 640), 100.0, rng)
        walks = draw_walks(ground, 30.0, people, 0, rng)
        counts += [len(at(walks, ground, time).person) for time in np.arange(1, 30, 4.0)]
    assert np.mean(counts) == pytest.approx(people, rel=0.3)


def test_some_come_back_the_way_they_went() -> None:
    rng = np.random.default_rng(0)
    walks = draw_walks(draw_ground((360, 640), 100.0, rng), 60.0, 12.0, 0, rng)
    people, ways = np.unique(walks.person, return_counts=True)
    assert set(ways) == {1, 2}
    assert 0.05 < (ways == 2).mean() < 0.3
    for person in people[ways == 2]:
        there, back = np.flatnonzero(walks.person == person)
        assert (walks.vx[there], walks.vz[there]) == (-walks.vx[back], -walks.vz[back])
        assert walks.moment[back] > walks.moment[there]


def test_the_farthest_come_first_and_look_where_they_go() -> None:
    rng = np.random.default_rng(0)
    ground = draw_ground((360, 640), 100.0, rng)
    walks = draw_walks(ground, 30.0, 12.0, 5, rng)
    assert walks.person.min() == 5
    now, soon = at(walks, ground, 10.0), at(walks, ground, 10.2)
    assert (np.diff(now.scale) >= 0).all()
    assert (np.diff(now.row) >= 0).all()
    for person, column, yaw, stride in zip(now.person, now.column, now.yaw, now.stride, strict=True):
        moved = soon.column[soon.person == person] - column
        if len(moved) == 1 and stride > 0.1 and abs(np.sin(yaw)) > 0.8:
            assert np.sign(moved[0]) == np.sign(np.sin(yaw))  # pi / 2 walks to the right


def test_what_is_written_can_be_read(tmp_path: Path) -> None:
    from passerby.data.video.frames import FilmReader
    from passerby.data.video.mot import open_mot, read_boxes
    from passerby.data.video.pictures import PictureReader

    options = {"shots": 1, "seconds": 1, "fps": 5, "people": 5, "size": (120, 160), "progress": False}
    (film_folder,) = write_street(tmp_path / "film", 1, 2, **options)  # type: ignore[arg-type]
    (frame_folder,) = write_street(tmp_path / "frames", 1, 2, as_frames=True, **options)  # type: ignore[arg-type]
    opened = open_mot(film_folder)
    assert opened.fps == 5
    encoded = [f.image() for f in FilmReader(film_folder / VIDEO).frames()]
    pictures = [f.image() for f in PictureReader(frame_folder / "img1", 5.0).frames()]
    assert len(encoded) == len(pictures) == 5
    assert all(np.abs(a.astype(int) - b).mean() < 6 for a, b in zip(encoded, pictures, strict=True))
    assert (film_folder / "gt" / "gt.txt").read_text() == (frame_folder / "gt" / "gt.txt").read_text()
    boxes = read_boxes(opened)
    assert sorted(boxes) == list(range(5))
    assert all(b.identity is not None and (b.identity >= 1).all() for b in boxes.values())
    with pytest.raises(PasserbyError, match="is already there"):
        write_street(tmp_path / "film", 1, 2, **options)  # type: ignore[arg-type]


def test_a_film_that_fails_stops_the_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    begun = []

    def fail(folder: Path, *_: object) -> None:
        begun.append(folder)
        raise OSError("full")

    monkeypatch.setattr("passerby.data.synthetic.street_video._write_film", fail)
    with pytest.raises(OSError, match="full"):
        write_street(tmp_path, 40, shots=1, seconds=1, size=(120, 160), workers=1, progress=False)
    assert len(begun) < 40


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"people": -1}, "people=-1"),
        ({"people": math.inf}, "people=inf"),
        ({"fps": math.inf}, "fps=inf"),
        ({"seconds": math.inf}, "seconds=inf"),
        ({"fps": 0}, "fps=0"),
        ({"shots": 0}, "shots=0"),
        ({"seconds": 0}, "seconds=0"),
        ({"size": (120, 161)}, "multiple of 8"),
        ({"size": (60, 160)}, "height=60"),
    ],
)
def test_numbers_out_of_range_are_refused(changed: dict[str, object], said: str) -> None:
    with pytest.raises(PasserbyError, match=said):
        film(**changed)
