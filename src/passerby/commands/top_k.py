"""How much of a gallery a model's matcher ranks, as the command line says it."""

from dataclasses import dataclass
from typing import Literal

from passerby.errors import PasserbyError
from passerby.evaluation.cascade import TOP_K
from passerby.models.embedder import Embedder
from passerby.models.matching_model import MatchingModel


@dataclass(frozen=True)
class Matching:
    """A model's matcher put to use.

    Attributes:
        model: with the matcher.
        k: gallery images of each query that it ranks; None: all.
    """

    model: MatchingModel
    k: int | None

    @property
    def name(self) -> str:
        """Of the matcher, as a record says it."""
        return self.model.architecture.matcher.kind


def parse_top_k(text: str | int | None, embedder: Embedder) -> Matching | None:
    """Reads `--top-k`: a number, `all`, or None for what suits the model.

    Returns:
        None where embeddings rank alone.

    Raises:
        PasserbyError: for what is no number, and for a model without a matcher.
    """
    if not isinstance(embedder, MatchingModel):
        if text is not None:
            raise PasserbyError("--top-k: this model has no matcher, it compares by cosine; leave the option out")
        return None
    k = TOP_K if text is None else check_top_k(text)
    if k == 0:
        return None
    return Matching(embedder, None if k == "all" else k)


def named_top_k(text: str | int | None) -> str | None:
    """How `--top-k` stands in the name of a record and of a way to measure: None for the number that a matcher takes by itself.

    Raises:
        PasserbyError: for what is neither a number nor `all`.
    """
    k = TOP_K if text is None else check_top_k(text)
    return None if k == TOP_K else str(k)


def check_top_k(text: str | int) -> int | Literal["all"]:
    """Reads how many gallery images of each query a matcher ranks.

    Raises:
        PasserbyError: for what is neither a number nor `all`.
    """
    if str(text) == "all":
        return "all"
    if not str(text).isascii() or not str(text).isdigit():
        raise PasserbyError(f"--top-k {text}: give a number of gallery images, or all")
    return int(text)
