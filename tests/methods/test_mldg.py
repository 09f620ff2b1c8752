"""MLDG against its formula: F + weight G at the place that F's step led to, first order."""

import copy
from typing import Any

import pytest
import torch
from torch.func import functional_call

from passerby.data.augment import Augmentation
from passerby.data.images import Preprocessing
from passerby.data.training_set import Batch
from passerby.errors import PasserbyError
from passerby.methods.base import TrainingFacts
from passerby.methods.mldg import Mldg, MldgSettings
from passerby.methods.optimization import OptimizerSettings, ScheduleSettings
from passerby.models.model import Architecture, Model

SMALL = Preprocessing(height=32, width=16)
DOMAIN = torch.arange(2).repeat_interleave(4)
IDENTITY = torch.tensor([0, 0, 1, 1, 2, 2, 3, 3])

pytestmark = pytest.mark.filterwarnings("ignore:You are trying to `self.log")


def mldg(domains: int = 2, **settings: Any) -> Mldg:
    torch.manual_seed(0)
    facts = TrainingFacts(4, domains, 10, 7, OptimizerSettings(), ScheduleSettings(), Augmentation())
    model = Model(Architecture(backbone="test_resnet"), SMALL)
    return Mldg(model, facts, MldgSettings.model_validate(settings))


def batch() -> Batch:
    pixels = torch.randint(0, 256, (8, 3, 32, 16), generator=torch.Generator().manual_seed(2)).float()
    return Batch(SMALL.normalise(pixels), IDENTITY, IDENTITY * 0, DOMAIN, 0)


@pytest.mark.parametrize("weight", [0.0, 1.0, 0.5])
def test_losses_and_gradients_are_the_plain_formula(weight: float) -> None:
    method = mldg(inner_lr=(0.05, 0.05), meta_test_weight=weight)
    plain = copy.deepcopy(method)
    losses = method.losses(batch())
    torch.stack(list(losses.values())).sum().backward()

    for_train = plain.split(batch())
    model = plain.model

    def loss(features: Any, part: torch.Tensor) -> torch.Tensor:
        logits = plain.classifier(features.embedding)
        return plain.cross_entropy(logits, IDENTITY[part]) + plain.triplet(features.pooled, IDENTITY[part])

    train = loss(model(batch().images[for_train]), for_train)
    train.backward()
    found = {name: p.grad.clone() for name, p in plain.named_parameters() if p.grad is not None}
    classifier = plain.classifier.weight.grad.clone()  # type: ignore[union-attr]
    moved = {
        name: (p - 0.05 * p.grad).detach().requires_grad_() if p.grad is not None else p
        for name, p in model.named_parameters()
    }
    plain.classifier.weight.grad = None
    test = loss(functional_call(model, moved, (batch().images[~for_train],)), ~for_train)
    test.backward()
    assert float(losses["meta_train"]) == pytest.approx(float(train), rel=1e-5)
    assert float(losses["meta_test"]) == pytest.approx(weight * float(test), rel=1e-5)
    for name, parameter in method.named_parameters():
        if name == "classifier.weight":
            expected = classifier + weight * plain.classifier.weight.grad  # type: ignore[operator]
        elif name in found:
            at_moved = moved[name.removeprefix("model.")].grad
            expected = found[name] + (weight * at_moved if at_moved is not None else 0)
        else:
            continue
        torch.testing.assert_close(parameter.grad, expected, rtol=1e-4, atol=1e-5)


def test_running_statistics_follow_the_meta_train_part_alone() -> None:
    method, plain = mldg(), mldg()
    part = method.split(batch())
    method.losses(batch())
    plain.model(batch().images[part])
    for one, other in zip(method.model.buffers(), plain.model.buffers(), strict=True):
        assert torch.equal(one, other)


def test_one_domain_is_too_few() -> None:
    with pytest.raises(PasserbyError, match="mldg: one domain"):
        mldg(domains=1)


def test_a_batch_without_one_half_of_the_domains_is_named() -> None:
    lonely = batch()
    lonely.domain = DOMAIN * 0
    with pytest.raises(PasserbyError, match=r"0 images in its batch; .*data\.batches=domain"):
        mldg().losses(lonely)
