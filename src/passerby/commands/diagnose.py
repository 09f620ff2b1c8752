"""passerby diagnose: how far a place is from what a model knows, and what adapting to it would change."""

from dataclasses import dataclass
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table

from passerby.adaptation import AdaBn, Adaptation, BntaAdaptation
from passerby.adaptation.base import KEYS, wearing
from passerby.adaptation.shift import LayerShift, looked_at, norm_shift, place_distance
from passerby.commands.place import crop_paths, open_crops, open_model, working
from passerby.errors import PasserbyError
from passerby.models.load import model_folder
from passerby.models.model import Model
from passerby.models.saved import load_card

FAR = 1.5
"""A place is far that lies this many times as far off as the farthest domain that trained the model."""
FEWEST_FOR_A_VERDICT = 64
"""Fewer images always lie far off: their own means scatter."""


@dataclass(frozen=True)
class Diagnosis:
    """What a model says of a place, without labels.

    Attributes:
        images: that were looked at.
        distance: of the place, see `place_distance`.
        familiar: the same of each domain that trained the model; empty where its card does not say.
        layers: of each batch norm.
        method: that adapted, `bnta` or `adabn`.
        losses: of the method before and after adapting, by name.
        adapted_layers: of each batch norm after adapting.
        changes: see `shift_cards`.
    """

    images: int
    distance: float
    familiar: dict[str, float]
    layers: list[LayerShift]
    method: str
    losses: dict[str, tuple[float, float]]
    adapted_layers: list[LayerShift]
    changes: dict[str, list[float]]

    @property
    def far(self) -> bool | None:
        """Whether the place is far from the training domains; None where their own distances are not known, or for few images."""
        if not self.familiar or self.images < FEWEST_FOR_A_VERDICT:
            return None
        return self.distance > FAR * max(self.familiar.values())

    @property
    def verdict(self) -> str:
        """In plain words."""
        if not self.familiar:
            return "the model's card does not say how far its training domains lie; no verdict"
        if self.images < FEWEST_FOR_A_VERDICT:
            return f"{self.images} images are too few for a verdict; give at least {FEWEST_FOR_A_VERDICT}"
        if self.far:
            return "far from the training domains: adapt"
        return "close to the training domains: adaptation will change little"


def diagnose(
    model: str | Path, images: str | Path, *, seed: int = 0, device: str = "auto", progress: bool = False
) -> Diagnosis:
    """Looks at a place through a model; needs no labels.

    Args:
        model: a saved model or a run's folder.
        images: folder of person crops of the place.
        seed: fixes the order in which the images adapt it.
        device: `auto`, `cpu`, `gpu` or `mps`.
        progress: show bars.

    Raises:
        PasserbyError: for bad input, or a model that cannot be adapted.
    """
    loaded = open_model(model, device)
    if loaded.domains:
        raise PasserbyError(
            f"diagnose {model}: looks at batch norms, and this model's norms have statistics of each training domain; evaluate --report "
            "draws those, and camera normalisation works on any model (adapt --method none --cameras)"
        )
    adaptation: Adaptation = AdaBn() if loaded.parts is None else BntaAdaptation()
    adaptation.check(loaded)
    card = load_card(model_folder(Path(model)))
    paths = crop_paths(Path(images))
    pixels, _ = open_crops(Path(images), paths, loaded, progress)
    with working("looking, adapting, looking again", progress):
        some = looked_at(pixels)
        layers, before = norm_shift(loaded, some), adaptation.look(loaded, pixels)
        tensors = adaptation.adapt(loaded, pixels, seed)
        with wearing(loaded, tensors):
            adapted_layers, after = norm_shift(loaded, some), adaptation.look(loaded, pixels)
    return Diagnosis(
        images=len(pixels),
        distance=place_distance(layers),
        familiar=dict(card.familiar),
        layers=layers,
        method=adaptation.name,
        losses={name: (value, after[name]) for name, value in before.items()},
        adapted_layers=adapted_layers,
        changes=_changes(loaded, tensors, [layer.name for layer in layers]),
    )


def show_diagnosis(diagnosis: Diagnosis, title: str, report: Path | None) -> None:
    """Prints a diagnosis, and writes its page where one is asked for."""
    console = Console()
    table = Table(box=None, pad_edge=False)
    table.add_column("images of")
    table.add_column("distance", justify="right")
    for domain, value in diagnosis.familiar.items():
        table.add_row(f"{domain} (trained on)", f"{value:.3f}")
    table.add_row("this place", f"{diagnosis.distance:.3f}")
    table.add_row(f"this place, adapted ({diagnosis.method})", f"{place_distance(diagnosis.adapted_layers):.3f}")
    console.print(table)
    for name, (before, after) in diagnosis.losses.items():
        console.print(f"{name} loss: {before:.3f} -> {after:.3f} adapted", highlight=False)
    console.print(diagnosis.verdict, style="bold")
    if report is not None:
        from passerby.report.page import write_page
        from passerby.report.shift import shift_cards

        facts = [("distance of this place", f"{diagnosis.distance:.3f}")]
        facts += [(f"distance of {name}, trained on", f"{value:.3f}") for name, value in diagnosis.familiar.items()]
        facts += [
            (f"{name} loss", f"{before:.3f}, {after:.3f} adapted") for name, (before, after) in diagnosis.losses.items()
        ]
        cards = shift_cards(diagnosis.layers, diagnosis.adapted_layers, diagnosis.changes)
        write_page(report, title, diagnosis.verdict, facts, cards)
        console.print(f"report: {report}")


def _changes(model: Model, tensors: dict[str, torch.Tensor], layers: list[str]) -> dict[str, list[float]]:
    """How much of each kind of parameter changed in some batch norms: |new - old| summed over channels, over its unit likewise.

    Unit of a mean is the deviation that it is measured in, that of a bias the weight that it is added to; a variance and a weight are
    their own. (BNTA's Fig. 3 divides each by its own size, which for means and biases may be next to nothing.)
    """
    state = {name: value.cpu() for name, value in model.state_dict().items()}
    units = {"mean": "running_var", "variance": "running_var", "weight": "weight", "bias": "weight"}
    changes: dict[str, list[float]] = {}
    for kind, key in KEYS.items():
        values = []
        for layer in layers:
            name = f"{layer}.{key}"
            unit = state[f"{layer}.{units[kind]}"]
            size = (unit.sqrt() if kind == "mean" else unit).abs().sum().clamp(min=1e-12)
            values.append(float((tensors.get(name, state[name]) - state[name]).abs().sum() / size))
        if any(values):
            changes[kind] = values
    return changes
