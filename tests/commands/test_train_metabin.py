"""MetaBIN through the trainer: resumed as if never stopped, logged, loaded again, and refused where it cannot work."""

import subprocess
import sys
from pathlib import Path
from typing import Any, Protocol

import pytest
import torch
from safetensors.torch import load_file

from passerby.commands.train import train
from passerby.errors import PasserbyError
from passerby.methods.metabin import MetaBin
from passerby.models.norm import BatchInstanceNorm2d
from passerby.models.saved import load_model
from passerby.recipes import load_recipe


class Killed(BaseException):
    """Stands for a kill."""


@pytest.fixture
def tiny(tiny: list[str]) -> list[str]:
    """Overrides that make MetaBIN small."""
    meta = ["method.meta_identities=2", "method.meta_images_each=2", "method.gate_lr=5"]
    return [*tiny, *meta, "trainer.max_steps=9"]


class Start(Protocol):
    def __call__(self, out: Path, *overrides: str, resume: bool = False) -> Path: ...


@pytest.fixture
def start(people: Path, sources: str, tiny: list[str]) -> Start:
    """Trains a small MetaBIN."""

    def run(out: Path, *overrides: str, resume: bool = False) -> Path:
        recipe = load_recipe("metabin-mobilenetv2", [*tiny, sources, *overrides])
        return train(recipe, people, out, recipe_name="tiny", device="cpu", progress=False, resume=resume)

    return run


def test_killed_and_resumed_ends_with_the_same_gates(
    start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = load_file(start(tmp_path / "whole") / "model.safetensors")
    step = MetaBin.meta_step

    def killed(self: MetaBin, batch: Any) -> Any:
        if batch.step == 5:
            raise Killed
        return step(self, batch)

    monkeypatch.setattr(MetaBin, "meta_step", killed)
    with pytest.raises(Killed):
        start(tmp_path / "cut")
    monkeypatch.setattr(MetaBin, "meta_step", step)
    resumed = load_file(start(tmp_path / "cut", resume=True) / "model.safetensors")
    assert whole.keys() == resumed.keys()
    assert all(torch.equal(whole[key], resumed[key]) for key in whole)
    gates = torch.cat([value for key, value in whole.items() if key.endswith("gate")])
    assert float(gates.min()) < 1  # they did move
    assert float(gates.min()) >= 0


def test_what_is_logged_and_what_is_loaded(start: Start, tmp_path: Path) -> None:
    folder = start(tmp_path / "run")
    header, *rows = (tmp_path / "run" / "logs" / "part-0" / "metrics.csv").read_text().splitlines()
    columns = header.split(",")
    assert {"loss", "meta_train", "meta_test", "inner_lr", "gate_push/scatter", "gate_push/triplet"} <= set(columns)
    assert sum(column.startswith("rho/") for column in columns) == sum(
        isinstance(m, BatchInstanceNorm2d) for m in load_model(folder)[0].modules()
    )
    last = dict(zip(columns, rows[-1].split(","), strict=True))
    gates = {name: m.gate for name, m in load_model(folder)[0].named_modules() if isinstance(m, BatchInstanceNorm2d)}
    for name, gate in gates.items():
        assert float(last[f"rho/{name}"]) == pytest.approx(float(gate.detach().mean()), rel=1e-5)
    # One base step and one meta step are one step.
    assert max(int(row.split(",")[columns.index("step")]) for row in rows) == 8
    card = load_model(folder)[1]
    assert (card.steps, card.architecture.norm) == (9, "bin")


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (("model.norm=batch",), "set model.norm to bin"),
        (("data.sources=one={root}/one",), "one domain cannot be split"),
        (("method.meta_identities=50",), "a meta batch takes 50 people of each domain, 'one' has 8"),
        (("method.meta_train_domains=2",), "at most 1"),
        (("model.backbone=test_vit", "model.last_stride_1=false"), "has no BatchNorm2d"),
        (("method.inner_lr=[0.2,0.1]",), "inner_lr"),
    ],
)
def test_bad_input(people: Path, start: Start, tmp_path: Path, overrides: tuple[str, ...], message: str) -> None:
    with pytest.raises(PasserbyError, match=message):
        start(tmp_path / "run", *(override.format(root=people) for override in overrides))


