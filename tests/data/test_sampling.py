"""The order of training images: structure, seeds, shares, resume."""

from collections import Counter
from itertools import chain, islice

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from passerby.data.sampling import (
    BatchSampler,
    BatchStream,
    DomainBalancedSampler,
    IdentityBalancedSampler,
    Indices,
    PlainSampler,
    place_in_group,
)
from passerby.errors import PasserbyError

LABELS = st.lists(st.integers(0, 9), min_size=1, max_size=60)


def contiguous(labels: list[int]) -> Indices:
    return np.unique(labels, return_inverse=True)[1].astype(np.int64)


def domains_of(sizes: list[int], images: int = 3) -> tuple[Indices, Indices]:
    """Identities and domains of images: domain k has sizes[k] identities of `images` images each."""
    identities = np.repeat(np.arange(sum(sizes)), images)
    return identities, np.repeat(np.arange(len(sizes)), [size * images for size in sizes])


def whole(sampler: BatchSampler, steps: int) -> list[list[int]]:
    return [batch.tolist() for batch in islice(chain.from_iterable(sampler.epoch(e) for e in range(steps)), steps)]


@settings(deadline=None)
@given(LABELS)
def test_place_in_group_counts_within_each_group(labels: list[int]) -> None:
    group = np.array(labels)
    order = np.argsort(group, kind="stable")
    seen: Counter[int] = Counter()
    expected = []
    for label in labels:
        expected.append(seen[label])
        seen[label] += 1
    assert place_in_group(order, group).tolist() == expected


