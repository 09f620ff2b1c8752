"""passerby adapt: from crops to a site profile to a measurement with it, and what it refuses."""

import csv
import math
import re
import shutil
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import passerby
from passerby.adaptation import AdaBn, BntaAdaptation, CameraStatistics, SiteProfile, shift
from passerby.adaptation.base import wearing
from passerby.adaptation.profile import ProfileCard
from passerby.adaptation.shift import norm_shift, place_distance
from passerby.cli import main
from passerby.commands import adapt as command
from passerby.commands import place
from passerby.commands.adapt import adapt, show_profile
from passerby.commands.adapted import record_name
from passerby.commands.evaluate import evaluate
from passerby.commands.place import read_cameras, tell_unknown
from passerby.errors import PasserbyError
from passerby.evaluation.records import read_record
from passerby.methods import get_method
from passerby.methods.bnta import BntaSettings
from passerby.models.load import load
from passerby.models.saved import load_model
from passerby.recipes import load_recipe

Table = Callable[..., Path]


@pytest.fixture
def table(tmp_path: Path) -> Table:
    """`table(rows)` writes a CSV table."""

    def write(rows: Sequence[Sequence[str]], header: Sequence[str] = ("path", "camera")) -> Path:
        path = tmp_path / "cameras.csv"
        with path.open("w", newline="") as stream:
            csv.writer(stream).writerows([header, *rows])
        return path

    return write


