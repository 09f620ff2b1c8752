"""Test-time adaptation of a trained model: one file a method."""

from typing import Any

from pydantic import ValidationError

from passerby.adaptation.adabn import AdaBn
from passerby.adaptation.base import Adaptation
from passerby.adaptation.bnta import BntaAdaptation
from passerby.adaptation.camera import CameraStatistics
from passerby.adaptation.entropy import Entropy
from passerby.adaptation.profile import SiteProfile
from passerby.errors import PasserbyError, nearest

ADAPTATIONS: dict[str, type[Adaptation]] = {"adabn": AdaBn, "bnta": BntaAdaptation, "entropy": Entropy}

__all__ = [
    "ADAPTATIONS",
    "AdaBn",
    "Adaptation",
    "BntaAdaptation",
    "CameraStatistics",
    "Entropy",
    "SiteProfile",
    "parse_adaptation",
]


def parse_adaptation(text: str) -> Adaptation:
    """An adaptation by name, with parameters where others than the defaults are wanted: `bnta:lr=1e-3;pairs=64`.

    Raises:
        PasserbyError: for an unknown name or parameter, or a value that does not fit.
    """
    name, _, rest = text.partition(":")
    if name not in ADAPTATIONS:
        raise PasserbyError(f"no adaptation '{name}'; {nearest(name, ADAPTATIONS)}")
    kind = ADAPTATIONS[name]
    known = kind.model_fields.keys() - {"name"}
    values: dict[str, Any] = {}
    for part in filter(None, rest.split(";")):
        key, found, value = part.partition("=")
        if not found or key in values:
            raise PasserbyError(f"adaptation {text}: '{part}'; write each parameter once, as in {name}:images=200")
        if key not in known:
            raise PasserbyError(f"adaptation {text}: no parameter '{key}' of {name}; {nearest(key, known)}")
        values[key] = value.split(",") if key == "moves" else value
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise PasserbyError(f"adaptation {text}: {first['loc'][0]}: {first['msg'].lower()}") from error
