"""Counts on real data, where it is at hand."""

import os
from pathlib import Path

import pytest

from passerby.data.datasets import check, get_dataset, source_samples

REPOSITORY = Path(__file__).parents[3]
DATA_ROOT = Path(os.environ.get("PASSERBY_DATA_ROOT", REPOSITORY.parent / "shared" / "data"))


def data_root(dataset: str) -> Path:
    if not any((DATA_ROOT / folder).is_dir() for folder in get_dataset(dataset).folders):
        pytest.skip(f"no {dataset} under {DATA_ROOT} (set PASSERBY_DATA_ROOT)")
    return DATA_ROOT


@pytest.mark.parametrize(
    ("dataset", "images", "identities"),
    [("market1501", 12_989, 751), ("cuhk03", 8_177, 843), ("cuhk01", 3_884, 971)],
)
def test_sources(dataset: str, images: int, identities: int) -> None:
    samples = source_samples(get_dataset(dataset), data_root(dataset), "all")
    found = (len(samples), len({sample.identity for sample in samples}))
    published = get_dataset(dataset).published
    whole = published.get("all", published.get("detected"))
    assert found in {(images, identities), (whole.images, whole.identities)}


@pytest.mark.parametrize("dataset", ["viper", "prid"])
def test_targets_are_as_published(dataset: str) -> None:
    report = check(get_dataset(dataset), data_root(dataset))
    assert all(count.agrees for count in report.parts)
    assert report.misfits == 0
