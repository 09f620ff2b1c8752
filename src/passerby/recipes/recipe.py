"""What a recipe is, and how a name, a YAML file, overrides and a budget become one."""

import re
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal, Self, get_args

import yaml
from pydantic import BaseModel, ConfigDict, Field, SerializeAsAny, ValidationError, model_validator

from passerby.data.settings import DataSettings
from passerby.errors import PasserbyError, nearest
from passerby.methods import get_method
from passerby.methods.base import MethodSettings
from passerby.methods.optimization import OptimizerSettings, ScheduleSettings
from passerby.models.model import Architecture
from passerby.models.norm_kinds import BANKED

Budget = Literal["quick", "standard", "full"]
BUDGETS: tuple[Budget, ...] = get_args(Budget)
_SMALL = {"height": 128, "width": 64}
_FIXED_BUDGETS: dict[str, dict[str, dict[str, Any]]] = {
    "labels": {
        "quick": {"data": {**_SMALL, "images_per_identity": 4}, "trainer": {"max_steps": 960}},
        "standard": {"data": {**_SMALL, "images_per_identity": 8}, "trainer": {"max_steps": 3060}},
        "full": {},
    },
    "film": {
        "quick": {"data": _SMALL, "trainer": {"max_crops": 60_000}},
        "standard": {"data": _SMALL, "trainer": {"max_crops": 200_000}},
        "full": {},
    },
}
"""By what a method learns from: base steps over labelled images, or crops seen of film."""
_LENGTH_KEYS = ("max_epochs", "max_steps", "max_crops")
_FIXED_KEYS = frozenset(
    {"data.height", "data.width", "data.images_per_identity", *(f"trainer.{key}" for key in _LENGTH_KEYS)}
)
MOST_IMAGES = 64
"""Images of a base step under a fixed budget; 60 where three domains share a batch evenly."""


class ModelSettings(Architecture):
    """Which network is trained, and from which weights."""

    backbone: str = "mobilenetv2_100"
    """Any network of timm, by its name."""
    weights: str | None = None
    """`hub`, `none` or a .safetensors file; default DATA_ROOT/weights/<backbone>_imagenet.safetensors, else the hub."""


class TrainerSettings(BaseModel):
    """How long and how exactly the trainer runs."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    max_epochs: int = Field(60, gt=0)
    """Passes of the sampler over its identities (or images)."""
    max_steps: int | None = Field(None, ge=0)
    """Base steps; where given, it counts instead of max_epochs. 0 trains nothing: the start itself, to measure what a training gains."""
    max_crops: int | None = Field(None, gt=0)
    """On film: crops seen, all processes together; where given, it counts instead of max_epochs."""
    devices: int = Field(1, gt=0)
    """Processes that share each batch (DDP): GPUs, or processes on the CPU."""
    precision: Literal["32-true", "bf16-mixed", "16-mixed"] = "32-true"
    gradient_clip: float | None = Field(None, gt=0)
    """Largest norm of the gradient; null does not clip."""
    deterministic: bool = True
    compile: bool = False
    """Fuse the backbone's operations with torch.compile: a minute at the start (and a C++ compiler), then faster."""
    checkpoint_every: int = Field(200, gt=0)
    """Base steps between checkpoints for --resume."""

    @model_validator(mode="after")
    def _one_length(self) -> Self:
        if self.max_steps is not None and self.max_crops is not None:
            raise ValueError("max_steps and max_crops are two lengths of the run; give one, and null for the other")
        return self


