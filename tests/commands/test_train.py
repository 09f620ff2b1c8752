"""Training: a saved model, resume, and what stops it."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from passerby.commands.evaluate import evaluate
from passerby.commands.train import train
from passerby.errors import PasserbyError
from passerby.methods.baseline import Baseline
from passerby.models.saved import load_card, load_model
from passerby.recipes import load_recipe

Runner = Callable[..., Path]


class Killed(BaseException):
    """Stands for a kill: nothing may catch it and tidy up."""


@pytest.fixture
def run(people: Path, sources: str, tiny: list[str]) -> Runner:
    """Trains the tiny recipe into a folder."""

    def start(out: Path, *overrides: str, **options: Any) -> Path:
        recipe = load_recipe("baseline-mobilenetv2", [*tiny, sources, *overrides])
        return train(recipe, people, out, recipe_name="tiny", device="cpu", progress=False, **options)

    return start


def weights(model: Path) -> dict[str, torch.Tensor]:
    return load_file(model / "model.safetensors")


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)


def test_trains_saves_and_describes(run: Runner, tmp_path: Path) -> None:
    model, card = load_model(run(tmp_path / "run", seed=3))
    assert card.seed == 3
    assert card.steps == 6
    assert [t.domain for t in card.trained_on] == ["one", "two"]
    assert [(t.identities, t.images) for t in card.trained_on] == [(8, 32), (8, 32)]
    assert not model.training
    rows = (tmp_path / "run" / "logs" / "part-0" / "metrics.csv").read_text().splitlines()
    assert {"cross_entropy", "triplet", "loss"} <= set(rows[0].split(","))


def test_same_seed_same_weights_other_seed_others(run: Runner, tmp_path: Path) -> None:
    first, again, other = (weights(run(tmp_path / name, seed=seed)) for name, seed in (("a", 1), ("b", 1), ("c", 2)))
    assert same(first, again)
    assert not same(first, other)


def test_no_steps_save_the_start_itself(run: Runner, people: Path, tmp_path: Path) -> None:
    saved = run(tmp_path / "run", "trainer.max_steps=0", seed=3)
    model, card = load_model(saved)
    assert card.steps == 0
    tracked = [int(value) for name, value in model.state_dict().items() if name.endswith("num_batches_tracked")]
    assert set(tracked) == {0}
    assert evaluate(saved, people, [f"three={people / 'three'}"], device="cpu")[0].training.steps == 0
    once = weights(run(tmp_path / "once", "trainer.max_steps=1", "optimizer.lr=1e-12", seed=3))
    for name, value in weights(saved).items():
        if name.endswith("weight"):
            torch.testing.assert_close(value, once[name], atol=1e-9, rtol=0)


@pytest.mark.parametrize("batches", ["identity", "domain", "plain"])
def test_killed_in_mid_epoch_and_resumed_ends_with_the_same_weights(
    run: Runner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, batches: str
) -> None:
    options = (
        f"data.batches={batches}",
        "trainer.max_steps=11",
        "trainer.checkpoint_every=3",
        "data.augment.jitter=0.5",
    )
    whole = weights(run(tmp_path / "whole", *options))
    step = Baseline.training_step

    def killed(self: Baseline, batch: Any, batch_idx: int) -> torch.Tensor:
        if self.global_step == 7:
            raise Killed
        return step(self, batch, batch_idx)

    monkeypatch.setattr(Baseline, "training_step", killed)
    with pytest.raises(Killed):
        run(tmp_path / "cut", *options)
    assert not (tmp_path / "cut" / "model").exists()
    half_written = tmp_path / "cut" / "checkpoints" / ".last.ckpt.x1.tmp"
    half_written.write_bytes(b"half a checkpoint")
    monkeypatch.setattr(Baseline, "training_step", step)
    assert same(whole, weights(run(tmp_path / "cut", *options, resume=True)))
    assert not half_written.exists()


def test_a_loss_that_is_not_finite_names_step_and_loss_and_keeps_the_checkpoint(
    run: Runner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    losses = Baseline.losses

    def broken(self: Baseline, batch: Any) -> dict[str, torch.Tensor]:
        found = losses(self, batch)
        return {**found, "triplet": found["triplet"] * float("nan")} if self.global_step == 4 else found

    monkeypatch.setattr(Baseline, "losses", broken)
    with pytest.raises(PasserbyError, match=r"loss 'triplet' is nan at step 4"):
        run(tmp_path / "run")
    kept = torch.load(tmp_path / "run" / "checkpoints" / "last.ckpt", weights_only=False)
    assert kept["global_step"] == 4
    assert all(torch.isfinite(value).all() for value in kept["state_dict"].values())


def test_a_run_is_not_overwritten(run: Runner, tmp_path: Path) -> None:
    run(tmp_path / "run")
    with pytest.raises(PasserbyError, match="holds a run already"):
        run(tmp_path / "run")
    with pytest.raises(PasserbyError, match="finished"):
        run(tmp_path / "run", resume=True)


def test_resume_wants_the_same_run(run: Runner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(PasserbyError, match="no run to resume"):
        run(tmp_path / "none", resume=True)

    def killed(self: Baseline, batch: Any, batch_idx: int) -> torch.Tensor:
        raise Killed

    step = Baseline.training_step
    monkeypatch.setattr(Baseline, "training_step", killed)
    with pytest.raises(Killed):
        run(tmp_path / "run")
    monkeypatch.setattr(Baseline, "training_step", step)
    with pytest.raises(PasserbyError, match="another recipe, seed, start or data"):
        run(tmp_path / "run", "optimizer.lr=0.5", resume=True)
    assert run(tmp_path / "run", resume=True).is_dir()


def test_starts_from_a_saved_model(run: Runner, tmp_path: Path) -> None:
    first = run(tmp_path / "first")
    start = weights(run(tmp_path / "second", "optimizer.lr=1e-12", "trainer.max_steps=1", init_from=first))
    trained = weights(first)
    key = next(key for key in trained if key.endswith("conv1.weight"))
    torch.testing.assert_close(start[key], trained[key], atol=1e-9, rtol=0)
    with pytest.raises(PasserbyError, match="weights of another model"):
        run(tmp_path / "third", "model.backbone=test_byobnet", init_from=first)


def test_weights_that_are_not_finite_are_never_saved(
    run: Runner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    step = Baseline.training_step

    def poisoned(self: Baseline, batch: Any, batch_idx: int) -> torch.Tensor:
        loss = step(self, batch, batch_idx)
        if self.global_step == last - 1:
            self.classifier.weight.data[0, 0] = torch.inf
        return loss

    monkeypatch.setattr(Baseline, "training_step", poisoned)
    for last, kept in ((4, 2), (6, 4)):  # checkpoints are written every second step; the run ends with the sixth
        out = tmp_path / f"run{last}"
        with pytest.raises(PasserbyError, match=f"is not finite after step {last}"):
            run(out)
        assert not (out / "model").exists()
        checkpoint = torch.load(out / "checkpoints" / "last.ckpt", weights_only=False)
        assert checkpoint["global_step"] == kept


def test_a_run_that_was_moved_resumes_from_its_newest_checkpoint(
    run: Runner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    step, killed_at = Baseline.training_step, 3

    def killed(self: Baseline, batch: Any, batch_idx: int) -> torch.Tensor:
        if self.global_step == killed_at:
            raise Killed
        return step(self, batch, batch_idx)

    monkeypatch.setattr(Baseline, "training_step", killed)
    with pytest.raises(Killed):
        run(tmp_path / "here", "trainer.max_steps=9")
    (tmp_path / "here").rename(tmp_path / "there")
    killed_at = 7
    with pytest.raises(Killed):
        run(tmp_path / "there", "trainer.max_steps=9", resume=True)
    assert [p.name for p in (tmp_path / "there" / "checkpoints").iterdir()] == ["last.ckpt"]
    assert torch.load(tmp_path / "there" / "checkpoints" / "last.ckpt", weights_only=False)["global_step"] == 6


def test_resume_wants_the_same_data(run: Runner, people: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    step = Baseline.training_step

    def killed(self: Baseline, batch: Any, batch_idx: int) -> torch.Tensor:
        if self.global_step == 3:
            raise Killed
        return step(self, batch, batch_idx)

    monkeypatch.setattr(Baseline, "training_step", killed)
    with pytest.raises(Killed):
        run(tmp_path / "run")
    next((people / "one").iterdir()).unlink()
    with pytest.raises(PasserbyError, match="another recipe, seed, start or data"):
        run(tmp_path / "run", resume=True)


def test_a_table_with_domains_trains_on_each(people: Path, tiny: list[str], tmp_path: Path) -> None:
    table = people / "mine.csv"
    rows = [
        f"{folder}/{path.name},{int(path.name[:4])},{path.name[6]},{folder}"
        for folder in ("one", "two")
        for path in sorted((people / folder).iterdir())
    ]
    table.write_text("\n".join(["path,identity,camera,domain", *rows]) + "\n")
    overrides = [*tiny, f"data.sources=mine={table}", "data.batches=domain", "data.identities=4"]
    out = tmp_path / "run"
    train(load_recipe("baseline-mobilenetv2", overrides), people, out, recipe_name="t", device="cpu", progress=False)
    (trained,) = load_card(out / "model").trained_on
    assert (trained.domain, trained.identities, trained.people) == ("mine", 16, "1-8, 11-18")


def test_cameras_as_domains(run: Runner, people: Path, tmp_path: Path) -> None:
    source = f"data.sources=one={people / 'one'}"
    overrides = (source, "data.domains=camera", "data.batches=domain", "data.identities=4")
    assert run(tmp_path / "run", *overrides).is_dir()


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("data.sources=", "data.sources: empty"),
        ("data.sources=nowhere", "nowhere"),
        ("data.identities=64", "identities do not fill a batch"),
        ("model.backbone=mobilenet_v2", "timm knows no 'mobilenet_v2'"),
        ("model.stages=layer9", "no stage 'layer9'"),
        ("model.weights=none.safetensors", "no file none.safetensors"),
    ],
)
def test_bad_input_is_one_clear_line(run: Runner, tmp_path: Path, override: str, message: str) -> None:
    with pytest.raises(PasserbyError, match=message) as error:
        run(tmp_path / "run", override)
    assert "\n" not in str(error.value)
    assert not (tmp_path / "run" / "model").exists()


def test_the_run_is_described_before_training(run: Runner, tmp_path: Path) -> None:
    run(tmp_path / "run", seed=5)
    described = json.loads((tmp_path / "run" / "run.json").read_text())
    assert described["seed"] == 5
    assert described["recipe"]["model"]["backbone"] == "test_resnet"


def test_a_checkpoint_of_another_model_or_a_damaged_one_is_refused(
    run: Runner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(tmp_path / "other", "model.backbone=test_byobnet")
    run(tmp_path / "run")
    shutil.rmtree(tmp_path / "run" / "model")
    last = tmp_path / "run" / "checkpoints" / "last.ckpt"
    whole = last.read_bytes()
    for bytes_, message in (
        ((tmp_path / "other" / "checkpoints" / "last.ckpt").read_bytes(), "weights of another model"),
        (whole[:5000], "no checkpoint that can be read"),
        (b"", "no checkpoint that can be read"),
    ):
        last.write_bytes(bytes_)
        with pytest.raises(PasserbyError, match=message) as error:
            run(tmp_path / "run", resume=True)
        assert "\n" not in str(error.value)
        assert str(last) in str(error.value)
    last.write_bytes(whole)
    assert run(tmp_path / "run", resume=True).is_dir()


@pytest.mark.parametrize(
    "error", [RuntimeError("unexpected pos 289088 vs 288984"), OSError(28, "No space left on device")]
)
def test_a_full_disk_keeps_the_last_checkpoint(
    run: Runner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    save = torch.save

    def full(checkpoint: dict[str, Any], path: Path) -> None:
        if checkpoint["global_step"] > 2:
            Path(path).write_bytes(b"half")
            raise error
        save(checkpoint, path)

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(PasserbyError, match=r"last\.ckpt: the checkpoint cannot be written .* free room"):
        run(tmp_path / "run")
    checkpoints = tmp_path / "run" / "checkpoints"
    assert [path.name for path in checkpoints.iterdir()] == ["last.ckpt"]
    assert torch.load(checkpoints / "last.ckpt", weights_only=False)["global_step"] == 2
    monkeypatch.setattr(torch, "save", save)
    assert run(tmp_path / "run", resume=True).is_dir()


def test_starts_from_the_folder_of_a_run(run: Runner, tmp_path: Path) -> None:
    run(tmp_path / "first")
    assert run(tmp_path / "second", "trainer.max_steps=1", init_from=tmp_path / "first").is_dir()


def test_what_is_wrong_is_said_before_anything_is_written(run: Runner, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(PasserbyError, match="a file; give a folder"):
        run(tmp_path / "file")
    recipe = load_recipe("baseline-mobilenetv2", [])
    with pytest.raises(PasserbyError, match="--device tpu"):
        train(recipe, tmp_path, tmp_path / "run", recipe_name="tiny", device="tpu")
    assert not (tmp_path / "run").exists()


def test_ctrl_c_stops_the_program_and_keeps_the_checkpoint(
    run: Runner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    step = Baseline.training_step

    def interrupted(self: Baseline, batch: Any, batch_idx: int) -> torch.Tensor:
        if self.global_step == 4:
            raise KeyboardInterrupt
        return step(self, batch, batch_idx)

    monkeypatch.setattr(Baseline, "training_step", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "run")
    monkeypatch.setattr(Baseline, "training_step", step)
    assert run(tmp_path / "run", resume=True).is_dir()
