"""Training on film: a model without a label, resumed bit for bit, measured like any other."""

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from passerby.cli import app
from passerby.commands.bench import bench
from passerby.commands.bench_cell import BenchCell
from passerby.commands.evaluate import evaluate
from passerby.commands.train import train
from passerby.commands.training_sources import FilmSources, open_training
from passerby.data.images import Preprocessing
from passerby.errors import PasserbyError
from passerby.methods import get_method
from passerby.methods.isr import Isr
from passerby.models.saved import load_card, load_model
from passerby.recipes import load_recipe

FilmFolder = Callable[..., Path]
SMALL = [
    "model.backbone=test_resnet",
    "model.weights=none",
    "model.norm=batch",
    "model.embedding=16",
    "data.height=32",
    "data.width=16",
    "data.film.crops=9",
    "trainer.max_steps=7",
    "trainer.checkpoint_every=2",
]


class Killed(BaseException):
    """Stands for a kill: nothing may catch it and tidy up."""


@pytest.fixture(scope="module")
def shards(film_folder: FilmFolder) -> Path:
    return film_folder()


def run(shards: Path, out: Path, *overrides: str, recipe: str = "isr-mobilenetv2", **options: Any) -> Path:
    loaded = load_recipe(recipe, [*SMALL, f"data.shards={shards}", *overrides])
    return train(loaded, shards.parent, out, recipe_name=recipe, device="cpu", progress=False, **options)


def weights(model: Path) -> dict[str, torch.Tensor]:
    return load_file(model / "model.safetensors")


def rows(out: Path) -> list[dict[str, str]]:
    with next((out / "logs").glob("part-0/metrics.csv")).open() as stream:
        return list(csv.DictReader(stream))


