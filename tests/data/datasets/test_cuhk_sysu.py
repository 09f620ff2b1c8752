from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from scipy.io import savemat

from passerby.data.datasets import DATASETS
from passerby.data.datasets.cuhk_sysu import NAME
from passerby.errors import PasserbyError

Scene = tuple[str, tuple[int, int, int, int]]


def write_archive(
    root: Path, people: dict[str, list[Scene]], frames: tuple[str, ...], folder: str = "cuhksysu"
) -> None:
    """The structure of annotation/Person.mat (1 x N struct: idname, nAppear, scene) and the frames it speaks of.

    Frames are 400 x 300, red grows with x and green with y, so that a crop tells where it was cut.
    """
    scene_type = [("imname", object), ("idlocate", object), ("ishard", object)]
    person_type = [("idname", object), ("nAppear", object), ("scene", object)]
    array = np.empty((1, len(people)), dtype=person_type)
    for column, (name, scenes) in enumerate(people.items()):
        scene_array = np.empty((1, len(scenes)), dtype=scene_type)
        for index, (image, box) in enumerate(scenes):
            # As in the release, boxes are kept in the smallest type that holds them.
            kind = np.uint8 if max(box) < 256 else np.uint16
            scene_array[0, index] = (image, np.array([box], dtype=kind), np.uint8(0))
        array[0, column] = (name, np.uint8(len(scenes)), scene_array)
    base = root / folder
    (base / "annotation").mkdir(parents=True)
    (base / "Image" / "SSM").mkdir(parents=True)
    savemat(base / "annotation" / "Person.mat", {"Person": array})
    x, y = np.meshgrid(np.arange(400), np.arange(300))
    frame = np.stack([x // 2, y // 2, np.full_like(x, 128)], axis=2).astype(np.uint8)
    for name in frames:
        Image.fromarray(frame).save(base / "Image" / "SSM" / name, quality=95, subsampling=0)


def test_crops_are_cut_and_read(tmp_path: Path) -> None:
    people: dict[str, list[Scene]] = {
        "p1": [("s1.jpg", (200, 100, 60, 120)), ("s2.jpg", (350, 250, 80, 80))],
        "p11422": [("s1.jpg", (0, 0, 20, 40)), ("s2.jpg", (10, 20, 30, 60))],
    }
    write_archive(tmp_path, people, ("s1.jpg", "s2.jpg"))
    dataset = DATASETS["cuhk-sysu"]
    with pytest.raises(PasserbyError, match="run 'passerby datasets prepare cuhk-sysu'"):
        dataset.scan(tmp_path)
    (folder,) = dataset.prepare(tmp_path)
    listing = dataset.scan(tmp_path)
    names = [(s.image.name, s.identity, s.camera) for s in listing.parts["all"]]
    assert names == [
        ("p11422_s1_1.jpg", 11422, None),
        ("p11422_s2_2.jpg", 11422, None),
        ("p1_s1_1.jpg", 1, None),
        ("p1_s2_2.jpg", 1, None),
    ]
    crop = np.asarray(Image.open(folder / "p1_s1_1.jpg")).astype(int)
    assert crop.shape == (120, 60, 3)
    assert abs(crop[0, 0] - (100, 50, 128)).max() <= 6
    assert abs(crop[-1, -1] - (129, 109, 128)).max() <= 6
    # A box that leaves its frame is clipped to it.
    assert Image.open(folder / "p1_s2_2.jpg").size == (50, 50)
    assert dataset.prepare(tmp_path) == ()


def test_crops_cut_by_other_scripts_are_read_as_well(tree) -> None:
    root = tree("CUHK-SYSU/cropped_image/p00007_n01_s00001_hard0.png", "CUHK-SYSU/cropped_image/readme.png")
    listing = DATASETS["cuhk-sysu"].scan(root)
    assert [(s.identity, s.camera) for s in listing.samples] == [(7, None)]
    assert listing.misfits == ("cropped_image/readme.png",)


def test_missing_frames_and_stray_boxes_are_errors_that_leave_nothing_behind(tmp_path: Path) -> None:
    people: dict[str, list[Scene]] = {"p1": [("s1.jpg", (0, 0, 9, 9)), ("s2.jpg", (900, 0, 9, 9))]}
    write_archive(tmp_path, people, ("s1.jpg",))
    dataset, root = DATASETS["cuhk-sysu"], tmp_path / "cuhksysu"
    with pytest.raises(PasserbyError, match=r"1 of 2 frames are not in .*SSM, first s2.jpg"):
        dataset.prepare(tmp_path)
    (root / "Image" / "SSM" / "s2.jpg").write_bytes(b"\xff\xd8 half a frame")
    with pytest.raises(PasserbyError, match=r"s2.jpg cannot be read"):
        dataset.prepare(tmp_path)
    Image.new("RGB", (400, 300)).save(root / "Image" / "SSM" / "s2.jpg")
    with pytest.raises(PasserbyError, match=r"the box of p1_s2_2.jpg lies outside its frame"):
        dataset.prepare(tmp_path)
    assert sorted(path.name for path in root.iterdir()) == ["Image", "annotation"]


def test_missing_and_damaged_annotations_are_errors(tmp_path: Path) -> None:
    (tmp_path / "cuhksysu").mkdir()
    with pytest.raises(PasserbyError, match=r"no annotation/Person.mat under"):
        DATASETS["cuhk-sysu"].prepare(tmp_path)
    (tmp_path / "cuhksysu" / "annotation").mkdir()
    savemat(tmp_path / "cuhksysu" / "annotation" / "Person.mat", {"Img": np.zeros(3)})
    with pytest.raises(PasserbyError, match=r"Person.mat is not its Person.mat"):
        DATASETS["cuhk-sysu"].prepare(tmp_path)


@given(st.integers(1, 11934), st.integers(1, 18184), st.integers(1, 99))
def test_names(person: int, scene: int, number: int) -> None:
    for name in (f"p{person}_s{scene}_{number}", f"p{person:05d}_n{number:02d}_s{scene:05d}_hard1"):
        match = NAME.fullmatch(name)
        assert match is not None
        assert int(match[1]) == person
