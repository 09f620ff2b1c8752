"""passerby train: from a recipe and a data root to a saved model."""

import json
from collections.abc import Sequence
from pathlib import Path

import torch
from rich.console import Console

from passerby.commands.device import torch_device
from passerby.commands.fitting import TrainingData, fit
from passerby.data.images import Preprocessing
from passerby.data.sources import Source, by_camera, listing_digest, open_sources
from passerby.data.training_set import TrainingSet, build_sampler
from passerby.errors import PasserbyError
from passerby.files import write_text
from passerby.methods import get_method
from passerby.methods.base import TrainingFacts
from passerby.models.backbone import Backbone, load_imagenet
from passerby.models.load import model_folder
from passerby.models.model import Architecture, Model
from passerby.models.saved import ModelCard, TrainedOn, current_versions, load_model, load_strictly, save_model
from passerby.recipes import Recipe


def train(
    recipe: Recipe,
    data_root: Path,
    out: Path,
    *,
    recipe_name: str,
    overrides: Sequence[str] = (),
    budget: str = "full",
    seed: int = 0,
    device: str = "auto",
    init_from: Path | None = None,
    resume: bool = False,
    progress: bool = True,
) -> Path:
    """Trains a model.

    Args:
        recipe: what to train.
        data_root: folder that holds the datasets.
        out: the run's folder: `model/` (the saved model), `checkpoints/`, `logs/`, `run.json`.
        recipe_name: recorded on the card.
        overrides: what --set changed in the recipe, recorded on the card.
        budget: recorded on the card.
        seed: fixes initialisation, data order and augmentation.
        device: `auto`, `cpu`, `gpu` or `mps`.
        init_from: a saved model, or the folder of a run, whose weights the training starts from.
        resume: take up the run in `out` where its last checkpoint left it.
        progress: show a progress bar.

    Returns:
        the folder of the saved model.

    Raises:
        PasserbyError: for bad input, a run that exists already, and a loss that is not finite.
    """
    run = json.dumps({"seed": seed, "recipe": recipe.model_dump(mode="json")}, indent=2)
    torch_device(device)
    checkpoint = _checkpoint(out, run, resume)
    preprocessing = Preprocessing(height=recipe.data.height, width=recipe.data.width)
    sources = open_sources(recipe.data.sources, data_root, recipe.data.images)
    domains = [(source.domain, source.samples) for source in sources]
    if recipe.data.domains == "camera":
        domains = [(name, tuple(part)) for source in sources for name, part in by_camera(source.domain, source.samples)]
    training_set = TrainingSet(domains, preprocessing, recipe.data.images_per_identity, seed)
    for message in training_set.unreadable:
        Console(stderr=True).print(f"left out: {message}", style="yellow", markup=False, soft_wrap=True)
    sampler = build_sampler(recipe.data, training_set, seed)
    facts = TrainingFacts(
        classes=training_set.classes,
        domains=len(training_set.domains),
        steps=recipe.trainer.max_steps or recipe.trainer.max_epochs * sampler.batches,
        seed=seed,
        optimizer=recipe.optimizer,
        schedule=recipe.schedule,
        augmentation=recipe.data.augment,
    )
    torch.manual_seed(seed)
    model = _build_model(recipe, data_root, preprocessing, init_from)
    method = get_method(recipe.method.name)(model, facts, recipe.method)
    write_text(out / "run.json", run + "\n")
    data = TrainingData(training_set, sampler, method.second_sampler(training_set))
    cost = fit(method, data, recipe.trainer, out, device, checkpoint, progress)
    card = ModelCard(
        architecture=model.architecture,
        preprocessing=preprocessing,
        dimension=model.dimension,
        recipe=recipe.model_dump(mode="json"),
        recipe_name=recipe_name,
        overrides=tuple(overrides),
        budget=budget,
        seed=seed,
        steps=facts.steps,
        seconds=cost.seconds,
        peak_mib=cost.peak_mib,
        trained_on=tuple(_describe(source) for source in sources),
        versions=current_versions(),
    )
    if method.global_rank == 0:
        save_model(out / "model", model, card)
    return out / "model"


def _checkpoint(out: Path, run: str, resume: bool) -> Path | None:
    """The checkpoint to go on from; None for a new run."""
    if out.exists() and not out.is_dir():
        raise PasserbyError(f"--out {out}: a file; give a folder for the run")
    last = out / "checkpoints" / "last.ckpt"
    if not resume:
        if last.exists() or (out / "model").exists():
            raise PasserbyError(f"{out}: holds a run already; add --resume to go on with it, or give another --out")
        return None
    if (out / "model").exists():
        raise PasserbyError(f"{out}: this run is finished; its model is {out / 'model'}")
    if not (out / "run.json").exists():
        raise PasserbyError(f"{out}: no run to resume; leave out --resume to start one")
    if (out / "run.json").read_text(encoding="utf-8").strip() != run:
        raise PasserbyError(f"{out}: the run there has another recipe or seed; resume it with the very same command")
    for half_written in last.parent.glob(f".{last.name}.*"):  # by a kill while a checkpoint was saved
        half_written.unlink()
    return last if last.exists() else None


def _build_model(recipe: Recipe, data_root: Path, preprocessing: Preprocessing, init_from: Path | None) -> Model:
    settings = recipe.model
    architecture = Architecture(**settings.model_dump(exclude={"weights"}))

    def prepare(backbone: Backbone) -> None:
        if init_from is None and settings.weights != "none":
            packaged = data_root / "weights" / f"{settings.backbone}_imagenet.safetensors"
            given = None if settings.weights in (None, "hub") else Path(str(settings.weights))
            load_imagenet(backbone, packaged if settings.weights is None and packaged.is_file() else given)

    model = Model(architecture, preprocessing, prepare)
    if init_from is not None:
        load_strictly(model, load_model(model_folder(init_from))[0].state_dict(), init_from)
    return model


def _describe(source: Source) -> TrainedOn:
    return TrainedOn(
        domain=source.domain,
        identities=len({s.identity for s in source.samples}),
        images=len(source.samples),
        listing_sha256=listing_digest(source.samples),
        terms=source.dataset.reference,
    )
