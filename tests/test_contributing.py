"""What CONTRIBUTING.md shows runs as it stands there."""

import re
import sys
import types
from pathlib import Path

import pytest
import torch

from passerby.data.augment import Augmentation
from passerby.data.images import Preprocessing
from passerby.data.training_set import Batch
from passerby.methods.base import TrainingFacts
from passerby.methods.optimization import OptimizerSettings, ScheduleSettings
from passerby.models.model import Architecture, Model

PAGE = Path(__file__).parents[1] / "CONTRIBUTING.md"

pytestmark = pytest.mark.filterwarnings("ignore:You are trying to `self.log")


def block(number: int, monkeypatch: pytest.MonkeyPatch) -> types.ModuleType:
    """A Python block of the page as a module."""
    code = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)[number]
    module = types.ModuleType(f"shown{number}")
    monkeypatch.setitem(sys.modules, module.__name__, module)
    exec(compile(code, str(PAGE), "exec"), module.__dict__)
    return module


def test_the_dataset(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "mydata" / "MyData_v1" / "images"
    folder.mkdir(parents=True)
    for name in ("0001_c1_00.jpg", "0001_c2_03.jpg", "readme.jpg"):
        (folder / name).touch()
    listing = block(0, monkeypatch).MyData().scan(tmp_path)
    assert [(s.identity, s.camera, s.domain) for s in listing.parts["all"]] == [(1, 1, "mydata"), (1, 2, "mydata")]
    assert listing.misfits == ("images/readme.jpg",)


def test_the_method(monkeypatch: pytest.MonkeyPatch) -> None:
    module = block(1, monkeypatch)
    facts = TrainingFacts(3, 1, 10, 0, OptimizerSettings(), ScheduleSettings(), Augmentation())
    model = Model(Architecture(backbone="test_resnet"), Preprocessing(height=32, width=16))
    method = module.MyMethod(model, facts, module.MySettings(weight=0.5))
    identity = torch.tensor([0, 0, 1, 1, 2, 2])
    losses = method.losses(Batch(torch.randn(6, 3, 32, 16), identity, identity, identity, 0))
    assert tuple(losses) == method.loss_names
    assert all(value.isfinite() for value in losses.values())
