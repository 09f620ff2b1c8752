from pathlib import Path

from passerby.data.datasets import DATASETS, Published, check
from passerby.data.datasets.check import PartCount, count_part
from passerby.data.sample import DISTRACTOR, Sample

ROOT = "market1501/Market-1501-v15.09.15"


def test_counts_beside_the_published_ones(tree) -> None:
    root = tree(
        *(f"{ROOT}/bounding_box_train/{n:04d}_c{c}s1_000451_03.jpg" for n in (2, 7) for c in (1, 2)),
        f"{ROOT}/bounding_box_test/0000_c4s6_027646_08.jpg",
        f"{ROOT}/bounding_box_test/0001_c2s1_000301_00.jpg",
        *(f"{ROOT}/bounding_box_test/stray{n}.jpg" for n in range(7)),
    )
    report = check(DATASETS["market1501"], root)
    published = DATASETS["market1501"].published
    assert report.parts == (
        PartCount("train", 2, 4, 2, 0, published["train"]),
        PartCount("gallery", 1, 1, 1, 1, published["gallery"]),
        PartCount("all", 3, 5, 2, 1, published["all"]),
    )
    assert [count.agrees for count in report.parts] == [False, False, False]
    assert report.folder == root / ROOT
    assert report.misfits == 7
    assert report.first_misfits == tuple(f"bounding_box_test/stray{n}.jpg" for n in range(5))
    assert report.warnings == ("not there: query",)


def test_a_whole_dataset_agrees(tree) -> None:
    names = [f"prid2011/prid_2011/single_shot/cam_a/person_{n:04d}.png" for n in range(1, 386)]
    names += [f"prid2011/prid_2011/single_shot/cam_b/person_{n:04d}.png" for n in range(1, 750)]
    report = check(DATASETS["prid"], tree(*names))
    assert [(count.part, count.agrees) for count in report.parts] == [("cam_a", True), ("cam_b", True), ("all", True)]
    assert report.warnings == ()
    last = tree("prid2011/prid_2011/single_shot/cam_b/person_0749.png")
    (last / "prid2011/prid_2011/single_shot/cam_b/person_0749.png").unlink()
    assert [count.agrees for count in check(DATASETS["prid"], last).parts] == [True, False, False]


def test_a_retracted_dataset_is_said_to_be(tree) -> None:
    report = check(DATASETS["dukemtmcreid"], tree("DukeMTMC-reID/query/0005_c2_f0046985.jpg"))
    assert DATASETS["dukemtmcreid"].warning in report.warnings


def test_cameras_count_where_they_are_known_and_published() -> None:
    samples = tuple(Sample(Path(str(n)), n % 2, camera, "x") for n, camera in enumerate((1, 2, None, 2)))
    distractor = Sample(Path("d"), DISTRACTOR, 9, "x")
    assert count_part("all", (*samples, distractor), None) == PartCount("all", 2, 4, 2, 1, None)
    assert count_part("all", samples, Published(2, 4, None)).agrees
    assert count_part("all", samples, Published(2, 4, 3)).agrees is False
    assert count_part("all", (samples[2],), None).cameras is None
    assert count_part("all", samples, None).agrees is None


def test_published_counts_of_the_large_scale_benchmark() -> None:
    benchmark = [
        DATASETS["cuhk02"].published["all"],
        DATASETS["cuhk03"].published["detected"],
        DATASETS["dukemtmcreid"].published["all"],
        DATASETS["market1501"].published["all"],
        DATASETS["cuhk-sysu"].published["all"],
    ]
    assert sum(count.identities for count in benchmark) == 18_530
    assert sum(count.images for count in benchmark) == 121_765


def test_published_parts_add_up() -> None:
    for name, parts in {
        "market1501": ("train", "query", "gallery"),
        "dukemtmcreid": ("train", "query", "gallery"),
        "viper": ("cam_a", "cam_b"),
        "prid": ("cam_a", "cam_b"),
        "grid": ("probe", "gallery"),
    }.items():
        published = DATASETS[name].published
        assert sum(published[part].images for part in parts) == published["all"].images
    for name, whole in {"cuhk03": "detected", "cuhk03-labeled": "labeled"}.items():
        published = DATASETS[name].published
        parts = ("train", "query", "gallery")
        assert sum(published[part].images for part in parts) == published[whole].images
