"""passerby embed: rows in the order of the paths, and what it refuses."""

from pathlib import Path

import numpy as np
import pytest
import torch

from passerby.commands.embed import embed
from passerby.commands.train import train
from passerby.errors import PasserbyError
from passerby.models.load import load
from passerby.recipes import load_recipe


@pytest.fixture
def model(people: Path, sources: str, tiny: list[str], tmp_path: Path) -> Path:
    recipe = load_recipe("baseline-mobilenetv2", [*tiny, sources, "trainer.max_steps=1"])
    return train(recipe, people, tmp_path / "run", recipe_name="tiny", device="cpu", progress=False)


def test_every_image_is_a_row(model: Path, people: Path, tmp_path: Path) -> None:
    embed(model, people, tmp_path / "out.npz", flip=False, device="cpu")
    written = np.load(tmp_path / "out.npz")
    assert len(written["paths"]) == len(written["embeddings"]) == 96
    row = list(written["paths"]).index("two/0011_c1s1_000000_00.jpg")
    alone = load(model).embed(people / "two" / "0011_c1s1_000000_00.jpg")[0]
    torch.testing.assert_close(torch.from_numpy(written["embeddings"][row]), alone, atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("out", "images", "message"),
    [("out.csv", "one", "npz"), ("out.npz", "none", "no such folder"), ("out.npz", "", "no images")],
)
def test_bad_input(model: Path, people: Path, tmp_path: Path, out: str, images: str, message: str) -> None:
    folder = people / images
    if images == "":
        folder = tmp_path / "empty"
        folder.mkdir()
    with pytest.raises(PasserbyError, match=message):
        embed(model, folder, tmp_path / out, flip=False, device="cpu")
    assert not (tmp_path / out).exists()
