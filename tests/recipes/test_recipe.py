"""Recipes: files, budgets, overrides, and errors that name the nearest right key."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from passerby.errors import PasserbyError
from passerby.recipes import BUDGETS, Recipe, load_recipe, recipe_names

NAME = "baseline-mobilenetv2"


@pytest.mark.parametrize("budget", BUDGETS)
@pytest.mark.parametrize("name", recipe_names())
def test_every_packaged_recipe_loads_at_every_budget(name: str, budget: Any) -> None:
    if name.endswith("-large") and budget != "full":  # published batches of 80 images have no budget
        with pytest.raises(PasserbyError, match="80 images a batch"):
            load_recipe(name, budget=budget)
        return
    recipe = load_recipe(name, budget=budget)
    assert recipe.summary
    assert Recipe.model_validate({**recipe.model_dump(), "method": recipe.method}) == recipe


def test_a_budget_fixes_size_images_and_steps_and_nothing_else() -> None:
    full = load_recipe(NAME)
    for budget, images, steps in (("quick", 4, 960), ("standard", 8, 3060)):
        recipe = load_recipe(NAME, budget=budget)  # type: ignore[arg-type]
        assert (recipe.data.height, recipe.data.width) == (128, 64)
        assert recipe.data.images_per_identity == images
        assert recipe.trainer.max_steps == steps
        fixed_data = {"height": 128, "width": 64, "images_per_identity": images}
        assert recipe.data == full.data.model_copy(update=fixed_data)
        assert recipe.trainer == full.trainer.model_copy(update={"max_steps": steps})
        assert (recipe.model, recipe.optimizer, recipe.schedule, recipe.method) == (
            full.model,
            full.optimizer,
            full.schedule,
            full.method,
        )


def test_overrides_win_over_the_budget_and_the_last_wins() -> None:
    recipe = load_recipe(NAME, ["trainer.max_steps=7", "data.height=64", "data.height=96"])
    assert (recipe.trainer.max_steps, recipe.data.height, recipe.data.width) == (7, 96, 128)


@pytest.mark.parametrize(
    ("override", "place", "value"),
    [
        ("optimizer.lr=1e-3", "optimizer.lr", 1e-3),
        ("optimizer.lr=1E-3", "optimizer.lr", 1e-3),
        ("optimizer.lr=2.5e-4", "optimizer.lr", 2.5e-4),
        ("optimizer.lr=0.05", "optimizer.lr", 0.05),
        ("optimizer.lr = 0.05", "optimizer.lr", 0.05),
        ("trainer.max_steps=12", "trainer.max_steps", 12),
        ("data.images_per_identity=null", "data.images_per_identity", None),
        ("model.last_stride_1=false", "model.last_stride_1", False),
        ("trainer.deterministic=no", "trainer.deterministic", False),
        ("model.backbone=resnet50", "model.backbone", "resnet50"),
        ("model.weights=none", "model.weights", "none"),
        ("model.weights=../w/e-3.safetensors", "model.weights", "../w/e-3.safetensors"),
        ("model.backbone=e", "model.backbone", "e"),
        ("data.sources=market1501,cuhk03", "data.sources", ("market1501", "cuhk03")),
        ("data.sources=[market1501, cuhk03]", "data.sources", ("market1501", "cuhk03")),
        ('data.sources=["market1501", "cuhk03"]', "data.sources", ("market1501", "cuhk03")),
        ("data.sources=mine=/data/a=b.csv", "data.sources", ("mine=/data/a=b.csv",)),
        ("data.sources=market1501", "data.sources", ("market1501",)),
        ("data.sources=", "data.sources", ()),
        ("schedule.milestones=0.4,7e-1", "schedule.milestones", (0.4, 0.7)),
        ("model.stages=blocks.4,blocks.6", "model.stages", ("blocks.4", "blocks.6")),
        ("data.augment.erase=0.5", "data.augment.erase", 0.5),
        ("method.label_smoothing=0.2", "method.label_smoothing", 0.2),
        ("data.augment={flip: 0.25, pad: 3}", "data.augment.flip", 0.25),
    ],
)
def test_forms_of_set(override: str, place: str, value: object) -> None:
    found: Any = load_recipe(NAME, [override])
    for key in place.split("."):
        found = getattr(found, key)
    assert found == value
    assert type(found) is type(value)


def test_an_override_leaves_its_neighbours() -> None:
    full, changed = load_recipe(NAME), load_recipe(NAME, ["data.augment.erase=0.125"])
    assert changed.data.augment == full.data.augment.model_copy(update={"erase": 0.125})
    assert changed.optimizer == full.optimizer


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("optimiser.lr=1", "unknown key 'optimiser'; did you mean 'optimizer'"),
        ("optimizer.learning=1", r"unknown key 'optimizer\.learning'; known: lr, momentum, name"),
        ("data.augment.flipp=1", r"unknown key 'data\.augment\.flipp'; did you mean 'flip'"),
        ("data.augmentation.flip=1", r"unknown key 'data\.augmentation'; did you mean 'augment'"),
        ("method.triplet_magrin=1", r"unknown key 'method\.triplet_magrin'; did you mean 'triplet_margin'"),
        ("method.name=basline", "no method 'basline'; did you mean 'baseline'"),
        ("optimizer.lr=fast", r"optimizer\.lr: .*got 'fast'"),
        ("optimizer.lr=-1", r"optimizer\.lr: .*greater than 0.*got -1"),
        ("optimizer.lr=", r"optimizer\.lr: .*got None"),
        ("optimizer=adam", "optimizer: .*got 'adam'"),
        ("method=baseline", "method: .*got 'baseline'"),
        ("data.batches=random", r"data\.batches: .*got 'random'"),
        ("trainer.max_steps=1.5", r"trainer\.max_steps: "),
        ("schedule.milestones=40,70", r"schedule\.milestones\.0: "),
        ("optimizer.lr", "--set optimizer.lr: write section.key=value"),
        ("optimizer.lr=[1", "the value is not YAML"),
        ("=3", "unknown key ''"),
    ],
)
def test_overrides_that_do_not_fit_are_named(override: str, message: str) -> None:
    with pytest.raises(PasserbyError, match=message) as error:
        load_recipe(NAME, [override])
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 300


@pytest.fixture
def write(tmp_path: Path) -> Any:
    """Writes a recipe file of your own and returns its path."""

    def make(content: dict[str, Any] | str | bytes) -> str:
        path = tmp_path / "mine.yaml"
        if isinstance(content, dict):
            content = yaml.safe_dump(content)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return str(path)

    return make


def test_a_file_of_your_own(write: Any) -> None:
    path = write("summary: mine\nmethod: {name: baseline, triplet_weight: 2}\noptimizer: {lr: 1e-3}\n")
    recipe: Any = load_recipe(path, ["method.label_smoothing=0"], "quick")
    assert (recipe.method.triplet_weight, recipe.method.label_smoothing) == (2, 0)
    assert recipe.optimizer.lr == 1e-3
    assert recipe.trainer.max_steps == 960
    assert recipe.model_dump()["method"]["triplet_weight"] == 2


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("summary: [1", r"mine\.yaml: not YAML"),
        ("- a\n- b\n", "a recipe is a mapping with the sections summary, method, model"),
        ("", "a recipe is a mapping"),
        (b"summary: \xff\xfe", r"mine\.yaml: cannot be read"),
        ("summary: x\n", "method is missing"),
        ("method: {name: baseline}\n", "summary is missing"),
        ("summary: x\nmethod: {triplet_weight: 1}\n", "no method 'None'"),
        ("summary: x\nmethod: {name: baseline}\ndata:\n", "data: "),
        ("summary: x\nmethod: {name: baseline}\n1: 2\n", r"mine\.yaml: "),
    ],
)
def test_files_that_are_no_recipe_are_named(write: Any, content: str | bytes, message: str) -> None:
    with pytest.raises(PasserbyError, match=message) as error:
        load_recipe(write(content))
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 400


def test_unknown_names_and_files(tmp_path: Path) -> None:
    with pytest.raises(PasserbyError, match=f"no packaged recipe 'baseline-mobilnetv2'; did you mean '{NAME}'"):
        load_recipe("baseline-mobilnetv2")
    with pytest.raises(PasserbyError, match=r"none\.yaml: cannot be read \(No such file"):
        load_recipe(str(tmp_path / "none.yaml"))


@pytest.mark.parametrize(
    "override", ["trainer.max_steps=7", "trainer.max_epochs=2", "data.height=256", "data.images_per_identity=9"]
)
def test_a_budget_fixes_what_it_counts(override: str) -> None:
    with pytest.raises(PasserbyError, match=f"--budget quick fixes {override.partition('=')[0]}"):
        load_recipe(NAME, [override], "quick")
    load_recipe(NAME, [override])


@pytest.mark.parametrize(
    ("batch", "fits"), [((16, 4), True), ((15, 4), True), ((32, 2), True), ((17, 4), False), ((14, 4), False)]
)
def test_a_budget_counts_steps_of_about_64_images(batch: tuple[int, int], fits: bool) -> None:
    overrides = [f"data.identities={batch[0]}", f"data.images_each={batch[1]}"]
    if fits:
        load_recipe(NAME, overrides, "standard")
    else:
        with pytest.raises(PasserbyError, match="images a batch"):
            load_recipe(NAME, overrides, "standard")


def test_who_counts_epochs_does_not_count_steps() -> None:
    recipe = load_recipe("baseline-demo", ["trainer.max_epochs=3"])
    assert (recipe.trainer.max_epochs, recipe.trainer.max_steps) == (3, None)
    assert load_recipe("baseline-demo", ["trainer.max_epochs=3", "trainer.max_steps=5"]).trainer.max_steps == 5


def test_a_run_has_one_length(write: Any) -> None:
    with pytest.raises(PasserbyError, match=r"max_steps and max_crops are two lengths of the run"):
        load_recipe(write("extends: isr-mobilenetv2\ntrainer: {max_steps: 7, max_crops: 9}\n"))
    assert load_recipe("isr-mobilenetv2", ["trainer.max_crops=9", "trainer.max_steps=7"]).trainer.max_crops is None


def test_a_recipe_that_extends_another_changes_what_it_says_alone(write: Any) -> None:
    path = write("extends: baseline-mobilenetv2\nsummary: mine\ndata: {identities: 8, images_each: 8}\n")
    mine, base = load_recipe(path), load_recipe("baseline-mobilenetv2")
    assert (mine.summary, mine.data.identities, mine.data.images_each) == ("mine", 8, 8)
    data = {"identities": 16, "images_each": 4}
    assert mine.model_copy(update={"summary": base.summary, "data": mine.data.model_copy(update=data)}) == base


def test_a_recipe_cannot_extend_itself_or_what_is_not_there(write: Any) -> None:
    path = write("summary: mine\n")
    write(f"extends: {path}\n")
    with pytest.raises(PasserbyError, match="extends itself"):
        load_recipe(path)
    with pytest.raises(PasserbyError, match="baseline-mobilenetv2"):
        load_recipe(write("extends: baseline-mobilenetv3\n"))


@pytest.mark.parametrize(
    "name",
    [
        "metabin-mobilenetv2",
        "metabin-mobilenetv2-single",
        "mldg-mobilenetv2",
        "lda-mobilenetv2",
        "dsbn-mobilenetv2",
    ],
)
def test_what_is_compared_with_the_baseline_trains_as_it_does(name: str) -> None:
    rate = ["optimizer.lr=1.5e-3"] if name == "lda-mobilenetv2" else []  # left-out sources chose it
    method, base = load_recipe(name), load_recipe("baseline-mobilenetv2", rate)
    assert (method.optimizer, method.schedule, method.trainer) == (base.optimizer, base.schedule, base.trainer)
    assert method.data.augment == base.data.augment
    assert method.model.backbone == base.model.backbone


@pytest.mark.parametrize(
    ("name", "differs"),
    [
        ("lda-mobilenetv2-without-consistency", {"method.consistency_weight": 0}),
        ("lda-mobilenetv2-without-alignment", {"method.alignment_weight": 0}),
        (
            "lda-mobilenetv2-without-an",
            {"method.aligned_weight": 0, "method.alignment_weight": 0, "model.unknown": "experts"},
        ),
    ],
)
def test_an_ablation_takes_one_part_away_and_leaves_the_rest(name: str, differs: dict[str, Any]) -> None:
    def flat(recipe: Any) -> dict[str, Any]:
        return {
            f"{section}.{key}": value
            for section, values in recipe.model_dump().items()
            if isinstance(values, dict)
            for key, value in values.items()
        }

    whole, part = flat(load_recipe("lda-mobilenetv2")), flat(load_recipe(name))
    assert {key: value for key, value in part.items() if value != whole[key]} == differs


def test_lists_of_losses_need_no_brackets() -> None:
    recipe = load_recipe("metabin-mobilenetv2", ["method.meta_train=triplet,scatter", "method.meta_test=[triplet]"])
    assert recipe.method.model_dump()["meta_train"] == ("triplet", "scatter")
    assert recipe.method.model_dump()["meta_test"] == ("triplet",)


def test_one_image_is_no_batch() -> None:
    with pytest.raises(PasserbyError, match="one image a batch"):
        load_recipe(NAME, ["data.identities=1", "data.images_each=1"])
