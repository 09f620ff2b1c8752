"""A tiny model with part heads, images of a place, and what a model consists of."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from passerby.data.images import Pixels, Preprocessing
from passerby.models.model import Architecture, Model

Build = Callable[..., Model]
Scene = Callable[..., Pixels]
SMALL = Preprocessing(height=32, width=16)


@pytest.fixture
def build() -> Build:
    """`build(norm=..., stripes=...)` makes test_resnet at 32 x 16 with random weights and statistics, in eval mode."""

    def made(norm: Any = "dualnorm", stripes: int = 3, **architecture: Any) -> Model:
        torch.manual_seed(0)
        backbone = {"backbone": "test_resnet", **architecture}
        model = Model(Architecture(norm=norm, stripes=stripes, **backbone), SMALL)
        with torch.no_grad():
            for module in model.modules():
                mean, variance = getattr(module, "running_mean", None), getattr(module, "running_var", None)
                if isinstance(mean, torch.Tensor) and isinstance(variance, torch.Tensor):
                    assert isinstance(module.weight, torch.Tensor)
                    module.weight.uniform_(0.5, 1.5)  # timm starts the last norm of a block at 0
                    mean.normal_(0, 0.1)
                    variance.uniform_(0.5, 1.5)
        return model.eval()

    return made


@pytest.fixture
def model(build: Build) -> Model:
    """DualNorm and three stripes."""
    return build()


@pytest.fixture
def scene() -> Scene:
    """`scene(count)`: crops of people in clothes of three colours, uint8 [count, 32, 16, 3]."""

    def made(count: int = 24, seed: int = 0) -> Pixels:
        rng = np.random.default_rng(seed)
        stripes = rng.integers(30, 225, (count, 4, 1, 3)).repeat(8, 1)
        return (stripes + rng.normal(0, 20, (count, 32, 16, 3))).clip(0, 255).astype(np.uint8)

    return made


def everything(model: nn.Module) -> dict[str, Any]:
    """All that must be the same afterwards: tensors, what takes gradients, gradients, modes and momentum."""
    found: dict[str, Any] = {f"tensor {name}": value.clone() for name, value in model.state_dict().items()}
    for name, parameter in model.named_parameters():
        found[f"requires_grad {name}"] = parameter.requires_grad
        found[f"grad {name}"] = parameter.grad
    for name, module in model.named_modules():
        found[f"training {name}"] = module.training
        found[f"hooks {name}"] = (len(module._forward_hooks), len(module._forward_pre_hooks))
        if hasattr(module, "momentum"):
            found[f"momentum {name}"] = module.momentum
    return found


@pytest.fixture
def unchanged() -> Callable[[nn.Module], Callable[[], None]]:
    """`check = unchanged(model)`, and later `check()`: the model is what it was, to the bit."""

    def watch(model: nn.Module) -> Callable[[], None]:
        before = everything(model)

        def check() -> None:
            after = everything(model)
            assert before.keys() == after.keys()
            for name, value in before.items():
                same = torch.equal(value, after[name]) if isinstance(value, torch.Tensor) else value == after[name]
                assert same, name

        return check

    return watch
