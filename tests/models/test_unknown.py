"""A model with statistics of each domain before images of unknown domain."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from passerby.data.images import Preprocessing
from passerby.errors import PasserbyError
from passerby.models.model import Architecture, Model
from passerby.models.norm import DomainNorm2d
from passerby.models.norm_kinds import BankSettings
from passerby.models.route import Route
from passerby.models.unknown import Unknown, each_domain, fold

K = 3


@pytest.fixture(scope="module")
def banked() -> Model:
    """A model whose domains differ, in eval mode."""
    torch.manual_seed(0)
    architecture = Architecture(backbone="test_resnet", norm="domain", bank=BankSettings(domains=K, attention=8))
    model = Model(architecture, Preprocessing(height=32, width=16)).eval()
    for layer in model.modules():
        if isinstance(layer, DomainNorm2d):
            layer.running_mean.normal_(std=0.3)
            layer.running_var.uniform_(0.5, 2)
    model.neck.running_mean.normal_()
    return model


def images(count: int = 4) -> Tensor:
    return torch.randn(count, 3, 32, 16, generator=torch.Generator().manual_seed(1))


def everyone(k: int, count: int = 4) -> Tensor:
    return torch.full((count,), k)


@torch.no_grad()
def test_each_way_is_made_of_the_routes_that_it_says(banked: Model) -> None:
    def embedding(route: Route) -> Tensor:
        return banked(images(), route).embedding  # type: ignore[no-any-return]

    experts = torch.stack([F.normalize(embedding(Route(everyone(k)))) for k in range(K)]).mean(0)
    colours = torch.stack([F.normalize(embedding(Route(None, "recolour", everyone(k)))) for k in range(K)]).mean(0)
    bank = embedding(Route(None, "recolour"))
    expected: dict[Unknown, Tensor] = {
        "bank": bank,
        "nearest": embedding(Route(None, "recolour", "nearest")),
        "colours": colours,
        "experts": experts,
        "both": torch.cat([F.normalize(experts), F.normalize(bank)], 1),
        "mix": embedding(Route(None, "mix")),
    }
    found = {}
    for way, value in expected.items():
        banked.unknown = way
        found[way] = banked(images()).embedding
        torch.testing.assert_close(found[way], value, rtol=1e-4, atol=1e-5)
        assert banked.dimension == found[way].shape[1]
    for one, other in zip(list(found)[:-2], list(found)[1:-1], strict=False):
        if one != "both" and other != "both":
            assert not torch.allclose(F.normalize(found[one]), F.normalize(found[other]), atol=1e-3)


def test_a_way_that_there_is_not(banked: Model) -> None:
    way = banked.unknown
    banked.unknown = "expert"  # type: ignore[assignment]
    with torch.no_grad(), pytest.raises(PasserbyError, match=r"no way 'expert'; one of bank, nearest"):
        banked(images())
    banked.unknown = way


@torch.no_grad()
def test_pooled_features_and_maps_are_the_mean_of_the_experts(banked: Model) -> None:
    banked.unknown = "experts"
    features = banked(images())
    each = [banked(images(), Route(everyone(k))) for k in range(K)]
    torch.testing.assert_close(features.pooled, torch.stack([f.pooled for f in each]).mean(0), rtol=1e-4, atol=1e-5)
    last = torch.stack([f.maps["last"] for f in each]).mean(0)
    torch.testing.assert_close(features.maps["last"], last, rtol=1e-4, atol=1e-5)


def test_repeating_and_folding() -> None:
    assert each_domain(2, 3, torch.device("cpu")).tolist() == [0, 0, 1, 1, 2, 2]
    assert fold(torch.tensor([[1.0], [2.0], [5.0], [8.0]]), 2).tolist() == [[3.0], [5.0]]


@pytest.mark.parametrize(
    ("route", "message"),
    [
        (Route(torch.tensor([0, 1, 2, 3])), r"route\.domain: domains from 0 to 3.*statistics of 3"),
        (Route(torch.tensor([0, 1])), r"route\.domain: of shape \[2\]; give int64 \[4\]"),
        (Route(torch.tensor([0, 1, 2, 2]), "recolour", torch.tensor([-1, 0, 0, 0])), r"route\.colour"),
    ],
)
def test_a_route_that_does_not_fit(banked: Model, route: Route, message: str) -> None:
    with pytest.raises(PasserbyError, match=message):
        banked(images(), route)


def test_in_training_it_has_to_be_told(banked: Model) -> None:
    banked.train()
    try:
        with pytest.raises(PasserbyError, match="has to know the way"):
            banked(images())
    finally:
        banked.eval()