def crops(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*.jpg"))


def names(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir())


def camera_of(path: Path) -> str:
    return path.name[6]


def test_training_adapting_and_measuring(trained: Any, tmp_path: Path) -> None:
    three, lobby = trained.data / "three", tmp_path / "sites" / "lobby.safetensors"
    weights = trained.bnta / "model" / "model.safetensors"
    before = weights.read_bytes()
    profile = adapt(trained.bnta, three, lobby, device="cpu")
    card = profile.card
    model, model_card = load_model(trained.bnta / "model")
    assert (card.method, card.images, card.cameras, card.seed) == ("bnta", 32, (), 0)
    assert card.model_sha256 == model_card.weights_sha256
    assert card.settings["lr"] == 0.0005
    assert set(card.before) == set(card.after) == {"distance", "position", "matching"}
    written = SiteProfile.load(lobby).card
    assert written.model_copy(update={"tensors_sha256": ""}) == card
    known = written.tensors_sha256[:8]
    assert re.fullmatch("[0-9a-f]{8}", known)
    state = model.state_dict()
    assert any(not torch.equal(value, state[name]) for name, value in profile.tensors.items())

    target = [f"three={three}"]
    records = tmp_path / "records"
    plain = evaluate(trained.bnta, trained.data, target, device="cpu", records_folder=records)[0]
    worn = evaluate(trained.bnta, trained.data, target, device="cpu", records_folder=records, site=lobby)[0]
    assert (plain.adapted, plain.adapted_images) == (None, None)
    assert (worn.adapted, worn.adapted_images) == (f"site {known} (bnta)", 32)
    assert worn.weights_sha256 == plain.weights_sha256
    assert worn.metrics != plain.metrics
    assert names(records) == [f"three+site{known}bnta.json", "three.json"]
    assert read_record(records / f"three+site{known}bnta.json") == worn
    assert weights.read_bytes() == before


def test_every_profile_has_a_record_of_its_own(trained: Any, tmp_path: Path) -> None:
    three, records = trained.data / "three", tmp_path / "records"
    found = []
    for name, method in (("a", "adabn:images=20"), ("again", "adabn:images=20"), ("other", "adabn:images=10")):
        profile = tmp_path / f"{name}.safetensors"
        adapt(trained.plain, three, profile, method=method, device="cpu")
        record = evaluate(
            trained.plain, trained.data, [f"three={three}"], device="cpu", records_folder=records, site=profile
        )[0]
        assert read_record(records / record_name("three", record.adapted)) == record
        found.append(record)
    assert all(re.fullmatch(r"site [0-9a-f]{8} \(adabn\)", str(record.adapted)) for record in found)
    # The name is that of what the profile holds: made twice it is the same, and a record is not lost to another profile's.
    assert found[0].adapted == found[1].adapted != found[2].adapted
    assert found[0].metrics == found[1].metrics
    assert len(names(records)) == 2


def test_bnta_trains_and_saves_its_heads(trained: Any) -> None:
    model, card = load_model(trained.bnta / "model")
    assert (card.architecture.stripes, card.architecture.norm) == (6, "dualnorm")
    assert get_method("bnta").Settings is BntaSettings
    assert card.recipe["method"]["matching_weight"] == 0.1
    assert model.parts is not None
    for k, (_, norm) in enumerate(model.parts.local):
        assert int(norm.num_batches_tracked) == 6, k
        assert bool(norm.weight.ne(1).any()), k
    columns = (trained.bnta / "logs" / "part-0" / "metrics.csv").read_text().splitlines()[0].split(",")
    assert {"cross_entropy", "triplet", "position", "matching", "loss", "accuracy"} <= set(columns)


def test_the_methods_and_the_one_by_default(trained: Any, tmp_path: Path) -> None:
    three = trained.data / "three"
    assert adapt(trained.plain, three, device="cpu").card.method == "adabn"
    assert adapt(trained.bnta, three, device="cpu").card.method == "bnta"
    chosen = adapt(trained.bnta, three, method="adabn:weight=0.75;images=9", device="cpu")
    assert (chosen.card.method, chosen.card.images) == ("adabn", 9)
    assert set(chosen.card.before) == set(chosen.card.after) == {"distance"}
    assert (chosen.card.settings["weight"], chosen.card.settings["images"]) == (0.75, 9)
    entropy = adapt(trained.plain, three, method="entropy:epochs=2", device="cpu").card
    assert set(entropy.before) == set(entropy.after) == {"distance", "entropy"}
    assert names(tmp_path) == []  # nothing is written where no file is asked for


def test_the_seed_fixes_the_profile(trained: Any) -> None:
    options: dict[str, Any] = {"method": "bnta:pairs=8;batch_pairs=2", "device": "cpu"}
    first, again, other = (adapt(trained.bnta, trained.data / "three", seed=seed, **options) for seed in (1, 1, 2))
    assert all(torch.equal(first.tensors[name], again.tensors[name]) for name in first.tensors)
    assert any(not torch.equal(first.tensors[name], other.tensors[name]) for name in first.tensors)


def test_cameras_are_normalised_by_their_own_adapted_embeddings(trained: Any, table: Table, tmp_path: Path) -> None:
    three = trained.data / "three"
    paths = crops(three)
    named = table([[path.name, f" {camera_of(path)} "] for path in paths[:20]] + [["gone.jpg", "9"], ["", "1"]])
    profile = adapt(trained.bnta, three, tmp_path / "p.safetensors", cameras=named, device="cpu")
    assert profile.card.cameras == ("", "1", "2")
    model = load(trained.bnta)
    with wearing(model, profile.tensors):  # type: ignore[arg-type]
        embeddings = model.embed(paths)
    cameras: list[str | None] = [camera_of(path) if k < 20 else None for k, path in enumerate(paths)]
    expected = CameraStatistics.of(embeddings, cameras)
    found = SiteProfile.load(tmp_path / "p.safetensors").cameras
    assert found is not None
    torch.testing.assert_close(found.mean, expected.mean, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(found.deviation, expected.deviation, rtol=1e-3, atol=1e-5)
    worn = evaluate(trained.bnta, trained.data, [f"three={three}"], device="cpu", site=tmp_path / "p.safetensors")[0]
    assert (
        worn.adapted == f"site {SiteProfile.load(tmp_path / 'p.safetensors').card.tensors_sha256[:8]} (bnta + camera)"
    )


def test_a_profile_of_cameras_alone_adapts_to_no_image(trained: Any, table: Table, tmp_path: Path) -> None:
    three, lobby = trained.data / "three", tmp_path / "lobby.safetensors"
    named = table([[path.name, camera_of(path)] for path in crops(three)])
    adapt(trained.plain, three, lobby, cameras=named, method="none", device="cpu")
    worn = evaluate(trained.plain, trained.data, [f"three={three}"], device="cpu", site=lobby)[0]
    assert re.fullmatch(r"site [0-9a-f]{8} \(camera\)", str(worn.adapted))
    assert worn.adapted_images is None


def test_a_profile_whose_cameras_are_not_the_targets(trained: Any, table: Table, tmp_path: Path) -> None:
    three, lobby = trained.data / "three", tmp_path / "lobby.safetensors"
    named = table([[path.name, f"gate {camera_of(path)}"] for path in crops(three)])
    assert adapt(trained.plain, three, lobby, cameras=named, device="cpu").card.cameras == ("", "gate 1", "gate 2")
    with pytest.raises(
        PasserbyError, match="--site: the profile knows the cameras gate 1, gate 2, three has 1, 2; name"
    ):
        evaluate(
            trained.plain, trained.data, [f"three={three}"], device="cpu", site=lobby, records_folder=tmp_path / "r"
        )
    assert names(tmp_path) == ["cameras.csv", "lobby.safetensors"]


def test_a_camera_with_fewer_than_eight_images_has_no_statistics(trained: Any, table: Table) -> None:
    three = trained.data / "three"
    of = {camera: [path for path in crops(three) if camera_of(path) == camera] for camera in ("1", "2")}
    named = table([[path.name, camera_of(path)] for path in (*of["1"][:8], *of["2"][:7])])
    profile = adapt(trained.plain, three, cameras=named, method="none", device="cpu")
    assert profile.card.cameras == ("", "1")
    assert profile.cameras is not None
    model = load(trained.plain)
    for row, images in enumerate((crops(three), of["1"][:8])):
        torch.testing.assert_close(profile.cameras.mean[row], model.embed(images).mean(0), rtol=1e-4, atol=1e-5)


def test_targets_cameras_that_a_profile_does_not_know_are_told(
    trained: Any, table: Table, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    three, lobby = trained.data / "three", tmp_path / "lobby.safetensors"
    named = table([[path.name, "1"] for path in crops(three) if camera_of(path) == "1"])
    adapt(trained.plain, three, lobby, cameras=named, method="none", device="cpu")
    capsys.readouterr()
    evaluate(trained.plain, trained.data, [f"three={three}"], device="cpu", site=lobby)
    assert capsys.readouterr().err.endswith("so those of all images normalise: 2\n")


def test_cameras_alone(trained: Any, table: Table) -> None:
    three = trained.data / "three"
    named = table([[path.name, camera_of(path)] for path in crops(three)])
    profile = adapt(trained.plain, three, cameras=named, method="none", device="cpu")
    assert (profile.card.method, profile.tensors, profile.card.settings) == ("none", {}, {})
    assert profile.cameras is not None
    expected = load(trained.plain).embed(crops(three)).mean(0)
    torch.testing.assert_close(profile.cameras.mean[0], expected, rtol=1e-4, atol=1e-5)


def test_a_table_with_other_columns_a_byte_order_mark_and_whole_paths(trained: Any, tmp_path: Path) -> None:
    three = trained.data / "three"
    named = tmp_path / "cameras.csv"
    rows = [f"x,{camera_of(path)},{path}" for path in crops(three)]
    named.write_text("\ufeff" + "\n".join(["note,camera,path", *rows]), encoding="utf-8")
    profile = adapt(trained.plain, three, cameras=named, method="none", device="cpu")
    assert profile.card.cameras == ("", "1", "2")


def test_whole_paths_in_the_table_and_a_relative_folder(
    trained: Any, table: Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    named = table([[str(path), camera_of(path)] for path in crops(trained.data / "three")])
    monkeypatch.chdir(trained.data)
    profile = adapt(trained.plain, "three", cameras=named, method="none", device="cpu")
    assert profile.card.cameras == ("", "1", "2")


def test_paths_that_say_the_same_in_another_way(trained: Any, table: Table, tmp_path: Path) -> None:
    three = trained.data / "three"
    (tmp_path / "linked").symlink_to(three, target_is_directory=True)
    named = table([[path.name, camera_of(path)] for path in crops(three)])
    expected = adapt(trained.plain, three, cameras=named, method="none", device="cpu").cameras
    assert expected is not None
    for folder, written in (
        (three, "../three/./{}"),  # down and up again
        (tmp_path / "linked", str(three / "{}")),  # a link to the folder, the table names the folder
        (three, str(tmp_path / "linked" / "{}")),  # and the other way round
    ):
        named = table([[written.format(path.name), camera_of(path)] for path in crops(three)])
        found = adapt(trained.plain, folder, cameras=named, method="none", device="cpu").cameras
        assert found is not None
        assert found.cameras == expected.cameras == ("", "1", "2")
        assert torch.equal(found.mean, expected.mean)


def test_a_table_with_a_zero_byte_is_no_traceback(trained: Any, table: Table) -> None:
    named = table([["a\0b.jpg", "1"]])
    with pytest.raises(PasserbyError, match="--cameras"):
        adapt(trained.plain, trained.data / "three", cameras=named, method="none", device="cpu")


def test_one_image_has_one_camera(trained: Any, table: Table, capsys: pytest.CaptureFixture[str]) -> None:
    paths = crops(trained.data / "three")
    rows = [[path.name, camera_of(path)] for path in paths]
    twice = read_cameras(table([*rows, *rows[:3]]), trained.data / "three", paths)
    assert twice == [camera_of(path) for path in paths]
    assert capsys.readouterr().err == ""
    other = [f"../three/{paths[1].name}", "9"]
    with pytest.raises(
        PasserbyError, match=rf"--cameras .*{paths[1].name} stands there with the cameras 1 and 9; keep"
    ):
        read_cameras(table([*rows, other]), trained.data / "three", paths)


def test_a_row_without_a_camera_says_nothing_of_one_that_names_it(trained: Any, table: Table) -> None:
    paths = crops(trained.data / "three")
    rows = [[path.name, camera_of(path)] for path in paths]
    for order in ([[paths[0].name, " "], *rows], [*rows, [paths[0].name, " "]]):
        assert read_cameras(table(order), trained.data / "three", paths)[0] == camera_of(paths[0])


def test_links_to_one_file_have_cameras_of_their_own(trained: Any, table: Table, tmp_path: Path) -> None:
    (tmp_path / "links").mkdir()
    for k in range(3):
        (tmp_path / "links" / f"{k}.jpg").symlink_to(crops(trained.data / "three")[0])
    named = table([[f"{k}.jpg", str(k)] for k in range(3)])
    assert read_cameras(named, tmp_path / "links", crops(tmp_path / "links")) == ["0", "1", "2"]


def test_a_table_made_on_windows_and_a_head_with_blanks(trained: Any, table: Table) -> None:
    paths = crops(trained.data / "three")
    named = table([[f"three\\{path.name}", camera_of(path)] for path in paths], ("path", " camera"))
    assert read_cameras(named, trained.data, paths) == [camera_of(path) for path in paths]


def test_blanks_around_a_path_are_no_part_of_it(trained: Any, table: Table, capsys: pytest.CaptureFixture[str]) -> None:
    paths = crops(trained.data / "three")
    named = table([[f" {path.name}\t", f"{camera_of(path)} "] for path in paths])
    assert read_cameras(named, trained.data / "three", paths) == [camera_of(path) for path in paths]
    assert capsys.readouterr().err == ""


def test_what_a_table_does_not_say_is_told(trained: Any, table: Table, capsys: pytest.CaptureFixture[str]) -> None:
    three = trained.data / "three"
    paths = crops(three)
    cameras = ["1"] * 8 + ["few"] * 7 + ["one"] + ["2"] * 8  # the last 8 of 32 are not named
    rows = [[path.name, camera] for path, camera in zip(paths, cameras, strict=False)]
    named = table([*rows, ["gone.jpg", "1"], ["../one/0001_c1s1_000000_00.jpg", "1"], ["also gone", ""], ["", "1"]])
    assert read_cameras(named, three, paths) == [*cameras, *[None] * 8]
    said = capsys.readouterr().err.splitlines()
    assert said == [
        f"passerby: --cameras {named}: 3 rows name no image in {three}",
        f"passerby: --cameras {named}: 8 of 32 images have no camera there; those of all images normalise them",
    ]


def test_cameras_without_statistics_are_told(trained: Any, table: Table, capsys: pytest.CaptureFixture[str]) -> None:
    three = trained.data / "three"
    cameras = ["1"] * 8 + ["few"] * 7 + ["one"] + ["2"] * 16
    named = table([[path.name, camera] for path, camera in zip(crops(three), cameras, strict=True)])
    profile = adapt(trained.plain, three, cameras=named, method="none", device="cpu")
    assert profile.card.cameras == ("", "1", "2")
    assert capsys.readouterr().err.endswith("so those of all images normalise: few, one\n")
    assert profile.cameras is not None
    tell_unknown([*(f"c{k:02d}" for k in range(12)), None], profile.cameras)
    assert capsys.readouterr().err.endswith(": c00, c01, c02, c03, c04, c05, c06, c07, c08, c09, ...\n")
    # A single new crop of a camera that the profile knows is nothing to tell of.
    tell_unknown(["1", None], profile.cameras)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("inside", [False, True])
def test_a_link_to_itself_is_no_traceback(
    trained: Any, table: Table, tmp_path: Path, capsys: pytest.CaptureFixture[str], inside: bool
) -> None:
    place = tmp_path / "place"
    shutil.copytree(trained.data / "three", place)
    loop = (place if inside else tmp_path) / "loop.jpg"
    loop.symlink_to(loop)
    rows = [[path.name, camera_of(path)] for path in crops(trained.data / "three")]
    named = table([*rows, *([] if inside else [[str(loop), "1"]])])
    try:
        profile = adapt(trained.plain, place, cameras=named, method="none", device="cpu")
    except PasserbyError as error:
        assert re.search("loop", str(error), re.IGNORECASE)  # noqa: PT017
    else:
        assert profile.card.images == 32
        assert ("loop.jpg" if inside else "1 rows name no image") in capsys.readouterr().err


def test_images_that_cannot_be_read_are_named_and_left_out(
    trained: Any, tmp_path: Path, table: Table, capsys: pytest.CaptureFixture[str]
) -> None:
    place = tmp_path / "place"
    shutil.copytree(trained.data / "three", place / "inside")
    paths = crops(place)
    paths[3].write_bytes(paths[3].read_bytes()[:100])
    named = table([[str(path.relative_to(place)), camera_of(path)] for path in paths])
    profile = adapt(trained.plain, place, cameras=named, device="cpu")
    assert profile.card.images == 31
    error = capsys.readouterr().err
    assert error.startswith(f"passerby: left out: {paths[3]}: cannot be read")
    assert error.count("\n") == 1
    whole = adapt(trained.plain, trained.data / "three", cameras=None, device="cpu")
    for path in paths[4:12]:
        path.write_bytes(b"")
    assert adapt(trained.plain, place, device="cpu").card.images == 23
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 6
    assert lines[-1] == "passerby: left out: 4 more images that cannot be read"
    # What is left is adapted to: the statistics are of these images.
    assert any(not torch.equal(profile.tensors[name], whole.tensors[name]) for name in whole.tensors)


def test_grey_transparent_and_large_images_and_other_formats(trained: Any, tmp_path: Path) -> None:
    place = tmp_path / "place"
    place.mkdir()
    rng = np.random.default_rng(0)
    for k, (mode, name) in enumerate(
        [("L", "a.png"), ("RGBA", "b.png"), ("P", "c.png"), ("RGB", "d.bmp"), ("LA", "e.png"), ("1", "f.png")]
    ):
        pixels = rng.integers(0, 256, (60 + 40 * k, 30, 3), dtype=np.uint8)
        Image.fromarray(pixels).convert(mode).save(place / name)
    deep = Image.fromarray(rng.integers(0, 65536, (40, 20)).astype(np.uint16))
    deep.save(place / "g.png")
    (place / "notes.txt").write_text("no image")
    for model in (trained.bnta, trained.plain):
        assert adapt(model, place, device="cpu").card.images == 7


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"out": "lobby.pt"}, r"--out .*lobby\.pt: a site profile is a \.safetensors file"),
        ({"out": "lobby"}, r"--out .*lobby: a site profile is a"),
        ({"images": "nowhere"}, "--images .*nowhere: no such folder"),
        ({"images": "empty"}, "--images .*empty: no images in it"),
        ({"images": "three"}, "--images .*: 3 images to adapt to; give at least 4"),
        ({"images": "same"}, "--images .*: all 5 images are the same"),
        ({"images": "broken"}, "--images .*broken: none of its 5 images can be read"),
        ({"model": "nowhere"}, "nowhere: no saved model"),
        ({"model": "pool.onnx"}, r"pool\.onnx: an \.onnx file has no norms to adapt"),
        ({"method": "bntaa"}, "no adaptation 'bntaa'; did you mean 'bnta'"),
        ({"method": "bnta:lr=-1"}, "lr: input should be greater than or equal to 0"),
        ({"method": "none"}, "--method none: without --cameras there is nothing"),
        (
            {"images": "three", "method": "none", "cameras": [["0.jpg", "1"]]},
            "--images .*: 3 images to adapt to; give at least 4",
        ),
        (
            {"images": "same", "method": "none", "cameras": [["0.jpg", "1"]]},
            "--images .*: all 5 images are the same; give different crops",
        ),
        (
            {"images": "five", "method": "none", "cameras": [["0.jpg", "1"]]},
            "camera normalisation: 5 images; give at least 8",
        ),
        ({"method": "bnta:lr=inf"}, "lr: input should be a finite number"),
        ({"method": "bnta:lr"}, "'lr'; write each parameter once, as in bnta:images=200"),
        ({"method": "none:lr=1"}, "no adaptation 'none'"),
        ({"device": "tpu"}, "tpu"),
        ({"cameras": "missing.csv"}, r"--cameras .*missing\.csv: cannot be read \(No such file"),
        ({"cameras": "."}, r"--cameras .*: cannot be read \(Is a directory"),
        ({"cameras": [["a", "1"]], "header": ["path", "cam"]}, "no column camera; it has path, cam"),
        ({"cameras": [], "header": []}, "no column camera and no column path; it has none"),
        ({"cameras": [["elsewhere.jpg", "1"]]}, "names none of the .* images in .*; its paths are relative"),
        ({"cameras": [["0021_c1s1_000000_00.jpg", " "]]}, "names none of the"),
        ({"cameras": "picture"}, r"--cameras .*: no CSV table"),
    ],
)
def test_bad_input_is_one_clear_error_and_writes_nothing(
    trained: Any, table: Table, tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    for name, count in (("empty", 0), ("three", 3), ("five", 5), ("same", 5), ("broken", 5)):
        (tmp_path / name).mkdir()
        for k, path in enumerate(crops(trained.data / "three")[:count]):
            source = path if name in ("three", "five") else crops(trained.data / "three")[0]
            shutil.copy(source, tmp_path / name / f"{k}.jpg")
            if name == "broken":
                (tmp_path / name / f"{k}.jpg").write_bytes(b"no image")
    (tmp_path / "picture").write_bytes(b"\xff\xd8\xff\x00\x9c" * 20)
    (tmp_path / "pool.onnx").touch()
    cameras: Path | None = None
    if isinstance(change.get("cameras"), str):
        cameras = tmp_path / change["cameras"]
    elif "cameras" in change:
        cameras = table(change["cameras"], change.get("header", ("path", "camera")))
    images = tmp_path / change["images"] if "images" in change else trained.data / "three"
    model = tmp_path / change["model"] if "model" in change else trained.bnta
    out = tmp_path / change.get("out", "lobby.safetensors")
    with pytest.raises(PasserbyError, match=message) as error:
        adapt(model, images, out, cameras=cameras, method=change.get("method"), device=change.get("device", "cpu"))
    assert "\n" not in str(error.value)
    assert not out.exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"method": "bntaa"}, "no adaptation 'bntaa'"),
        ({"method": "bnta:lr=-1"}, "lr: input should be"),
        ({"method": "bnta", "run": "plain"}, "bnta: the model has no part heads"),
        ({"method": "none"}, "without --cameras there is nothing to make a profile of"),
        ({"cameras": "missing.csv"}, r"missing\.csv: cannot be read"),
        ({"out": "folder.safetensors"}, "--out .*: a site profile is a .safetensors file"),
        ({"out": "file/lobby.safetensors"}, "file is a file and no folder; give another name"),
        ({"out": "lobby.pt"}, "--out .*: a site profile is a .safetensors file"),
    ],
)
def test_what_can_be_seen_without_the_images_is_seen_before_they_are_read(
    trained: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: dict[str, str], message: str
) -> None:
    monkeypatch.setattr(place, "read_crops", None)
    (tmp_path / "folder.safetensors").mkdir()
    (tmp_path / "file").touch()
    with pytest.raises(PasserbyError, match=message):
        adapt(
            getattr(trained, change.get("run", "bnta")),
            trained.data / "three",
            tmp_path / change.get("out", "lobby.safetensors"),
            cameras=tmp_path / change["cameras"] if "cameras" in change else None,
            method=change.get("method"),
            device="cpu",
        )
    assert names(tmp_path) == ["file", "folder.safetensors"]


