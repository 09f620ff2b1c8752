"""Saved models: what is loaded is what was saved, or one clear error."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from passerby.errors import PasserbyError
from passerby.files import sha256
from passerby.models import saved
from passerby.models.model import Model
from passerby.models.saved import (
    ModelCard,
    TrainedOn,
    current_versions,
    load_card,
    load_model,
    load_strictly,
    save_model,
)


@pytest.fixture
def card(model: Model) -> ModelCard:
    """A card of `model`."""
    return ModelCard(
        architecture=model.architecture,
        preprocessing=model.preprocessing,
        dimension=model.dimension,
        recipe={"method": {"name": "baseline"}},
        recipe_name="baseline-tiny",
        overrides=("optimizer.lr=0.1",),
        budget="quick",
        seed=3,
        steps=10,
        seconds=1.5,
        peak_mib=100.0,
        trained_on=(
            TrainedOn(domain="one", people="1-2", identities=2, images=8, listing_sha256="0" * 64, terms="none"),
        ),
        versions=current_versions(),
    )


@pytest.fixture
def folder(model: Model, card: ModelCard, tmp_path: Path) -> Path:
    """`model`, saved."""
    save_model(tmp_path / "model", model, card)
    return tmp_path / "model"


def rewrite(folder: Path, **changes: Any) -> None:
    card = json.loads((folder / "card.json").read_text())
    (folder / "card.json").write_text(json.dumps({**card, **changes}))


def names(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir())


def test_round_trip_gives_the_same_embeddings_to_the_bit(model: Model, card: ModelCard, folder: Path) -> None:
    loaded, loaded_card = load_model(folder)
    images = list(np.random.default_rng(0).integers(0, 256, (5, 40, 20, 3), dtype=np.uint8))
    assert torch.equal(loaded.embed(images), model.embed(images))
    assert not loaded.training
    assert loaded_card == card.model_copy(update={"weights_sha256": sha256(folder / "model.safetensors")})
    assert loaded.preprocessing == model.preprocessing
    assert names(folder) == ["card.json", "model.safetensors"]


def test_saved_weights_hold_no_number_that_slows_a_processor_down(
    model: Model, card: ModelCard, tmp_path: Path
) -> None:
    with torch.no_grad():
        model.neck.weight[:2] = torch.tensor([1e-40, 1.0])
    save_model(tmp_path / "tiny", model, card)
    assert load_model(tmp_path / "tiny")[0].neck.weight[:2].tolist() == [0.0, 1.0]


def test_versions_name_what_decides_a_result() -> None:
    assert set(current_versions()) == {"python", "passerby", "torch", "torchvision", "timm"}
    assert current_versions()["torch"].split("+")[0] == torch.__version__.split("+")[0]


def test_every_key_that_does_not_fit_is_named(model: Model, folder: Path) -> None:
    state = load_file(folder / "model.safetensors")
    del state["neck.bias"]
    state["extra"] = torch.zeros(1)
    state["neck.weight"] = torch.zeros(7)
    with pytest.raises(PasserbyError, match="3 keys do not fit") as error:
        load_strictly(model, state, folder)
    for misfit in ("neck.bias (missing)", "extra (unknown)", f"neck.weight ([7] instead of [{model.dimension}])"):
        assert misfit in str(error.value)
    save_file(state, folder / "model.safetensors")
    with pytest.raises(PasserbyError, match="weights of another model"):
        load_model(folder)


def test_a_state_that_does_not_fit_changes_nothing(model: Model, folder: Path) -> None:
    before = {key: value.clone() for key, value in model.state_dict().items()}
    state = {key: value + 1 for key, value in load_file(folder / "model.safetensors").items() if key != "neck.bias"}
    with pytest.raises(PasserbyError):
        load_strictly(model, state, folder)
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


def test_weights_of_another_run_are_noticed(folder: Path) -> None:
    state = load_file(folder / "model.safetensors")
    state["neck.weight"] += 1
    save_file(state, folder / "model.safetensors")
    with pytest.raises(PasserbyError, match="not the weights that the card describes"):
        load_model(folder)


@pytest.mark.parametrize("damage", ["cut", "empty", "noise"])
def test_damaged_weights_are_one_clear_error(folder: Path, damage: str) -> None:
    path = folder / "model.safetensors"
    data = path.read_bytes()
    path.write_bytes({"cut": data[: len(data) // 2], "empty": b"", "noise": b"\xff" * 100}[damage])
    with pytest.raises(PasserbyError, match=r"model\.safetensors: damaged") as error:
        load_model(folder)
    assert "\n" not in str(error.value)


def test_missing_files_are_named(folder: Path, tmp_path: Path) -> None:
    (folder / "model.safetensors").unlink()
    with pytest.raises(PasserbyError, match=r"model\.safetensors: missing"):
        load_model(folder)
    with pytest.raises(PasserbyError, match="no saved model"):
        load_card(tmp_path / "nowhere")


def test_a_damaged_card_is_one_clear_error(folder: Path) -> None:
    whole = (folder / "card.json").read_bytes()
    for damaged in (b"", whole[:50], b"\xff\xfe\x00", b"[]"):
        (folder / "card.json").write_bytes(damaged)
        with pytest.raises(PasserbyError, match=r"card\.json: .*the card is damaged or of another version") as error:
            load_card(folder)
        assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("change", "place"),
    [
        ({"format": 2}, "format: "),
        ({"seed": "x"}, "seed: "),
        ({"surprise": 1}, "surprise: "),
        ({"preprocessing": {"height": 3}}, "preprocessing: width: "),
    ],
)
def test_a_card_of_another_version_says_where(folder: Path, change: dict[str, Any], place: str) -> None:
    rewrite(folder, **change)
    with pytest.raises(PasserbyError, match=place):
        load_card(folder)


def test_a_card_of_a_network_unknown_here_says_so(folder: Path) -> None:
    rewrite(folder, architecture={"backbone": "test_resnett"})
    with pytest.raises(PasserbyError, match="did you mean 'test_resnet'"):
        load_model(folder)


@pytest.mark.parametrize("fails", ["save_file", "sha256"])
def test_an_interrupted_save_keeps_the_old_model(
    model: Model, card: ModelCard, folder: Path, monkeypatch: pytest.MonkeyPatch, fails: str
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with torch.no_grad():
        model.neck.weight += 1
    with monkeypatch.context() as patch:
        patch.setattr(saved, fails, full)
        with pytest.raises(OSError, match="No space"):
            save_model(folder, model, card)
    loaded, _ = load_model(folder)
    assert not torch.equal(loaded.neck.weight, model.neck.weight)
    assert names(folder.parent) == ["model"]
    save_model(folder, model, card)
    assert torch.equal(load_model(folder)[0].neck.weight, model.neck.weight)


def test_a_dimension_that_the_weights_do_not_give(folder: Path) -> None:
    rewrite(folder, dimension=12)
    with pytest.raises(PasserbyError, match=r"card\.json: dimension 12, but the weights give"):
        load_model(folder)


def test_a_full_disk_is_one_clear_error(
    model: Model, card: ModelCard, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> None:
        raise SafetensorError("No space left on device (os error 28)")

    monkeypatch.setattr("passerby.models.saved.save_file", full)
    with pytest.raises(PasserbyError, match=r"cannot be written .*No space left.*free room"):
        save_model(tmp_path / "new", model, card)
    assert names(tmp_path) == []
