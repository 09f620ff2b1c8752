"""The graph sampler: whom a batch holds, when it asks, and how a run is taken up in mid-epoch."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from passerby.data.graph_sampling import GraphSampler
from passerby.data.sampling import BatchStream, Indices
from passerby.data.settings import DataSettings
from passerby.errors import PasserbyError


class Ring:
    """Identities on a ring: the nearest of each are the next ones."""

    def __init__(self, identities: Indices) -> None:
        self.identities, self.asked = identities, 0

    def __call__(self, shown: Indices, anchors: Indices, count: int) -> Indices:
        self.asked += 1
        assert self.identities[shown].tolist() == list(range(len(shown)))
        return (anchors[:, None] + 1 + np.arange(count)) % len(shown)


def made(identities: int, p: int, q: int, batches: int | None = None, seed: int = 0) -> tuple[GraphSampler, Ring]:
    labels = np.random.default_rng(5).permutation(np.repeat(np.arange(identities), 3))
    sampler = GraphSampler(labels, p, q, seed, batches)
    sampler.nearest = Ring(labels)
    return sampler, sampler.nearest


@settings(max_examples=30, deadline=None)
@given(st.integers(4, 12), st.integers(2, 4), st.integers(2, 4), st.one_of(st.none(), st.integers(1, 30)))
def test_a_batch_is_an_identity_and_its_nearest(identities: int, p: int, q: int, batches: int | None) -> None:
    sampler, ring = made(identities, p, q, batches)
    order = sampler.epoch(3)
    assert order.shape == (batches or identities, p * q)
    people = ring.identities[order].reshape(-1, p, q)
    assert (people == people[:, :, :1]).all()
    anchors = people[:, 0, 0]
    assert (people[:, :, 0] == (anchors[:, None] + np.arange(p)) % identities).all()
    if batches is None:
        assert sorted(anchors) == list(range(identities))
    assert len(set(anchors)) == min(len(anchors), identities)
    for images in order.reshape(-1, q):
        assert len(set(images)) == min(q, 3)


def test_epochs_differ_and_repeat() -> None:
    sampler, ring = made(8, 3, 2)
    first, second = sampler.epoch(0), sampler.epoch(1)
    assert not np.array_equal(first, second)
    assert np.array_equal(sampler.epoch(1), second)
    assert ring.asked == 2
    assert np.array_equal(made(8, 3, 2)[0].epoch(0), first)
    assert not np.array_equal(made(8, 3, 2, seed=1)[0].epoch(0), first)


def test_taken_up_in_mid_epoch_it_asks_nobody_and_goes_on() -> None:
    sampler, _ = made(8, 3, 2, 5)
    stream = BatchStream(sampler)
    seen = [indices for _, indices in zip(range(2), stream, strict=False)]
    state = stream.state_dict()
    rest = [indices for _, indices in stream]
    other, ring = made(8, 3, 2, 5)
    resumed = BatchStream(other)
    resumed.load_state_dict(state)
    taken_up = [indices for _, indices in resumed]
    assert ring.asked == 0
    assert len(seen) == 2
    assert len(rest) >= 2
    assert all(np.array_equal(a[1], b) for a, b in zip(enumerate(taken_up), rest, strict=True))
    next(iter(resumed))
    assert ring.asked == 1


def test_what_does_not_fill_a_batch_is_refused() -> None:
    with pytest.raises(PasserbyError, match="3 identities do not fill a batch of 4"):
        made(3, 4, 2)
    with pytest.raises(PasserbyError, match="no matcher to ask"):
        GraphSampler(np.arange(6) // 2, 2, 2, 0).epoch(0)
    for batch in ({"identities": 1}, {"images_each": 1}):
        with pytest.raises(ValidationError, match="a batch needs two of both"):
            DataSettings.model_validate(batch)
        DataSettings.model_validate({**batch, "batches": "plain"})
