"""Training samples, their labels, and the batches made of them."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from passerby.data.images import Preprocessing
from passerby.data.sample import Sample
from passerby.data.sampling import BatchStream, DomainBalancedSampler, IdentityBalancedSampler, PlainSampler
from passerby.data.settings import DataSettings
from passerby.data.sources import by_camera
from passerby.data.training_set import BatchLoader, TrainingSet, build_sampler, choose_images
from passerby.errors import PasserbyError

SMALL = Preprocessing(height=16, width=8)
Market = Callable[..., list[Sample]]


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 4), st.integers(-1, 3)), min_size=1, max_size=60),
    st.integers(1, 6),
    st.integers(0, 5),
)
def test_chosen_images_are_at_most_k_and_spread_over_cameras(
    labels: list[tuple[int, int]], most: int, seed: int
) -> None:
    identity, camera = np.array(labels).T
    kept = choose_images(identity, camera, most, np.random.default_rng(seed))
    assert kept.tolist() == sorted(set(kept.tolist()))
    np.testing.assert_array_equal(kept, choose_images(identity, camera, most, np.random.default_rng(seed)))
    there, taken = Counter(labels), Counter(labels[index] for index in kept)
    for person in set(identity.tolist()):
        cameras = [c for i, c in there if i == person]
        assert sum(taken[person, c] for c in cameras) == min(most, sum(there[person, c] for c in cameras))
        for a in cameras:
            for b in cameras:  # a camera gives two more than another only when the other has no more to give
                assert taken[person, a] <= taken[person, b] + 1 or taken[person, b] == there[person, b]


def test_the_choice_is_drawn_among_images_and_among_cameras() -> None:
    identity, camera = np.zeros(12, np.int64), np.repeat(np.arange(3), 4)
    kept = np.stack([choose_images(identity, camera, 4, np.random.default_rng(seed)) for seed in range(600)])
    assert np.bincount(kept.ravel(), minlength=12).min() > 140  # 200 expected of each image
    np.testing.assert_array_equal(choose_images(identity, camera, None, np.random.default_rng(0)), np.arange(12))


def test_identities_are_counted_through_over_domains(market: Market) -> None:
    one, two = market("one", identities=3), market("two", identities=4)
    one, two = [s for s in one if s.identity != 2], [s for s in two if s.identity != 1]
    training_set = TrainingSet([("one", one), ("two", two)], SMALL, None, 0)
    assert training_set.domains == ["one", "two"]
    assert training_set.samples == one + two
    assert training_set.identity.tolist() == [0] * 4 + [1] * 4 + [2] * 4 + [3] * 4 + [4] * 4
    assert training_set.domain.tolist() == [0] * 8 + [1] * 12
    assert training_set.camera.tolist() == [1, 1, 2, 2] * 5
    assert training_set.classes == 5
    assert training_set.unreadable == []


def test_a_person_is_one_class_in_all_cameras_that_are_domains(market: Market) -> None:
    training_set = TrainingSet(by_camera("people", market(identities=3)), SMALL, 2, 0)
    assert training_set.domains == ["people/c1", "people/c2"]
    assert training_set.classes == 3
    assert [s.identity - 1 for s in training_set.samples] == training_set.identity.tolist()
    assert [s.camera for s in training_set.samples] == (training_set.domain + 1).tolist()
    assert np.bincount(training_set.identity).tolist() == [2, 2, 2]  # over all cameras, one image of each


def test_gathers_the_pixels_of_every_domain_in_the_order_asked(market: Market) -> None:
    training_set = TrainingSet([("one", market("one")), ("two", market("two", size=(30, 30)))], SMALL, 3, 5)
    assert len(training_set.samples) == 2 * 4 * 3
    indices = np.random.default_rng(0).permutation(24)[:10]
    batch = training_set.batch(indices, step=7)
    assert batch.images.dtype == torch.uint8
    assert batch.images.is_contiguous(memory_format=torch.channels_last)
    for row, index in enumerate(indices):
        sample = training_set.samples[index]
        np.testing.assert_array_equal(batch.images[row].permute(1, 2, 0).numpy(), SMALL.read(sample.image))
        assert int(batch.domain[row]) == ("one", "two").index(sample.domain)
        assert int(batch.camera[row]) == sample.camera
        assert int(batch.identity[row]) == sample.identity - 1 + 4 * int(batch.domain[row])
    assert (batch.identity.dtype, batch.camera.dtype, batch.domain.dtype) == (torch.int64,) * 3
    assert batch.step == 7


def test_the_seed_fixes_which_images_are_kept(market: Market) -> None:
    samples = market(shots=6)

    def kept(seed: int) -> list[Sample]:
        return TrainingSet([("people", samples)], SMALL, 2, seed).samples

    assert kept(1) == kept(1)
    assert kept(1) != kept(2)


def test_unreadable_images_are_left_out_and_named(market: Market) -> None:
    samples = market(identities=4, shots=2)
    empty, cut, text = samples[0].image, samples[5].image, samples[9].image
    empty.write_bytes(b"")
    cut.write_bytes(cut.read_bytes()[:300])
    text.write_text("not an image")
    gone = [s.image for s in samples if s.identity == 2]
    for path in gone:
        path.write_bytes(b"")
    training_set = TrainingSet([("people", samples)], SMALL, None, 0)
    bad = {empty, cut, text, *gone}
    assert [s.image for s in training_set.samples] == [s.image for s in samples if s.image not in bad]
    assert len(training_set.unreadable) == len(bad)
    assert all(any(str(path) in message for message in training_set.unreadable) for path in bad)
    assert sorted(set(training_set.identity.tolist())) == [0, 1, 2]  # no gap where person 2 was
    assert training_set.classes == 3
    for index, sample in enumerate(training_set.samples):
        pixels = training_set.gather(np.array([index]))[0].permute(1, 2, 0).numpy()
        np.testing.assert_array_equal(pixels, SMALL.read(sample.image))


def test_an_image_that_goes_bad_after_caching_is_noticed(market: Market) -> None:
    samples = market()
    TrainingSet([("people", samples)], SMALL, None, 0)
    samples[3].image.write_bytes(b"")
    training_set = TrainingSet([("people", samples)], SMALL, None, 0)
    assert samples[3] not in training_set.samples


def test_missing_cameras_count_as_minus_one(market: Market) -> None:
    samples = [Sample(s.image, s.identity, None, s.domain) for s in market()]
    training_set = TrainingSet([("people", samples)], SMALL, 3, 0)
    assert set(training_set.camera.tolist()) == {-1}
    assert np.bincount(training_set.identity).tolist() == [3] * 4


def test_an_empty_source_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PasserbyError, match="nobody: no training images"):
        TrainingSet([("nobody", [])], SMALL, None, 0)


@pytest.mark.parametrize(
    ("batches", "kind"),
    [("plain", PlainSampler), ("identity", IdentityBalancedSampler), ("domain", DomainBalancedSampler)],
)
def test_the_recipe_says_which_sampler(market: Market, batches: str, kind: type) -> None:
    training_set = TrainingSet([("one", market("one")), ("two", market("two"))], SMALL, None, 0)
    chosen = DataSettings.model_validate({"batches": batches, "identities": 4, "images_each": 2})
    sampler = build_sampler(chosen, training_set, 11)
    assert type(sampler) is kind
    assert sampler.batch_size == 8
    assert sampler.seed == 11
    assert sampler.batches == (4 if batches == "plain" else 2)


def test_the_loader_gives_the_streams_batches_and_can_be_taken_up(market: Market) -> None:
    training_set = TrainingSet([("people", market())], SMALL, None, 0)
    sampler = PlainSampler(16, 4, 0)
    loader = BatchLoader(training_set, BatchStream(sampler))
    batches = list(loader)
    assert len(batches) == len(loader) == 4
    for step, (batch, indices) in enumerate(zip(batches, sampler.epoch(0), strict=True)):
        assert batch.step == step
        assert torch.equal(batch.images, training_set.gather(indices))
    resumed = BatchLoader(training_set, BatchStream(sampler))
    resumed.load_state_dict({"step": 2})
    assert [batch.step for batch in resumed] == [2, 3]
    assert resumed.state_dict() == {"step": 4}


def test_a_share_of_the_people_of_each_source(market: Market) -> None:
    sources = [("one", market("one", identities=10)), ("two", market("two", identities=4))]
    whole = TrainingSet(sources, SMALL, None, 0)
    for seed in range(4):
        few = TrainingSet(sources, SMALL, None, seed, share_of_identities=0.3)
        people = {(s.domain, s.identity) for s in few.samples}
        assert Counter(domain for domain, _ in people) == {"one": 3, "two": 1}
        assert few.classes == 4
        assert sorted(set(few.identity.tolist())) == [0, 1, 2, 3]
        assert few.samples == [s for s in whole.samples if (s.domain, s.identity) in people]  # with all their images
        again = TrainingSet([(n, list(reversed(s))) for n, s in sources], SMALL, None, seed, share_of_identities=0.3)
        assert {(s.domain, s.identity) for s in again.samples} == people
    drawn = {
        s.identity
        for seed in range(12)
        for s in TrainingSet(sources[:1], SMALL, None, seed, share_of_identities=0.1).samples
    }
    assert len(drawn) > 4


@pytest.mark.parametrize(("share", "most", "expected"), [(0.5, None, 4), (0.05, None, 1), (0.85, None, 7), (0.5, 3, 3)])
def test_a_share_of_the_images_of_each_person(market: Market, share: float, most: int | None, expected: int) -> None:
    samples = market(identities=3, cameras=2, shots=4)
    few = TrainingSet([("people", samples)], SMALL, most, 0, share_of_images=share)
    assert Counter(s.identity for s in few.samples) == dict.fromkeys((1, 2, 3), expected)
    cameras = Counter((s.identity, s.camera) for s in few.samples)
    assert all(abs(cameras[i, 1] - cameras[i, 2]) <= 1 for i in (1, 2, 3))
    assert few.classes == 3


def test_everything_is_what_there_was_before_shares(market: Market) -> None:
    sources = [("people", market(identities=3, shots=4))]
    for most in (None, 3):
        plain = TrainingSet(sources, SMALL, most, 5)
        whole = TrainingSet(sources, SMALL, most, 5, share_of_identities=1.0, share_of_images=1.0)
        assert plain.samples == whole.samples
