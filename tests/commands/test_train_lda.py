"""LDA and DSBN through the trainer: resumed as if never stopped, measured in every way, and refused where it cannot work."""

import subprocess
import sys
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from passerby.commands.adapt import adapt
from passerby.commands.bench import bench
from passerby.commands.diagnose import diagnose
from passerby.commands.embed import embed
from passerby.commands.evaluate import evaluate
from passerby.commands.train import _tell_unseen, train
from passerby.errors import PasserbyError
from passerby.methods.lda import Lda
from passerby.models.norm import DomainNorm2d
from passerby.models.saved import load_card, load_model
from passerby.recipes import load_recipe


class Killed(BaseException):
    """Stands for a kill."""


class Start(Protocol):
    def __call__(self, out: Path, *overrides: str, name: str = "lda-mobilenetv2", **options: Any) -> Path: ...


@pytest.fixture(scope="module")
def data(trained: Any) -> Path:
    """A data root with `one`, `two` and `three`."""
    root: Path = trained.data
    return root


@pytest.fixture(scope="module")
def start(data: Path, tiny: list[str]) -> Start:
    """Trains a small LDA, or another method, on `one` and `two`."""
    sources = f"data.sources=one={data / 'one'},two={data / 'two'}"

    def run(out: Path, *overrides: str, name: str = "lda-mobilenetv2", **options: Any) -> Path:
        warmup = ["method.warmup=0.4"] if name.startswith("lda") else []
        recipe = load_recipe(name, [*tiny, "data.images_each=4", *warmup, sources, *overrides])
        return train(recipe, data, out, recipe_name=name, device="cpu", progress=False, **options)

    return run


