"""Evaluation: from a model to records, JSON and a report, and what it refuses."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from onnx import TensorProto, helper, save

from passerby.commands.evaluate import evaluate
from passerby.commands.onnx_input import onnx_card
from passerby.commands.train import train
from passerby.errors import PasserbyError
from passerby.evaluation.records import read_record
from passerby.models.saved import load_card
from passerby.recipes import load_recipe


def pooling_graph(path: Path) -> Path:
    """An ONNX embedder that averages each colour: enough to tell coloured noise apart."""
    nodes = [
        helper.make_node("GlobalAveragePool", ["images"], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["output"]),
    ]
    images = helper.make_tensor_value_info("images", TensorProto.FLOAT, ["n", 3, 32, 16])
    output = helper.make_tensor_value_info("output", TensorProto.FLOAT, ["n", 3])
    graph = helper.make_graph(nodes, "pool", [images], [output])
    save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


@pytest.fixture
def run_folder(people: Path, sources: str, tiny: list[str], tmp_path: Path) -> Path:
    recipe = load_recipe("baseline-mobilenetv2", [*tiny, sources])
    train(
        recipe, people, tmp_path / "run", recipe_name="tiny", overrides=[sources], device="cpu", progress=False, seed=4
    )
    return tmp_path / "run"


def test_records_json_and_report(run_folder: Path, people: Path, tmp_path: Path) -> None:
    records = evaluate(
        run_folder,
        people,
        [f"three={people / 'three'}"],
        device="cpu",
        json_file=tmp_path / "out.json",
        records_folder=tmp_path / "records",
        report_file=tmp_path / "report.html",
    )
    assert read_record(tmp_path / "records" / "three.json") == records[0]
    record = records[0]
    assert record.target == "three"
    assert record.training is not None
    assert (record.training.seed, record.training.sources) == (4, ("one", "two"))
    assert record.queries == 16
    assert record.queries + record.gallery == 32
    written = json.loads((tmp_path / "out.json").read_text())
    assert written["targets"]["three"]["rank1"]["mean"] == record.metrics["rank1"].mean
    assert written["average"]["mAP"] == record.metrics["mAP"].mean
    assert 0 <= record.metrics["rank1"].low <= record.metrics["rank1"].mean <= record.metrics["rank1"].high <= 1
    assert "<html" in (tmp_path / "report.html").read_text()


def test_an_onnx_embedder_that_tells_colours_apart_finds_everybody(people: Path, tmp_path: Path) -> None:
    record = evaluate(pooling_graph(tmp_path / "pool.onnx"), people, [f"three={people / 'three'}"], device="cpu")[0]
    assert record.metrics["rank1"].mean > 0.9
    assert record.training is None
    assert record.model == "pool"


def test_reranking_and_flip_are_recorded(people: Path, tmp_path: Path) -> None:
    graph = pooling_graph(tmp_path / "pool.onnx")
    record = evaluate(graph, people, [f"three={people / 'three'}"], device="cpu", rerank=True, flip=True)[0]
    assert record.reranked
    assert record.flip_averaged
    assert record.metrics["rank1"].mean > 0.9


def test_left_out_source(people: Path, run_folder: Path) -> None:
    record = evaluate(run_folder, people, [f"three={people / 'three'}"], protocol="leave-one-source-out", device="cpu")[
        0
    ]
    assert record.protocol == "leave-one-source-out"
    assert record.queries == 16


def test_a_source_is_no_target(people: Path, run_folder: Path) -> None:
    with pytest.raises(PasserbyError, match="one"):
        evaluate(run_folder, people, [f"one={people / 'one'}"], device="cpu")


def test_a_sources_file_under_another_name_is_no_target(people: Path, run_folder: Path) -> None:
    with pytest.raises(PasserbyError, match="in a source and in a target"):
        evaluate(run_folder, people, [f"other={people / 'one'}"], device="cpu")


def test_a_source_is_no_target_where_its_files_are_gone(people: Path, run_folder: Path, tmp_path: Path) -> None:
    moved = (people / "one").rename(tmp_path / "elsewhere")
    with pytest.raises(PasserbyError, match=r"one: person 1 is in a source and in a target at once \(8 people"):
        evaluate(run_folder, people, [f"one={moved}"], device="cpu")


def test_what_cannot_be_checked_is_said(people: Path, run_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.rmtree(people / "one")
    evaluate(run_folder, people, [f"three={people / 'three'}"], device="cpu")
    assert f"one={people / 'one'}: not on this machine" in capsys.readouterr().out


def test_what_an_ancestor_learnt_from_is_no_target(
    people: Path, run_folder: Path, tiny: list[str], tmp_path: Path
) -> None:
    for generation, parent in ((1, run_folder), (2, tmp_path / "child1")):
        recipe = load_recipe("baseline-mobilenetv2", [*tiny, f"data.sources=three={people / 'three'}"])
        out = tmp_path / f"child{generation}"
        train(recipe, people, out, recipe_name="tiny", device="cpu", progress=False, init_from=parent)
    card = load_card(tmp_path / "child2" / "model")
    assert [[t.domain for t in a.trained_on] for a in card.ancestors] == [["three"], ["one", "two"]]
    assert [ancestor.recipe_name for ancestor in card.ancestors] == [
        "tiny",
        load_card(run_folder / "model").recipe_name,
    ]
    assert card.ancestors[1].weights_sha256 == load_card(run_folder / "model").weights_sha256
    with pytest.raises(PasserbyError, match="in a source and in a target"):
        evaluate(tmp_path / "child2", people, [f"one={people / 'one'}"], device="cpu")
    with pytest.raises(PasserbyError, match="in a source and in a target"):
        evaluate(tmp_path / "child2", people, [f"renamed={people / 'two'}"], device="cpu")


def test_a_protocol_that_the_model_does_not_follow(people: Path, run_folder: Path) -> None:
    three = [f"three={people / 'three'}"]
    with pytest.raises(PasserbyError, match="single-source: has no run that trains on one="):
        evaluate(run_folder, people, three, device="cpu", protocol="single-source")
    with pytest.raises(PasserbyError, match=r"three=.* is no small target"):
        evaluate(run_folder, people, three, device="cpu", protocol="large-to-small")
    with pytest.raises(PasserbyError, match="nothing is measured on cuhk-sysu"):
        evaluate(run_folder, people, ["cuhk-sysu"], device="cpu")
    assert evaluate(run_folder, people, three, device="cpu", protocol="leave-one-out")[0].protocol == "leave-one-out"


def test_a_retracted_dataset_says_so(people: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(PasserbyError, match="no folder"):
        evaluate(pooling_graph(tmp_path / "pool.onnx"), people, ["dukemtmcreid"], device="cpu")
    assert "dukemtmcreid: " in capsys.readouterr().err


def test_flags_say_what_an_onnx_file_wants(people: Path, tmp_path: Path) -> None:
    graph = pooling_graph(tmp_path / "pool.onnx")
    three = [f"three={people / 'three'}"]
    plain = evaluate(graph, people, three, device="cpu")[0].metrics
    grey = evaluate(graph, people, three, device="cpu", onnx_card=onnx_card(None, None, "1e3,1e3,1e-3", True))[
        0
    ].metrics
    assert plain != grey
    with pytest.raises(PasserbyError, match="takes 32 x 16 images"):
        evaluate(graph, people, three, device="cpu", onnx_card=onnx_card("64x32", None, None, False))


def test_flags_for_onnx_files_alone(people: Path, run_folder: Path) -> None:
    with pytest.raises(PasserbyError, match="a saved model knows its own input"):
        evaluate(
            run_folder,
            people,
            [f"three={people / 'three'}"],
            device="cpu",
            onnx_card=onnx_card("32x16", None, None, False),
        )


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("256", None, None, False), "--size 256"),
        (("0x1", None, None, False), "--size 0x1"),
        ((None, "1,2", None, False), "--mean 1,2"),
        ((None, None, "1,0,1", False), "--std 1,0,1"),
        ((None, None, "a,b,c", False), "--std a,b,c"),
    ],
)
def test_flags_that_do_not_parse(flags: tuple[str | None, str | None, str | None, bool], message: str) -> None:
    with pytest.raises(PasserbyError, match=message):
        onnx_card(*flags)
    assert onnx_card(None, None, None, False) is None


def test_a_target_without_matches(people: Path, run_folder: Path) -> None:
    lonely = people / "lonely"
    lonely.mkdir()
    for path in (people / "three").glob("*_c1s1_000000_00.jpg"):
        shutil.copy(path, lonely / path.name)
    with pytest.raises(PasserbyError, match="match"):
        evaluate(run_folder, people, [f"lonely={lonely}"], device="cpu")


def test_a_truncated_target_image_is_named(people: Path, run_folder: Path) -> None:
    victim = sorted((people / "three").iterdir())[5]
    victim.write_bytes(victim.read_bytes()[:200])
    with pytest.raises(PasserbyError, match=victim.name):
        evaluate(run_folder, people, [f"three={people / 'three'}"], device="cpu")


@pytest.mark.parametrize(("model", "message"), [("nothing", "no saved model"), ("nothing.onnx", "no such file")])
def test_no_model(people: Path, tmp_path: Path, model: str, message: str) -> None:
    with pytest.raises(PasserbyError, match=message):
        evaluate(tmp_path / model, people, [f"three={people / 'three'}"], device="cpu")
    with pytest.raises(PasserbyError, match="--targets: empty"):
        evaluate(tmp_path / model, people, [])


def test_the_model_that_is_measured_is_the_one_that_was_trained(run_folder: Path, people: Path) -> None:
    target = [f"three={people / 'three'}"]
    first, again = (evaluate(run_folder, people, target, device="cpu")[0].metrics for _ in range(2))
    assert first == again
    weights = run_folder / "model" / "model.safetensors"
    from safetensors.torch import load_file, save_file

    state = load_file(weights)
    save_file({key: torch.zeros_like(value) if "conv" in key else value for key, value in state.items()}, weights)
    with pytest.raises(PasserbyError, match="sha256"):
        evaluate(run_folder, people, target, device="cpu")


def test_what_cannot_be_meant(run_folder: Path, people: Path, tmp_path: Path) -> None:
    three = f"three={people / 'three'}"
    for targets, options, message in (
        ([three, three], {}, "'three' stands twice"),
        ("viper", {}, "give a list"),
        ([three], {"protocol": "leave-one-source"}, "no protocol 'leave-one-source'"),
        ([three], {"json_file": tmp_path}, "a folder"),
        ([three], {"report_file": str(tmp_path)}, "a folder"),
    ):
        with pytest.raises(PasserbyError, match=message):
            evaluate(run_folder, people, targets, device="cpu", **options)


def test_a_card_that_does_not_say_its_sources(run_folder: Path, people: Path) -> None:
    card = run_folder / "model" / "card.json"
    written = json.loads(card.read_text())
    for recipe in ({}, {"data": {"sources": 3}}):
        card.write_text(json.dumps({**written, "recipe": recipe}))
        with pytest.raises(PasserbyError, match="does not say what it was trained on"):
            evaluate(run_folder, people, [f"three={people / 'three'}"], device="cpu")