@pytest.mark.parametrize("kind", ["position", "matching", "distance"])
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_number_of_the_card_that_is_not_finite_is_one_clear_error(
    trained: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, value: float
) -> None:
    said = {"position": 1.0, "matching": 1.0}
    if kind == "distance":
        monkeypatch.setattr(command, "place_distance", lambda _: value)
    else:
        said[kind] = value
    monkeypatch.setattr(BntaAdaptation, "look", lambda *_: said)
    with pytest.raises(PasserbyError, match=f"bnta: {kind} is {value} on these images; lower the learning rate"):
        adapt(trained.bnta, trained.data / "three", tmp_path / "lobby.safetensors", device="cpu")
    assert names(tmp_path) == []


@pytest.mark.parametrize("method", ["bnta:lr=1e8", "bnta:lr=1e30;optimizer=sgd", "entropy:lr=1e8"])
def test_a_rate_that_breaks_the_losses_is_one_clear_error(trained: Any, tmp_path: Path, method: str) -> None:
    with pytest.raises(
        PasserbyError,
        match=r"(is (nan|inf) on these|not finite|too large to compare).*; lower the learning rate",
    ):
        adapt(trained.bnta, trained.data / "three", tmp_path / "lobby.safetensors", method=method, device="cpu")
    assert names(tmp_path) == []


