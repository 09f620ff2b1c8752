"""Sources by name and by path."""

from collections.abc import Callable
from pathlib import Path

import pytest

from passerby.data.sample import Sample
from passerby.data.sources import by_camera, listing_digest, open_sources
from passerby.errors import PasserbyError

Market = Callable[..., list[Sample]]


def test_opens_custom_sources_in_the_order_given(market: Market, tmp_path: Path) -> None:
    market("two", identities=3)
    market("one", identities=2)
    sources = open_sources([f"b={tmp_path / 'two'}", f"a={tmp_path / 'one'}"], tmp_path, "all")
    assert [source.domain for source in sources] == ["b", "a"]
    assert [len(source.samples) for source in sources] == [12, 8]
    assert [source.dataset.name for source in sources] == ["b", "a"]
    assert {sample.domain for sample in sources[0].samples} == {"b"}


def test_opens_a_public_dataset_under_the_data_root(tmp_path: Path) -> None:
    folder = tmp_path / "viper" / "VIPeR"
    for camera in "ab":
        (folder / f"cam_{camera}").mkdir(parents=True)
        for person in (1, 2):
            (folder / f"cam_{camera}" / f"{person:03d}_45.bmp").touch()
    (source,) = open_sources(["viper"], tmp_path, "all")
    assert (source.domain, len(source.samples)) == ("viper", 4)


@pytest.mark.parametrize(
    ("specs", "message"),
    [
        ([], r"data\.sources: empty"),
        (["a={root}/one", "a={root}/one"], r"data\.sources: .*'a' stand.* twice"),
        (["cuhk03", "cuhk03-labeled"], r"data\.sources: .*'cuhk03' stand.* twice"),
        (["vipr"], "did you mean 'viper'"),
        (["viper={root}/one"], "public dataset's name"),
        (["a={root}/nowhere"], "nowhere"),
    ],
)
def test_bad_sources_are_named(market: Market, tmp_path: Path, specs: list[str], message: str) -> None:
    market("one", identities=2)
    with pytest.raises(PasserbyError, match=message) as error:
        open_sources([spec.format(root=tmp_path) for spec in specs], tmp_path, "all")
    assert "\n" not in str(error.value)


def test_by_camera_makes_a_domain_of_every_camera(market: Market) -> None:
    samples = market(cameras=3)
    parts = by_camera("people", reversed(samples))
    assert [name for name, _ in parts] == ["people/c1", "people/c2", "people/c3"]
    for camera, (_, part) in enumerate(parts, start=1):
        assert {s.camera for s in part} == {camera}
    assert sorted((s for _, part in parts for s in part), key=lambda s: s.image) == sorted(
        samples, key=lambda s: s.image
    )


def test_by_camera_needs_cameras() -> None:
    with pytest.raises(PasserbyError, match=r"people: a\.jpg has no camera"):
        by_camera("people", [Sample(Path("a.jpg"), 1, None, "people")])


def test_a_digest_is_of_names_and_labels_whatever_the_order_and_the_folder() -> None:
    samples = [Sample(Path(f"/here/{k}.jpg"), k // 2, k % 2, "d") for k in range(6)]
    moved = [Sample(Path("/there") / s.image.name, s.identity, s.camera, s.domain) for s in reversed(samples)]
    assert listing_digest(samples) == listing_digest(moved)
    first = samples[0]
    for changed in (
        Sample(Path("/here/x.jpg"), first.identity, first.camera, "d"),
        Sample(first.image, 9, first.camera, "d"),
        Sample(first.image, first.identity, None, "d"),
        Sample(first.image, first.identity, first.camera, "e"),
    ):
        assert listing_digest([changed, *samples[1:]]) != listing_digest(samples)
    assert listing_digest(samples[1:]) != listing_digest(samples)
