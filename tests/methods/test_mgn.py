"""MGN: three branches of one network, their eight features, and the losses on them."""

from dataclasses import replace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from passerby.data.augment import Augmentation
from passerby.data.images import Preprocessing
from passerby.data.training_set import Batch
from passerby.errors import PasserbyError
from passerby.methods.base import TrainingFacts
from passerby.methods.mgn import Mgn, MgnSettings
from passerby.methods.optimization import OptimizerSettings, ScheduleSettings
from passerby.models.backbone import Backbone
from passerby.models.granularity import _stripes
from passerby.models.inherit import take_backbone, take_rest
from passerby.models.model import Architecture, Model
from passerby.recipes import load_recipe

SIZE = Preprocessing(height=96, width=32)
IDENTITY = torch.tensor([0, 0, 1, 1, 4, 4])

pytestmark = pytest.mark.filterwarnings("ignore:You are trying to `self.log")


def model(last_stride_1: bool = False, **choices: Any) -> Model:
    torch.manual_seed(0)
    return Model(
        Architecture.model_validate(
            {"backbone": "resnet10t", "head": "mgn", "last_stride_1": last_stride_1, **choices}
        ),
        SIZE,
    )


@pytest.fixture(scope="module")
def built() -> Model:
    return model()


def batch() -> Batch:
    images = torch.randn(6, 3, 96, 32, generator=torch.Generator().manual_seed(1))
    return Batch(images, IDENTITY, IDENTITY * 0, IDENTITY * 0, 0)


def mgn(built: Model, **settings: Any) -> Mgn:
    facts = TrainingFacts(5, 1, 10, 7, OptimizerSettings(), ScheduleSettings(), Augmentation(flip=0))
    return Mgn(built, facts, MgnSettings.model_validate(settings))


def test_features_are_maxima_of_branches_and_their_stripes() -> None:
    built = model().eval()
    with torch.no_grad():
        seen = built(batch().images)
        network: Any = built.backbone.network
        trunk = network.layer3[0](
            network.layer2(network.layer1(network.maxpool(network.act1(network.bn1(network.conv1(batch().images))))))
        )
        assert built.granularity is not None
        maps = [network.layer4(network.layer3[1:](trunk)), *(branch(trunk) for branch in built.granularity.branches)]
    # The first branch keeps the last down-sampling, the others do not.
    assert [tuple(each.shape[2:]) for each in maps] == [(3, 1), (6, 2), (6, 2)]
    plain = [*maps, maps[1][:, :, :3], maps[1][:, :, 3:], maps[2][:, :, :2], maps[2][:, :, 2:4], maps[2][:, :, 4:]]
    with torch.no_grad():
        expected = [
            layer(each.flatten(2).amax(2)[:, :, None, None]).flatten(1)
            for layer, each in zip(built.granularity.reduce, plain, strict=True)
        ]
    assert seen.embedding.shape == (6, 8 * 256) == (6, built.dimension)
    torch.testing.assert_close(seen.embedding, torch.cat(expected, 1))
    assert float(seen.embedding.min()) == 0  # behind a ReLU
    torch.testing.assert_close(seen.granularities.whole, torch.stack([each.amax((2, 3)) for each in maps], 1))
    assert torch.equal(seen.maps["last"], maps[0])
    embedded = built.embed(list(torch.rand(2, 96, 32, 3).numpy()))
    assert embedded.shape == (2, 2048)


@pytest.mark.parametrize("height", [6, 7, 8])
@pytest.mark.parametrize("stripes", [2, 3])
def test_stripes_of_a_height_that_they_do_not_divide_share_a_row(height: int, stripes: int) -> None:
    maps = torch.randn(2, 3, height, 4)
    expected = F.adaptive_max_pool2d(maps, (stripes, 1))[..., 0].unbind(2)
    for found, same in zip(_stripes(maps, stripes), expected, strict=True):
        assert torch.equal(found, same)


def test_the_branches_start_alike(built: Model) -> None:
    network: Any = built.backbone.network
    own = [*network.layer3[1:].parameters(), *network.layer4.parameters()]
    assert built.granularity is not None
    for branch in built.granularity.branches:
        for copied, first in zip(branch.parameters(), own, strict=True):
            assert copied is not first
            assert torch.equal(copied, first)


