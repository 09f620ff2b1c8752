"""`passerby.load` opens whatever embeds."""

from pathlib import Path

import numpy as np
import pytest
import torch

import passerby
from passerby.errors import PasserbyError
from passerby.models.load import load, model_folder
from passerby.models.model import Model
from passerby.models.saved import ModelCard, save_model


@pytest.fixture
def run(model: Model, tmp_path: Path) -> Path:
    """A finished run."""
    card = ModelCard(
        architecture=model.architecture,
        preprocessing=model.preprocessing,
        dimension=model.dimension,
        recipe={},
        recipe_name="tiny",
        budget="full",
        seed=0,
        steps=1,
        seconds=1,
        peak_mib=1,
        trained_on=(),
        versions={},
    )
    save_model(tmp_path / "run" / "model", model, card)
    return tmp_path / "run"


def test_opens_a_run_and_the_model_inside(model: Model, run: Path) -> None:
    image = [np.random.default_rng(0).integers(0, 256, (40, 20, 3), dtype=np.uint8)]
    for path in (run, run / "model", str(run)):
        assert torch.equal(passerby.load(path).embed(image), model.embed(image))
    assert model_folder(run) == model_folder(run / "model") == run / "model"


def test_what_holds_no_model_is_named(tmp_path: Path) -> None:
    (tmp_path / "run" / "checkpoints").mkdir(parents=True)
    with pytest.raises(PasserbyError, match=r"not finished.*--resume"):
        load(tmp_path / "run")
    with pytest.raises(PasserbyError, match=r"nowhere: no saved model, run or \.onnx file"):
        load(tmp_path / "nowhere")
    with pytest.raises(PasserbyError, match=r"none\.onnx: no such file"):
        load(tmp_path / "none.onnx")
