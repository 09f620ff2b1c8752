"""The page of a run on film: which pairs its model mines, and how its precision rose."""

from pathlib import Path

import numpy as np
import torch

from passerby.data.video.film_set import UNKNOWN, FilmBatch
from passerby.methods.film import FilmSettings, reliable_pairs
from passerby.models.model import Model
from passerby.report.page import write_page
from passerby.report.pairs import ShownPair, curve_cards, pairs_card

PAGE = "pairs.html"
SHOWN = 32


def mined_pairs(model: Model, batch: FilmBatch, settings: FilmSettings) -> list[ShownPair]:
    """The pairs of a super frame, as the trained model mines them.

    Args:
        model: in any mode; it is evaluated.
        batch: as decoded, not augmented.
        settings: of the method that trained it.
    """
    pixels = batch.images.permute(0, 2, 3, 1).numpy()
    embedding = model.embed(pixels)
    pairs, log_p = reliable_pairs(embedding, batch, settings)
    truth = batch.truth
    return [
        ShownPair(pixels[a], pixels[b], p, None if UNKNOWN in (truth[a], truth[b]) else bool(truth[a] == truth[b]))
        for a, b, p in zip(pairs.anchor.tolist(), pairs.positive.tolist(), log_p.exp().tolist(), strict=True)
    ]


def write_pairs_page(run: Path, title: str, model: Model, batch: FilmBatch, settings: FilmSettings) -> None:
    """Writes RUN/pairs.html: some pairs from the most to the least reliable, and the curves of the run's logs.

    Args:
        run: folder of the run.
        title: heading of the page.
        model: as it was trained.
        batch: a super frame, not augmented.
        settings: of the method that trained it.
    """
    pairs = sorted(mined_pairs(model, batch, settings), key=lambda pair: -pair.reliability)
    chosen = np.linspace(0, len(pairs) - 1, min(SHOWN, len(pairs))).round().astype(int)
    mean = float(torch.tensor([pair.reliability for pair in pairs]).mean()) if pairs else 0.0
    known = [pair.right for pair in pairs if pair.right is not None]
    facts = [("pairs of one super frame", f"{len(pairs)}"), ("mean reliability", f"{mean:.2f}")]
    if known:
        facts.append(("right", f"{100 * sum(known) / len(known):.1f} %"))
    verdict = "What the model takes for one person in two frames"
    write_page(run / PAGE, title, verdict, facts, [*curve_cards(run), pairs_card([pairs[n] for n in chosen])])
