"""What a recipe says about training data."""

from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from passerby.data.augment import Augmentation
from passerby.data.video.frame_pairs import FramePairSettings


class DataSettings(BaseModel):
    """Which images train, at which size, in which batches, and how they are augmented."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    sources: tuple[str, ...] = ()
    """Names of datasets, or `name=path` for data of your own."""
    images: Literal["all", "train"] = "all"
    """Train on all images of a source (all the folders that are there), or on its train part."""
    images_per_identity: int | None = Field(None, gt=0)
    """Keep at most so many images of each identity, spread over its cameras; null keeps all."""
    share_of_identities: float = Field(1.0, gt=0, le=1)
    """Keep this share of each source's identities, drawn by the seed (the small-scale setting of LUP and ISR)."""
    share_of_images: float = Field(1.0, gt=0, le=1)
    """Keep this share of each identity's images, at least one, spread over its cameras (their few-shot setting)."""
    shards: tuple[str, ...] = ()
    """For methods that learn from film: folders of shards (`passerby ingest`), as they are or in the data root."""
    film: FramePairSettings = FramePairSettings()
    """How frames of film are drawn."""
    domains: Literal["dataset", "camera"] = "dataset"
    """What counts as a domain: each source, or (single-source) each camera."""
    height: int = Field(256, gt=0)
    width: int = Field(128, gt=0)
    batches: Literal["identity", "domain", "graph", "plain"] = "identity"
    """Batches balanced over identities, over domains and identities, of an identity and those that look most like it to the
    matcher (`graph`), or not at all (`plain`)."""
    graph_batches: int | None = Field(None, gt=0)
    """Batches from one graph to the next; null: as many as there are identities (the paper)."""
    identities: int = Field(16, gt=0)
    """Identities in a batch."""
    images_each: int = Field(4, gt=0)
    """Images of each identity in a batch; a plain batch has identities x images_each images."""
    augment: Augmentation = Augmentation()

    @model_validator(mode="after")
    def _more_than_one(self) -> Self:
        if self.identities * self.images_each < 2:
            raise ValueError("identities x images_each is one image a batch; batch norms need two, losses more")
        if self.batches != "plain" and min(self.identities, self.images_each) < 2:
            raise ValueError(
                f"{self.identities} identities with {self.images_each} images each: a batch needs two of both, or nobody has "
                "somebody to be told from, or nobody to be like; only batches=plain does without"
            )
        return self
