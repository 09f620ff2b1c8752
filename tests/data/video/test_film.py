"""One film into shards: the right people at the right time, whatever kills it and however many threads look."""

import itertools
import time
from collections.abc import Callable, Sequence
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from passerby.data.synthetic.street_video import VIDEO
from passerby.data.video.boxes import Boxes, overlaps
from passerby.data.video.crops import StoredCrop
from passerby.data.video.film import FilmJob, ingest_film
from passerby.data.video.frames import Frame
from passerby.data.video.listing import FilmListing
from passerby.data.video.look import looker
from passerby.data.video.mot import open_mot, read_boxes
from passerby.data.video.settings import IngestSettings
from passerby.data.video.shards import Shards, open_shards
from passerby.data.video.sources import find_sources
from passerby.data.video.stretch import Instant
from passerby.data.video.writer import FilmWriter, merge_listings
from passerby.errors import PasserbyError

Files = Callable[[Path], dict[str, bytes]]
MakeFilm = Callable[..., Path]


def job(source: Path, out: Path, settings: IngestSettings, threads: int = 2) -> FilmJob:
    (found,) = find_sources([source])
    return FilmJob(found, found.digest(), out, settings, threads=threads)


def ingest(source: Path, out: Path, settings: IngestSettings, threads: int = 2) -> tuple[FilmListing, Shards]:
    listing = ingest_film(job(source, out, settings, threads))
    merge_listings(out, [listing.film.name])
    return listing, open_shards(out)