@given(images=st.integers(1, 50), batch=st.integers(1, 50))
def test_plain_shows_every_image_at_most_once(images: int, batch: int) -> None:
    if images < batch:
        with pytest.raises(PasserbyError, match=f"{images} training images do not fill a batch of {batch}"):
            PlainSampler(images, batch, 0)
        return
    epoch = PlainSampler(images, batch, 0).epoch(3)
    assert epoch.shape == (images // batch, batch)
    assert len(set(epoch.ravel().tolist())) == epoch.size
    assert set(epoch.ravel().tolist()) <= set(range(images))


@settings(deadline=None)
@given(LABELS, st.integers(1, 4), st.integers(1, 4), st.integers(0, 5))
def test_identity_balanced_batches(labels: list[int], p: int, q: int, epoch: int) -> None:
    identities = contiguous(labels)
    people = int(identities.max()) + 1
    if people < p:
        with pytest.raises(PasserbyError, match=rf"{people} identities do not fill a batch of {p}.*data\.identities"):
            IdentityBalancedSampler(identities, p, q, 0)
        return
    sampler = IdentityBalancedSampler(identities, p, q, 0)
    batches = sampler.epoch(epoch)
    assert batches.shape == (sampler.batches, sampler.batch_size) == (people // p, p * q)
    blocks = batches.reshape(-1, q)
    shown = identities[blocks]
    assert np.all(shown == shown[:, :1])  # Q images of one person beside each other
    assert len(set(shown[:, 0].tolist())) == people // p * p  # nobody twice an epoch
    images = np.bincount(identities)
    for block in blocks.tolist():
        count = images[identities[block[0]]]
        times = Counter(block)
        assert len(times) == min(count, q)  # no repetition where there are Q images
        assert max(times.values()) == -(-q // count)


def test_everybody_once_an_epoch_where_the_batches_come_out_even() -> None:
    identities, _ = domains_of([12])
    batches = IdentityBalancedSampler(identities, 4, 2, 0).epoch(0)
    assert sorted(identities[batches.ravel()].tolist()) == sorted(list(range(12)) * 2)


def test_all_images_of_an_identity_come_up_over_the_epochs() -> None:
    identities = np.repeat(np.arange(4), 10)
    sampler = IdentityBalancedSampler(identities, 4, 4, 0)
    shown = Counter(int(image) for epoch in range(200) for image in sampler.epoch(epoch).ravel())
    assert len(shown) == 40
    assert min(shown.values()) > 50  # 80 expected
    assert max(shown.values()) < 110


@settings(deadline=None)
@given(st.lists(st.integers(1, 12), min_size=1, max_size=4), st.integers(1, 3), st.integers(1, 4), st.integers(0, 3))
def test_domain_balanced_batches(sizes: list[int], share: int, q: int, epoch: int) -> None:
    identities, domains = domains_of(sizes)
    shuffle = np.random.default_rng(len(sizes)).permutation(len(identities))
    identities, domains = identities[shuffle], domains[shuffle]
    p = share * len(sizes)
    if min(sizes) < share:
        with pytest.raises(
            PasserbyError, match=f"domain-balanced batch needs {share} of each|identities do not fill a batch of {p}"
        ):
            DomainBalancedSampler(identities, domains, p, q, 0)
        return
    sampler = DomainBalancedSampler(identities, domains, p, q, 0)
    batches = sampler.epoch(epoch)
    assert batches.shape == (sum(sizes) // p, p * q)
    for batch in batches:
        people = identities[batch.reshape(p, q)]
        assert np.all(people == people[:, :1])
        assert len(set(people[:, 0].tolist())) == p
        assert np.bincount(domains[batch]).tolist() == [share * q] * len(sizes)
        assert max(Counter(batch.tolist()).values()) == (1 if q <= 3 else 2)
        for part in batch.reshape(share, -1):  # a rank's share is balanced too
            assert np.bincount(domains[part]).tolist() == [q] * len(sizes)


def test_a_small_domain_comes_round_again_with_its_other_images() -> None:
    identities = np.concatenate([np.repeat(np.arange(2), 8), 2 + np.arange(14)])
    domains = np.repeat([0, 1], [16, 14])
    sampler = DomainBalancedSampler(identities, domains, 2, 2, 0)
    assert sampler.batches == 8
    shown = Counter(int(image) for image in sampler.epoch(0).ravel() if image < 16)
    assert shown == Counter(range(16))  # 8 batches x 2 images: each of the small domain's 16 images once
    people = Counter(identities[image] for image in sampler.epoch(0).ravel() if image < 16)
    assert set(people.values()) == {8}


def test_a_person_of_several_domains_is_balanced_in_each() -> None:
    identities = np.tile(np.repeat(np.arange(6), 2), 3)
    domains = np.repeat(np.arange(3), 12)
    sampler = DomainBalancedSampler(identities, domains, 6, 2, 0)
    assert sampler.batches == 3  # 18 people of a domain, 6 a batch
    for batch in sampler.epoch(0):
        assert np.bincount(domains[batch]).tolist() == [4, 4, 4]
        blocks = batch.reshape(6, 2)
        assert np.all(identities[blocks[:, 0]] == identities[blocks[:, 1]])
        assert np.all(domains[blocks[:, 0]] == domains[blocks[:, 1]])


def test_domain_balance_that_does_not_come_out_even_says_what_to_set() -> None:
    identities, domains = domains_of([9, 9, 9])
    with pytest.raises(
        PasserbyError, match=r"16 identities a batch do not divide evenly over 3 domains; set data\.identities to 15"
    ):
        DomainBalancedSampler(identities, domains, 16, 4, 0)
    with pytest.raises(PasserbyError, match=r"set data\.identities to 3"):
        DomainBalancedSampler(identities, domains, 2, 4, 0)


def samplers(seed: int) -> list[BatchSampler]:
    identities, domains = domains_of([9, 12])
    return [
        PlainSampler(63, 8, seed),
        IdentityBalancedSampler(identities, 4, 2, seed),
        DomainBalancedSampler(identities, domains, 4, 2, seed),
    ]


@pytest.mark.parametrize("kind", [0, 1, 2])
def test_an_epoch_is_a_function_of_seed_and_epoch(kind: int) -> None:
    sampler, again, other = samplers(1)[kind], samplers(1)[kind], samplers(2)[kind]
    sampler.epoch(0)  # what was drawn before does not matter
    np.testing.assert_array_equal(sampler.epoch(4), again.epoch(4))
    assert not np.array_equal(sampler.epoch(4), sampler.epoch(5))
    assert not np.array_equal(sampler.epoch(4), other.epoch(4))


@pytest.mark.parametrize("kind", [0, 1, 2])
@pytest.mark.parametrize("world", [1, 2, 4, 8])
def test_the_shares_of_all_ranks_make_the_whole_batch(kind: int, world: int) -> None:
    sampler = samplers(1)[kind]
    streams = [BatchStream(sampler, rank, world) for rank in range(world)]
    for _ in range(2):
        for batch, parts in zip(
            sampler.epoch(streams[0].step // len(streams[0])), zip(*streams, strict=True), strict=True
        ):
            assert np.concatenate([indices for _, indices in parts]).tolist() == batch.tolist()
            assert {len(indices) for _, indices in parts} == {8 // world}
            assert len({step for step, _ in parts}) == 1


def test_a_batch_that_does_not_divide_over_the_processes_is_refused() -> None:
    with pytest.raises(PasserbyError, match="a batch of 8 does not divide over 3 processes"):
        BatchStream(samplers(0)[0], 0, 3)


def take(stream: BatchStream, steps: int) -> list[tuple[int, list[int]]]:
    """The next `steps` batches, epoch after epoch as a trainer asks for them."""
    found: list[tuple[int, list[int]]] = []
    while len(found) < steps:
        for step, indices in stream:
            found.append((step, indices.tolist()))
            if len(found) == steps:
                break
    return found


@settings(max_examples=40, deadline=None)
@given(kind=st.integers(0, 2), cut=st.integers(0, 25), rank=st.integers(0, 1))
def test_a_stream_taken_up_at_any_step_goes_on_as_if_never_cut(kind: int, cut: int, rank: int) -> None:
    sampler = samplers(3)[kind]
    full = take(BatchStream(sampler, rank, 2), 30)
    assert [step for step, _ in full] == list(range(30))
    assert [indices for _, indices in full] == [batch[4 * rank : 4 * rank + 4] for batch in whole(sampler, 30)]
    first = BatchStream(sampler, rank, 2)
    take(first, cut)
    resumed = BatchStream(samplers(3)[kind], rank, 2)
    resumed.load_state_dict(first.state_dict())
    assert take(resumed, 30 - cut) == full[cut:]


def test_iterating_ends_with_the_epoch() -> None:
    stream = BatchStream(samplers(0)[0])
    assert len(stream) == 7
    assert [step for step, _ in stream] == list(range(7))
    assert [step for step, _ in stream] == list(range(7, 14))
    assert stream.state_dict() == {"step": 14}
