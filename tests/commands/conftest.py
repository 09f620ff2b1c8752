"""Small datasets on disk and a recipe that trains on them in a second."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from passerby.commands.train import train
from passerby.recipes import load_recipe

TINY = [
    "model.backbone=test_resnet",
    "model.weights=none",
    "data.height=32",
    "data.width=16",
    "data.identities=4",
    "data.images_each=2",
    "data.augment.pad=2",
    "trainer.max_steps=6",
    "trainer.checkpoint_every=2",
]


def write_people(folder: Path, identities: range, cameras: int = 2, images: int = 2, seed: int = 0) -> None:
    """Market-style crops: every identity a colour, every image its own noise."""
    rng = np.random.default_rng(seed)
    folder.mkdir(parents=True, exist_ok=True)
    for identity in identities:
        colour = np.random.default_rng(identity).integers(40, 215, 3)
        for camera in range(1, cameras + 1):
            for shot in range(images):
                pixels = (colour + 10 * camera + rng.normal(0, 12, (40, 20, 3))).clip(0, 255).astype(np.uint8)
                Image.fromarray(pixels).save(folder / f"{identity:04d}_c{camera}s1_{shot:06d}_00.jpg", quality=95)


@pytest.fixture
def people(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data root with two small sources (`one`, `two`) and a target (`three`), and a cache of its own."""
    monkeypatch.setenv("PASSERBY_CACHE", str(tmp_path / "cache"))
    root = tmp_path / "data"
    write_people(root / "one", range(1, 9))
    write_people(root / "two", range(11, 19))
    write_people(root / "three", range(21, 29))
    return root


@pytest.fixture
def sources(people: Path) -> str:
    """The sources of `people` as an override."""
    return f"data.sources=one={people / 'one'},two={people / 'two'}"


@pytest.fixture(scope="session")
def tiny() -> list[str]:
    """Overrides that make any recipe small."""
    return TINY


@dataclass(frozen=True)
class Trained:
    """Two small models, and the data that they were trained on and not.

    Attributes:
        data: a data root as `people` makes it.
        bnta: a run of BNTA on `one` and `two`.
        plain: a run of the baseline on them, without part heads and with plain batch norms.
    """

    data: Path
    bnta: Path
    plain: Path


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """Trained once for all tests, which leave them as they are."""
    folder = tmp_path_factory.mktemp("trained")
    root = folder / "data"
    for name, first in (("one", 1), ("two", 11), ("three", 21)):
        write_people(root / name, range(first, first + 8))
    sources = f"data.sources=one={root / 'one'},two={root / 'two'}"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PASSERBY_CACHE", str(folder / "cache"))
        for method, norm in (("bnta", "dualnorm"), ("baseline", "batch")):
            recipe = load_recipe(f"{method}-mobilenetv2", [*TINY, sources, f"model.norm={norm}"])
            train(recipe, root, folder / method, recipe_name=method, device="cpu", progress=False, seed=3)
    return Trained(root, folder / "bnta", folder / "baseline")