@pytest.fixture(scope="module")
def run(start: Start, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of LDA, trained once; tests leave it as it is."""
    folder = tmp_path_factory.mktemp("lda") / "run"
    start(folder)
    return folder


def test_the_card_holds_the_number_and_the_names_of_the_domains(run: Path) -> None:
    model, card = load_model(run / "model")
    assert card.architecture.bank.domains == 2
    assert card.domains == ("one", "two")
    layers = [m for m in model.modules() if isinstance(m, DomainNorm2d)]
    assert layers
    assert all(layer.num_batches_tracked.tolist() == [6, 6] for layer in layers)
    header = (run / "logs" / "part-0" / "metrics.csv").read_text().splitlines()[0].split(",")
    assert {*Lda.loss_names, "loss", "accuracy", "aligned_accuracy"} <= set(header)


@pytest.mark.parametrize("precision", ["32-true", pytest.param("bf16-mixed", marks=pytest.mark.slow)])
def test_killed_and_resumed_ends_with_the_same_weights(
    start: Start, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, precision: str
) -> None:
    # Killed after the warm-up: colours are drawn, and the latent distribution has seen something.
    option = f"trainer.precision={precision}"
    whole = run / "model" if precision == "32-true" else start(tmp_path / "whole", option)
    losses = Lda.losses

    def killed(self: Lda, batch: Any) -> Any:
        if batch.step == 5:
            raise Killed
        return losses(self, batch)

    monkeypatch.setattr(Lda, "losses", killed)
    with pytest.raises(Killed):
        start(tmp_path / "cut", option)
    kept = torch.load(tmp_path / "cut" / "checkpoints" / "last.ckpt", weights_only=False)["state_dict"]
    assert kept["latent.batches"].tolist() == [4, 4]
    monkeypatch.setattr(Lda, "losses", losses)
    resumed = load_file(start(tmp_path / "cut", option, resume=True) / "model.safetensors")
    expected = load_file(whole / "model.safetensors")
    assert expected.keys() == resumed.keys()
    assert all(torch.equal(expected[key], resumed[key]) for key in expected)


def test_one_model_is_measured_in_every_way_and_the_record_says_which(run: Path, data: Path, tmp_path: Path) -> None:
    def measured(**options: Any) -> Any:
        found = evaluate(run, data, [f"three={data / 'three'}"], device="cpu", records_folder=tmp_path, **options)
        return found[0]

    plain = measured(report_file=tmp_path / "report.html")
    ways = {way: measured(unknown=way) for way in ("bank", "nearest", "colours", "experts", "mix")}
    assert plain.unknown == "both"
    assert {way: record.unknown for way, record in ways.items()} == {way: way for way in ways}
    names = {"three.json", *(f"three+unknown={way}.json" for way in ways)}
    assert {path.name for path in tmp_path.glob("*.json")} == names
    maps = {record.metrics["mINP"].mean for record in (plain, *ways.values())}
    assert len(maps) > 1
    page = (tmp_path / "report.html").read_text()
    assert "Statistics of the training domains: " in page
    assert "How far the training domains lie apart" in page
    assert "one and two" in page
    # Asked for by name, the way that it was trained to look is the same record.
    assert measured(unknown="both").unknown == "both"
    assert {path.name for path in tmp_path.glob("*.json")} == names
    with pytest.raises(PasserbyError, match=r"--unknown: no way 'expert'; did you mean 'experts'"):
        measured(unknown="expert")


def test_a_plain_model_has_one_way_alone(trained: Any) -> None:
    with pytest.raises(PasserbyError, match=r"--unknown experts: the model has no statistics of domains"):
        evaluate(trained.plain, trained.data, [f"three={trained.data / 'three'}"], device="cpu", unknown="experts")


def test_dsbn_averages_its_experts(start: Start, data: Path, tmp_path: Path) -> None:
    model, card = load_model(start(tmp_path / "run", name="dsbn-mobilenetv2"))
    assert model.unknown == "experts"
    assert card.architecture.bank.affine == "own"
    layer = next(m for m in model.modules() if isinstance(m, DomainNorm2d))
    assert layer.weight.shape[0] == 2
    assert not torch.equal(layer.weight[0], layer.weight[1])
    assert not torch.equal(layer.running_mean[0], layer.running_mean[1])
    assert model.embed(next((data / "three").iterdir())).shape == (1, card.dimension)


def test_statistics_of_other_domains_than_the_data_have(start: Start, run: Path, data: Path, tmp_path: Path) -> None:
    single = f"data.sources=one={data / 'one'}"
    with pytest.raises(
        PasserbyError, match=r"--init-from: statistics of 2 domains, but the training data have 1 \(one\)"
    ):
        start(tmp_path / "a", single, name="dsbn-mobilenetv2", init_from=run)
    with pytest.raises(PasserbyError, match=r"model\.bank\.domains: statistics of 3 domains, .* have 2 \(one, two\)"):
        start(tmp_path / "b", "model.bank.domains=3")
    with pytest.raises(PasserbyError, match="one domain has no other"):
        start(tmp_path / "c", single)
    assert load_card(start(tmp_path / "d", init_from=run)).ancestors


def test_a_start_with_statistics_of_other_domains_says_so(
    start: Start, run: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    start(tmp_path / "same", init_from=run)
    assert "its statistics are those of" not in capsys.readouterr().err
    swapped = f"data.sources=two={data / 'two'},one={data / 'one'}"
    start(tmp_path / "swapped", swapped, init_from=run)
    said = capsys.readouterr().err
    assert "--init-from: its statistics are those of one, two, in this order; each of two, one starts from all" in said


def test_domains_that_never_fill_their_statistics_are_named(
    start: Start, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    start(tmp_path / "filled", name="dsbn-mobilenetv2")
    assert "no batch had" not in capsys.readouterr().err
    start(tmp_path / "few", "data.images_each=2", "data.identities=2", name="dsbn-mobilenetv2")
    assert "one, two: no batch had 4 images of it" in capsys.readouterr().err


def test_a_start_does_not_hide_that_nothing_filled_the_statistics(
    start: Start, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    filled = start(tmp_path / "filled", name="dsbn-mobilenetv2")
    few = ("data.images_each=2", "data.identities=2")
    start(tmp_path / "few", *few, name="dsbn-mobilenetv2", init_from=filled)
    assert "one, two: no batch had 4 images of it" in capsys.readouterr().err
    start(tmp_path / "none", *few, "trainer.max_steps=0", name="dsbn-mobilenetv2")
    assert "no batch had" not in capsys.readouterr().err


def test_settings_of_a_bank_that_is_not_there_are_told(
    start: Start, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    start(tmp_path / "plain", name="baseline-mobilenetv2")
    assert "model.bank" not in capsys.readouterr().err
    start(tmp_path / "both", "model.unknown=both", name="baseline-mobilenetv2")
    assert "model.unknown and model.bank do nothing: norms of model.norm=batch have no" in capsys.readouterr().err


def test_a_folder_and_a_place_are_looked_at_in_the_way_that_is_asked_for(run: Path, data: Path, tmp_path: Path) -> None:
    out, three = tmp_path / "out.npz", data / "three"
    widths = {}
    for way in (None, "bank", "experts"):
        embed(run, three, out, flip=False, device="cpu", unknown=way)
        widths[way] = np.load(out)["embeddings"]
    assert widths[None].shape[1] == 2 * widths["bank"].shape[1]
    assert not np.allclose(widths["bank"], widths["experts"])
    with pytest.raises(PasserbyError, match="no way 'expert'"):
        embed(run, three, out, flip=False, device="cpu", unknown="expert")
    table = tmp_path / "cameras.csv"
    table.write_text("path,camera\n" + "".join(f"{p.name},1\n" for p in sorted(three.iterdir())))
    site = tmp_path / "site.safetensors"
    assert adapt(run, three, site, cameras=table, method="none", unknown="bank", device="cpu").card.unknown == "bank"
    embed(run, three, out, flip=False, device="cpu", unknown="bank", site=site, cameras=table)
    assert np.load(out)["embeddings"].shape == widths["bank"].shape
    with pytest.raises(PasserbyError, match=r"by 'bank', this one does by 'both'; look alike \(--unknown\)"):
        embed(run, three, out, flip=False, device="cpu", site=site, cameras=table)
    with pytest.raises(PasserbyError, match=r"diagnose .*statistics of each training domain"):
        diagnose(run, three, device="cpu")


def test_a_set_of_statistics_beyond_the_domains_is_nobodys(capsys: pytest.CaptureFixture[str]) -> None:
    _tell_unseen(torch.tensor([1, 0, 0]), ("one", "two"))
    assert capsys.readouterr().err.startswith("two: no batch had")


def test_a_domain_absent_from_the_first_batches_is_named(
    start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    on_start = Lda.on_train_batch_start

    def only_one(self: Lda, batch: Any, batch_idx: int) -> None:
        batch.domain = batch.domain * 0
        on_start(self, batch, batch_idx)

    monkeypatch.setattr(Lda, "on_train_batch_start", only_one)
    with pytest.raises(PasserbyError, match=r"mode A begins at step 3, .* 4 images of two: "):
        start(tmp_path / "run")


def test_a_bench_measures_each_model_in_each_way_once(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from passerby.commands import bench as module

    seen: dict[str, list[Any]] = {}
    monkeypatch.setattr(module, "_check_data", lambda *_: None)
    monkeypatch.setattr(
        module.BenchCell, "run", lambda self, *_: seen.update({self.recipe: [w.unknown or w.top_k for w in self.ways]})
    )
    recipes = [
        "lda-mobilenetv2",
        "dsbn-mobilenetv2",
        "baseline-mobilenetv2",
        "qaconv-gs-mobilenetv2",
        "tal-mobilenetv2",
    ]
    overrides = ["data.sources=market1501,cuhk03"]
    unknown = ["both", "experts"]
    bench(recipes, data, tmp_path, overrides, "free", ["viper"], 1, "full", "cpu", ("none",), unknown, ["all", "50"])
    # A recipe's own way is measured without being asked for; a plain model has no other. Only matchers have a top k.
    assert seen == {
        "lda-mobilenetv2": [None, "experts"],
        "dsbn-mobilenetv2": ["both", None],
        "baseline-mobilenetv2": [None],
        "qaconv-gs-mobilenetv2": ["all", "50"],
        "tal-mobilenetv2": ["all", "50", "experts", "experts"],
    }
    monkeypatch.setattr(
        module.BenchCell,
        "run",
        lambda self, *_: seen.update({self.recipe: [(str(w), w.unknown, w.top_k) for w in self.ways]}),
    )
    # 200 is what a matcher takes by itself; what works on embeddings is measured by these alone, once.
    bench(recipes, data, tmp_path, overrides, "free", ["viper"], 1, "full", "cpu", ("none", "camera"), (), ["200", "9"])
    assert seen["baseline-mobilenetv2"] == [("", None, None), ("camera", None, None)]
    assert seen["tal-mobilenetv2"] == [("", None, None), ("", None, "9"), ("camera", None, "0")]
    adapted = ("none", "adabn")
    bench([recipes[3]], data, tmp_path, overrides, "free", ["viper"], 1, "full", "cpu", adapted)
    assert seen["qaconv-gs-mobilenetv2"] == [("", None, None), ("adabn", None, "0")]
    with pytest.raises(
        PasserbyError, match=r"--adapt adabn: dsbn-mobilenetv2 keeps statistics of each training domain"
    ):
        bench(recipes[1:], data, tmp_path, overrides, "free", ["viper"], 1, "full", "cpu", adapted)
    with pytest.raises(PasserbyError, match="--top-k many: give a number of gallery images, or all"):
        bench(recipes, data, tmp_path, overrides, "free", ["viper"], 1, "full", "cpu", top_k=["many"])


@pytest.mark.slow
def test_two_processes_train_one_model(start: Start, data: Path, tiny: list[str], tmp_path: Path) -> None:
    """Every parameter gets a gradient in every step, before and after the warm-up, or the processes would wait for it."""
    sources = f"data.sources=one={data / 'one'},two={data / 'two'}"
    options = [*tiny, "data.images_each=4", "method.warmup=0.4", "trainer.devices=2", sources]
    command = [
        sys.executable,
        "-m",
        "passerby",
        "train",
        "lda-mobilenetv2",
        "--data-root",
        str(data),
        "--device",
        "cpu",
    ]
    command += [part for option in options for part in ("--set", option)]
    done = subprocess.run(
        [*command, "--out", str(tmp_path / "two")], capture_output=True, text=True, check=False, timeout=400
    )
    assert done.returncode == 0, done.stderr
    alone = load_file(start(tmp_path / "one") / "model.safetensors")
    together = load_file(tmp_path / "two" / "model" / "model.safetensors")
    counts = [key for key in together if key.endswith("num_batches_tracked")]
    assert counts
    assert all(torch.equal(together[key], alone[key]) for key in counts)
    # The images are augmented otherwise, the statistics of both processes' images are alike.
    means = [key for key in together if key.endswith("running_mean") and "neck" not in key]
    for key in means[:5]:
        torch.testing.assert_close(together[key], alone[key], rtol=0.3, atol=0.3)