@pytest.fixture(scope="module")
def trained(shards: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "isr"
    run(shards, out, seed=3)
    return out


def test_trains_saves_and_describes(shards: Path, trained: Path) -> None:
    model, card = load_model(trained / "model")
    assert (model.dimension, card.dimension, card.steps) == (16, 16, 7)
    (film,) = card.trained_on
    assert (film.domain, film.people, film.identities, film.images) == ("film", "", 0, 60)
    assert film.film == "film"
    assert film.hours == pytest.approx(4 * 2 / 3600, abs=1e-4)
    logged = rows(trained)[-1]
    assert {"pairs", "queue", "loss", "precision", "reliability"} <= set(logged)
    assert 0 <= float(logged["precision"]) <= 1
    page = (trained / "pairs.html").read_text()
    assert "Mined pairs over the run" in page
    assert page.count("<image ") == 2 * 27  # three shots, three pairs of frames, three people
    assert json.loads((trained / "run.json").read_text())["steps"] == 7


@pytest.mark.parametrize("recipe", ["isr-mobilenetv2", "moco-mobilenetv2", "cycas-mobilenetv2"])
def test_killed_and_resumed_ends_with_the_same_weights(
    shards: Path, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, recipe: str
) -> None:
    whole = trained if recipe.startswith("isr") else tmp_path / "whole"
    if whole is not trained:
        run(shards, whole, recipe=recipe, seed=3)
    kind: Any = load_recipe(recipe).method
    method = get_method(kind.name)
    step = method.training_step

    def killed(self: Any, batch: Any, batch_idx: int) -> torch.Tensor:
        if self.global_step == 5:
            raise Killed
        return step(self, batch, batch_idx)

    monkeypatch.setattr(method, "training_step", killed)
    with pytest.raises(Killed):
        run(shards, tmp_path / "cut", recipe=recipe, seed=3)
    monkeypatch.setattr(method, "training_step", step)
    run(shards, tmp_path / "cut", recipe=recipe, seed=3, resume=True)
    first, second = weights(whole / "model"), weights(tmp_path / "cut" / "model")
    assert first.keys() == second.keys()
    assert all(torch.equal(first[key], second[key]) for key in first)


def test_another_seed_gives_another_model(shards: Path, trained: Path, tmp_path: Path) -> None:
    other = weights(run(shards, tmp_path / "other", seed=4))
    assert any(not torch.equal(value, other[key]) for key, value in weights(trained / "model").items())


def test_a_budget_counts_crops(shards: Path, tmp_path: Path) -> None:
    recipe = load_recipe("isr-mobilenetv2", budget="quick")
    assert (recipe.trainer.max_crops, recipe.trainer.max_steps, recipe.data.height) == (60_000, None, 128)
    assert load_recipe("isr-resnet50", budget="standard").trainer.max_crops == 200_000
    model = run(shards, tmp_path / "run", "trainer.max_crops=100")
    card = load_card(model)
    assert card.steps == 4  # three shots of three people fill a super frame of 9: 27 crops
    with pytest.raises(PasserbyError, match=r"--budget quick fixes trainer\.max_crops"):
        load_recipe("isr-mobilenetv2", ["trainer.max_crops=7"], "quick")


def test_no_steps_are_the_start(shards: Path, trained: Path, tmp_path: Path) -> None:
    model = run(shards, tmp_path / "run", "trainer.max_steps=0", seed=3)
    assert load_card(model).steps == 0
    assert (tmp_path / "run" / "pairs.html").exists()
    start, after = weights(model), weights(trained / "model")
    assert {int(value) for name, value in start.items() if name.endswith("num_batches_tracked")} == {0}
    assert {torch.equal(start[name], value) for name, value in after.items() if name.endswith("conv1.weight")} == {
        False
    }


def test_the_card_counts_what_was_drawn_from(shards: Path, tmp_path: Path) -> None:
    recipe = load_recipe("isr-mobilenetv2", [*SMALL, f"data.shards={shards}", "data.film.share=0.5"])
    film = FilmSources(recipe, tmp_path, 0)
    (described,) = film.load(Preprocessing(height=32, width=16)).trained_on
    assert (described.images, described.film) == (30, "film")
    assert described.hours == pytest.approx(2 * 2 / 3600, abs=1e-4)


@pytest.mark.parametrize(
    ("recipe", "override", "said"),
    [
        ("isr-mobilenetv2", "data.share_of_images=0.1", "data.share_of_images does nothing: isr learns from film"),
        ("isr-mobilenetv2", "data.domains=camera", "data.domains does nothing: isr learns from film"),
        ("baseline-mobilenetv2", "data.film.share=0.1", "data.film does nothing: baseline learns from labels"),
        ("isr-mobilenetv2", "data.film.share=0.9", ""),
        ("baseline-mobilenetv2", "data.share_of_images=0.1", ""),
    ],
)
def test_settings_of_the_other_kind_of_data_are_told(
    shards: Path, people: Path, sources: str, capsys: pytest.CaptureFixture[str], recipe: str, override: str, said: str
) -> None:
    data = f"data.shards={shards}" if recipe.startswith("isr") else sources
    open_training(load_recipe(recipe, [data, override]), people, 0)
    printed = " ".join(capsys.readouterr().err.split())
    assert said in printed
    assert ("does nothing" in printed) == bool(said)


def test_what_cannot_be_drawn_whole_is_said(shards: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    overrides = [f"data.shards={shards}", "data.film.crops=2", "data.film.share=0.5"]
    FilmSources(load_recipe("isr-mobilenetv2", overrides), tmp_path, 0)
    said = capsys.readouterr().err
    assert "data.shards: 2 of 4 shots are left out: they have no two frames close enough in time, or are beyond" in said
    assert "data.shards: 10 frames show more than 2 people; of these the largest count" in said


def test_film_without_truth_trains_alike(film_folder: FilmFolder, shards: Path, trained: Path, tmp_path: Path) -> None:
    unknown = film_folder(truth=False)
    other = weights(run(unknown, tmp_path / "run", seed=3))
    assert all(torch.equal(value, other[key]) for key, value in weights(trained / "model").items())
    logged = rows(tmp_path / "run")[-1]
    assert "reliability" in logged
    assert not {"precision", "reliability_right", "reliability_wrong"} & set(logged)


def test_evaluates_and_names_the_film(
    trained: Path, people: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for protocol, split in (("free", "left-out-0"), ("one-to-four", "one-to-four-0")):
        (record,) = evaluate(
            trained,
            people,
            [f"three={people / 'three'}"],
            protocol=protocol,
            device="cpu",
            report_file=tmp_path / "report.html",
        )
        assert "Mined pairs over the run" in (tmp_path / "report.html").read_text()
        assert record.split_id.startswith(split)
        assert record.training is not None
        assert record.training.sources == ("film",)
        assert record.training.overrides == ()
    assert "film: film without labels (film); that nobody in it is in a target" in " ".join(
        capsys.readouterr().out.split()
    )
    with pytest.raises(PasserbyError, match=r"no run that trains on film"):
        evaluate(trained, people, ["viper"], protocol="large-to-small", device="cpu")


def test_a_supervised_recipe_starts_from_it(
    trained: Path, people: Path, sources: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    overrides = [*SMALL[:2], "model.norm=half", *SMALL[4:6], sources, "data.identities=4", "data.images_each=2"]
    recipe = load_recipe("baseline-mobilenetv2", [*overrides, "trainer.max_steps=0"])
    model = train(
        recipe, people, tmp_path / "run", recipe_name="tuned", device="cpu", progress=False, init_from=trained
    )
    printed = " ".join(capsys.readouterr().err.split())
    assert "starts anew: neck; left behind: projection, neck" in printed
    before, after = weights(trained / "model"), weights(model)
    for key, value in before.items():
        if key.endswith("conv1.weight"):
            assert torch.equal(after[key], value)
    card = load_card(model)
    assert [ancestor.trained_on[0].film for ancestor in card.ancestors] == ["film"]
    (record,) = evaluate(model, people, [f"three={people / 'three'}"], device="cpu")
    assert record.training
    assert record.training.started_from == (load_card(trained / "model").recipe_name,)
    assert "film: film without labels" in " ".join(capsys.readouterr().out.split())


def test_benches_beside_labelled_recipes(
    shards: Path,
    people: Path,
    sources: str,
    film_folder: FilmFolder,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def in_this_process(self: BenchCell, arguments: list[str], *_: object) -> None:
        app(arguments, standalone_mode=False)

    monkeypatch.setattr(BenchCell, "_call", in_this_process)
    targets = [f"three={people / 'three'}"]
    overrides = [*SMALL[:3], *SMALL[4:6], "trainer.max_steps=2", sources, f"data.shards={shards}"]
    recipes = ["isr-mobilenetv2", "baseline-mobilenetv2"]
    common = (people, tmp_path / "bench", [*overrides, "data.identities=4", "data.images_each=2"])
    assert bench(recipes, *common, "free", targets, 1, "full", "cpu") == 0
    table = (tmp_path / "bench" / "table.md").read_text()
    assert "isr-mobilenetv2" in table
    assert "baseline-mobilenetv2" in table
    # Shards of the same name that hold something else are another cell, as other settings are.
    monkeypatch.setattr(BenchCell, "run", lambda *_: None)
    cells: list[BenchCell] = []
    monkeypatch.setattr(BenchCell, "finished", property(lambda cell: bool(cells.append(cell))))
    for copy in (shards, film_folder("another", shots=5)):
        (tmp_path / "film").unlink(missing_ok=True)
        (tmp_path / "film").symlink_to(copy)
        chosen = [*SMALL[:3], *SMALL[4:6], "trainer.max_steps=2", f"data.shards={tmp_path / 'film'}"]
        bench(["isr-mobilenetv2"], people, tmp_path / "other", chosen, "free", targets, 1, "full", "cpu")
    assert len({cell.folder for cell in cells}) == 2
    # What film will not do is told before anything runs.
    with pytest.raises(PasserbyError, match=r"of 5 shots none has two frames at most 0\.1 s apart"):
        bench(
            recipes,
            people,
            tmp_path / "third",
            [*chosen, sources, "data.film.seconds=0.1"],
            "free",
            targets,
            1,
            "full",
            "cpu",
        )
    with pytest.raises(PasserbyError, match=r"--protocol large-to-small: .*isr-mobilenetv2 learns from film"):
        bench(["isr-mobilenetv2"], *common, "large-to-small", [], 1, "full", "cpu")


@pytest.mark.parametrize(
    ("recipe", "override", "message"),
    [
        ("isr-mobilenetv2", "data.sources=viper", "isr learns from film, without labels: set data.shards"),
        ("baseline-mobilenetv2", "data.shards=film", "baseline learns from labelled sources: set data.sources"),
        ("baseline-mobilenetv2", "trainer.max_crops=9", "leave out trainer.max_crops"),
        ("isr-mobilenetv2", "model.norm=domain", "film has none that is named: take another model.norm"),
    ],
)
def test_data_of_the_wrong_kind(recipe: str, override: str, message: str) -> None:
    with pytest.raises(PasserbyError, match=message):
        load_recipe(recipe, [override])


def test_shards_that_will_not_do(film_folder: FilmFolder, shards: Path, tmp_path: Path) -> None:
    for overrides, message in (
        (["data.shards="], "data.shards: empty"),
        ([f"data.shards={tmp_path / 'nowhere'}"], "no folder .*nowhere, here or in"),
        ([f"data.shards={shards},{shards}"], "two folders are called 'film'"),
        (["data.film.seconds=0.1"], "of 4 shots none has two frames at most 0.1 s apart"),
        ([f"data.shards={film_folder(shots=1)}"], "one shot with frames to draw; the queue's negatives"),
        (["trainer.devices=99"], "too few for 99 processes"),
    ):
        with pytest.raises(PasserbyError, match=message):
            run(shards, tmp_path / "run", *overrides)
    assert not (tmp_path / "run" / "model").exists()
    alone = film_folder(shots=1)
    assert run(alone, tmp_path / "alone", "method.queue_weight=0", "trainer.max_steps=1").is_dir()


def test_a_run_is_not_resumed_on_other_film(
    film_folder: FilmFolder, shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(self: Isr, batch: Any, batch_idx: int) -> torch.Tensor:
        raise Killed

    step = Isr.training_step
    monkeypatch.setattr(Isr, "training_step", killed)
    with pytest.raises(Killed):
        run(shards, tmp_path / "run")
    monkeypatch.setattr(Isr, "training_step", step)
    with pytest.raises(PasserbyError, match="another recipe, seed, start or data"):
        run(film_folder(seed=5), tmp_path / "run", resume=True)