def test_without_a_last_stride_nothing_more_is_taken_out() -> None:
    built = model(last_stride_1=True)
    assert built.granularity is not None
    seen = built.eval()(batch().images)
    trunk = torch.zeros(1, seen.maps["last"].shape[1] // 2, 6, 2)
    assert seen.maps["last"].shape[2:] == built.granularity.branches[0](trunk).shape[2:] == (6, 2)


def test_the_losses_are_means_over_their_features(built: Model) -> None:
    method = mgn(built, triplet_weight=0.5)
    with torch.no_grad():
        for classifier in method.classifiers:
            classifier.weight.mul_(30)
    losses = method.losses(batch())
    assert tuple(losses) == Mgn.loss_names
    with torch.no_grad():
        seen = built(batch().images).granularities
    assert [c.in_features for c in method.classifiers] == [512] * 3 + [256] * 5
    features = [*seen.whole.unbind(1), *seen.reduced[:, 3:].unbind(1)]
    identity = [
        F.cross_entropy(f.double() @ c.weight.double().T + c.bias.double(), IDENTITY)
        for f, c in zip(features, method.classifiers, strict=True)
    ]
    triplet = 0.0
    for g in range(3):
        points = seen.reduced[:, g].double()
        for a in range(6):
            distance = (points - points[a]).norm(dim=1)
            same = IDENTITY[a] == IDENTITY
            triplet += max(0.0, 1.2 + float(distance[same].max() - distance[~same].min())) / 18
    assert float(losses["cross_entropy"].detach()) == pytest.approx(
        float(torch.stack(identity).mean().detach()), rel=1e-3
    )
    assert float(losses["triplet"].detach()) == pytest.approx(0.5 * triplet, rel=1e-3)


def test_everything_trains(built: Model) -> None:
    method = mgn(built)
    built.zero_grad()
    method.total(method.losses(batch()), 6).backward()
    assert [name for name, p in method.named_parameters() if p.grad is None] == []


def test_it_starts_from_a_model_with_one_branch() -> None:
    parent = Model(Architecture(backbone="resnet10t", norm="isr", embedding=16), SIZE)
    with torch.no_grad():
        for parameter in parent.parameters():
            parameter.add_(0.01)

    def prepare(backbone: Backbone) -> None:
        take_backbone(backbone, parent)

    child = Model(Architecture(backbone="resnet10t", norm="isr", head="mgn", last_stride_1=False), SIZE, prepare)
    inherited = take_rest(child, parent)
    theirs: Any = parent.backbone.network
    assert child.granularity is not None
    for branch in child.granularity.branches:
        for copied, first in zip(branch.parameters(), theirs.layer4.parameters(), strict=False):
            assert torch.equal(copied, first)
    assert all(layer.startswith("granularity.reduce") for layer in inherited.new)
    assert inherited.left == ("projection", "neck")
    ours: Any = child.backbone.network
    for key, value in theirs.state_dict().items():
        assert torch.equal(ours.state_dict()[key], value)


def test_its_branches_have_the_norms_that_it_starts_from() -> None:
    parent = Model(Architecture(backbone="resnet10t", norm="bin"), SIZE)
    with torch.no_grad():
        for tensor in (*parent.parameters(), *parent.buffers()):
            if tensor.is_floating_point():
                tensor.add_(0.01 * torch.rand_like(tensor))
    child = Model(
        Architecture(backbone="resnet10t", norm="bin", head="mgn", last_stride_1=False),
        SIZE,
        lambda backbone: take_backbone(backbone, parent),
    )
    inherited = take_rest(child, parent)
    theirs: Any = parent.backbone.network
    rest = nn.Sequential(*theirs.layer3[1:], *theirs.layer4).state_dict()
    assert any(name.endswith("gate") for name in rest)
    assert child.granularity is not None
    for branch in child.granularity.branches:
        assert all(torch.equal(value, rest[name]) for name, value in branch.state_dict().items())
    assert all(layer.startswith("granularity.reduce") for layer in inherited.new)


def test_its_branches_move_at_the_rate_of_pretrained_layers(built: Model) -> None:
    method = mgn(built)
    method.facts = replace(method.facts, optimizer=OptimizerSettings(name="sgd", lr=0.1, new_layers=10))
    chosen: Any = method.configure_optimizers()
    rates = {id(p): group["initial_lr"] for group in chosen["optimizer"].param_groups for p in group["params"]}
    assert built.granularity is not None
    slow = [*built.backbone.parameters(), *built.granularity.branches.parameters()]
    fast = [*built.granularity.reduce.parameters(), *method.classifiers.parameters()]
    assert {round(rates[id(p)], 6) for p in slow} == {0.1}
    assert {round(rates[id(p)], 6) for p in fast} == {1.0}


def test_what_it_refuses() -> None:
    with pytest.raises(PasserbyError, match=r"the model has one branch; set model\.head to mgn"):
        mgn(Model(Architecture(backbone="test_resnet"), SIZE))
    with pytest.raises(PasserbyError, match=r"mobilenetv2_035 is no ResNet"):
        model(backbone="mobilenetv2_035")
    with pytest.raises(PasserbyError, match="mgn's branches take no embedding"):
        load_recipe("mgn-resnet50", ["model.embedding=512"])


def test_the_published_recipe_says_the_published_settings() -> None:
    recipe = load_recipe("mgn-resnet50")
    assert (recipe.data.height, recipe.data.width) == (384, 128)
    assert (recipe.data.identities, recipe.data.images_each) == (16, 4)
    assert isinstance(recipe.method, MgnSettings)
    assert (recipe.method.triplet_margin, recipe.method.label_smoothing) == (1.2, 0)
    rate = recipe.schedule.over(80)
    assert [recipe.optimizer.lr * rate(epoch) for epoch in (0, 39, 40, 59, 60, 79)] == pytest.approx(
        [0.01, 0.01, 0.001, 0.001, 0.0001, 0.0001]
    )