def test_the_card_says_what_the_model_says_before_and_after(trained: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    three = trained.data / "three"
    monkeypatch.setattr(shift, "LOOKED_AT", 8)
    profile = adapt(trained.bnta, three, device="cpu", seed=4)
    model, _ = load_model(trained.bnta / "model")
    pixels = model.preprocessing.read_many(crops(three))
    for said, worn in ((profile.card.before, {}), (profile.card.after, profile.tensors)):
        with wearing(model, worn):
            expected = {"distance": place_distance(norm_shift(model, pixels[::4]))}
            expected |= BntaAdaptation().look(model, pixels)
        assert said == pytest.approx(expected, rel=1e-4)
    assert profile.card.after != profile.card.before
    # Where it draws some images, it looks at those.
    few = adapt(trained.bnta, three, method="adabn:images=8", device="cpu", seed=4).card
    drawn = AdaBn(images=8).drawn(pixels, 4)
    assert few.before["distance"] == pytest.approx(place_distance(norm_shift(model, drawn)), rel=1e-4)
    assert few.images == len(drawn) == 8


def test_bnta_on_a_model_without_part_heads(trained: Any) -> None:
    with pytest.raises(PasserbyError, match=r"bnta: the model has no part heads .* adabn adapts any model"):
        adapt(trained.plain, trained.data / "three", method="bnta", device="cpu")
    with pytest.raises(PasserbyError, match="no part heads"):
        evaluate(trained.plain, trained.data, [f"three={trained.data / 'three'}"], adapt="bnta", device="cpu")


def test_measuring_a_model_that_adapts(trained: Any, tmp_path: Path) -> None:
    three = [f"three={trained.data / 'three'}"]
    found = {}
    for adaptation, camera in (
        (None, False),
        ("adabn", False),
        (None, True),
        ("adabn", True),
        ("bnta:lr=1e-3;pairs=4", False),
        ("bnta:moves=mean,weight;images=10", True),
        ("entropy", False),
    ):
        record = evaluate(
            trained.bnta,
            trained.data,
            three,
            adapt=adaptation,
            camera_normalise=camera,
            records_folder=tmp_path,
            device="cpu",
        )[0]
        found[record.adapted] = record
    assert {how: record.adapted_images for how, record in found.items()} == {
        None: None,
        "adabn": 16,
        "camera": None,
        "adabn + camera": 16,
        "bnta:pairs=4;lr=0.001": 16,
        "bnta:images=10;moves=mean,weight + camera": 10,
        "entropy": 16,
    }
    assert set(names(tmp_path)) == {
        "three.json",
        "three+adabn.json",
        "three+camera.json",
        "three+adabn+camera.json",
        "three+bntapairs=4lr=0.001.json",
        "three+bntaimages=10moves=meanweight+camera.json",
        "three+entropy.json",
    }
    for how, record in found.items():
        assert read_record(tmp_path / record_name("three", how)) == record
        assert (record.queries, record.gallery) == (16, 16)
    assert len({str(record.metrics) for record in found.values()}) > 3


def test_measured_twice_it_is_the_same(trained: Any) -> None:
    three = [f"three={trained.data / 'three'}"]
    for how in ("bnta:pairs=8;batch_pairs=2", "adabn"):
        first, again = (
            evaluate(trained.bnta, trained.data, three, adapt=how, camera_normalise=True, device="cpu")[0]
            for _ in range(2)
        )
        assert first.metrics == again.metrics


def test_a_profile_says_how_to_adapt_and_belongs_to_its_model(trained: Any, tmp_path: Path) -> None:
    three, lobby = [f"three={trained.data / 'three'}"], tmp_path / "lobby.safetensors"
    adapt(trained.plain, trained.data / "three", lobby, device="cpu")
    for options in ({"adapt": "adabn"}, {"camera_normalise": True}):
        with pytest.raises(PasserbyError, match="leave out --adapt and --camera-normalise"):
            evaluate(trained.plain, trained.data, three, site=lobby, device="cpu", **options)
    with pytest.raises(PasserbyError, match=r"site profile: made from the model .* this one is"):
        evaluate(trained.bnta, trained.data, three, site=lobby, device="cpu")
    with pytest.raises(PasserbyError, match="no such site profile"):
        evaluate(trained.plain, trained.data, three, site=tmp_path / "none.safetensors", device="cpu")
    with pytest.raises(PasserbyError, match=r"no adaptation 'adbn'; did you mean 'adabn'"):
        evaluate(trained.plain, trained.data, three, adapt="adbn", device="cpu")


def test_from_python(trained: Any) -> None:
    model = passerby.load(trained.bnta)
    image = crops(trained.data / "one")[0]
    before = model.embed(image)
    lobby = passerby.adapt(trained.bnta, trained.data / "three", device="cpu")
    assert isinstance(lobby, passerby.SiteProfile)
    with lobby.on(model):  # type: ignore[arg-type]
        assert not torch.equal(model.embed(image), before)
        assert model.site == f"bnta on 32 images, {lobby.card.date}"  # type: ignore[attr-defined]
    assert torch.equal(model.embed(image), before)
    assert model.site is None  # type: ignore[attr-defined]


def test_from_the_command_line(
    trained: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    lobby, three = str(tmp_path / "lobby.safetensors"), str(trained.data / "three")

    def run(*arguments: str) -> str:
        monkeypatch.setattr(sys, "argv", ["passerby", *arguments])
        with pytest.raises(SystemExit) as end:
            main()
        shown = capsys.readouterr()
        assert not end.value.code, shown.err
        return " ".join(shown.out.split())

    said = run("adapt", str(trained.bnta), "--images", three, "--out", lobby, "--device", "cpu", "--seed", "2")
    card = SiteProfile.load(Path(lobby)).card
    assert card.seed == 2
    assert said.startswith(f"bnta on 32 images: {len(SiteProfile.load(Path(lobby)).tensors)} tensors of the model")
    for name in ("distance", "position", "matching"):
        assert f"{name}: {card.before[name]:.3f} -> {card.after[name]:.3f}" in said
    assert "lobby.safetensors" in said.replace(" ", "")
    measured = run(
        *("evaluate", str(trained.bnta), "--data-root", str(trained.data), "--targets", f"three={three}"),
        *("--site", lobby, "--device", "cpu", "--records", str(tmp_path / "records")),
    )
    assert "three" in measured
    run(
        *("evaluate", str(trained.bnta), "--data-root", str(trained.data), "--targets", f"three={three}"),
        *("--adapt", "adabn:weight=0.5", "--camera-normalise", "--device", "cpu"),
        *("--records", str(tmp_path / "records")),
    )
    assert names(tmp_path / "records") == [
        "three+adabnweight=0.5+camera.json",
        f"three+site{card.tensors_sha256[:8]}bnta.json",
    ]


@pytest.mark.parametrize("cameras", [("", "1", "gate", "hall"), ()])
def test_what_is_printed_of_a_profile(
    tmp_path: Path, cameras: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    card = ProfileCard(
        model_sha256="ab" * 32,
        method="adabn",
        settings={},
        images=9,
        cameras=cameras,
        seed=0,
        before={"distance": 1.5, "entropy": 0.125},
        after={"distance": 0.125, "entropy": 0.5},
        code_version="0",
        date="2026-01-02",
    )
    out = tmp_path / "a folder whose name is long" / "lobby.safetensors"
    out.parent.mkdir()
    out.write_bytes(bytes(1_250_000))
    show_profile(SiteProfile(card, {"a": torch.ones(1), "b": torch.ones(1)}, None), out)
    assert capsys.readouterr().out.splitlines() == [
        "adabn on 9 images: 2 tensors of the model",
        "  distance: 1.500 -> 0.125",
        "  entropy: 0.125 -> 0.500",
        "  entropy rose more than 3 times: adapting went astray; lower its learning rate, or look at the images",
        *(["  embeddings of 3 cameras normalised"] if cameras else []),
        f"site profile: {out} (1.2 MB)",
    ]


def test_what_is_printed_of_a_profile_of_cameras_alone(
    trained: Any, table: Table, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lobby, three = tmp_path / "lobby.safetensors", trained.data / "three"
    named = table([[path.name, camera_of(path)] for path in crops(three)])
    show_profile(adapt(trained.plain, three, lobby, cameras=named, method="none", device="cpu"), lobby)
    assert capsys.readouterr().out.splitlines()[:2] == [
        "none on 32 images: no tensor of the model",
        "  embeddings of 2 cameras normalised",
    ]


@pytest.mark.parametrize(
    ("method", "stripes", "message"),
    [
        ("bnta", 0, r"the model has no part heads; set model\.stripes"),
        ("baseline", 6, r"method\.name=baseline: does not train part heads; set model\.stripes to 0"),
    ],
)
def test_part_heads_and_the_method_must_fit_to_train(
    trained: Any, tmp_path: Path, method: str, stripes: int, message: str
) -> None:
    from passerby.commands.train import train

    sources = f"data.sources=one={trained.data / 'one'}"
    small = ["model.backbone=test_resnet", "model.weights=none", "data.height=32", "data.width=16"]
    recipe = load_recipe(f"{method}-mobilenetv2", [*small, sources, f"model.stripes={stripes}", "data.identities=4"])
    with pytest.raises(PasserbyError, match=message):
        train(recipe, trained.data, tmp_path / "run", recipe_name="t", device="cpu", progress=False)
