"""A saved model: a folder with safetensors weights and a card that people can read."""

import platform
import subprocess
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import BaseModel, ConfigDict, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from passerby.data.images import Preprocessing
from passerby.denormals import without_denormals
from passerby.errors import PasserbyError
from passerby.files import atomic_folder, sha256
from passerby.models.matching_model import build_model
from passerby.models.model import Architecture, Model

WEIGHTS, CARD = "model.safetensors", "card.json"


class TrainedOn(BaseModel):
    """One domain that a model was trained on."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    domain: str
    people: str
    """Identities that trained, as `write_people` writes them."""
    identities: int
    images: int
    """Images that trained: less than the source has where a budget keeps some of each identity."""
    listing_sha256: str
    """Digest of the sorted (file name, identity, camera) of all the source's images."""
    terms: str
    """Paper to cite and terms of use."""
    film: str = ""
    """Which films these are, where it was film without labels: the first names, and how many more."""
    hours: float = 0.0
    """How long its shots last."""


class Ancestor(BaseModel):
    """A model whose weights another one's training started from."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    recipe_name: str = "a model"
    """Not known of those whose cards did not say it."""
    weights_sha256: str
    sources: tuple[str, ...]
    """As its recipe names them."""
    images: Literal["all", "train"]
    trained_on: tuple[TrainedOn, ...]


class ModelCard(BaseModel):
    """What a saved model says of itself."""

    model_config = ConfigDict(extra="forbid")

    format: Literal[1] = 1
    architecture: Architecture
    preprocessing: Preprocessing
    dimension: int
    """D of the embedding."""
    weights_sha256: str = ""
    recipe: dict[str, Any]
    """The whole recipe that it was trained with."""
    recipe_name: str
    overrides: tuple[str, ...] = ()
    """What --set changed in the recipe."""
    budget: str
    seed: int
    steps: int
    seconds: float
    """Wall time of the training."""
    peak_mib: float
    """Peak memory of the training: of the GPU where one was used, else of the process."""
    trained_on: tuple[TrainedOn, ...]
    domains: tuple[str, ...] = ()
    """What counted as a domain in training, in order: sources, or cameras of one."""
    ancestors: tuple[Ancestor, ...] = ()
    """Models that its training started from (--init-from), the nearest first; none: from ImageNet or from nothing."""
    familiar: dict[str, float] = {}
    """How far each domain that trained it lies from its running statistics (`passerby diagnose` measures a place so)."""
    versions: dict[str, str]


def current_versions() -> dict[str, str]:
    """Versions of what decides a result."""
    return {
        "python": platform.python_version(),
        "passerby": code_version(),
        **{name: version(name) for name in ("torch", "torchvision", "timm")},
    }


@cache
def code_version() -> str:
    """The package's version, with the commit where it runs from a git checkout: `0.1.0+g1a2b3c4`, `.dirty` if changed."""
    released = version("passerby")
    root = Path(__file__).parents[3]
    if not (root / "pyproject.toml").is_file() or not (root / ".git").exists():
        return released
    command = ["git", "-C", str(root), "describe", "--always", "--dirty=.dirty", "--exclude=*"]
    try:
        described = subprocess.run(command, capture_output=True, text=True, check=True, timeout=10)
    except (OSError, subprocess.SubprocessError):  # no git, or a checkout of somebody else's
        return released
    return f"{released}+g{described.stdout.strip()}"


def save_model(folder: Path, model: Model, card: ModelCard) -> None:
    """Writes `folder` whole or not at all; an older one stays as it was until the new one is complete.

    Raises:
        PasserbyError: when the weights cannot be written.
    """
    with atomic_folder(folder) as temporary:
        try:
            state = {name: without_denormals(value).contiguous() for name, value in model.state_dict().items()}
            save_file(state, temporary / WEIGHTS)
        except SafetensorError as error:  # its way to say that the disk is full
            raise PasserbyError(
                f"{folder / WEIGHTS}: cannot be written ({error}); free room there, then go on with --resume"
            ) from error
        card = card.model_copy(update={"weights_sha256": sha256(temporary / WEIGHTS)})
        (temporary / CARD).write_text(card.model_dump_json(indent=2) + "\n", encoding="utf-8")


def load_card(folder: Path) -> ModelCard:
    """Reads the card of a saved model.

    Raises:
        PasserbyError: when there is none, or it does not parse.
    """
    if not (folder / CARD).is_file():
        raise PasserbyError(
            f"{folder}: no saved model ({CARD} and {WEIGHTS} are what a saved model holds); give the folder that "
            f"`passerby train --out` wrote"
        )
    try:
        return ModelCard.model_validate_json((folder / CARD).read_bytes())
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = "".join(f"{part}: " for part in first["loc"])
        raise PasserbyError(
            f"{folder / CARD}: {place}{first['msg'].lower()}; the card is damaged or of another version"
        ) from error


def load_model(folder: Path) -> tuple[Model, ModelCard]:
    """Builds the model that a folder describes and loads its weights, strictly.

    Returns:
        the model in eval mode, on the CPU, and its card.

    Raises:
        PasserbyError: when the weights are missing, changed since they were saved, or do not fit; every key is named.
    """
    card = load_card(folder)
    if not (folder / WEIGHTS).is_file():
        raise PasserbyError(f"{folder / WEIGHTS}: missing; copy the whole folder of the saved model")
    model = build_model(card.architecture, card.preprocessing)
    try:
        state = load_file(folder / WEIGHTS)
    except SafetensorError as error:
        raise PasserbyError(f"{folder / WEIGHTS}: damaged ({error}); copy or train it again") from error
    load_strictly(model, state, folder / WEIGHTS)
    if sha256(folder / WEIGHTS) != card.weights_sha256:
        raise PasserbyError(
            f"{folder / WEIGHTS}: not the weights that the card describes (sha256 differs); copy both files again"
        )
    if card.dimension != model.dimension:
        raise PasserbyError(
            f"{folder / CARD}: dimension {card.dimension}, but the weights give {model.dimension}; copy both files again"
        )
    model.weights_sha256 = card.weights_sha256
    return model.eval(), card


def load_strictly(model: torch.nn.Module, state: dict[str, torch.Tensor], where: Path) -> None:
    """Loads `state` into `model` when every key and shape fits.

    Raises:
        PasserbyError: which names every key that is missing, unknown or of another shape.
    """
    wanted = model.state_dict()
    misfits = [f"{key} (missing)" for key in wanted if key not in state]
    misfits += [f"{key} (unknown)" for key in state if key not in wanted]
    misfits += [
        f"{key} ({list(state[key].shape)} instead of {list(wanted[key].shape)})"
        for key in wanted
        if key in state and state[key].shape != wanted[key].shape
    ]
    if misfits:
        raise PasserbyError(f"{where}: weights of another model; {len(misfits)} keys do not fit: {', '.join(misfits)}")
    model.load_state_dict(state)
