"""Site profiles: what adapting to a place came to, as a small file that goes onto the untouched model and comes off again."""

import hashlib
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import BaseModel, ConfigDict, ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from passerby.adaptation.base import write_tensors
from passerby.adaptation.camera import CameraStatistics
from passerby.errors import PasserbyError
from passerby.files import atomic_file
from passerby.models.embedder import Embedder
from passerby.models.model import Model
from passerby.models.unknown import Unknown

_CARD, _MEAN, _DEVIATION = "card", "cameras.mean", "cameras.deviation"
_NORMS = "model."


class ProfileCard(BaseModel):
    """What a site profile says of itself."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    format: Literal[1] = 1
    model_sha256: str
    """Of the weights that it was made from; it goes onto no others."""
    method: str
    """`adabn`, `bnta`, `entropy`, or `none` (camera statistics alone)."""
    settings: dict[str, Any]
    """The method's parameters, as they were for so many images: BNTA's K is `pairs`."""
    images: int
    """N, that the model adapted to; a camera's statistics are of all of its images."""
    unknown: Unknown | None = None
    """How a model with statistics of domains looked at the images; its embeddings are normalised if it looks so again."""
    cameras: tuple[str, ...]
    """Whose embeddings it normalises; the first, without name, stands for all images together. Empty: none."""
    seed: int
    before: dict[str, float]
    """`distance`, of the images from what the batch norms know (`place_distance`), and the method's losses, by the model as it was."""
    after: dict[str, float]
    """The same by the adapted model."""
    code_version: str
    date: str
    tensors_sha256: str = ""
    """Digest of the tensors in the file."""


@dataclass(frozen=True)
class SiteProfile:
    """A model's state at one place.

    Attributes:
        card: where it comes from.
        tensors: new values of some of the model's tensors, by name.
        cameras: statistics of the cameras' embeddings, or None.
    """

    card: ProfileCard
    tensors: dict[str, Tensor]
    cameras: CameraStatistics | None

    def save(self, path: str | Path) -> None:
        """Writes it as one safetensors file, atomically.

        Raises:
            PasserbyError: when it cannot be written.
        """
        tensors = {_NORMS + name: value.contiguous() for name, value in self.tensors.items()}
        if self.cameras is not None:
            tensors |= {_MEAN: self.cameras.mean, _DEVIATION: self.cameras.deviation}
        card = self.card.model_copy(update={"tensors_sha256": digest(tensors)})
        with atomic_file(Path(path)) as temporary:
            try:
                save_file(tensors, temporary, metadata={_CARD: card.model_dump_json()})
            except SafetensorError as error:
                raise PasserbyError(f"{path}: cannot be written ({error}); free room there") from error

    @classmethod
    def load(cls, path: str | Path) -> "SiteProfile":
        """Reads a profile.

        Raises:
            PasserbyError: when there is none, or it is damaged.
        """
        if not Path(path).is_file():
            raise PasserbyError(f"{path}: no such site profile; make one with `passerby adapt`")
        try:
            with safe_open(path, "pt") as file:
                card = ProfileCard.model_validate(json.loads((file.metadata() or {})[_CARD]))
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            found = digest(tensors)
            cameras = None
            if card.cameras:
                cameras = CameraStatistics(card.cameras, tensors.pop(_MEAN), tensors.pop(_DEVIATION))
                if not len(card.cameras) == len(cameras.mean) == len(cameras.deviation):
                    raise ValueError("names of cameras")
        except (SafetensorError, ValidationError, KeyError, ValueError) as error:
            raise PasserbyError(
                f"{path}: no site profile, or a damaged one ({type(error).__name__}); make it again with `passerby adapt`"
            ) from error
        if found != card.tensors_sha256:
            raise PasserbyError(f"{path}: damaged: its tensors are not those that its card describes; make it again")
        return cls(card, {name.removeprefix(_NORMS): value for name, value in tensors.items()}, cameras)

    def apply(self, model: Embedder) -> "Applied":
        """Puts the profile onto the model it was made from.

        Returns:
            the way back: `remove()` leaves the model bit-identical.

        Raises:
            PasserbyError: when the model is another one, looks at unknown domains in another way, or wears a profile already.
        """
        if not isinstance(model, Model):
            raise PasserbyError("--site: a site profile belongs to a saved model, not to an .onnx file")
        if model.weights_sha256 != self.card.model_sha256:
            raise PasserbyError(
                f"site profile: made from the model {self.card.model_sha256[:12]}, this one is "
                f"{(model.weights_sha256 or 'not a saved model')[:18]}; adapt this model, or load that one"
            )
        if model.site is not None:
            raise PasserbyError("site profile: the model wears one already; remove that first")
        if self.card.unknown not in (None, model.unknown):
            raise PasserbyError(
                f"site profile: made from a model that looks at unknown domains by '{self.card.unknown}', this one does by "
                f"'{model.unknown}'; look alike (--unknown), or make another profile"
            )
        state = model.state_dict()
        misfits = [
            name
            for name, value in self.tensors.items()
            if name not in state or (state[name].shape, state[name].dtype) != (value.shape, value.dtype)
        ]
        if misfits:
            raise PasserbyError(
                f"site profile: {misfits[0]} does not fit the model; the profile is damaged, make it again"
            )
        applied = Applied(model, {name: state[name].clone() for name in self.tensors})
        try:
            write_tensors(model, self.tensors)
        except BaseException:
            applied.remove()
            raise
        model.site = f"{self.card.method} on {self.card.images} images, {self.card.date}"
        return applied

    @contextmanager
    def on(self, model: Embedder) -> Iterator[None]:
        """`apply` for the length of a block."""
        applied = self.apply(model)
        try:
            yield
        finally:
            applied.remove()

    def normalise(self, embeddings: Tensor, cameras: Sequence[str | None]) -> Tensor:
        """Embeddings [N, D] by a model that wears the profile as they are compared: normalised by their cameras, if it knows cameras."""
        return embeddings if self.cameras is None else self.cameras.normalise(embeddings, cameras)


@dataclass
class Applied:
    """A profile on a model."""

    model: Model
    before: dict[str, Tensor]
    worn: bool = True

    def remove(self) -> None:
        """Takes the profile off; the model is bit-identical to what it was. A second time does nothing."""
        if self.worn:
            write_tensors(self.model, self.before)
            self.model.site, self.worn = None, False


def digest(tensors: dict[str, Tensor]) -> str:
    """sha256 of tensors by name."""
    found = hashlib.sha256()
    for name in sorted(tensors):
        found.update(name.encode() + tensors[name].cpu().reshape(-1).view(torch.uint8).numpy().tobytes())
    return found.hexdigest()
