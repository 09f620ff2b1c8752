"""The BNNeck with statistics by mode."""

import pytest
import torch
from torch import nn

from passerby.errors import PasserbyError
from passerby.models.neck import RoutedBatchNorm1d
from passerby.models.route import MODES, Route, routed

DOMAIN = torch.zeros(8, dtype=torch.long)


def test_each_mode_is_a_batch_norm_of_its_own_with_the_same_affine() -> None:
    neck = RoutedBatchNorm1d(5)
    neck.weight.data.uniform_(0.5, 2)
    plain = {mode: nn.BatchNorm1d(5) for mode in MODES}
    for norm in plain.values():
        norm.weight.data.copy_(neck.weight.data)
    for step, mode in enumerate(("expert", "recolour", "expert", "mix")):
        features = (1 + step) * torch.randn(8, 5) + step
        with routed(neck, Route(DOMAIN, mode)):
            torch.testing.assert_close(neck(features), plain[mode](features))
    neck.eval()
    features = torch.randn(8, 5)
    for mode, norm in plain.items():
        with routed(neck, Route(DOMAIN, mode)):
            torch.testing.assert_close(neck(features), norm.eval()(features))
    assert neck.num_batches_tracked.tolist() == [2, 1, 1]


def test_a_mode_that_training_never_took_goes_by_the_one_it_took_most() -> None:
    neck = RoutedBatchNorm1d(5)
    for mode in ("recolour", "expert", "recolour"):
        with routed(neck, Route(DOMAIN, mode)):  # type: ignore[arg-type]
            neck(MODES.index(mode) + torch.randn(8, 5))  # type: ignore[arg-type]
    features = torch.randn(8, 5)
    seen = {}
    for mode in MODES:
        with routed(neck.eval(), Route(DOMAIN, mode)):
            seen[mode] = neck(features)
    assert torch.equal(seen["mix"], seen["recolour"])
    assert not torch.equal(seen["expert"], seen["recolour"])


def test_routes_nest() -> None:
    neck = RoutedBatchNorm1d(5)
    outer, inner = Route(DOMAIN), Route(None, "mix")
    with routed(neck, outer):
        with routed(neck, inner):
            assert neck.route is inner
        assert neck.route is outer
    assert neck.route is None


def test_statistics_can_rest() -> None:
    neck = RoutedBatchNorm1d(5)
    neck.hold_statistics = True
    features = 3 + torch.randn(8, 5)
    with routed(neck, Route(DOMAIN)):
        torch.testing.assert_close(neck(features), nn.BatchNorm1d(5)(features))
    assert neck.running_mean.eq(0).all()
    assert neck.num_batches_tracked.eq(0).all()


def test_without_a_route() -> None:
    with pytest.raises(PasserbyError, match="give it a Route"):
        RoutedBatchNorm1d(5)(torch.randn(4, 5))
