"""How a model is fitted to a place before it is measured, in the words of the command line and of a record."""

import hashlib
import re
from dataclasses import dataclass
from typing import Self, get_args

from passerby.adaptation import Adaptation, SiteProfile, parse_adaptation
from passerby.adaptation.on_splits import AdaptedFeatures, site_features
from passerby.commands.place import tell_unknown
from passerby.errors import PasserbyError, nearest
from passerby.evaluation.measure import SplitFeatures, embedded
from passerby.evaluation.targets import Target
from passerby.models.embedder import Embedder
from passerby.models.matching_model import MatchingModel
from passerby.models.model import Model
from passerby.models.unknown import Unknown

CAMERA = "camera"
LONGEST = 120
"""Characters that a record's file name gives to how a model was adapted; what is longer ends in its digest."""


@dataclass(frozen=True)
class How:
    """An adaptation of the model, camera normalisation of its embeddings, both or neither; and the way it looks at images and ranks.

    Attributes:
        adaptation: of the model; None leaves it as it is.
        camera: whether the embeddings of each camera are normalised.
        unknown: how a model with domain norms looks at images of unknown domain; None: as it was trained to.
        top_k: gallery images of each query that a matcher ranks, as `--top-k` says it; None: what suits the model.
    """

    adaptation: Adaptation | None = None
    camera: bool = False
    unknown: Unknown | None = None
    top_k: str | None = None

    @classmethod
    def parse(cls, text: str) -> Self:
        """Reads `none`, `camera`, an adaptation as `parse_adaptation` reads it, or one and `+camera`.

        Raises:
            PasserbyError: for an unknown name or parameter.
        """
        name, plus, last = text.rpartition("+")
        if plus and last.strip() == CAMERA:
            return cls(parse_adaptation(name.strip()), True)
        if text.strip() in ("none", CAMERA):
            return cls(None, text.strip() == CAMERA)
        return cls(parse_adaptation(text.strip()))

    def __str__(self) -> str:
        """As a record says it: `adabn + camera`; empty for neither. `unknown` and `top_k` stand in a record by themselves."""
        return _in_words(self.adaptation.text() if self.adaptation else None, self.camera)

    def arguments(self) -> list[str]:
        """What `passerby evaluate` is told."""
        adapt = [] if self.adaptation is None else ["--adapt", self.adaptation.text()]
        camera = ["--camera-normalise"] if self.camera else []
        unknown = [] if self.unknown is None else ["--unknown", self.unknown]
        top_k = [] if self.top_k is None else ["--top-k", self.top_k]
        return [*adapt, *camera, *unknown, *top_k]


def parse_unknown(text: str | None) -> Unknown | None:
    """Reads a way to look at images of unknown domain; None stays None.

    Raises:
        PasserbyError: when there is none of that name.
    """
    if text is None:
        return None
    for known in get_args(Unknown):
        if text.strip() == known:
            way: Unknown = known
            return way
    raise PasserbyError(f"--unknown: no way '{text}'; {nearest(text, get_args(Unknown))}")


def look_as(embedder: Embedder, unknown: Unknown | None) -> Unknown | None:
    """Has a model look at images of unknown domain that way.

    Args:
        embedder: the model.
        unknown: the way; None leaves it as it was trained to.

    Returns:
        the way that it looks at them now; None for a model that looks at all images alike.

    Raises:
        PasserbyError: when one is asked for and the model has no domain norms, or not this way.
    """
    if isinstance(embedder, MatchingModel):
        return _look_by_streams(embedder, unknown)
    if not isinstance(embedder, Model) or not embedder.domains:
        if unknown is not None:
            raise PasserbyError(
                f"--unknown {unknown}: the model has no statistics of domains, it looks at all images alike; leave it out"
            )
        return None
    if unknown is not None:
        embedder.unknown = unknown
    return embedder.unknown


def _look_by_streams(model: MatchingModel, unknown: Unknown | None) -> Unknown | None:
    if not model.architecture.matcher.two_streams:
        if unknown is not None:
            raise PasserbyError(
                f"--unknown {unknown}: this model has not two streams, it looks at every image in all the ways of its matcher; "
                "leave it out"
            )
        return None
    if unknown == "experts" or unknown == "mix":
        model.keep_stream(unknown)
    elif unknown not in (None, "both"):
        raise PasserbyError(
            f"--unknown {unknown}: one stream of this model sees an image by its experts, one has them in a mix; give experts, mix or both"
        )
    return model.unknown


def record_name(
    target: str, adapted: str | None = None, unknown: Unknown | None = None, top_k: str | int | None = None
) -> str:
    """File name of a target's record: `viper.json`, `viper+adabn+camera.json`, `viper+unknown=experts.json`, `viper+top-k=all.json`."""
    how = "+" + re.sub(r"[^\w.=+-]+", "", adapted) if adapted else ""
    how += f"+unknown={unknown}" if unknown else ""
    how += "" if top_k is None else f"+top-k={top_k}"
    if len(how) > LONGEST:  # file systems take 255 bytes in all
        how = f"{how[:LONGEST]}-{hashlib.sha256(how.encode()).hexdigest()[:8]}"
    return f"{target}{how}.json"


@dataclass(frozen=True)
class Fitted:
    """Features of a target's splits, and how they came about, as a record says it.

    Attributes:
        features: of each split.
        adapted: `How` in words; None for a model as it was trained.
        images: how many images each split adapted to, on average; None where the model stayed as it was.
    """

    features: SplitFeatures
    adapted: str | None = None
    images: float | None = None


def fit_to(embedder: Embedder, target: Target, how: How | SiteProfile, flip: bool, progress: bool) -> Fitted:
    """Fits an embedder to a target.

    Args:
        embedder: the model; it is as it was afterwards.
        target: whose galleries it is fitted to.
        how: what to do to each split, or a profile to wear.
        flip: average the embeddings of an image and its mirror image.
        progress: show a progress bar.

    Raises:
        PasserbyError: when the model cannot be fitted this way.
    """
    if isinstance(how, SiteProfile):
        features = site_features(embedder, target, how, flip=flip, progress=progress)
        if how.cameras is not None:
            tell_unknown([sample.seen_by for sample in target.samples], how.cameras)
        made = _in_words(how.card.method if how.tensors else None, how.cameras is not None)
        images = how.card.images if how.tensors else None
        return Fitted(features, f"site {how.card.tensors_sha256[:8]} ({made})", images)
    if how.adaptation is None and not how.camera:
        return Fitted(embedded(embedder, target, flip=flip, progress=progress))
    adapted = AdaptedFeatures(embedder, target, how.adaptation, how.camera, flip, progress=progress)
    return Fitted(adapted, str(how), adapted.images if how.adaptation else None)


def _in_words(adaptation: str | None, camera: bool) -> str:
    return " + ".join(filter(None, [adaptation, CAMERA if camera else None]))
