"""Two processes that share each batch."""

import subprocess
import sys
from pathlib import Path

import pytest

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
