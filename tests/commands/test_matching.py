"""QAConv-GS and TAL through the commands: trained, taken up again, saved with their matcher, measured by a cascade, explained."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from passerby.commands.adapted import look_as
from passerby.commands.evaluate import evaluate
from passerby.commands.train import train
from passerby.data.graph_sampling import GraphSampler
from passerby.errors import PasserbyError
from passerby.evaluation.records import Record, read_record
from passerby.methods.qaconv import QaConv
from passerby.models.load import load
from passerby.models.matching_model import MatchingModel
from passerby.recipes import load_recipe

MATCHING = ["model.stages=layer3,layer4", "model.matcher.channels=8", "data.graph_batches=4", "trainer.max_steps=6"]


class Killed(BaseException):
    """Stands for a kill."""


def run(people: Path, out: Path, name: str, overrides: list[str], resume: bool = False) -> Path:
    recipe = load_recipe(name, overrides)
    return train(recipe, people, out, recipe_name=name, device="cpu", progress=False, resume=resume)


def test_killed_and_resumed_in_mid_graph_ends_with_the_same_weights(
    people: Path, sources: str, tiny: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    overrides = [*tiny, sources, *MATCHING, "method.graph=matcher"]
    graphs: list[int] = []
    epoch = GraphSampler.epoch

    def watched(self: GraphSampler, number: int) -> Any:
        graphs.append(number)
        return epoch(self, number)

    monkeypatch.setattr(GraphSampler, "epoch", watched)
    whole = load_file(run(people, tmp_path / "whole", "qaconv-gs-mobilenetv2", overrides) / "model.safetensors")
    assert graphs == [0, 1]
    step = QaConv.losses

    def killed(self: QaConv, batch: Any) -> Any:
        if batch.step == 3:
            raise Killed
        return step(self, batch)

    monkeypatch.setattr(QaConv, "losses", killed)
    with pytest.raises(Killed):
        run(people, tmp_path / "run", "qaconv-gs-mobilenetv2", overrides)
    monkeypatch.setattr(QaConv, "losses", step)
    resumed = run(people, tmp_path / "run", "qaconv-gs-mobilenetv2", overrides, resume=True)
    again = load_file(resumed / "model.safetensors")
    assert all(torch.equal(again[name], value) for name, value in whole.items())


@pytest.fixture(scope="module")
def tal(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A data root and a small TAL that was trained there."""
    from importlib.util import module_from_spec, spec_from_file_location

    spec = spec_from_file_location("conftest_of_commands", Path(__file__).parent / "conftest.py")
    assert spec is not None
    assert spec.loader is not None
    conftest = module_from_spec(spec)
    sys.modules[spec.name] = conftest
    spec.loader.exec_module(conftest)
    folder = tmp_path_factory.mktemp("tal")
    for name, first in (("one", 1), ("two", 11), ("three", 21)):
        conftest.write_people(folder / "data" / name, range(first, first + 8))
    sources = f"data.sources=one={folder / 'data' / 'one'},two={folder / 'data' / 'two'}"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PASSERBY_CACHE", str(folder / "cache"))
        # With one stripe and no instance norm the embedding ranks these few people otherwise than the matcher does.
        coarse = [*conftest.TINY, sources, *MATCHING, "model.matcher.stripes=1", "model.norm=domain"]
        run(folder / "data", folder / "run", "tal-mobilenetv2", coarse)
    return folder / "data", folder / "run"


def test_a_saved_model_keeps_its_matcher_and_ranks_with_it(tal: tuple[Path, Path], tmp_path: Path) -> None:
    data, trained = tal
    model = load(trained)
    assert isinstance(model, MatchingModel)
    assert model.architecture.bank.domains == 2
    assert model.matcher.layout.views == 3
    target = [f"three={data / 'three'}"]
    found = {}
    for k in (None, "all", "3", "0"):
        (found[k],) = evaluate(trained, data, target, top_k=k, device="cpu", records_folder=tmp_path)
    assert [(r.matcher, r.matched) for r in found.values()] == [
        ("qaconv", 200),
        ("qaconv", None),
        ("qaconv", 3),
        ("cosine", None),
    ]
    # The gallery has fewer than 200 images: all of them were matched.
    assert found[None].metrics == found["all"].metrics
    assert found["0"].metrics != found["all"].metrics
    assert read_record(tmp_path / "three.json") == found[None]
    assert read_record(tmp_path / "three+top-k=0.json") == found["0"]
    (default,) = evaluate(trained, data, target, top_k=200, device="cpu", records_folder=tmp_path / "default")
    assert read_record(tmp_path / "default" / "three.json") == default