@pytest.fixture(scope="module")
def once(street: Path, quick: IngestSettings, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The shards of the street, made without any trouble."""
    out = tmp_path_factory.mktemp("once")
    ingest(street, out, quick)
    return out


def test_crops_are_the_true_people_of_every_third_frame(street: Path, once: Path, quick: IngestSettings) -> None:
    truth = read_boxes(open_mot(street))
    shards = open_shards(once)
    looked_at = set()
    for shot in shards.stream():
        for stored in shot:
            crop = stored.crop
            looked_at.add(crop.frame)
            assert crop.time == pytest.approx(crop.frame / 10, abs=1e-5)
            own = truth[crop.frame]
            row = int(overlaps(np.array([crop.box]), own.xyxy).argmax())
            assert own.identity is not None
            assert own.identity[row] == crop.identity
            left, top, right, bottom = (int(v) for v in crop.box or ())
            assert Image.open(BytesIO(stored.jpeg)).size == (right - left, bottom - top)
    # Shots begin where the camera changes (frame 40) and after 1.5 s: 0, 15, 30, 40, 55, 70.
    begins = [0, 15, 30, 40, 55, 70, 80]
    expected = {n for a, b in itertools.pairwise(begins) for n in range(a, b, 3)}
    assert looked_at == {n for n in expected if any(b[3] - b[1] >= quick.min_height for b in truth[n].xyxy)}


def test_pictures_show_what_their_boxes_say(street: Path, once: Path) -> None:
    from passerby.data.video.frames import FilmReader

    frames = {f.position.number: f.image() for f in FilmReader(street / VIDEO).frames()}
    for stored in open_shards(once).read(1):
        left, top, right, bottom = (int(v) for v in stored.crop.box or ())
        picture = np.asarray(Image.open(BytesIO(stored.jpeg)), float)
        assert np.abs(picture - frames[stored.crop.frame][top:bottom, left:right]).mean() < 12


def test_counts_add_up(once: Path) -> None:
    from passerby.data.video.listing import film_listing_path, read_listing

    counts = read_listing(FilmListing, film_listing_path(once, "street-00")).counts
    assert counts["frames"] == 80
    assert counts["shots"] == counts["kept_shots"] == 6
    assert counts["looked_at"] == 5 + 5 + 4 + 5 + 5 + 4
    assert counts["crops"] == counts["detections"] == open_shards(once).crops


@pytest.mark.parametrize("threads", [1, 4])
def test_threads_change_no_byte(
    street: Path, once: Path, tmp_path: Path, quick: IngestSettings, files: Files, threads: int
) -> None:
    ingest(street, tmp_path, quick, threads)
    assert files(tmp_path) == files(once)


def kill_behind(shots: int, patch: pytest.MonkeyPatch) -> None:
    """Kills whatever writes shots, when so many are written."""
    add, written = FilmWriter.add, 0

    def killed(writer: FilmWriter, crops: Sequence[StoredCrop], state: dict[str, object]) -> None:
        nonlocal written
        if written == shots:
            raise KeyboardInterrupt
        written += 1
        add(writer, crops, state)

    patch.setattr(FilmWriter, "add", killed)


@pytest.mark.parametrize("shot", range(7))
def test_a_kill_behind_any_shot_changes_no_byte(
    street: Path,
    once: Path,
    tmp_path: Path,
    quick: IngestSettings,
    files: Files,
    monkeypatch: pytest.MonkeyPatch,
    shot: int,
) -> None:
    with monkeypatch.context() as patch:
        kill_behind(shot, patch)
        if shot == 6:  # when all is written, but not finished
            patch.setattr(FilmWriter, "finish", lambda writer, counts: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            ingest_film(job(street, tmp_path, quick))
    ingest(street, tmp_path, quick)
    assert files(tmp_path) == files(once)


def test_a_crops_folder_is_taken_up_too(tmp_path: Path, files: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "crops"
    folder.mkdir()
    for frame in range(0, 100, 5):
        for track in range(frame // 20, frame // 20 + 3):
            Image.new("RGB", (8, 16), (track * 20, frame, 0)).save(folder / f"{track}_{frame}.jpg")
    (folder / "notes.txt").write_text("")
    settings = IngestSettings(min_people=1, stretch=2.0, fps=12.5, join=5)
    listing, shards = ingest(folder, tmp_path / "once", settings)
    assert [k.shot.start for k in shards.shots] == [0, 2, 4, 6]
    assert listing.counts["misfits"] == 1
    assert "assumed_fps" not in listing.counts
    assert all(frames.crops == (3,) * 5 for frames in listing.frames)
    assert {c.crop.identity for c in shards.read(0)} == {0, 1, 2, 3}
    finish = FilmWriter.add
    with monkeypatch.context() as patch:
        patch.setattr(
            FilmWriter,
            "add",
            lambda w, c, s: finish(w, c, s) if s["shot"] < 3 else (_ for _ in ()).throw(KeyboardInterrupt),
        )
        with pytest.raises(KeyboardInterrupt):
            ingest_film(job(folder, tmp_path / "twice", settings))
    ingest(folder, tmp_path / "twice", settings)
    assert files(tmp_path / "once") == files(tmp_path / "twice")
    listing, _ = ingest(folder, tmp_path / "assumed", settings.model_copy(update={"fps": None}))
    assert listing.counts["assumed_fps"] == 25


class Everybody:
    """Finds the same people in every frame."""

    def __init__(self, people: int) -> None:
        left = np.arange(people, dtype=np.float32) % 40
        self.boxes = Boxes(np.stack([left, left * 0, left + 16, left * 0 + 40], 1), np.linspace(0.5, 0.9, people))

    def detect(self, image: np.ndarray) -> Boxes:
        return self.boxes


def finds(monkeypatch: pytest.MonkeyPatch, people: int) -> None:
    monkeypatch.setattr("passerby.data.video.film.load_detector", lambda path, score: Everybody(people))


def test_time_and_not_frame_numbers_cuts_stretches(
    make_film: MakeFilm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    finds(monkeypatch, 6)
    times = [*range(0, 1000, 20), *range(1000, 6000, 250)]  # 50 frames a second, then 4
    settings = IngestSettings(every=2, min_height=8, stretch=2.0, cut=255)
    _, shards = ingest(make_film("film.mkv", times), tmp_path / "out", settings)
    assert [k.shot.start for k in shards.shots] == [0, 2, 4]
    assert [k.shot.frames for k in shards.shots] == [27, 4, 4]
    assert [c.crop.time for c in shards.read(1)[::6]] == [2.0, 2.5, 3.0, 3.5]


def test_the_second_of_two_recordings_is_a_shot_of_its_own(
    make_film: MakeFilm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    finds(monkeypatch, 3)
    film = make_film("film.mkv", range(0, 2000, 40))
    film.write_bytes(2 * film.read_bytes())
    _, shards = ingest(film, tmp_path / "out", IngestSettings(every=5, min_people=1, min_height=8, cut=255))
    assert [(k.shot.start, k.shot.frames) for k in shards.shots] == [(0, 10), (2, 10)]


def test_reading_does_not_run_far_ahead_of_looking_and_writing(
    make_film: MakeFilm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Memory is bounded so: by a few frames, and by the shots that are not yet written."""
    read, ahead = 0, []

    class Slow(Everybody):
        def detect(self, image: np.ndarray) -> Boxes:
            time.sleep(0.005)
            return super().detect(image)

    def advance(done: int, total: int | None) -> None:
        nonlocal read
        read = done

    def look(frame: Frame) -> Instant:
        instant = slow(frame)
        ahead.append(read - frame.position.number)
        return instant

    monkeypatch.setattr("passerby.data.video.film.load_detector", lambda path, score: None)
    settings = IngestSettings(every=1, min_people=1, min_height=8, stretch=0.39, cut=255)
    slow = looker(settings, Slow(3), {})
    monkeypatch.setattr("passerby.data.video.film.looker", lambda *_: look)
    written: list[int] = []
    monkeypatch.setattr(FilmWriter, "add", lambda writer, crops, state: written.append(read))
    monkeypatch.setattr(FilmWriter, "finish", lambda writer, counts: None)
    ingest_film(job(make_film(times=range(0, 4000, 40)), tmp_path / "out", settings, threads=1), advance)
    assert max(ahead) <= 4
    assert written == [20, 30, 40, 50, 60, 70, 80, 90, 100, 100]  # each when the next one has ended


@pytest.mark.parametrize("shot", [1, 2, 3])
def test_what_could_not_be_decoded_is_counted_once_whatever_kills_it(
    make_film: MakeFilm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shot: int
) -> None:
    finds(monkeypatch, 3)
    film = make_film("film.mp4", range(0, 4000, 40))
    content = bytearray(film.read_bytes())
    content[len(content) // 2 : len(content) // 2 + 2000] = np.random.default_rng(0).bytes(2000)
    film.write_bytes(bytes(content))
    settings = IngestSettings(every=2, min_height=8, min_people=1, stretch=1.0, cut=255)
    once, _ = ingest(film, tmp_path / "once", settings)
    assert once.counts["damaged"] > 0
    assert once.counts["damaged"] + once.counts["frames"] == 100
    with monkeypatch.context() as patch:
        kill_behind(shot, patch)
        with pytest.raises(KeyboardInterrupt):
            ingest(film, tmp_path / "killed", settings)
    again, _ = ingest(film, tmp_path / "killed", settings)
    assert again.counts == once.counts


def test_a_crowd_is_cut_down_and_counted(make_film: MakeFilm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    finds(monkeypatch, 95)
    settings = IngestSettings(every=5, min_height=8, cut=255)
    listing, shards = ingest(make_film(), tmp_path / "out", settings)
    assert shards.frames(0).crops == (80,) * 5
    assert listing.counts["crowded_frames"] == 5
    assert min(c.crop.score for c in shards.read(0)) > 0.5


@pytest.mark.parametrize("people", [0, 1])
def test_too_few_people_leave_a_count_and_no_crop(
    make_film: MakeFilm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, people: int
) -> None:
    finds(monkeypatch, people)
    listing = ingest_film(job(make_film(), tmp_path / "out", IngestSettings(every=5, min_height=8, cut=255)))
    assert not listing.film.shots
    assert not list((tmp_path / "out").glob("*.tar*"))
    assert listing.counts["shots_of_few" if people else "empty_shots"] == 1


def test_a_detector_finds_people_and_truth_names_them(
    street: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, quick: IngestSettings
) -> None:
    truth = read_boxes(open_mot(street))

    class Half:
        """Finds every second person, a little off."""

        def __init__(self) -> None:
            self.frames = iter(
                n for a, b in ((0, 15), (15, 30), (30, 40), (40, 55), (55, 70), (70, 80)) for n in range(a, b, 3)
            )

        def detect(self, image: np.ndarray) -> Boxes:
            return Boxes((own := truth[next(self.frames)]).xyxy[::2] + 1, own.score[::2])

    half = Half()
    monkeypatch.setattr("passerby.data.video.film.load_detector", lambda path, score: half)
    detector = tmp_path / "detector.onnx"
    detector.write_bytes(b"anything")
    settings = quick.model_copy(update={"detector": detector, "min_people": 0})
    _, shards = ingest(street, tmp_path / "out", settings, threads=1)
    for shot in shards.stream():
        for stored in shot:
            own = truth[stored.crop.frame]
            row = int(overlaps(np.array([stored.crop.box]), own.xyxy + 1).argmax())
            assert own.identity is not None
            assert stored.crop.identity in (None, own.identity[row])
    named = [c.crop.identity is not None for shot in shards.stream() for c in shot]
    assert np.mean(named) > 0.8


@pytest.mark.parametrize(("said", "asked", "later"), [("10", 50.0, 0.1), (None, 50.0, 0.02), (None, None, 0.04)])
def test_pictures_run_as_the_sequence_says_or_as_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: str | None, asked: float | None, later: float
) -> None:
    finds(monkeypatch, 3)  # there are no boxes
    pictures = tmp_path / "street" / "img1"
    pictures.mkdir(parents=True)
    for number in (1, 2):
        Image.new("RGB", (200, 100)).save(pictures / f"{number}.png")
    if said is not None:
        (tmp_path / "street" / "seqinfo.ini").write_text(f"[Sequence]\nframeRate={said}\n")
    settings = IngestSettings(every=1, min_people=1, min_height=8, fps=asked)
    listing, shards = ingest(tmp_path / "street", tmp_path / "out", settings)
    assert shards.frames(0).times == (0, later)
    assert listing.counts.get("assumed_fps") == (25 if said is asked is None else None)


def test_given_detections_count_from_the_least_score_on(tmp_path: Path) -> None:
    folder = tmp_path / "street"
    for part in ("img1", "det"):
        (folder / part).mkdir(parents=True)
    for number in (1, 2):
        Image.new("RGB", (200, 100)).save(folder / "img1" / f"{number}.png")
    lines = [f"{n},-1,{left},10,20,60,{score}" for n in (1, 2) for left, score in ((1, 0.4), (50, 0.39), (100, 0.9))]
    (folder / "det" / "det.txt").write_text("\n".join(lines))
    _, shards = ingest(folder, tmp_path / "out", IngestSettings(every=1, min_people=1))
    assert [c.crop.score for c in shards.read(0)] == [0.4, 0.9] * 2


def test_boxes_by_number_need_every_frame_of_a_film(make_film: MakeFilm, tmp_path: Path) -> None:
    path = make_film("film.mp4", range(0, 4000, 40))
    content = bytearray(path.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 2000] = np.random.default_rng(0).bytes(2000)
    folder = tmp_path / "street"
    (folder / "gt").mkdir(parents=True)
    (folder / "film.mp4").write_bytes(bytes(content))
    (folder / "seqinfo.ini").write_text("[Sequence]\nvideo=film.mp4\n")
    (folder / "gt" / "gt.txt").write_text("\n".join(f"{n},1,1,1,30,60" for n in range(1, 101)))
    with pytest.raises(PasserbyError, match=r"film\.mp4: damaged before frame \d+, so that boxes no longer belong"):
        ingest(folder, tmp_path / "out", IngestSettings(every=1, min_people=0))


def test_a_film_that_cannot_be_read_leaves_nothing(tmp_path: Path, quick: IngestSettings) -> None:
    path = tmp_path / "film.mp4"
    path.write_bytes(b"no film")
    with pytest.raises(PasserbyError, match="cannot be opened as a film"):
        ingest_film(job(path, tmp_path / "out", quick.model_copy(update={"detector": None})))
    assert not (tmp_path / "out").exists()
