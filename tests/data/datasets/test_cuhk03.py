from pathlib import Path

import h5py
import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat

from passerby.data.datasets import DATASETS, source_samples
from passerby.data.datasets.cuhk03 import release_file
from passerby.data.datasets.cuhk03_release import classic_test_sets
from passerby.errors import PasserbyError

DETECTED = [f"cuhk03/images_detected/{name}.png" for name in ("1_001_1_01", "1_001_2_06", "2_001_1_01", "5_049_2_10")]
LABELED = [f"cuhk03/images_labeled/{name}.jpg" for name in ("1_001_1_01", "1_001_2_06")]


def write_new_protocol(root: Path, boxes: str, names: list[str]) -> None:
    """The structure of cuhk03_new_protocol_config_*.mat; image i is train, query, gallery in turn."""
    rows = np.arange(1, len(names) + 1)
    savemat(
        root / "cuhk03" / f"cuhk03_new_protocol_config_{boxes}.mat",
        {
            "filelist": np.array(names, dtype=object)[:, None],
            "labels": rows[:, None],
            "camId": rows[:, None],
            "train_idx": rows[0::3][None],
            "query_idx": rows[1::3][None],
            "gallery_idx": rows[2::3][None],
        },
    )


def write_release(root: Path, images: dict[str, np.ndarray], test_sets: list[list[list[int]]]) -> None:
    """The structure of cuhk-03.mat as Matlab 7.3 writes it: everything transposed, cells as references.

    `images` has [H, W, 3] arrays by name; cells without one are Matlab's empty arrays.
    """
    file_name = release_file(root / "cuhk03")
    file_name.parent.mkdir(parents=True)
    with h5py.File(file_name, "w") as file:
        refs = file.create_group("#refs#")
        count = iter(range(10_000))

        def store(array: np.ndarray) -> h5py.Reference:
            return refs.create_dataset(str(next(count)), data=array).ref

        for boxes in ("labeled", "detected"):
            pairs = []
            for pair in range(1, 6):
                people = max((int(name[2:5]) for name in images if name.startswith(f"{pair}_")), default=0)
                cells = np.empty((10, people), dtype=h5py.ref_dtype)
                for person in range(people):
                    for cell in range(10):
                        name = f"{pair}_{person + 1:03d}_{1 if cell < 5 else 2}_{cell + 1:02d}"
                        image = images.get(name)
                        cells[cell, person] = store(np.zeros(2, np.uint64) if image is None else image.T)
                pairs.append(refs.create_dataset(str(next(count)), data=cells, dtype=h5py.ref_dtype).ref)
            file.create_dataset(boxes, data=np.array([pairs], dtype=h5py.ref_dtype), dtype=h5py.ref_dtype)
        sets = [[store(np.array(test_set, dtype=np.float64).T) for test_set in test_sets]]
        file.create_dataset("testsets", data=np.array(sets, dtype=h5py.ref_dtype), dtype=h5py.ref_dtype)


def test_folders_of_images(tree) -> None:
    root = tree(*DETECTED, *LABELED, "cuhk03/images_detected/6_001_1_01.png")
    listing = DATASETS["cuhk03"].scan(root)
    found = {part: [(s.identity, s.camera) for s in samples] for part, samples in listing.parts.items()}
    assert found == {
        "detected": [(1001, 1), (1001, 2), (2001, 3), (5049, 10)],
        "labeled": [(1001, 1), (1001, 2)],
    }
    assert listing.misfits == ("images_detected/6_001_1_01.png",)


def test_a_source_takes_one_kind_of_boxes(tree) -> None:
    root = tree(*DETECTED, *LABELED)
    detected = source_samples(DATASETS["cuhk03"], root, "all")
    labeled = source_samples(DATASETS["cuhk03-labeled"], root, "all")
    assert {sample.image.parent.name for sample in detected} == {"images_detected"}
    assert {sample.image.parent.name for sample in labeled} == {"images_labeled"}
    assert (len(detected), len(labeled)) == (4, 2)
    # The same people whichever boxes: an overlap of source and target must be seen.
    assert {sample.domain for sample in (*detected, *labeled)} == {"cuhk03"}


def test_labelled_boxes_serve_where_there_are_no_others(tree) -> None:
    assert len(source_samples(DATASETS["cuhk03"], tree(*LABELED), "all")) == 2


