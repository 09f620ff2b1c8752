"""Optimizers and schedules."""

import math
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from torch import nn

from passerby.methods.optimization import OptimizerSettings, ScheduleSettings


def schedule(**values: Any) -> ScheduleSettings:
    return ScheduleSettings.model_validate(values)


@given(progress=st.floats(0, 1), warmup=st.sampled_from([0.0, 0.1, 0.5]), start=st.sampled_from([0.01, 0.3, 1.0]))
def test_factors_are_the_plain_formulas(progress: float, warmup: float, start: float) -> None:
    cosine = schedule(decay="cosine", warmup=warmup, warmup_start=start)
    step = schedule(decay="step", warmup=warmup, warmup_start=start, milestones=[0.6, 0.8], gamma=0.2)
    constant = schedule(decay="constant", warmup=warmup, warmup_start=start)
    if progress < warmup:
        expected = start + progress / warmup * (1 - start)
        assert [s.factor(progress) for s in (cosine, step, constant)] == [pytest.approx(expected)] * 3
    else:
        assert cosine.factor(progress) == pytest.approx(
            (1 + math.cos(math.pi * (progress - warmup) / (1 - warmup))) / 2
        )
        assert step.factor(progress) == pytest.approx(1 if progress < 0.6 else 0.2 if progress < 0.8 else 0.04)
        assert constant.factor(progress) == 1


def test_landmarks_of_a_run() -> None:
    cosine = schedule(decay="cosine", warmup=0.1, warmup_start=0.01)
    assert [cosine.factor(p) for p in (0, 0.05, 0.1, 0.55, 1)] == [
        pytest.approx(v, abs=1e-12) for v in (0.01, 0.505, 1, 0.5, 0)
    ]
    step = schedule(decay="step", warmup=0, milestones=[0.4, 0.7])
    assert [step.factor(p) for p in (0, 0.39, 0.4, 0.7, 1)] == [pytest.approx(v) for v in (1, 1, 0.1, 0.01, 0.01)]


def test_over_steps_is_by_fraction_and_ends_with_the_run() -> None:
    short, long = schedule(warmup=0.3).over(10), schedule(warmup=0.3).over(1000)
    assert [short(k) for k in range(11)] == [pytest.approx(long(100 * k)) for k in range(11)]
    assert short(25) == short(10) == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize(
    ("name", "kind"), [("adam", torch.optim.Adam), ("adamw", torch.optim.AdamW), ("sgd", torch.optim.SGD)]
)
def test_only_what_requires_a_gradient_is_optimised(name: str, kind: type) -> None:
    backbone, head = nn.Linear(3, 2), nn.Linear(2, 2)
    backbone.bias.requires_grad_(False)
    head.bias.requires_grad_(False)
    settings = OptimizerSettings.model_validate(
        {"name": name, "lr": 0.2, "new_layers": 5, "weight_decay": 0.3, "momentum": 0.7}
    )
    optimizer = settings.build(backbone.parameters(), head.parameters())
    assert type(optimizer) is kind
    assert [group["params"] for group in optimizer.param_groups] == [[backbone.weight], [head.weight]]
    assert [group["lr"] for group in optimizer.param_groups] == [0.2, pytest.approx(1.0)]
    assert {group["weight_decay"] for group in optimizer.param_groups} == {0.3}
    group = optimizer.param_groups[0]
    if name == "sgd":
        assert (group["momentum"], group["nesterov"]) == (0.7, False)
    else:
        assert group["betas"] == (0.9, 0.999)


@pytest.mark.parametrize(
    "values", [{"lr": 0}, {"name": "lamb"}, {"weight_decay": -1}, {"momentum": 1}, {"new_layers": 0}, {"beta": 0.9}]
)
def test_optimizers_that_make_no_sense_are_refused(values: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        OptimizerSettings.model_validate(values)


@pytest.mark.parametrize(
    "values", [{"warmup": 1}, {"milestones": [40, 70]}, {"milestones": [0]}, {"gamma": 1}, {"decay": "linear"}]
)
def test_schedules_that_make_no_sense_are_refused(values: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        schedule(**values)
