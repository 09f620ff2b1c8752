"""A tiny model whose features differ from image to image."""

import pytest
import torch

from passerby.data.images import Preprocessing
from passerby.models.model import Architecture, Model


@pytest.fixture
def model() -> Model:
    """test_resnet at 32 x 16 with random weights and statistics, in eval mode."""
    torch.manual_seed(0)
    built = Model(Architecture(backbone="test_resnet"), Preprocessing(height=32, width=16))
    with torch.no_grad():
        for module in built.modules():
            if isinstance(module, torch.nn.BatchNorm2d | torch.nn.BatchNorm1d):
                module.weight.uniform_(0.5, 1.5)
                module.running_mean.normal_(0, 0.1)
                module.running_var.uniform_(0.5, 1.5)
    return built.eval()