def test_new_protocol(tree) -> None:
    root = tree(*DETECTED, *LABELED)
    write_new_protocol(root, "detected", ["1_001_1_01.png", "5_049_2_10.png", "2_001_1_01.png", "1_001_2_06.png"])
    write_new_protocol(root, "labeled", ["1_001_2_06.png", "1_001_1_01.png"])
    parts = DATASETS["cuhk03"].scan(root).parts
    assert [s.image.name for s in parts["train"]] == ["1_001_1_01.png", "1_001_2_06.png"]
    assert [s.image.name for s in parts["query"]] == ["5_049_2_10.png"]
    assert [s.image.name for s in parts["gallery"]] == ["2_001_1_01.png"]
    assert len(source_samples(DATASETS["cuhk03"], root, "all")) == 4
    assert len(source_samples(DATASETS["cuhk03"], root, "train")) == 2
    labeled = DATASETS["cuhk03-labeled"].scan(root).parts
    # The list says .png; the images are .jpg.
    assert [s.image.name for s in labeled["train"]] == ["1_001_2_06.jpg"]
    assert [s.image.name for s in labeled["query"]] == ["1_001_1_01.jpg"]


def test_images_of_the_new_protocol_that_are_not_there_are_misfits(tree) -> None:
    root = tree(*DETECTED)
    write_new_protocol(root, "detected", ["1_001_1_01.png", "3_001_1_01.png"])
    listing = DATASETS["cuhk03"].scan(root)
    name = "cuhk03_new_protocol_config_detected.mat"
    assert listing.misfits == (f"images_detected/3_001_1_01.png (named in {name}, not there)",)


def test_a_damaged_protocol_is_an_error(tree) -> None:
    root = tree(*DETECTED)
    (root / "cuhk03" / "cuhk03_new_protocol_config_detected.mat").write_bytes(b"<html>not found</html>" * 20)
    with pytest.raises(PasserbyError, match=r"config_detected.mat is not a new-protocol .mat"):
        DATASETS["cuhk03"].scan(root)


def test_prepare_extracts_the_release(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    names = ("1_001_1_01", "1_001_2_06", "1_002_2_10", "4_001_1_05")
    images = {name: rng.integers(0, 256, (6 + n, 3, 3), dtype=np.uint8) for n, name in enumerate(names)}
    write_release(tmp_path, images, test_sets=[[[1, 2], [4, 1]], [[1, 1], [1, 2]]])
    with pytest.raises(PasserbyError, match="run 'passerby datasets prepare cuhk03'"):
        DATASETS["cuhk03"].scan(tmp_path)
    written = DATASETS["cuhk03"].prepare(tmp_path)
    assert sorted(folder.name for folder in written) == ["images_detected", "images_labeled"]
    for sample in DATASETS["cuhk03"].scan(tmp_path).samples:
        with Image.open(sample.image) as image:
            np.testing.assert_array_equal(np.asarray(image), images[sample.image.stem])
    assert [s.image.stem for s in source_samples(DATASETS["cuhk03"], tmp_path, "all")] == list(names)
    assert classic_test_sets(release_file(tmp_path / "cuhk03")) == ((1002, 4001), (1001, 1002))
    assert DATASETS["cuhk03"].prepare(tmp_path) == ()


def test_a_damaged_release_is_an_error_and_leaves_nothing_behind(tmp_path: Path) -> None:
    file = release_file(tmp_path / "cuhk03")
    file.parent.mkdir(parents=True)
    with pytest.raises(PasserbyError, match=r"no file .*cuhk-03.mat; unpack"):
        DATASETS["cuhk03"].prepare(tmp_path)
    file.write_bytes(b"half a download")
    with pytest.raises(PasserbyError, match=r"cuhk-03.mat is not CUHK03's release"):
        DATASETS["cuhk03"].prepare(tmp_path)
    with h5py.File(file, "w") as other:
        other["something"] = 1
    for read in (DATASETS["cuhk03"].prepare, lambda _: classic_test_sets(file)):
        with pytest.raises(PasserbyError, match=r"cuhk-03.mat is not CUHK03's release") as error:
            read(tmp_path)
        assert "\n" not in str(error.value)
    assert [path.name for path in file.parent.parent.iterdir()] == ["cuhk03_release"]
