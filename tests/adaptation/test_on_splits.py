"""Adapting to splits: the gallery is looked at, queries and labels are not."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from passerby.adaptation import AdaBn, Adaptation, BntaAdaptation, CameraStatistics, Entropy, SiteProfile, on_splits
from passerby.adaptation.base import wearing
from passerby.adaptation.on_splits import AdaptedFeatures, site_features
from passerby.adaptation.profile import ProfileCard
from passerby.data.images import Pixels, Preprocessing
from passerby.data.sample import Sample
from passerby.errors import PasserbyError
from passerby.evaluation.measure import measure
from passerby.evaluation.targets import Split, Target
from passerby.models.embedder import Embedder
from passerby.models.model import Model

Build = Callable[..., Model]
Market = Callable[..., list[Sample]]
Unchanged = Callable[[nn.Module], Callable[[], None]]

WAYS: dict[str, tuple[Adaptation | None, bool]] = {
    "camera": (None, True),
    "adabn": (AdaBn(), False),
    "adabn + camera": (AdaBn(), True),
    "bnta": (BntaAdaptation(lr=0.01), False),
    "bnta + camera": (BntaAdaptation(lr=0.01), True),
    "entropy + camera": (Entropy(lr=0.01), True),
}
every_way = pytest.mark.parametrize(("adaptation", "camera_normalise"), WAYS.values(), ids=WAYS)


class Colours(Embedder):
    """An embedder that is no saved model: the mean of each colour in each quarter."""

    preprocessing = Preprocessing(height=32, width=16)

    @property
    def device(self) -> torch.device:
        return torch.device("cpu")

    def embed_batch(self, pixels: Tensor) -> Tensor:
        return nn.functional.adaptive_avg_pool2d(pixels.float(), (4, 1)).flatten(1)


@pytest.fixture
def target(market: Market) -> Target:
    """Two splits: camera 1 queries camera 2; the rest, camera 3 among it, is left over."""
    samples = market(identities=8, cameras=3)
    splits = []
    for people in (range(1, 5), range(3, 8)):
        query = [s for s in samples if s.camera == 1 and s.identity in people][::2]
        gallery = [s for s in samples if s.camera == 2 and s.identity in people]
        left_over = [s for s in samples if s not in query and s not in gallery]
        splits.append(Split(tuple(query), tuple(gallery), tuple(left_over)))
    return Target("people", tuple(splits), "people-2", "cam 1 -> cam 2")


def paths(samples: tuple[Sample, ...] | list[Sample]) -> list[Any]:
    return [sample.image for sample in samples]


def brought_to(embedding: Tensor, by: Tensor) -> Tensor:
    """(f - mean) / deviation of the images `by`, eight at least, length 1."""
    assert len(by) >= 8
    return nn.functional.normalize((embedding - by.mean(0)) / by.std(0, correction=0).clamp(min=0.001))


@every_way
def test_what_queries_show_changes_nothing_of_the_gallery(
    adaptation: Adaptation | None, camera_normalise: bool, model: Model, target: Target
) -> None:
    # What one split queries is left over in the other: each is looked at alone.
    for split in target.splits:
        alone = replace(split, left_over=tuple(s for s in split.left_over if s.camera == 3))
        only = replace(target, splits=(alone,))
        query, gallery = AdaptedFeatures(model, only, adaptation, camera_normalise)(alone)
        noise = np.random.default_rng(0)
        for sample in alone.query:
            Image.fromarray(noise.integers(0, 256, (40, 20, 3), dtype=np.uint8)).save(sample.image)
        other_query, same_gallery = AdaptedFeatures(model, only, adaptation, camera_normalise)(alone)
        assert torch.equal(gallery, same_gallery)
        assert not torch.allclose(query, other_query, atol=0.01)


@pytest.mark.parametrize("adaptation", [AdaBn(), BntaAdaptation(lr=0.01), Entropy(lr=0.01)])
def test_it_adapts_to_the_gallery_of_each_split_anew(
    adaptation: Adaptation, model: Model, target: Target, monkeypatch: pytest.MonkeyPatch, unchanged: Unchanged
) -> None:
    adapt, seen = type(adaptation).adapt, []

    def watched(self: Adaptation, model: Model, images: Pixels, seed: int = 0) -> Any:
        seen.append((images, seed))
        return adapt(self, model, images, seed)

    monkeypatch.setattr(type(adaptation), "adapt", watched)
    check = unchanged(model)
    features = AdaptedFeatures(model, target, adaptation, camera_normalise=False, seed=6)
    assert seen == []
    for split in (*target.splits, target.splits[0]):
        query, gallery = features(split)
        check()
        images, seed = seen[-1]
        assert np.array_equal(images, model.preprocessing.read_many(paths(split.gallery)))
        assert seed == 6
        adapted = adapt(adaptation, model, images, 6)
        with wearing(model, adapted):
            expected = [model.embed(paths(side)) for side in (split.query, split.gallery)]
        torch.testing.assert_close(query, expected[0])
        torch.testing.assert_close(gallery, expected[1])
    assert len(seen) == 3
    assert features.images == (8 + 10) / 2
    assert AdaptedFeatures(model, target, type(adaptation)(images=9), False).images == (8 + 9) / 2


@every_way
def test_labels_are_not_looked_at(
    adaptation: Adaptation | None, camera_normalise: bool, model: Model, target: Target
) -> None:
    def relabelled(samples: tuple[Sample, ...]) -> tuple[Sample, ...]:
        return tuple(replace(sample, identity=100 - 7 * sample.identity % 5) for sample in samples)

    other = replace(
        target,
        splits=tuple(Split(*map(relabelled, (s.query, s.gallery, s.left_over))) for s in target.splits),
    )
    found = AdaptedFeatures(model, other, adaptation, camera_normalise)
    expected = AdaptedFeatures(model, target, adaptation, camera_normalise)
    for split, same in zip(other.splits, target.splits, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(found(split), expected(same), strict=True))


@pytest.mark.parametrize("camera_normalise", [False, True])
def test_left_over_images_are_read_only_of_cameras_that_the_gallery_lacks(
    camera_normalise: bool, model: Model, target: Target, monkeypatch: pytest.MonkeyPatch
) -> None:
    read, seen = on_splits.read_crops, []

    def watched(images: Any, *args: Any, **options: Any) -> Any:
        seen.extend(images)
        return read(images, *args, **options)

    monkeypatch.setattr(on_splits, "read_crops", watched)
    AdaptedFeatures(model, target, AdaBn(), camera_normalise)
    assert len(set(seen)) == len(seen)
    wanted = {s for split in target.splits for s in (*split.query, *split.gallery)}
    if camera_normalise:
        wanted |= {s for split in target.splits for s in split.left_over if s.camera in (1, 3)}
        assert any(s.camera == 2 for split in target.splits for s in split.left_over if s not in wanted)
    assert set(seen) == set(paths(list(wanted)))


def test_camera_normalisation_alone_is_the_formula(model: Model, target: Target, unchanged: Unchanged) -> None:
    check = unchanged(model)
    features = AdaptedFeatures(model, target, None, camera_normalise=True)
    assert features.images == 0
    for split in target.splits:
        query, gallery = features(split)
        of_gallery = model.embed(paths(split.gallery))
        left_over = model.embed([s.image for s in split.left_over if s.camera == 1])
        torch.testing.assert_close(gallery, brought_to(of_gallery, of_gallery), rtol=1e-3, atol=1e-4)
        expected = brought_to(model.embed(paths(split.query)), left_over)
        torch.testing.assert_close(query, expected, rtol=1e-3, atol=1e-4)
    check()


def test_adapting_comes_before_camera_normalisation(model: Model, target: Target) -> None:
    split = target.splits[0]
    query, gallery = AdaptedFeatures(model, target, AdaBn(weight=1), camera_normalise=True)(split)
    adapted = AdaBn(weight=1).adapt(model, model.preprocessing.read_many(paths(split.gallery)))
    with wearing(model, adapted):
        of_gallery = model.embed(paths(split.gallery))
        left_over = model.embed([s.image for s in split.left_over if s.camera == 1])
        of_query = model.embed(paths(split.query))
    torch.testing.assert_close(gallery, brought_to(of_gallery, of_gallery), rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(query, brought_to(of_query, left_over), rtol=1e-3, atol=1e-4)


def test_without_cameras_the_gallery_speaks_for_all(model: Model, target: Target) -> None:
    blind = tuple(
        Split(*(tuple(replace(s, camera=None) for s in side) for side in (split.query, split.gallery, split.left_over)))
        for split in target.splits
    )
    features = AdaptedFeatures(model, replace(target, splits=blind), None, camera_normalise=True)
    for split in blind:
        query, gallery = features(split)
        of_gallery = model.embed(paths(split.gallery))
        torch.testing.assert_close(gallery, brought_to(of_gallery, of_gallery), rtol=1e-3, atol=1e-4)
        torch.testing.assert_close(query, brought_to(model.embed(paths(split.query)), of_gallery), rtol=1e-3, atol=1e-4)


def test_a_camera_with_few_images_is_normalised_by_all(model: Model, market: Market) -> None:
    samples = market(identities=8, cameras=4)
    query = [s for s in samples if s.camera == 1 and s.identity <= 2]
    few = [s for s in samples if s.camera == 2 and s.identity <= 3]  # 6 images
    enough = [s for s in samples if s.camera == 3 and s.identity <= 4]  # 8 images
    unused = [s for s in samples if s.camera == 1 and s.identity >= 6]  # 6 images of the queries' camera
    split = Split(tuple(query), (*few, *enough), tuple(unused))
    target = Target("people", (split,), "people-1", "cam 1 -> cam 2")
    found_query, found_gallery = AdaptedFeatures(model, target, None, camera_normalise=True)(split)
    of = {k: model.embed(paths(side)) for k, side in enumerate((query, few, enough, unused))}
    every = torch.cat([of[1], of[2], of[3]])
    torch.testing.assert_close(found_query, brought_to(of[0], every), rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(found_gallery[:6], brought_to(of[1], every), rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(found_gallery[6:], brought_to(of[2], of[2]), rtol=1e-3, atol=1e-4)
    assert not torch.allclose(found_gallery[6:], brought_to(of[2], every), atol=0.01)


@pytest.mark.parametrize("adaptation", [None, AdaBn(weight=1)])
@pytest.mark.parametrize("count", [1, 7, 8])
def test_where_the_gallery_shows_few_of_a_camera_what_is_left_over_counts_too(
    count: int, adaptation: Adaptation | None, model: Model, market: Market
) -> None:
    samples = market(identities=10, cameras=2)
    own = [s for s in samples if s.camera == 1]
    query, shown, unused = own[:2], own[2 : 2 + count], own[2 + count :]
    others = [s for s in samples if s.camera == 2 and s.identity <= 5]
    split = Split(tuple(query), (*shown, *others), (*unused, *(s for s in samples if s.camera == 2 and s.identity > 5)))
    target = Target("people", (split,), "people-1", "cam 1 -> cams 1, 2")
    found_query, found_gallery = AdaptedFeatures(model, target, adaptation, camera_normalise=True)(split)
    pixels = model.preprocessing.read_many(paths(split.gallery))
    with wearing(model, {} if adaptation is None else adaptation.adapt(model, pixels)):
        of = {k: model.embed(paths(side)) for k, side in enumerate((query, shown, unused, others))}
    by = of[1] if count == 8 else torch.cat([of[1], of[2]])
    torch.testing.assert_close(found_query, brought_to(of[0], by), rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(found_gallery[:count], brought_to(of[1], by), rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(found_gallery[count:], brought_to(of[3], of[3]), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("camera_normalise", [False, True])
def test_a_model_that_stays_as_it_is_keeps_no_pixels(
    camera_normalise: bool, model: Model, target: Target, monkeypatch: pytest.MonkeyPatch
) -> None:
    embed, seen = Model.embed, []

    def watched(self: Model, images: Any, **options: Any) -> Tensor:
        seen.extend(images)
        return embed(self, images, **options)

    monkeypatch.setattr(on_splits, "read_crops", None)
    monkeypatch.setattr(on_splits, "crops_at", None)
    monkeypatch.setattr(Model, "embed", watched)
    features = AdaptedFeatures(model, target, None, camera_normalise)
    found = [features(split) for split in target.splits]
    assert seen
    assert all(isinstance(image, Path) for image in seen)
    assert len(set(seen)) == len(seen)
    if not camera_normalise:
        for split, (query, gallery) in zip(target.splits, found, strict=True):
            torch.testing.assert_close(query, embed(model, paths(split.query)))
            torch.testing.assert_close(gallery, embed(model, paths(split.gallery)))


@pytest.mark.parametrize("adaptation", [None, AdaBn()])
@pytest.mark.parametrize("splits", [1, 2])
def test_bars_change_nothing(adaptation: Adaptation | None, splits: int, model: Model, target: Target) -> None:
    some = replace(target, splits=target.splits[:splits])
    quiet, shown = (
        measure(some, AdaptedFeatures(model, some, adaptation, True, progress=progress), progress=progress)
        for progress in (False, True)
    )
    assert len(shown.outcomes) == splits
    assert shown.metrics() == quiet.metrics()
    for outcome, same in zip(shown.outcomes, quiet.outcomes, strict=True):
        assert outcome.split == same.split
        assert torch.equal(outcome.query, same.query)
        assert torch.equal(outcome.gallery, same.gallery)


def test_too_few_images_in_all_for_camera_normalisation(model: Model, market: Market) -> None:
    samples = market(identities=3, cameras=2)
    sides = [tuple(s for s in samples if s.camera == camera) for camera in (1, 2)]
    split = Split(sides[0], sides[1], ())
    features = AdaptedFeatures(model, Target("people", (split,), "p", "cam 1 -> cam 2"), None, camera_normalise=True)
    with pytest.raises(PasserbyError, match="camera normalisation: 6 images; give at least 8"):
        features(split)


def test_flip_averages_mirror_images(model: Model, target: Target) -> None:
    split = target.splits[0]
    adapted = AdaBn().adapt(model, model.preprocessing.read_many(paths(split.gallery)))
    with wearing(model, adapted):
        expected = model.embed(paths(split.gallery), flip=True)
    _, gallery = AdaptedFeatures(model, target, AdaBn(), camera_normalise=False, flip=True)(split)
    torch.testing.assert_close(gallery, expected)
    plain = AdaptedFeatures(model, target, AdaBn(), camera_normalise=False)(split)[1]
    assert not torch.allclose(gallery, plain, atol=1e-5)


def test_an_embedder_that_is_no_saved_model(target: Target) -> None:
    split = target.splits[0]
    with pytest.raises(PasserbyError, match=r"bnta: an \.onnx file has no norms to adapt"):
        AdaptedFeatures(Colours(), target, BntaAdaptation(), camera_normalise=True)
    _, gallery = AdaptedFeatures(Colours(), target, None, camera_normalise=True)(split)
    of_gallery = Colours().embed(paths(split.gallery))
    torch.testing.assert_close(gallery, brought_to(of_gallery, of_gallery), rtol=1e-3, atol=1e-4)


def test_what_it_refuses_before_it_reads(
    build: Build, target: Target, monkeypatch: pytest.MonkeyPatch, model: Model
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(on_splits, "read_crops", None)
        with pytest.raises(PasserbyError, match="the model has no part heads"):
            AdaptedFeatures(build(stripes=0), target, BntaAdaptation(), camera_normalise=False)
    broken = target.splits[1].gallery[3].image
    broken.write_bytes(broken.read_bytes()[:100])
    with pytest.raises(PasserbyError, match=broken.name):
        AdaptedFeatures(model, target, AdaBn(), camera_normalise=False)


def test_worn_tensors_are_taken_off_when_it_raises(model: Model, unchanged: Unchanged) -> None:
    check = unchanged(model)
    new = {"neck.running_mean": torch.ones(96), "backbone.network.conv1.1.weight": torch.zeros(16)}
    with wearing(model, new):
        assert all(torch.equal(model.state_dict()[name], value) for name, value in new.items())
    check()
    with pytest.raises(KeyboardInterrupt), wearing(model, new):
        raise KeyboardInterrupt
    check()


def profile_of_cameras(cameras: Sequence[str | None]) -> SiteProfile:
    """A profile that changes no tensor of the model `ab...`."""
    embeddings = torch.randn(len(cameras), 96, generator=torch.Generator().manual_seed(0))
    statistics = CameraStatistics.of(nn.functional.normalize(embeddings), cameras)
    card = ProfileCard(
        model_sha256="ab" * 32,
        method="none",
        settings={},
        images=len(cameras),
        cameras=statistics.cameras,
        seed=0,
        before={},
        after={},
        code_version="0",
        date="2026-01-02",
    )
    return SiteProfile(card, {}, statistics)


def test_a_profile_that_knows_none_of_the_cameras(model: Model, target: Target, unchanged: Unchanged) -> None:
    model.weights_sha256 = "ab" * 32
    query, gallery = (tuple(s for s in target.samples if s.camera == camera) for camera in (1, 2))
    split = Split(query, gallery, ())
    seen = replace(target, splits=(split,))
    check = unchanged(model)
    message = r"--site: the profile knows the cameras gate, hall, people has 1, 2; name them alike, or make a profile"
    with pytest.raises(PasserbyError, match=message):
        site_features(model, seen, profile_of_cameras([*["gate"] * 8, *["hall"] * 8, None]))
    check()
    assert model.site is None
    # One that it knows is enough: the other's embeddings are normalised by all of its images.
    for known in ("1", "2"):
        profile = profile_of_cameras([*[known] * 8, *["hall"] * 8])
        assert profile.cameras is not None
        for camera, found in zip(("1", "2"), site_features(model, seen, profile)(split), strict=True):
            embeddings = model.embed([s.image for s in target.samples if str(s.camera) == camera])
            row = profile.cameras.cameras.index(known) if camera == known else 0
            mean, deviation = profile.cameras.mean[row], profile.cameras.deviation[row]
            expected = nn.functional.normalize((embeddings - mean) / deviation.clamp(min=0.001))
            torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-4)


def test_a_profile_of_cameras_on_a_target_without_any(model: Model, target: Target) -> None:
    model.weights_sha256 = "ab" * 32
    sides = (tuple(replace(s, camera=None) for s in target.samples if s.camera == camera) for camera in (1, 2))
    split = Split(*sides, left_over=())
    profile = profile_of_cameras(["gate"] * 8 + ["hall"] * 8)
    assert profile.cameras is not None
    query, _ = site_features(model, replace(target, splits=(split,)), profile)(split)
    expected = profile.cameras.normalise(model.embed(paths(split.query)), [None] * len(split.query))
    torch.testing.assert_close(query, expected, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("with_cameras", [False, True])
def test_features_by_a_model_that_wears_a_profile(
    with_cameras: bool, model: Model, target: Target, unchanged: Unchanged
) -> None:
    model.weights_sha256 = "ab" * 32
    statistics = CameraStatistics.of(nn.functional.normalize(torch.randn(30, 96)), ["1", "2", None] * 10)
    card = ProfileCard(
        model_sha256="ab" * 32,
        method="adabn",
        settings={},
        images=10,
        cameras=statistics.cameras if with_cameras else (),
        seed=0,
        before={},
        after={},
        code_version="0",
        date="2026-01-02",
    )
    crops = model.preprocessing.read_many(paths(target.splits[0].left_over))
    tensors = AdaBn(weight=1).adapt(model, crops)
    profile = SiteProfile(card, tensors, statistics if with_cameras else None)
    check = unchanged(model)
    features = site_features(model, target, profile)
    check()
    for split in target.splits:
        with wearing(model, tensors):
            expected = [model.embed(paths(side)) for side in (split.query, split.gallery)]
        if with_cameras:
            expected = [statistics.normalise(e, [c] * len(e)) for e, c in zip(expected, ("1", "2"), strict=True)]
        for found, own in zip(features(split), expected, strict=True):
            torch.testing.assert_close(found, own, rtol=1e-3, atol=1e-4)
    with pytest.raises(PasserbyError, match="--site: a site profile belongs to a saved model"):
        site_features(Colours(), target, profile)
    model.weights_sha256 = "cd" * 32
    with pytest.raises(PasserbyError, match="site profile: made from the model"):
        site_features(model, target, profile)


def test_a_profile_knows_the_cameras_of_a_target_by_their_names(model: Model, target: Target) -> None:
    model.weights_sha256 = "ab" * 32
    named = [replace(s, camera_name="gate" if s.camera == 1 else "hall") for s in target.samples if s.camera in (1, 2)]
    query, gallery = (tuple(s for s in named if s.camera == camera) for camera in (1, 2))
    split = Split(query, gallery, ())
    profile = profile_of_cameras([*["gate"] * 8, *["hall"] * 8, None])
    features = site_features(model, replace(target, splits=(split,)), profile)(split)
    for found, samples, name in zip(features, (query, gallery), ("gate", "hall"), strict=True):
        embedded = model.embed([s.image for s in samples])
        torch.testing.assert_close(found, profile.normalise(embedded, [name] * len(samples)))