class Recipe(BaseModel):
    """Everything that a training run is made of but the data root and the seed."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    summary: str
    method: SerializeAsAny[MethodSettings]
    model: ModelSettings = ModelSettings()
    data: DataSettings = DataSettings()
    optimizer: OptimizerSettings = OptimizerSettings()
    schedule: ScheduleSettings = ScheduleSettings()
    trainer: TrainerSettings = TrainerSettings()


def recipe_names() -> list[str]:
    """Names of the packaged recipes."""
    return sorted(entry.name.removesuffix(".yaml") for entry in _folder().iterdir() if entry.name.endswith(".yaml"))


def load_recipe(recipe: str, overrides: list[str] | None = None, budget: Budget = "full") -> Recipe:
    """Reads a recipe: the one that it `extends`, if any, its own file, then the budget, then the overrides.

    Args:
        recipe: a packaged name or a path of a YAML file.
        overrides: `section.key=value`, the value in YAML (a comma-separated list where the key takes a list).
        budget: `quick` and `standard` fix the image size and, on labelled sources, images an identity and base steps, on film
            the crops seen; `full` is the recipe's own setting.

    Raises:
        PasserbyError: for an unknown recipe or key (the nearest right one is named), values that do not fit, and what a budget
            does not leave open.
    """
    values = _read(recipe)
    learns_from = _learns_from(values)
    values = _with_length(values, _FIXED_BUDGETS[learns_from][budget])
    for override in overrides or []:
        key, found, text = (part.strip() for part in override.partition("="))
        if not found:
            raise PasserbyError(f"--set {override}: write section.key=value, as in --set optimizer.lr=1e-3")
        if budget != "full" and key in _FIXED_KEYS:
            raise PasserbyError(f"--set {override}: --budget {budget} fixes {key}; leave out the one or the other")
        values = _with_length(values, _nested(key.split("."), _value(key, text)))
    section: tuple[str, ...] = ("method",)
    try:
        method = values.get("method")
        if isinstance(method, dict):
            values = {**values, "method": get_method(str(method.get("name"))).Settings.model_validate(method)}
        section = ()
        loaded = Recipe.model_validate(values)
    except ValidationError as error:
        raise PasserbyError(f"recipe {recipe}: {_explain(error, section, values)}") from error
    _check_data(recipe, loaded)
    batch = loaded.data.identities * loaded.data.images_each
    if learns_from == "labels" and budget != "full" and not MOST_IMAGES - 4 <= batch <= MOST_IMAGES:
        raise PasserbyError(
            f"recipe {recipe}: {loaded.data.identities} x {loaded.data.images_each} = {batch} images a batch; --budget {budget} "
            f"counts steps of {MOST_IMAGES} ({MOST_IMAGES - 4} where three domains share them): mend data.identities or "
            "data.images_each, or leave --budget out"
        )
    return loaded


def _read(recipe: str, heirs: tuple[str, ...] = ()) -> dict[str, Any]:
    """A recipe's values, over those of the recipe that it `extends`, if any.

    Args:
        recipe: a packaged name or a path.
        heirs: recipes that extend this one.
    """
    if recipe in heirs:
        raise PasserbyError(f"recipe {heirs[0]}: extends itself, by way of {' -> '.join((*heirs[1:], recipe))}")
    values = _parse(recipe)
    parent = values.pop("extends", None)
    return values if parent is None else _merge(_read(str(parent), (*heirs, recipe)), values)


def _parse(recipe: str) -> dict[str, Any]:
    if recipe in recipe_names():
        text = (_folder() / f"{recipe}.yaml").read_text(encoding="utf-8")
    elif recipe.endswith((".yaml", ".yml")):
        try:
            text = Path(recipe).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise PasserbyError(
                f"recipe {recipe}: cannot be read ({getattr(error, 'strerror', None) or error}); "
                "give a .yaml file that is there, or a name of `passerby recipes list`"
            ) from error
    else:
        raise PasserbyError(
            f"recipe: no packaged recipe '{recipe}'; {nearest(recipe, recipe_names())} (or give a .yaml file)"
        )
    try:
        values = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise PasserbyError(f"recipe {recipe}: not YAML ({' '.join(str(error).split())})") from error
    if not isinstance(values, dict):
        raise PasserbyError(
            f"recipe {recipe}: a recipe is a mapping with the sections {', '.join(Recipe.model_fields)}"
        )
    return values


def _learns_from(values: dict[str, Any]) -> Literal["labels", "film"]:
    method = values.get("method")
    return get_method(str(method.get("name"))).learns_from if isinstance(method, dict) else "labels"


def _with_length(values: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    """`over` laid over `values`; a length of the run in it is the one that counts (who counts epochs does not count steps)."""
    trainer = over.get("trainer")
    given = [key for key in _LENGTH_KEYS if isinstance(trainer, dict) and trainer.get(key) is not None]
    if given and isinstance(values.get("trainer", {}), dict):
        values = _merge(values, {"trainer": {key: None for key in ("max_steps", "max_crops") if key not in given}})
    return _merge(values, over)


def _check_data(name: str, recipe: Recipe) -> None:
    """Refuses data that the method cannot learn from, and norms that the data cannot fill."""
    learns_from = get_method(recipe.method.name).learns_from
    if learns_from == "film" and recipe.data.sources:
        raise PasserbyError(
            f"recipe {name}: {recipe.method.name} learns from film, without labels: set data.shards, and leave out data.sources"
        )
    if learns_from == "film" and recipe.model.norm in BANKED:
        raise PasserbyError(
            f"recipe {name}: model.norm={recipe.model.norm} keeps statistics of every domain, and film has none that is named: "
            "take another model.norm (isr, batch)"
        )
    if learns_from == "labels" and (recipe.data.shards or recipe.trainer.max_crops):
        key = "data.shards" if recipe.data.shards else "trainer.max_crops"
        raise PasserbyError(
            f"recipe {name}: {recipe.method.name} learns from labelled sources: set data.sources, and leave out {key}"
        )


def _folder() -> Any:
    return files("passerby.recipes")


def _merge(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in over.items():
        inner = merged.get(key)
        merged[key] = _merge(inner, value) if isinstance(inner, dict) and isinstance(value, dict) else value
    return merged


def _nested(keys: list[str], value: Any) -> dict[str, Any]:
    for key in reversed(keys):
        value = {key: value}
    return dict(value)


def _value(key: str, text: str) -> Any:
    """A value from the command line: a list for keys that take one, else YAML (1e-3 is a number, as people mean it)."""
    if key.split(".")[-1] in {"sources", "shards", "stages", "recoloured", "milestones", "meta_train", "meta_test"}:
        parts = text.removeprefix("[").removesuffix("]").split(",")
        return [part.strip(" '\"") for part in parts if part.strip()]
    if re.fullmatch(r"[+-]?\d+(\.\d*)?[eE][+-]?\d+", text):
        return float(text)
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise PasserbyError(f"--set {key}={text}: the value is not YAML") from error


def _explain(error: ValidationError, section: tuple[str, ...], values: dict[str, Any]) -> str:
    """The first thing that is wrong, in one line."""
    first = error.errors(include_url=False)[0]
    place = [*section, *(str(part) for part in first["loc"])]
    if first["type"] == "extra_forbidden":
        return f"unknown key '{'.'.join(place)}'; {nearest(place[-1], _known(place[:-1], values))}"
    if first["type"] == "missing":
        return f"{'.'.join(place)} is missing"
    if first["type"] in ("model_type", "dict_type"):
        known = _known(place, values)
        return f"{'.'.join(place)}: a section (got {first['input']!r}); set its keys: {', '.join(known)}"
    return f"{'.'.join(place) or 'recipe'}: {first['msg'].lower()} (got {first['input']!r})"


def _known(section: list[str], values: dict[str, Any]) -> list[str]:
    """Keys that a section of the recipe takes."""
    model: Any = Recipe
    for part in section:
        if part == "method" and isinstance(values["method"], dict):
            model = get_method(values["method"]["name"]).Settings
        else:
            model = MethodSettings if part == "method" else model.model_fields[part].annotation
    return list(model.model_fields)
