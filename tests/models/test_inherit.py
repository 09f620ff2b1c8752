"""Starting from another model: its network goes into any norms and heads, and what does not is named."""

import pytest
import torch

from passerby.data.images import Preprocessing
from passerby.errors import PasserbyError
from passerby.models.backbone import Backbone
from passerby.models.inherit import Inherited, take_backbone, take_rest
from passerby.models.matching_model import build_model
from passerby.models.model import Architecture, Model

SMALL = Preprocessing(height=32, width=32)


def model(backbone: str = "test_resnet", parent: Model | None = None, **choices: object) -> Model:
    def prepare(built: Backbone) -> None:
        if parent is not None:
            take_backbone(built, parent)

    architecture = Architecture.model_validate({"backbone": backbone, **choices})
    return build_model(architecture, SMALL, prepare)


def scrambled(seed: int = 3, **choices: object) -> Model:
    parent = model(**choices)  # type: ignore[arg-type]
    generator = torch.Generator().manual_seed(seed)
    for tensor in parent.state_dict().values():
        if tensor.is_floating_point():
            tensor.copy_(torch.rand(tensor.shape, generator=generator) + 0.5)
    return parent


def start(parent: Model, **choices: object) -> tuple[Model, Inherited]:
    child = model(parent=parent, **choices)  # type: ignore[arg-type]
    return child, take_rest(child, parent)


def test_the_same_model_is_taken_whole() -> None:
    parent = scrambled(embedding=8)
    child, inherited = start(parent, embedding=8)
    assert inherited == Inherited(len(parent.state_dict()), (), ())
    assert all(torch.equal(child.state_dict()[key], value) for key, value in parent.state_dict().items())


@pytest.mark.parametrize("backbone", ["test_resnet", "mobilenetv2_035"])
@pytest.mark.parametrize("norm", ["batch", "bin", "half"])
def test_the_network_goes_into_other_norms(backbone: str, norm: str) -> None:
    parent = scrambled(backbone=backbone, embedding=8)
    child, inherited = start(parent, backbone=backbone, norm=norm)
    theirs, ours = parent.backbone.network.state_dict(), child.backbone.network.state_dict()
    for key, value in theirs.items():
        place, _, leaf = key.rpartition(".")
        found = ours.get(key, ours.get(f"{place}.norm.{leaf}"))
        assert found is not None, key
        assert torch.equal(found, value), key
    assert "neck" in inherited.new
    assert {"projection", "neck"} <= set(inherited.left)
    assert not any(layer.startswith("backbone") for layer in inherited.left)
    assert float(child.neck.running_mean.abs().max()) == 0  # the old one had another width


def test_norms_that_both_have_are_taken_and_back_again() -> None:
    parent = scrambled(backbone="mobilenetv2_035", norm="isr", embedding=8)
    child, inherited = start(parent, backbone="mobilenetv2_035", norm="dualnorm")
    appended = [key for key in parent.state_dict() if "appended_norm.weight" in key]
    assert len(appended) == 2
    for key in appended:
        assert torch.equal(child.state_dict()[key], parent.state_dict()[key])
    assert any("appended_norm" in layer for layer in inherited.new)  # those of the other blocks
    back, inherited = start(scrambled(backbone="mobilenetv2_035", norm="bin"), backbone="mobilenetv2_035")
    assert inherited.new == ("neck",)
    assert all("bn" in layer or layer == "neck" for layer in inherited.left)
    assert float(next(back.backbone.parameters()).detach().min()) >= 0.5


def test_another_network_is_refused() -> None:
    with pytest.raises(
        PasserbyError,
        match=r"--init-from: weights of another model, test_resnet and not test_byobnet; \d+ keys do not fit: "
        r"([^,]+, ){9}[^,]+ and \d+ more",
    ):
        model("test_byobnet", scrambled())


@pytest.mark.parametrize("affine", ["shared", "own"])
def test_statistics_of_domains_are_pooled_where_there_are_none(affine: str) -> None:
    parent = scrambled(norm="domain-ibn-a", bank={"domains": 3, "affine": affine})
    child, inherited = start(parent)
    theirs, ours = parent.state_dict(), child.state_dict()
    name = "backbone.network.layer1.0.bn1"
    half = len(theirs[f"{name}.instance_weight"])
    mean, variance = theirs[f"{name}.running_mean"], theirs[f"{name}.running_var"]
    centre = mean.mean(0)
    torch.testing.assert_close(ours[f"{name}.running_mean"][half:], centre)
    torch.testing.assert_close(ours[f"{name}.running_var"][half:], variance.mean(0) + mean.var(0, correction=0))
    assert ours[f"{name}.running_mean"][:half].eq(0).all()
    assert ours[f"{name}.running_var"][:half].eq(1).all()
    weight = theirs[f"{name}.weight"]
    torch.testing.assert_close(ours[f"{name}.weight"][half:], weight.mean(0) if affine == "own" else weight)
    assert torch.equal(ours[f"{name}.weight"][:half], theirs[f"{name}.instance_weight"])
    assert inherited.new == ("neck",)
    # With as many domains everything is taken as it is.
    twin, whole = start(parent, norm="domain-ibn-a", bank={"domains": 3, "affine": affine})
    assert all(torch.equal(twin.state_dict()[key], value) for key, value in theirs.items())
    assert (whole.new, whole.left) == ((), ())


def test_norms_of_other_domains_start_from_all_of_the_parents_together() -> None:
    parent = scrambled(norm="domain", bank={"domains": 3, "affine": "own", "attention": 2})
    child = model(parent=parent, norm="domain", bank={"domains": 3, "affine": "own", "attention": 2})
    name = "backbone.network.layer1.0.bn1"
    attention = child.state_dict()[f"{name}.excite.weight"].clone()
    take_rest(child, parent, same_domains=False)
    theirs, ours = parent.state_dict(), child.state_dict()
    assert torch.equal(ours[f"{name}.excite.weight"], attention)
    mean = theirs[f"{name}.running_mean"].mean(0)
    torch.testing.assert_close(ours[f"{name}.running_mean"], mean.expand(3, -1))
    assert ours[f"{name}.num_batches_tracked"].eq(0).all()
    for key in ("backbone.network.conv1.0.weight", "neck.weight", "neck.running_mean"):
        assert torch.equal(ours[key], theirs[key])


def test_a_network_that_ends_early_goes_into_a_whole_one() -> None:
    early = {"stages": ["layer2", "layer3"], "matcher": {"kind": "qaconv", "channels": 8}}
    parent = scrambled(**early)
    child, inherited = start(parent)
    assert torch.equal(
        child.state_dict()["backbone.network.conv1.0.weight"], parent.state_dict()["backbone.network.conv1.0.weight"]
    )
    assert all(name.startswith("backbone.network.layer4.") or name == "neck" for name in inherited.new)
    assert "matcher.linear" in inherited.left
    twin, whole = start(parent, **early)
    assert all(torch.equal(twin.state_dict()[key], value) for key, value in parent.state_dict().items())
    assert (whole.new, whole.left) == ((), ())
