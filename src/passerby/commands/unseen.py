"""Whether a target is unseen, and a protocol followed, by what a model's card says of its training."""

from collections.abc import Sequence
from pathlib import Path

from pydantic import ValidationError
from rich.console import Console

from passerby.commands.warnings import caution
from passerby.data.datasets import get_dataset, source_samples
from passerby.data.people import read_people
from passerby.data.protocols import FREE, get_protocol
from passerby.data.sample import Sample
from passerby.data.settings import DataSettings
from passerby.errors import PasserbyError
from passerby.evaluation import cuhk03_classic
from passerby.evaluation.overlap import check_disjoint, check_people
from passerby.evaluation.targets import Target
from passerby.models.saved import CARD, Ancestor, ModelCard

LEFT_OUT = "leave-one-source-out"
ONE_TO_FOUR = "one-to-four"


def check_protocol(protocol: str, card: ModelCard | None, targets: Sequence[str]) -> None:
    """Refuses a protocol under which a model's sources and the targets do not belong together.

    Args:
        protocol: its name.
        card: of the model; None for one that was trained elsewhere.
        targets: names, or `name=path`.

    Raises:
        PasserbyError: for such a protocol, an unknown one, and a dataset that nothing is measured on.
    """
    plan = get_protocol(protocol)
    if protocol == LEFT_OUT:
        for target in targets:
            get_dataset(target)
        return
    known = [target for target in targets if target not in cuhk03_classic.NAMES]
    if protocol in FREE and not known:
        return
    cells = plan.cells((card and _own_sources(card)) or ("trained-elsewhere=.",), known)
    if protocol not in FREE and not any(
        card is not None and set(cell.sources) == set(_own_sources(card)) and set(known) <= set(cell.targets)
        for cell in cells
    ):
        sources = (", ".join(_own_sources(card)) or "film") if card else "unknown sources"
        raise PasserbyError(
            f"--protocol {protocol}: has no run that trains on {sources} and measures on {', '.join(targets)}; "
            "leave it out to measure freely"
        )


def _own_sources(card: ModelCard) -> tuple[str, ...]:
    return _data(card).sources


def _data(card: ModelCard) -> DataSettings:
    try:
        return DataSettings.model_validate(card.recipe.get("data"))
    except ValidationError as error:
        raise PasserbyError(
            f"{CARD} of the model: its recipe does not say what it was trained on, so no target is known to be unseen; "
            "copy the card again"
        ) from error


def check_unseen(card: ModelCard, data_root: Path, targets: list[Target], console: Console) -> None:
    """Refuses targets that share a file or a person with what the model, or one that it started from, was trained on.

    Where a source is not on this machine, people are compared all the same; that files are not is printed. Of film nobody
    knows whom it shows: which film it was is printed.

    Raises:
        PasserbyError: naming the first that is shared.
    """
    data = _data(card)
    own = Ancestor(
        weights_sha256=card.weights_sha256, sources=data.sources, images=data.images, trained_on=card.trained_on
    )
    for model in (own, *card.ancestors):
        people = {domain.domain: read_people(domain.people) for domain in model.trained_on}
        for film in (domain for domain in model.trained_on if domain.film):
            caution(
                f"{film.domain}: film without labels ({film.film}); that nobody in it is in a target cannot be checked",
                console,
            )
        sources: list[Sample] = []
        for spec in model.sources:
            try:
                sources += source_samples(get_dataset(spec), data_root, model.images)
            except PasserbyError:  # people can be compared all the same
                caution(f"{spec}: not on this machine; that no file of it is in a target cannot be checked", console)
        for target in targets:
            check_people(people, target.samples)
            check_disjoint(sources, target.samples)
