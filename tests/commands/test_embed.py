"""passerby embed: rows in the order of the paths, and what it refuses."""

import csv
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from onnx import TensorProto, helper, save
from torch import Tensor

from passerby.adaptation import SiteProfile
from passerby.cli import main
from passerby.commands.adapt import adapt
from passerby.commands.embed import embed
from passerby.commands.train import train
from passerby.errors import PasserbyError
from passerby.models.load import load
from passerby.models.saved import load_model
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


Sites = dict[str, Path]


@pytest.fixture(scope="module")
def sites(trained: Any, tmp_path_factory: pytest.TempPathFactory) -> Sites:
    """A table of the cameras of `three`, and profiles made there with and without it."""
    folder, three = tmp_path_factory.mktemp("sites"), trained.data / "three"
    found = {name: folder / f"{name}.safetensors" for name in ("cameras", "plain", "another model")}
    found["table"] = folder / "cameras.csv"
    with found["table"].open("w", newline="") as stream:
        rows = [[path.name, path.name[6]] for path in sorted(three.iterdir())]
        csv.writer(stream).writerows([["path", "camera"], *rows[:28]])  # four belong to no camera
    adapt(trained.plain, three, found["cameras"], cameras=found["table"], method="adabn:weight=1", device="cpu")
    adapt(trained.plain, three, found["plain"], method="adabn:weight=1", device="cpu")
    adapt(trained.bnta, three, found["another model"], cameras=found["table"], method="adabn", device="cpu")
    return found


def by_hand(trained: Any, profile: Path, by: Callable[[Path], str | None]) -> Tensor:
    """Embeddings of `three` by the model that wears the profile, each brought to its camera's mean and deviation."""
    site, paths = SiteProfile.load(profile), sorted((trained.data / "three").iterdir())
    model, _ = load_model(trained.plain / "model")
    with site.on(model):
        embeddings = model.embed(paths)
    assert not torch.allclose(embeddings, model.embed(paths), atol=1e-3)
    if site.cameras is None:
        return embeddings
    rows = [site.cameras.cameras.index(by(path) or "") for path in paths]
    moved = (embeddings - site.cameras.mean[rows]) / site.cameras.deviation[rows].clamp(min=1e-3)
    return moved / moved.norm(dim=1, keepdim=True)


def camera_of(path: Path) -> str | None:
    return None if path.name.startswith("0028") else path.name[6]


def written(out: Path) -> Tensor:
    found = np.load(out)
    assert list(found["paths"]) == sorted(found["paths"])
    assert found["embeddings"].dtype == np.float32
    return torch.from_numpy(found["embeddings"])


def test_a_model_that_wears_a_profile(trained: Any, sites: Sites, tmp_path: Path) -> None:
    three, out = trained.data / "three", tmp_path / "out.npz"
    embed(trained.plain, three, out, flip=False, device="cpu", site=sites["plain"])
    torch.testing.assert_close(written(out), by_hand(trained, sites["plain"], camera_of), rtol=1e-3, atol=1e-4)


def test_every_embedding_is_normalised_by_its_own_camera(
    trained: Any, sites: Sites, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    three, out = trained.data / "three", tmp_path / "out.npz"
    site = sites["cameras"]
    embed(trained.plain, three, out, flip=False, device="cpu", site=site, cameras=sites["table"])
    own = written(out)
    torch.testing.assert_close(own, by_hand(trained, site, camera_of), rtol=1e-3, atol=1e-4)
    # Without a table all are normalised by the statistics of all images.
    capsys.readouterr()
    embed(trained.plain, three, out, flip=False, device="cpu", site=site)
    assert "nothing says whose the images are (--cameras)" in capsys.readouterr().err
    together = written(out)
    torch.testing.assert_close(together, by_hand(trained, site, lambda _: None), rtol=1e-3, atol=1e-4)
    assert not torch.allclose(own[:28], together[:28], atol=0.01)
    torch.testing.assert_close(own[28:], together[28:])


def test_a_profile_and_a_table_from_the_command_line(
    trained: Any, sites: Sites, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = [str(trained.plain), "--images", str(trained.data / "three"), "--out", str(tmp_path / "out.npz")]
    site = ["--site", str(sites["cameras"]), "--cameras", str(sites["table"]), "--device", "cpu"]
    monkeypatch.setattr(sys, "argv", ["passerby", "embed", *arguments, *site])
    with pytest.raises(SystemExit) as end:
        main()
    assert not end.value.code
    expected = by_hand(trained, sites["cameras"], camera_of)
    torch.testing.assert_close(written(tmp_path / "out.npz"), expected, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(
    ("site", "cameras", "message"),
    [
        (None, "table", "--cameras: only a site profile that was made with cameras knows"),
        ("plain", "table", "--cameras: only a site profile that was made with cameras knows"),
        ("another model", None, "site profile: made from the model .* this one is"),
        ("nowhere", None, "no such site profile"),
        ("cameras", "nowhere", "--cameras .*: cannot be read"),
    ],
)
def test_profiles_and_tables_that_do_not_fit(
    trained: Any, sites: Sites, tmp_path: Path, site: str | None, cameras: str | None, message: str
) -> None:
    found = {None: None, "nowhere": tmp_path / "nowhere", **sites}
    with pytest.raises(PasserbyError, match=message):
        embed(
            trained.plain,
            trained.data / "three",
            tmp_path / "out.npz",
            flip=False,
            device="cpu",
            site=found[site],
            cameras=found[cameras],
        )
    assert list(tmp_path.iterdir()) == []


def test_an_onnx_file_wears_no_profile(trained: Any, sites: Sites, tmp_path: Path) -> None:
    nodes = [helper.make_node("GlobalAveragePool", ["images"], ["output"])]
    images = helper.make_tensor_value_info("images", TensorProto.FLOAT, ["n", 3, 32, 16])
    output = helper.make_tensor_value_info("output", TensorProto.FLOAT, None)
    graph = helper.make_graph(nodes, "pool", [images], [output])
    pool = tmp_path / "pool.onnx"
    save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), pool)
    embed(pool, trained.data / "three", tmp_path / "out.npz", flip=False, device="cpu")
    assert written(tmp_path / "out.npz").shape == (32, 3)
    with pytest.raises(PasserbyError, match="--site: a site profile belongs to a saved model"):
        embed(pool, trained.data / "three", tmp_path / "other.npz", flip=False, device="cpu", site=sites["plain"])
    assert not (tmp_path / "other.npz").exists()