def test_each_stream_can_be_measured_by_itself(tal: tuple[Path, Path], tmp_path: Path) -> None:
    data, trained = tal

    def measured(unknown: str | None) -> Record:
        target = [f"three={data / 'three'}"]
        (record,) = evaluate(trained, data, target, unknown=unknown, device="cpu", records_folder=tmp_path)
        return record

    both, experts, mix = measured(None), measured("experts"), measured("mix")
    assert [r.unknown for r in (both, experts, mix)] == ["both", "experts", "mix"]
    assert measured("both").metrics == both.metrics
    model = load(trained)
    assert isinstance(model, MatchingModel)
    assert (look_as(model, None), model.views) == ("both", 3)
    assert (look_as(model, "experts"), model.views) == ("experts", 2)
    assert read_record(tmp_path / "three+unknown=mix.json") == mix
    with pytest.raises(PasserbyError, match=r"--unknown bank: .* give experts, mix or both"):
        measured("bank")


def test_the_report_draws_lines_expert_by_expert(tal: tuple[Path, Path], tmp_path: Path) -> None:
    data, trained = tal
    report, summary = tmp_path / "report.html", tmp_path / "metrics.json"
    evaluate(trained, data, [f"three={data / 'three'}"], top_k="3", device="cpu", report_file=report, json_file=summary)
    page = report.read_text(encoding="utf-8")
    assert "Matched places: three" in page
    assert "qaconv, the first 3 of each query by the embedding" in page
    assert all(f">{name}</text>" in page for name in ("one", "two", "DI"))
    assert 0 <= json.loads(summary.read_text())["targets"]["three"]["rank1"]["mean"] <= 1


def test_what_works_on_embeddings_asks_for_top_k_0(tal: tuple[Path, Path], tmp_path: Path) -> None:
    data, trained = tal
    target = [f"three={data / 'three'}"]
    for options in ({"rerank": True}, {"flip": True}, {"camera_normalise": True}, {"adapt": "adabn"}):
        with pytest.raises(PasserbyError, match="add --top-k 0"):
            evaluate(trained, data, target, device="cpu", **options)
    evaluate(trained, data, target, device="cpu", rerank=True, flip=True, camera_normalise=True, top_k=0)
    with pytest.raises(PasserbyError, match="--top-k few: give a number"):
        evaluate(trained, data, target, device="cpu", top_k="few")


def test_a_model_without_matcher_has_no_top_k(trained: Any) -> None:
    with pytest.raises(PasserbyError, match="has no matcher"):
        evaluate(trained.plain, trained.data, [f"three={trained.data / 'three'}"], device="cpu", top_k=10)


def test_bad_data_for_experts(people: Path, sources: str, tiny: list[str], tmp_path: Path) -> None:
    overrides = [*tiny, *MATCHING]
    with pytest.raises(
        PasserbyError, match=r"model.bank.domains: statistics of 3 domains, but the training data have 2"
    ):
        run(people, tmp_path / "a", "tal-mobilenetv2", [*overrides, sources, "model.bank.domains=3"])
    one = f"data.sources=one={people / 'one'}"
    with pytest.raises(PasserbyError, match="one domain makes one expert"):
        run(people, tmp_path / "b", "tal-mobilenetv2", [*overrides, one])
    with pytest.raises(PasserbyError, match="16 identities do not fill a batch of 20"):
        run(people, tmp_path / "c", "tal-mobilenetv2", [*overrides, sources, "data.identities=20"])


def test_two_streams_that_move_one_bank_are_not_compiled(
    people: Path, sources: str, tiny: list[str], tmp_path: Path
) -> None:
    overrides = [*tiny, sources, *MATCHING, "trainer.compile=true"]
    with pytest.raises(PasserbyError, match=r"trainer\.compile: both streams .* model\.matcher\.invariant=batch out"):
        run(people, tmp_path / "run", "tal-mobilenetv2-di-bn", overrides)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["qaconv-gs-mobilenetv2", "tal-mobilenetv2"])
def test_two_processes_train_one_matcher_in_the_same_batches(
    name: str, people: Path, sources: str, tiny: list[str], tmp_path: Path
) -> None:
    watch = tmp_path / "watch.py"
    watch.write_text(
        "import numpy, torch.distributed as dist\n"
        "from passerby.data.graph_sampling import GraphSampler\n"
        "epoch = GraphSampler.epoch\n"
        "def watched(self, number):\n"
        "    order = epoch(self, number)\n"
        f"    numpy.save(f'{tmp_path}/epoch-{{dist.get_rank()}}-{{number}}.npy', order)\n"
        "    return order\n"
        "GraphSampler.epoch = watched\n"
        "from passerby.cli import main\n"
        "main()\n"
    )
    settings = [*tiny, sources, *MATCHING, "method.graph=matcher", "trainer.devices=2"]
    overrides = [part for override in settings for part in ("--set", override)]
    done = subprocess.run(
        [
            *(sys.executable, str(watch), "train", name, "--data-root", str(people)),
            *("--out", str(tmp_path / "run"), "--device", "cpu", *overrides),
        ],
        capture_output=True,
        text=True,
        check=False,
        timeout=280,
    )
    assert done.returncode == 0, done.stderr
    for number in (0, 1):
        first, second = ((tmp_path / f"epoch-{rank}-{number}.npy").read_bytes() for rank in (0, 1))
        assert first == second
    assert isinstance(load(tmp_path / "run"), MatchingModel)
