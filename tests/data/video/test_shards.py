"""Shards: what is written comes back, from any place; kills and damage neither lose nor double nor hide a crop."""

import pickle
import tarfile
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from pydantic import ValidationError

from passerby.data.video.crops import Crop, StoredCrop, parse_key, read_crop
from passerby.data.video.shards import open_shards
from passerby.data.video.writer import FilmWriter, merge_listings
from passerby.errors import PasserbyError


def picture(value: int) -> bytes:
    stream = BytesIO()
    Image.fromarray(np.full((16, 8, 3), value % 256, np.uint8)).save(stream, "JPEG")
    return stream.getvalue()


def shot_of(film: str, shot: int, people: list[int], first: int = 0) -> list[StoredCrop]:
    """A shot whose frame f, seven numbers after the last one, shows people[f] people."""
    return [
        StoredCrop(
            Crop(
                film=film,
                shot=shot,
                frame=first + 7 * f,
                index=i,
                time=(first + 7 * f) / 25,
                box=(i, 0, i + 8, 16),
                score=0.5,
                identity=i,
            ),
            picture(100 * shot + 10 * f + i),
        )
        for f, count in enumerate(people)
        for i in range(count)
    ]


SHOTS = [[2, 1, 3], [1], [4, 4], [2, 2, 2, 2]]


def write(folder: Path, film: str = "street", upto: int = len(SHOTS), **options: int) -> FilmWriter:
    """Writes SHOTS from where the writer takes up; a shot is 'read' when the state says so. Stops behind `upto` shots."""
    with FilmWriter(folder, film, source="s", settings="t", tar_bytes=options.get("tar_bytes", 15_000)) as writer:
        begin = writer.state["next"] if writer.state else 0
        for number in range(begin, upto):
            writer.add(shot_of(film, number, SHOTS[number], 100 * number), {"next": number + 1})
        if upto == len(SHOTS):
            writer.finish({"shots": len(SHOTS)})
    return writer


