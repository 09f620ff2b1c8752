"""passerby ingest: what people meet at the command line."""

import json
import re
import signal
import subprocess
import sys
import time
import weakref
from pathlib import Path

import pytest
from PIL import Image
from rich.progress import Progress, TaskID

from passerby.commands.ingest import _show, ingest
from passerby.data.synthetic import write_street
from passerby.data.video.film import FilmJob
from passerby.data.video.listing import FilmListing, read_listing
from passerby.data.video.settings import IngestSettings
from passerby.data.video.shards import open_shards
from passerby.data.video.sources import find_sources
from passerby.data.video.writer import FilmWriter
from passerby.errors import PasserbyError

SETTINGS = IngestSettings(every=3, min_people=1, min_height=12, stretch=1.5)


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two MOT sequences."""
    out = tmp_path_factory.mktemp("films")
    write_street(out, 2, 5, shots=1, seconds=4, people=6, size=(96, 128), progress=False)
    return out


def crops(folder: Path, colour: int) -> Path:
    """A folder of crops: two people in two frames. Folders of other colours are other films."""
    folder.mkdir(parents=True)
    for name in ("1_1", "2_1", "1_2", "2_2"):
        Image.new("RGB", (8, 16), (colour, 0, 10 * int(name[0]))).save(folder / f"{name}.jpg")
    return folder


def run(films: Path, out: Path, settings: IngestSettings = SETTINGS) -> None:
    ingest([films], out, settings, workers=1, progress=False)


def contents(folder: Path) -> dict[str, bytes]:
    return {
        p.relative_to(folder).as_posix(): p.read_bytes()
        for p in sorted(folder.rglob("*"))
        if p.is_file() and p.name not in ("contact.jpg", ".digests.json")
    }


def test_a_set_of_shards_with_a_summary_and_a_contact_sheet(
    films: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(films, tmp_path)
    shards = open_shards(tmp_path)
    shards.verify()
    assert [film.name for film in shards.films] == ["street-00", "street-01"]
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert summary["skipped"] == {}
    assert sum(counts["crops"] for counts in summary["films"].values()) == shards.crops
    said = capsys.readouterr().out
    assert "street-00" in said
    assert f"{shards.crops:,} crops" in said
    sheet = Image.open(tmp_path / "contact.jpg")
    assert sheet.height == len(shards.shots) * (128 + 14 + 4)
    assert sheet.convert("L").getextrema()[0] < 60  # there is something on it


def test_what_was_assumed_or_left_out_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    names = ["assumed_fps", "damaged", "crowded_frames", "doubles", "unreadable", "misfits"]
    _show({"street": {name: number for number, name in enumerate(names, 11)}}, {"alley": "why"})
    said = capsys.readouterr().out
    for number, text in enumerate(
        (
            "frames a second were assumed",
            "frames, or pieces",
            "frames showed more",
            "crops showed",
            "crops",
            "files are",
        ),
        11,
    ):
        assert re.search(rf"street: .*\b{number} {text}", said)
    assert "skipped alley: why" in said
    _show({"street": dict.fromkeys(names, 0)}, {})
    assert "street:" not in capsys.readouterr().out


def test_processors_are_shared_among_films(films: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[int, set[int]]] = []

    def run_jobs(jobs: list[FilmJob], engine: str, workers: int, told: object) -> list[object]:
        asked.append((workers, {job.threads for job in jobs}))
        return []

    monkeypatch.setattr("passerby.commands.ingest.run_jobs", run_jobs)
    for processors, workers in ((8, None), (2, None), (8, 1)):
        monkeypatch.setattr("os.cpu_count", lambda processors=processors: processors)
        with pytest.raises(PasserbyError, match="no shot left a crop"):
            ingest([films], tmp_path, SETTINGS, workers=workers, progress=False)
    assert asked == [(2, {4}), (1, {2}), (1, {8})]


def test_films_that_are_done_are_passed_over_and_others_join_them(films: Path, tmp_path: Path) -> None:
    run(films / "street-00", tmp_path / "out")
    before = contents(tmp_path / "out")
    run(films, tmp_path / "out")
    after = contents(tmp_path / "out")
    assert all(after[name] == content for name, content in before.items() if name.endswith((".tar", "street-00.json")))
    run(films, tmp_path / "at-once")
    assert after == contents(tmp_path / "at-once")


def test_films_may_be_called_in_any_script(tmp_path: Path) -> None:
    for name, colour in (("фильм один", 90), ("фильм два", 160)):
        crops(tmp_path / "films" / name, colour)
    run(tmp_path / "films", tmp_path / "out")
    shards = open_shards(tmp_path / "out")
    shards.verify()
    assert [film.name for film in shards.films] == ["фильм-два", "фильм-один"]
    assert {stored.crop.film for shot in shards.stream() for stored in shot} == {"фильм-два", "фильм-один"}


def test_shards_may_lie_among_the_crops(tmp_path: Path) -> None:
    run(crops(tmp_path / "cut", 90), tmp_path / "cut")
    written = (tmp_path / "cut" / "cut-000000.tar").stat().st_mtime_ns
    run(tmp_path / "cut", tmp_path / "cut")
    assert [film.name for film in open_shards(tmp_path / "cut").films] == ["cut"]
    assert (tmp_path / "cut" / "cut-000000.tar").stat().st_mtime_ns == written


def test_a_run_that_goes_on_reads_no_film_again(films: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run(films, tmp_path)
    monkeypatch.setattr("passerby.data.video.sources.sha256", None)
    run(films, tmp_path)


def test_the_frames_of_one_film_are_in_memory_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(4):
        crops(tmp_path / "films" / f"cut{number}", 60 * number)
    seen: list[weakref.ref[FilmListing]] = []

    def read(kind: type[FilmListing], path: Path) -> FilmListing:
        assert sum(listing() is not None for listing in seen) < 2
        listing = read_listing(kind, path)
        seen.append(weakref.ref(listing))
        return listing

    monkeypatch.setattr("passerby.data.video.known_films.read_listing", read)
    monkeypatch.setattr("passerby.data.video.writer.read_listing", read)
    for _ in range(2):
        run(tmp_path / "films", tmp_path / "out")
    assert len(seen) == 4 + 8


def test_bars_go_when_their_films_are_done(films: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    left: list[list[str]] = []
    remove = Progress.remove_task

    def removed(progress: Progress, task: TaskID) -> None:
        remove(progress, task)
        left.append([task.description for task in progress.tasks])

    monkeypatch.setattr(Progress, "remove_task", removed)
    ingest([films], tmp_path, SETTINGS, workers=1, progress=True)
    assert left == [["films"], ["films"]]


@pytest.mark.parametrize("kept", [None, 100])
def test_a_tar_that_is_missing_or_cut_off_is_made_again(films: Path, tmp_path: Path, kept: int | None) -> None:
    run(films, tmp_path)
    whole = contents(tmp_path)
    tar = tmp_path / "street-00-000000.tar"
    if kept is None:
        tar.unlink()
    else:
        tar.write_bytes(tar.read_bytes()[:kept])
    run(films, tmp_path)
    assert contents(tmp_path) == whole


def test_of_identical_films_one_counts(films: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    copies = [films / "street-00", tmp_path / "copy"]
    subprocess.run(["cp", "-r", films / "street-00", tmp_path / "copy"], check=True)
    ingest(copies, tmp_path / "out", SETTINGS, workers=1, progress=False)
    assert [film.name for film in open_shards(tmp_path / "out").films] == ["street-00"]
    skipped = json.loads((tmp_path / "out" / "summary.json").read_text())["skipped"]
    assert list(skipped) == ["copy"]
    assert "the same film as 'street-00'" in skipped["copy"]
    assert "skipped copy" in capsys.readouterr().out


def test_links_within_a_folder_are_skipped_with_a_word(tmp_path: Path) -> None:
    folder = crops(tmp_path / "films" / "cut", 90).parent
    (folder / "link").symlink_to(folder / "cut")
    (folder / "gone.mp4").symlink_to(tmp_path / "not-mounted.mp4")
    run(folder, tmp_path / "out")
    assert [film.name for film in open_shards(tmp_path / "out").films] == ["cut"]
    skipped = json.loads((tmp_path / "out" / "summary.json").read_text())["skipped"]
    assert sorted(skipped) == ["gone", "link"]
    assert "link: the same film as 'cut'" in skipped["link"]
    assert "gone.mp4: no such file" in skipped["gone"]
    (tmp_path / "alone").mkdir()
    (tmp_path / "alone" / "gone.mp4").symlink_to(tmp_path / "not-mounted.mp4")
    with pytest.raises(PasserbyError, match=r"gone\.mp4: no such file"):
        run(tmp_path / "alone", tmp_path / "empty")


def test_of_copies_with_other_boxes_one_counts(films: Path, tmp_path: Path) -> None:
    copies = [tmp_path / "films" / f"street-00-{boxes}" for boxes in ("DPM", "SDP")]
    for copy in copies:
        subprocess.run(["mkdir", "-p", copy], check=True)
        subprocess.run(["cp", "-r", *(films / "street-00").iterdir(), copy], check=True)
        with (copy / "gt" / "gt.txt").open("a") as boxes:
            boxes.write("1,99,1,1,20,60,1,1,1\n" if copy == copies[1] else "")
    run(tmp_path / "films", tmp_path / "out")
    assert [film.name for film in open_shards(tmp_path / "out").films] == ["street-00-DPM"]
    run(copies[1], tmp_path / "out")  # later, and alone
    assert [film.name for film in open_shards(tmp_path / "out").films] == ["street-00-DPM"]
    skipped = json.loads((tmp_path / "out" / "summary.json").read_text())["skipped"]
    assert "the same film as 'street-00-DPM'" in skipped["street-00-SDP"]
    run(tmp_path / "films", tmp_path / "out")  # the first one is passed over, without a word
    skipped = json.loads((tmp_path / "out" / "summary.json").read_text())["skipped"]
    assert list(skipped) == ["street-00-SDP"]
    (copies[0] / "gt" / "gt.txt").write_text("")  # other boxes of its own
    run(copies[0], tmp_path / "out")
    skipped = json.loads((tmp_path / "out" / "summary.json").read_text())["skipped"]
    assert "the same film as 'street-00-DPM'" in skipped["street-00-DPM"]


def test_other_settings_are_refused(films: Path, tmp_path: Path) -> None:
    run(films / "street-00", tmp_path)
    other = SETTINGS.model_copy(update={"every": 5})
    with pytest.raises(PasserbyError, match=r"other settings .every=3 there, every=5 here"):
        run(films, tmp_path, other)
    # What is under way is not thrown away either.
    first = crops(tmp_path / "day" / "cam", 60)
    out = tmp_path / "begun"
    (out / "films").mkdir(parents=True)
    with FilmWriter(out, "cam", source=find_sources([first])[0].digest(), settings=SETTINGS.digest()):
        pass  # killed
    with pytest.raises(PasserbyError, match=r"'cam' was ingested, or begun, with other settings .every=3 there"):
        run(first, out, other)
    assert (out / "films" / "cam.journal").exists()
    run(first, out)


def test_what_is_under_way_and_was_not_named_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, days = tmp_path / "out", [crops(tmp_path / f"day{n}", 60 * n) for n in (1, 2)]
    (out / "films").mkdir(parents=True)
    with FilmWriter(out, "day1", source=find_sources(days[:1])[0].digest(), settings=SETTINGS.digest()):
        pass  # killed
    run(days[1], out)
    assert "'day1' is under way there and not among these films; " in " ".join(capsys.readouterr().err.split())
    run(days[0], out)
    assert "under way" not in capsys.readouterr().err
    assert film_names(out) == ["day1", "day2"]


def film_names(out: Path) -> list[str]:
    assert not [*out.rglob("*.part"), *out.rglob("*.journal")]
    return [film.name for film in open_shards(out).films]


def test_a_film_keeps_its_name_whatever_it_would_be_called_now(tmp_path: Path) -> None:
    out, days = tmp_path / "out", [crops(tmp_path / f"day{n}" / "cam", 60 * n) for n in (1, 2, 3)]
    run(days[0], out)
    ingest(days[:2], out, SETTINGS, workers=1, progress=False)
    written = contents(out)
    run(days[1], out)
    assert contents(out) == written
    run(days[0].rename(tmp_path / "elsewhere"), out)
    assert contents(out) == written
    run(days[2], out)  # alone it would be `cam` as well
    assert film_names(out) == ["cam", "day2-cam", "day3-cam"]
    (out / "day2-cam-000000.tar").unlink()
    run(days[1], out)
    assert film_names(out) == ["cam", "day2-cam", "day3-cam"]
    assert json.loads((out / "summary.json").read_text())["skipped"] == {}


def test_a_film_that_was_begun_keeps_its_name(tmp_path: Path) -> None:
    out, days = tmp_path / "out", [crops(tmp_path / f"day{n}" / "cam", 60 * n) for n in (1, 2, 3)]
    (first,) = find_sources(days[:1])
    with FilmWriter(out, "cam", source=first.digest(), settings=SETTINGS.digest()):
        pass  # killed
    (out / "films" / "other.journal").write_bytes(b'{"sour')
    run(days[1], out)
    assert (out / "films" / "cam.journal").exists()
    (out / "films" / "other.journal").unlink()
    ingest(days, out, SETTINGS, workers=1, progress=False)
    assert film_names(out) == ["cam", "day2-cam", "day3-cam"]


def test_why_films_of_one_name_were_skipped_is_said_of_each(tmp_path: Path) -> None:
    crops(tmp_path / "cut", 90)
    gone = [tmp_path / folder / "day" for folder in "ab"]
    for folder in gone:
        folder.mkdir(parents=True)
        (folder / "cam.mp4").symlink_to(folder / "not-mounted.mp4")
    ingest([*gone, tmp_path / "cut"], tmp_path / "out", SETTINGS, workers=1, progress=False)
    skipped = json.loads((tmp_path / "out" / "summary.json").read_text())["skipped"]
    assert list(skipped) == ["day-cam"]
    assert all(f"{folder}/cam.mp4: no such file" in skipped["day-cam"] for folder in gone)


def test_nobody_is_said(films: Path, tmp_path: Path) -> None:
    with pytest.raises(PasserbyError, match=r"no shot left a crop; .*fewer than 50 people .*--min-people"):
        run(films, tmp_path, SETTINGS.model_copy(update={"min_people": 50}))
    assert json.loads((tmp_path / "summary.json").read_text())["films"]["street-00"]["shots_of_few"] == 3
    nobody = SETTINGS.model_copy(update={"min_people": 0, "min_height": 96})
    with pytest.raises(PasserbyError, match=r"no shot left a crop; shots with people in fewer than two frames are"):
        run(films, tmp_path / "small", nobody)


def test_a_bad_film_is_an_error_alone_and_a_skip_among_others(films: Path, tmp_path: Path) -> None:
    bad = tmp_path / "bad"
    bad.mkdir()
    (bad / "seqinfo.ini").write_text("[Sequence]\nframeRate=fast\n")
    with pytest.raises(PasserbyError, match=r"seqinfo\.ini: cannot be read"):
        run(bad, tmp_path / "alone")
    folder = tmp_path / "seq"
    folder.mkdir()
    (folder / "seqinfo.ini").write_text("[Sequence]\nvideo=film.mp4\n")
    (folder / "gt").mkdir()
    (folder / "gt" / "gt.txt").write_text("1,1,1,1,50,90\n")
    (folder / "film.mp4").write_text("no film")
    gone = tmp_path / "gone"
    gone.mkdir()
    (gone / "seqinfo.ini").write_text("[Sequence]\nvideo=gone.mp4\n")
    (gone / "gt").mkdir()
    (gone / "gt" / "gt.txt").write_text("")
    ingest([bad, folder, gone, films], tmp_path / "out", SETTINGS, workers=1, progress=False)
    skipped = json.loads((tmp_path / "out" / "summary.json").read_text())["skipped"]
    assert sorted(skipped) == ["bad", "gone", "seq"]
    assert "seqinfo.ini: cannot be read" in skipped["bad"]
    assert "film.mp4: cannot be opened as a film" in skipped["seq"]
    assert "gone.mp4: no such file" in skipped["gone"]


def test_all_that_cannot_be_read_is_told_at_once(tmp_path: Path) -> None:
    folders = []
    for name in "ab":
        folders.append(tmp_path / name)
        folders[-1].mkdir()
        (folders[-1] / "seqinfo.ini").write_text(f"[Sequence]\nvideo={name}.mp4\n")
        (folders[-1] / "gt").mkdir()
        (folders[-1] / "gt" / "gt.txt").write_text("")
    with pytest.raises(PasserbyError, match=r"none of 2 films can be ingested: .*a/a\.mp4.*, .*b/b\.mp4"):
        ingest(folders, tmp_path / "out", SETTINGS, workers=1, progress=False)


def test_a_missing_detector_is_told_before_anything_is_written(films: Path, tmp_path: Path) -> None:
    settings = SETTINGS.model_copy(update={"detector": tmp_path / "nowhere.onnx"})
    with pytest.raises(PasserbyError, match=r"--detector .*nowhere\.onnx: no such file"):
        run(films, tmp_path / "out", settings)
    assert not (tmp_path / "out").exists()


def test_a_missing_library_is_told_with_its_extra(films: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(PasserbyError, match=r"av is not installed .*pip install 'passerby\[video\]'"):
        run(films, tmp_path / "out")


def test_two_ingests_keep_off_each_other(films: Path, tmp_path: Path) -> None:
    import fcntl

    out = tmp_path / "out"
    out.mkdir()
    with (out / ".lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(PasserbyError, match="another ingest writes there"):
            run(films, out)


def test_a_process_that_is_killed_goes_on_where_it_was(tmp_path: Path) -> None:
    (film,) = write_street(tmp_path / "film", 1, 6, shots=6, seconds=4, people=6, size=(96, 128), progress=False)
    settings = IngestSettings(every=2, min_people=1, min_height=12, stretch=1)
    options = ["--every", "2", "--min-people", "1", "--min-height", "12", "--stretch", "1"]
    run(film, tmp_path / "once", settings)
    journal = tmp_path / "twice" / "films" / "street-00.journal"
    command = [sys.executable, "-m", "passerby", "ingest", str(film), "--out", str(tmp_path / "twice"), *options]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
        while process.poll() is None and not (journal.exists() and journal.read_bytes().count(b"\n") > 2):
            time.sleep(0.001)
        process.send_signal(signal.SIGKILL)
    assert journal.exists(), "the film was done before it could be killed"
    assert not (tmp_path / "twice" / "shards.json").exists()
    run(film, tmp_path / "twice", settings)
    assert contents(tmp_path / "once") == contents(tmp_path / "twice")


def test_films_side_by_side_are_left_alone_by_the_workers_of_a_run_that_was_killed(tmp_path: Path) -> None:
    films = write_street(tmp_path / "film", 2, 6, shots=6, seconds=4, people=6, size=(96, 128), progress=False)
    settings = IngestSettings(every=1, min_people=1, min_height=12, stretch=0.5)
    ingest(films, tmp_path / "once", settings, workers=1, progress=False)
    out = tmp_path / "twice"
    command = [sys.executable, "-m", "passerby", "ingest", *map(str, films), "--out", str(out), "--workers", "2"]
    command += ["--every", "1", "--min-people", "1", "--min-height", "12", "--stretch", "0.5"]

    def lines() -> list[int]:
        return [path.read_bytes().count(b"\n") for path in sorted((out / "films").glob("*.journal"))]

    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
        while process.poll() is None and not max(lines(), default=0) > 2:
            time.sleep(0.001)
        process.send_signal(signal.SIGKILL)
    assert lines(), "all was done before it could be killed"
    time.sleep(0.5)
    left = lines()
    time.sleep(1)
    assert lines() == left
    ingest(films, out, settings, workers=2, progress=False)
    assert contents(tmp_path / "once") == contents(out)


def test_the_command_line_says_what_is_wrong(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from passerby.cli import main

    picture = tmp_path / "7_1.jpg"
    Image.new("RGB", (8, 16)).save(picture)
    for arguments, said in (
        ([str(tmp_path / "nowhere.mp4")], "no such film or folder"),
        ([str(picture)], "7_1.jpg: a picture and no film; name the folder of crops"),
        ([str(tmp_path), "--fps", "0"], "--fps: Input should be greater than 0"),
        ([str(tmp_path), "--fps", "inf"], "--fps: Input should be a finite number"),
        ([str(tmp_path), "--tracker", "magic"], "--tracker: Input should be 'sort', 'bytetrack' or 'ocsort'"),
    ):
        monkeypatch.setattr(sys, "argv", ["passerby", "ingest", *arguments, "--out", str(tmp_path / "out")])
        with pytest.raises(SystemExit) as stopped:
            main()
        assert stopped.value.code == 2
        assert said in capsys.readouterr().err