def test_one_source_with_cameras_as_domains(people: Path, tiny: list[str], tmp_path: Path) -> None:
    recipe = load_recipe(
        "metabin-mobilenetv2-single", [*tiny, f"data.sources=one={people / 'one'}", "trainer.max_steps=2"]
    )
    assert train(recipe, people, tmp_path / "run", recipe_name="t", device="cpu", progress=False).is_dir()


def test_the_official_setting_starts_and_steps(people: Path, tmp_path: Path) -> None:
    recipe = load_recipe("metabin-mobilenetv2-large")
    assert (recipe.trainer.max_steps, recipe.model.backbone) == (100 * 1849, "mobilenetv2_140")
    assert recipe.data.identities * recipe.data.images_each == 80
    two = f"data.sources=one={people / 'one'},two={people / 'two'}"
    small = ["model.weights=none", "data.height=64", "data.width=32", "trainer.max_steps=2", "data.identities=4"]
    recipe = load_recipe("metabin-mobilenetv2-large", [two, *small, "method.meta_identities=2"])
    folder = train(recipe, people, tmp_path / "run", recipe_name="large", device="cpu", progress=False)
    gates = [m.gate for m in load_model(folder)[0].modules() if isinstance(m, BatchInstanceNorm2d)]
    assert (len(gates), sum(gate.numel() for gate in gates)) == (52, 23_968)


def test_an_episode_is_drawn_apart_and_runs_in_the_trainers_precision(
    start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    step, base = MetaBin.meta_step, MetaBin.training_step
    seen: list[list[list[int]]] = [[], []]
    autocast: list[bool] = []

    def watched(self: MetaBin, batch: Any) -> Any:
        autocast.append(torch.is_autocast_enabled("cpu"))
        seen[0].append(batch.identity.tolist())
        return step(self, batch)

    def watched_base(self: MetaBin, batch: Any, index: int) -> Any:
        seen[1].append(batch.identity.tolist())
        return base(self, batch, index)

    monkeypatch.setattr(MetaBin, "meta_step", watched)
    monkeypatch.setattr(MetaBin, "training_step", watched_base)
    same_size = ("data.batches=domain", "data.identities=4", "data.images_each=2")
    start(tmp_path / "run", "trainer.precision=bf16-mixed", *same_size)
    assert autocast == [True] * 9
    assert len(seen[0]) == len(seen[1]) == 9
    assert {len(batch) for batches in seen for batch in batches} == {8}
    assert seen[0] != seen[1]


@pytest.mark.slow
def test_two_processes_keep_equal_gates(people: Path, sources: str, tiny: list[str], tmp_path: Path) -> None:
    watch = tmp_path / "watch.py"
    watch.write_text(
        "import sys, torch\n"
        "from passerby.methods.metabin import MetaBin\n"
        "step = MetaBin.meta_step\n"
        "def watched(self, batch):\n"
        "    if batch.step == 0:\n"
        "        [gate.data.fill_(0.5) for gate in self.gates.values()]\n"
        "    losses = step(self, batch)\n"
        "    torch.save({k: g.detach().clone() for k, g in self.gates.items()}, "
        f"f'{tmp_path}/gates-{{self.global_rank}}-{{batch.step}}.pt')\n"
        "    return losses\n"
        "MetaBin.meta_step = watched\n"
        "from passerby.cli import main\n"
        "main()\n"
    )
    overrides = [
        part for o in (*tiny, sources, "trainer.devices=2", "method.meta_identities=4") for part in ("--set", o)
    ]
    command = [sys.executable, str(watch), "train", "metabin-mobilenetv2", "--data-root", str(people)]
    done = subprocess.run(
        [*command, "--out", str(tmp_path / "run"), "--device", "cpu", *overrides],
        capture_output=True,
        text=True,
        check=False,
        timeout=280,
    )
    assert done.returncode == 0, done.stderr
    for step in range(9):
        first, second = (torch.load(tmp_path / f"gates-{rank}-{step}.pt") for rank in range(2))
        assert all(torch.equal(first[name], second[name]) for name in first)
    assert any(float(gate.std()) > 0 for gate in first.values())


def test_second_derivatives_are_not_compiled(start: Start, tmp_path: Path) -> None:
    with pytest.raises(PasserbyError, match="no second derivatives"):
        start(tmp_path / "run", "trainer.compile=true", "method.second_order=true")