def files(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shards")
    write(folder)
    write(folder, "alley")
    merge_listings(folder, ["street", "alley"])
    return folder


def test_what_is_written_comes_back(whole: Path) -> None:
    shards = open_shards(whole)
    assert [(k.film.name, k.shot.number) for k in shards.shots] == [
        (f, s) for f in ("street", "alley") for s in range(4)
    ]
    assert shards.crops == 2 * sum(map(sum, SHOTS))
    for shot, (key, read) in enumerate(zip(shards.shots, shards.stream(), strict=True)):
        expected = shot_of(key.film.name, key.shot.number, SHOTS[key.shot.number], 100 * key.shot.number)
        assert read == expected
        assert shards.read(shot) == expected
        columns = shards.frames(shot)
        assert columns.crops == tuple(SHOTS[key.shot.number])
        assert columns.times == tuple(sorted({c.crop.time for c in expected}))
        assert (key.shot.start, key.shot.end) == (columns.times[0], columns.times[-1])
        assert key.shot.identities == max(SHOTS[key.shot.number])
    assert len(shards.films[0].tars) > 1  # the tests see more than one tar


def test_any_frames_in_any_order(whole: Path) -> None:
    shards = open_shards(whole)
    read = shards.read(3, [2, 0])
    everything = shards.read(3)
    assert read == everything[4:6] + everything[:2]
    assert shards.read(7, [1]) == shards.read(7)[2:4]


def test_shards_go_to_other_processes(whole: Path) -> None:
    shards = open_shards(whole)
    shards.frames(0)
    assert pickle.loads(pickle.dumps(shards)).read(1, [0]) == shards.read(1)


def test_webdataset_reads_them(whole: Path) -> None:
    webdataset = pytest.importorskip("webdataset")
    tars = [str(whole / tar.name) for film in open_shards(whole).films for tar in film.tars]
    samples = list(webdataset.WebDataset(tars, shardshuffle=False, empty_check=False))
    expected = [stored for shot in open_shards(whole).stream() for stored in shot]
    assert [s["__key__"] for s in samples] == [e.crop.key for e in expected]
    assert [s["jpg"] for s in samples] == [e.jpeg for e in expected]


@pytest.mark.parametrize("tar_bytes", [1, 15_000, 10**9])
@pytest.mark.parametrize("upto", range(len(SHOTS)))
def test_a_kill_between_shots_changes_no_byte(tmp_path: Path, upto: int, tar_bytes: int) -> None:
    write(tmp_path / "once", tar_bytes=tar_bytes)
    write(tmp_path / "twice", upto=upto, tar_bytes=tar_bytes)
    assert not list((tmp_path / "twice").glob("*.tar"))
    write(tmp_path / "twice", tar_bytes=tar_bytes)
    assert files(tmp_path / "once") == files(tmp_path / "twice")


@pytest.mark.parametrize("torn", ["tar", "journal", "both", "rollover", "renamed"])
def test_a_kill_within_a_write_changes_no_byte(tmp_path: Path, torn: str) -> None:
    write(tmp_path / "once")
    folder = tmp_path / "twice"
    write(folder, upto=3)
    journal, parts = folder / "films" / "street.journal", sorted(folder.glob("*.part"))
    if torn in ("tar", "both"):
        with parts[-1].open("ab") as stream:
            stream.write(b"half a member" * 10_000)
    if torn in ("journal", "both"):
        with journal.open("ab") as stream:
            stream.write(b'{"shot":{"number":3,"ta')
    if torn == "rollover":
        parts[-1].with_name(f"street-{len(parts):06d}.tar.part").write_bytes(b"begun")
    if torn == "renamed":
        parts[0].replace(parts[0].with_suffix(""))
    with FilmWriter(folder, "street", source="s", settings="t") as writer:
        assert writer.state == {"next": 3}  # taken up, not done again
    write(folder)
    assert files(tmp_path / "once") == files(folder)


def test_what_a_kill_left_of_a_line_does_not_stand_behind_later_lines(tmp_path: Path) -> None:
    write(tmp_path, upto=2)
    with (tmp_path / "films" / "street.journal").open("ab") as stream:
        stream.write(b'{"shot":' + b"9" * 10**6)  # longer than the lines that come
    write(tmp_path, upto=3)
    with FilmWriter(tmp_path, "street", source="s", settings="t") as writer:
        assert writer.state == {"next": 3}
    assert len((tmp_path / "films" / "street.journal").read_bytes()) < 10**6


@pytest.mark.parametrize("lost", ["part", "end", "journal", "settings"])
def test_what_cannot_be_taken_up_is_done_again(tmp_path: Path, lost: str) -> None:
    write(tmp_path / "once")
    folder = tmp_path / "twice"
    write(folder, upto=3)
    if lost == "part":
        sorted(folder.glob("*.part"))[0].unlink()
    if lost == "end":
        last = sorted(folder.glob("*.part"))[-1]
        last.write_bytes(last.read_bytes()[:-1000])
    if lost == "journal":
        (folder / "films" / "street.journal").unlink()
    if lost == "settings":
        with FilmWriter(folder, "street", source="s", settings="others") as writer:
            assert writer.state is None
    write(folder)
    assert files(tmp_path / "once") == files(folder)


def test_a_film_without_people_leaves_a_listing_and_no_tar(tmp_path: Path) -> None:
    with FilmWriter(tmp_path, "empty", source="s", settings="t") as writer:
        writer.add([], {"next": 1})
        listing = writer.finish({"shots": 0})
    assert not listing.film.tars
    assert not list(tmp_path.glob("*.tar*"))
    assert merge_listings(tmp_path, ["empty"]).films == ()
    with pytest.raises(PasserbyError, match="holds no crop"):
        open_shards(tmp_path)


def test_the_rest_of_a_journal_is_no_film(tmp_path: Path) -> None:
    write(tmp_path, upto=2)
    with pytest.raises(PasserbyError, match=r"films/street\.json: no such file"):
        merge_listings(tmp_path, ["street"])


def damaged(whole: Path, tmp_path: Path) -> Path:
    folder = tmp_path / "copy"
    for name, content in files(whole).items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


def test_a_missing_or_shortened_tar_is_named(whole: Path, tmp_path: Path) -> None:
    folder = damaged(whole, tmp_path)
    tar = sorted(folder.glob("*.tar"))[0]
    content = tar.read_bytes()
    tar.write_bytes(content[:-100])
    with pytest.raises(PasserbyError, match=f"{tar.name}: is damaged"):
        open_shards(folder)
    tar.unlink()
    with pytest.raises(PasserbyError, match=f"{tar.name}: is missing"):
        open_shards(folder)


def test_damage_within_a_tar_is_named(whole: Path, tmp_path: Path) -> None:
    folder = damaged(whole, tmp_path)
    shards = open_shards(folder)
    shards.verify()
    key = shards.shots[2]
    tar = folder / key.film.tars[key.shot.tar].name
    content = bytearray(tar.read_bytes())
    content[key.shot.offset + 10] ^= 1  # in a name
    tar.write_bytes(content)
    with pytest.raises(PasserbyError, match=f"{tar.name}: is damaged"):
        shards.read(2)
    with pytest.raises(PasserbyError, match=f"{tar.name}: is damaged"):
        shards.verify()
    tar.unlink()
    with pytest.raises(PasserbyError, match=f"{tar.name}: is missing"):
        shards.read(2, [0])


def test_a_listing_that_lies_is_refused(whole: Path, tmp_path: Path) -> None:
    folder = damaged(whole, tmp_path)
    listing = folder / "shards.json"
    text = listing.read_text()
    for old, new, said in (
        ('"version":1', '"version":2', "version"),
        ('"crops":6', '"crops":0', "crops"),
        ('"offset":0', '"offset":999999999', "outside its tar"),
        ("{", "[", "text"),
    ):
        listing.write_text(text.replace(old, new, 1))
        with pytest.raises(PasserbyError, match=said):
            open_shards(folder)
    listing.write_text(text.replace('"crops":6', '"crops":5', 1))
    with pytest.raises(PasserbyError, match="6 crops instead of 5"):
        open_shards(folder).read(0)
    with pytest.raises(PasserbyError, match=r"differs from shards\.json"):
        open_shards(folder).frames(0)
    listing.unlink()
    with pytest.raises(PasserbyError, match="passerby ingest"):
        open_shards(folder)
    with pytest.raises(PasserbyError, match="no folder of shards"):
        open_shards(folder / "nowhere")


def test_a_crop_alone_is_damage(whole: Path, tmp_path: Path) -> None:
    folder = damaged(whole, tmp_path)
    shards = open_shards(folder)
    key = shards.shots[0]
    tar = folder / key.film.tars[0].name
    with tarfile.open(tar) as archive:
        second = archive.getmembers()[1]
    content = bytearray(tar.read_bytes())
    # The name of the first crop's .json is lengthened by a letter, and the header's sum mended.
    header = tarfile.TarInfo(second.name + "x")
    header.size, header.mode, header.mtime = second.size, 0o444, 0
    content[second.offset : second.offset + 512] = header.tobuf(tarfile.USTAR_FORMAT)
    tar.write_bytes(content)
    with pytest.raises(PasserbyError, match="stands alone"):
        shards.read(0)


names = st.text("abcXYZ019_-", min_size=1, max_size=20)
numbers = st.integers(0, 10**9)


@given(names, numbers, numbers, numbers, st.floats(0, 1e6), st.none() | st.integers(-1, 10**6))
@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow])
def test_keys_and_records_come_back(film: str, shot: int, frame: int, index: int, time: float, who: int | None) -> None:
    crop = Crop(film=film, shot=shot, frame=frame, index=index, time=time, identity=who)
    assert parse_key(crop.key) == (film, shot, frame, index)
    assert read_crop(crop.key, crop.model_dump_json().encode()) == crop


@pytest.mark.parametrize("key", ["a/1/2-3", "a/00001/00000002", "../00001/00000002-003", "a b/00001/00000002-003"])
def test_strange_keys_are_refused(key: str) -> None:
    with pytest.raises(PasserbyError, match="no key of a crop"):
        parse_key(key)


def test_a_record_of_another_crop_is_refused() -> None:
    crop = Crop(film="a", shot=1, frame=2, index=3, time=0)
    with pytest.raises(PasserbyError, match="describes the crop a/00001"):
        read_crop("a/00001/00000002-004", crop.model_dump_json().encode())
    with pytest.raises(PasserbyError, match="no crop"):
        read_crop(crop.key, b'{"film": "a"}')
    with pytest.raises(ValidationError):
        Crop(film="a/b", shot=1, frame=2, index=3, time=0)
