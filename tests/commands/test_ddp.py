"""Two processes that share each batch."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from passerby.models.saved import load_model


@pytest.mark.slow
def test_two_processes_train_one_model(people: Path, sources: str, tiny: list[str], tmp_path: Path) -> None:
    overrides = [part for override in (*tiny, sources, "trainer.devices=2") for part in ("--set", override)]
    command = [sys.executable, "-m", "passerby", "train", "baseline-mobilenetv2", "--data-root", str(people)]
    done = subprocess.run(
        [*command, "--out", str(tmp_path / "run"), "--device", "cpu", *overrides],
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr
    model, card = load_model(tmp_path / "run" / "model")
    assert card.steps == 6
    assert model.embed(next((people / "three").iterdir())).shape == (1, card.dimension)
    # Both processes counted the same steps, and one of them wrote the logs.
    rows = (tmp_path / "run" / "logs" / "part-0" / "metrics.csv").read_text().splitlines()
    assert rows[-1].split(",")[rows[0].split(",").index("step")] == "5"
    assert len(list((tmp_path / "run" / "logs").iterdir())) == 1


@pytest.mark.slow
@pytest.mark.parametrize("recipe", ["isr-mobilenetv2", "moco-mobilenetv2"])
def test_two_processes_train_on_super_frames_of_their_own(
    film_folder: Callable[..., Path], tiny: list[str], tmp_path: Path, recipe: str
) -> None:
    shards = film_folder(shots=6)
    film = [f"data.shards={shards}", "data.film.crops=9", "model.norm=batch", "model.embedding=16", "trainer.devices=2"]
    overrides = [part for override in (*tiny, *film) for part in ("--set", override)]
    command = [sys.executable, "-m", "passerby", "train", recipe, "--data-root", str(tmp_path)]
    done = subprocess.run(
        [*command, "--out", str(tmp_path / "run"), "--device", "cpu", *overrides],
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr
    assert load_model(tmp_path / "run" / "model")[1].steps == 6
    state = torch.load(tmp_path / "run" / "checkpoints" / "last.ckpt", weights_only=False)["state_dict"]
    # The queue holds the crops of both processes: six steps of two super frames of 27 crops.
    assert int((state["queue.video"] >= 0).sum()) == 6 * 2 * 27
