"""What one evaluation says, typed and versioned: every table and report is made from records alone."""

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from statistics import fmean
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from passerby.errors import PasserbyError
from passerby.files import write_text


class MetricValues(BaseModel):
    """One metric over the splits of a target, as a fraction."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    mean: float
    std: float = Field(ge=0)
    """Standard deviation over the splits (of the population of splits; 0 for one split)."""
    low: float | None
    high: float | None
    """95 % interval of the mean by bootstrap over identities; null for what is no mean over queries."""
    per_split: tuple[float, ...]


class Trained(BaseModel):
    """How the evaluated model was trained, as its card says."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    recipe: str
    recipe_sha256: str
    """Digest of everything in the recipe but its sources: what has another digest is another row of a table."""
    overrides: tuple[str, ...] = ()
    budget: str
    seed: int
    steps: int
    sources: tuple[str, ...]
    source_listing_sha256: tuple[str, ...]
    started_from: tuple[str, ...] = ()
    """Recipes of the models that the training started from (--init-from), the nearest first."""
    selection: Literal["last step"] = "last step"
    """Which of the weights seen in training were kept; never chosen on a target."""
    seconds: float | None = Field(None, ge=0)
    """Wall time of the training."""
    peak_mib: float | None = Field(None, ge=0)
    """Peak memory of the training process (on a GPU: of the GPU)."""


class Record(BaseModel):
    """One model on one target.

    Attributes are fractions, seconds and MiB; `metrics` holds rank1, rank5, rank10, rank20, mAP, mINP and tpr@fpr values.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    version: Literal[1] = 1
    protocol: str
    target: str
    domain: str
    """Whose people the target shows: `cuhk03` for `cuhk03-labeled` too."""
    split_id: str
    """Names the very splits: the same id, the same queries and galleries."""
    direction: str
    """What queries what, `cam_a -> cam_b` say."""
    splits: int = Field(gt=0)
    queries: int
    """Counted queries, over all splits."""
    gallery: int
    """Gallery images, over all splits."""
    target_listing_sha256: str
    metrics: dict[str, MetricValues]
    matcher: str = "cosine"
    matched: int | None = None
    """Gallery images of each query that the matcher saw, the best by the embedding (`--top-k`); null: all of them."""
    reranked: bool = False
    flip_averaged: bool = False
    adapted: str | None = None
    """Test-time adaptation with its parameters, `+ camera` for camera normalisation; null for none."""
    adapted_images: float | None = None
    """How many unlabelled images of the target each split adapted to, on average; null where the model stayed as it was."""
    unknown: str | None = None
    """How a model with statistics of its training domains looked at images of unknown domain; null for other models."""
    model: str
    weights_sha256: str
    training: Trained | None
    """null for a model that was trained elsewhere (an ONNX file)."""
    code_version: str
    machine: str
    seconds: float = Field(ge=0)
    """Wall time of the evaluation."""
    date: str = Field(default_factory=lambda: datetime.now(UTC).strftime("%Y-%m-%d"))


def write_record(path: Path, record: Record) -> None:
    """Writes a record as JSON, atomically."""
    write_text(path, record.model_dump_json(indent=1) + "\n")


def read_record(path: Path) -> Record:
    """Reads a record.

    Raises:
        PasserbyError: when it is missing or does not validate.
    """
    try:
        return Record.model_validate_json(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise PasserbyError(f"{path}: cannot be read ({error.strerror})") from error
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise PasserbyError(
            f"{path}: no valid record ({'.'.join(map(str, first['loc']))}: {first['msg'].lower()})"
        ) from error


def kinds(records: Sequence[Record]) -> list[str]:
    """What each target is to the model: in-domain where it was trained on that domain, else unseen; empty if unknown.

    Where every target is unseen, as it should be, nothing need be said: all empty.
    """
    found = ["" if r.training is None else "in-domain" if r.domain in r.training.sources else "unseen" for r in records]
    return [""] * len(found) if set(found) == {"unseen"} else found


def averages(records: Sequence[Record]) -> list[tuple[str, dict[str, float]]]:
    """Each metric's mean over several targets of a kind: (kind, means).

    In-domain and unseen targets are never averaged together: that would mean nothing.
    """
    means = []
    found = kinds(records)
    for kind in dict.fromkeys(found):
        alike = [record for record, own in zip(records, found, strict=True) if own == kind]
        if len(alike) > 1:
            shared = [name for name in alike[0].metrics if all(name in r.metrics for r in alike)]
            means.append((kind, {name: fmean(r.metrics[name].mean for r in alike) for name in shared}))
    return means


def summary(records: list[Record]) -> dict[str, Any]:
    """What `--json` writes: metrics by target as fractions, and their average over targets (the unseen ones, if any).

    Args:
        records: of one model, each of another target.
    """

    def entry(record: Record) -> dict[str, Any]:
        return {"splits": record.splits} | {k: {"mean": v.mean, "std": v.std} for k, v in record.metrics.items()}

    unseen = [record for record, kind in zip(records, kinds(records), strict=True) if kind != "in-domain"] or records
    shared = [name for name in unseen[0].metrics if all(name in r.metrics for r in unseen)]
    average = {name: fmean(r.metrics[name].mean for r in unseen) for name in shared}
    return {"protocol": records[0].protocol, "targets": {r.target: entry(r) for r in records}, "average": average}
