"""passerby train: from a recipe and a data root to a saved model."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from passerby.adaptation.base import batch_norms
from passerby.adaptation.shift import norm_shift, place_distance
from passerby.commands.device import torch_device
from passerby.commands.fitting import fit
from passerby.commands.mined_pairs import write_pairs_page
from passerby.commands.training_sources import FilmSources, open_training
from passerby.commands.warnings import caution
from passerby.data.images import Pixels, Preprocessing
from passerby.data.settings import DataSettings
from passerby.denormals import denormals_are_zero
from passerby.errors import PasserbyError, first_of
from passerby.files import write_text
from passerby.methods import get_method
from passerby.methods.base import TrainingFacts
from passerby.methods.film import FilmSettings
from passerby.models.backbone import Backbone, load_imagenet
from passerby.models.inherit import take_backbone, take_rest
from passerby.models.load import model_folder
from passerby.models.matching_model import build_model
from passerby.models.model import Architecture, Model
from passerby.models.norm import DomainNorm2d
from passerby.models.norm.domain import FEWEST_IMAGES
from passerby.models.norm_kinds import BANKED
from passerby.models.saved import (
    Ancestor,
    ModelCard,
    current_versions,
    load_model,
    save_model,
)
from passerby.recipes import Recipe


@denormals_are_zero()
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
        out: the run's folder: `model/` (the saved model), `checkpoints/`, `logs/`, `run.json`; on film `pairs.html` too.
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
    torch_device(device)
    sources = open_training(recipe, data_root, seed)
    parent = None if init_from is None else load_model(model_folder(init_from))
    facts_of_run = {
        "seed": seed,
        "recipe": recipe.model_dump(mode="json"),
        "init_from": None if parent is None else parent[1].weights_sha256,
        **sources.facts,
    }
    run = json.dumps(facts_of_run, indent=2)
    checkpoint = _checkpoint(out, run, resume)
    preprocessing = Preprocessing(height=recipe.data.height, width=recipe.data.width)
    training = sources.load(preprocessing)
    facts = TrainingFacts(
        classes=training.classes,
        domains=training.domains,
        steps=training.steps,
        seed=seed,
        optimizer=recipe.optimizer,
        schedule=recipe.schedule,
        augmentation=recipe.data.augment,
        domain_names=training.domain_names,
        span=training.span,
    )
    torch.manual_seed(seed)
    model = _build_model(recipe, data_root, preprocessing, training.domain_names, parent)
    method = get_method(recipe.method.name)(model, facts, recipe.method)
    write_text(out / "run.json", run + "\n")
    before = _batches_of_domains(model)
    cost = fit(method, training.data(method), recipe.trainer, out, device, checkpoint, progress)
    if facts.steps:
        _tell_unseen(_batches_of_domains(model) - before, training.domain_names)
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
        trained_on=training.trained_on,
        domains=facts.domain_names,
        ancestors=() if parent is None else _lineage(parent[1]),
        familiar=_familiar(model, training.examples),
        versions=current_versions(),
    )
    if method.global_rank == 0:
        save_model(out / "model", model, card)
        if isinstance(sources, FilmSources) and isinstance(recipe.method, FilmSettings):
            write_pairs_page(out, recipe_name, model, sources.super_frame(), recipe.method)
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
        raise PasserbyError(
            f"{out}: the run there has another recipe, seed, start or data; resume it with the very same command and data"
        )
    for half_written in last.parent.glob(f".{last.name}.*"):  # by a kill while a checkpoint was saved
        half_written.unlink()
    return last if last.exists() else None


def _build_model(
    recipe: Recipe,
    data_root: Path,
    preprocessing: Preprocessing,
    domains: tuple[str, ...],
    parent: tuple[Model, ModelCard] | None,
) -> Model:
    settings = recipe.model
    architecture = Architecture(**settings.model_dump(exclude={"weights"}))
    plain = Architecture(backbone=settings.backbone)
    if architecture.norm in BANKED:
        architecture = _with_bank_for(domains, architecture, parent[0].domains if parent is not None else 0)
    elif architecture.unknown != plain.unknown or architecture.bank != plain.bank:
        caution(
            f"model.unknown and model.bank do nothing: norms of model.norm={architecture.norm} have no statistics of domains "
            f"({' and '.join(BANKED)} have)"
        )

    def prepare(backbone: Backbone) -> None:
        if parent is not None:
            take_backbone(backbone, parent[0])
        elif settings.weights != "none":
            packaged = data_root / "weights" / f"{settings.backbone}_imagenet.safetensors"
            given = None if settings.weights in (None, "hub") else Path(str(settings.weights))
            load_imagenet(backbone, packaged if settings.weights is None and packaged.is_file() else given)

    model = build_model(architecture, preprocessing, prepare)
    if parent is not None:
        same_domains = parent[1].domains == domains
        if model.domains and parent[0].domains and not same_domains:
            caution(
                f"--init-from: its statistics are those of {', '.join(parent[1].domains)}, in this order; each of {', '.join(domains)} "
                "starts from all of them together"
            )
        inherited = take_rest(model, parent[0], same_domains)
        if inherited.new or inherited.left:
            caution(
                f"--init-from: {inherited.taken} tensors taken; starts anew: {first_of(inherited.new) or 'nothing'}; left "
                f"behind: {first_of(inherited.left) or 'nothing'}"
            )
    return model


def _with_bank_for(domains: Sequence[str], architecture: Architecture, inherited: int) -> Architecture:
    """The architecture with statistics of as many domains as the data have; a start has those of `inherited`, if it has any."""
    count = len(domains)
    for where, asked in (("model.bank.domains", architecture.bank.domains), ("--init-from", inherited)):
        if asked not in (0, count):
            raise PasserbyError(
                f"{where}: statistics of {asked} domains, but the training data have {count} ({', '.join(domains)}); "
                f"train on {asked}, or start from another model (model.bank.domains is counted when it is left out)"
            )
    return architecture.model_copy(update={"bank": architecture.bank.model_copy(update={"domains": count})})


def _batches_of_domains(model: Model) -> torch.Tensor:
    """Batches that moved each domain's statistics, int64 [K]; empty without domain norms. A start with --init-from brings its own."""
    # Every layer sees every batch: one tells of all.
    counts = (m.num_batches_tracked for m in model.modules() if isinstance(m, DomainNorm2d))
    return next(counts, torch.zeros(0, dtype=torch.long)).cpu().clone()


def _tell_unseen(batches: torch.Tensor, domains: tuple[str, ...]) -> None:
    """Warns of domains that no batch held images enough of: their statistics are those that training began with."""
    # A set beyond the domains is that of all images together.
    unseen = [domains[k] for k in (batches[: len(domains)] == 0).nonzero()[:, 0].tolist()]
    if unseen:
        caution(
            f"{first_of(unseen)}: no batch had {FEWEST_IMAGES} images of it, its statistics are still those that training began with; "
            "balance batches over domains (data.batches=domain), or raise data.identities or data.images_each"
        )


def _familiar(model: Model, examples: Callable[[], dict[str, Pixels]]) -> dict[str, float]:
    """How far each domain lies from the batch norms' running statistics, by some of its images."""
    if not batch_norms(model.backbone):
        return {}
    return {domain: round(place_distance(norm_shift(model, images)), 4) for domain, images in examples().items()}


def _lineage(parent: ModelCard) -> tuple[Ancestor, ...]:
    data = DataSettings.model_validate(parent.recipe["data"])
    nearest = Ancestor(
        recipe_name=parent.recipe_name,
        weights_sha256=parent.weights_sha256,
        sources=data.sources,
        images=data.images,
        trained_on=parent.trained_on,
    )
    return (nearest, *parent.ancestors)
