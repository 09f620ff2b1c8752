"""passerby diagnose: distances, the verdict, the page, and what it refuses."""

import json
import math
import re
import shutil
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from passerby.adaptation import AdaBn, BntaAdaptation
from passerby.adaptation.base import batch_norms, wearing
from passerby.adaptation.shift import norm_shift, place_distance
from passerby.cli import main
from passerby.commands import diagnose as command
from passerby.commands import train as training
from passerby.commands import training_sources
from passerby.commands.adapt import adapt
from passerby.commands.diagnose import FAR, FEWEST_FOR_A_VERDICT, Diagnosis, diagnose, show_diagnosis
from passerby.errors import PasserbyError
from passerby.models.model import Architecture, Model
from passerby.models.saved import load_card, load_model, save_model

VERDICTS = {
    True: "far from the training domains: adapt",
    False: "close to the training domains: adaptation will change little",
    None: "the model's card does not say how far its training domains lie; no verdict",
}


class Page(HTMLParser):
    """A page whose elements are all closed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.addresses: list[str] = []
        self.open: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_startendtag(tag, attrs)
        if tag not in {"meta", "img", "br", "link"}:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.addresses += [value or "" for name, value in attrs if name in ("href", "src", "xlink:href")]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def made_up(distance: float, familiar: dict[str, float], images: int = FEWEST_FOR_A_VERDICT) -> Diagnosis:
    return Diagnosis(images, distance, familiar, [], "adabn", {}, [], {})


@pytest.fixture
def strange(tmp_path: Path) -> Path:
    """Crops that no camera makes: black and white stripes."""
    folder = tmp_path / "strange"
    folder.mkdir()
    for k in range(12):
        pixels = np.zeros((40, 20, 3), np.uint8)
        pixels[k % 3 :: 2] = 255
        pixels[k] = 0
        Image.fromarray(pixels).save(folder / f"{k}.png")
    return folder


def test_the_card_says_how_far_every_source_lies(trained: Any) -> None:
    for run in (trained.bnta, trained.plain):
        model, card = load_model(run / "model")
        assert list(card.familiar) == ["one", "two"]
        assert all(math.isfinite(value) and value > 0 for value in card.familiar.values())
        # A source has 32 images: all of them are looked at.
        for name, value in card.familiar.items():
            pixels = model.preprocessing.read_many(sorted((trained.data / name).iterdir()))
            assert place_distance(norm_shift(model, pixels)) == pytest.approx(value, abs=2e-3)


def test_some_images_of_each_source_are_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training_sources, "LOOKED_AT", 5)

    class Pictures:
        domains = ("a", "b")
        domain = np.array([0, 1, 1, 0, 1, 1, 1, 0, 1, 1])

        def gather(self, rows: np.ndarray) -> torch.Tensor:
            return torch.from_numpy(20 * rows.astype(np.uint8))[:, None, None, None].repeat(1, 3, 32, 16)

    rows = []
    for seed in (0, 0, 1):
        found = training_sources._examples(Pictures(), seed)  # type: ignore[arg-type]
        assert list(found) == ["a", "b"]
        rows += [[int(image[0, 0, 0]) // 20 for image in images] for images in found.values()]
    assert rows[0] == [0, 3, 7]
    assert len(rows[1]) == 5
    assert set(rows[1]) <= {1, 2, 4, 5, 6, 8, 9}
    assert rows[:2] == rows[2:4]
    assert rows[1] != rows[5]


def test_a_place_by_hand(trained: Any) -> None:
    three = trained.data / "three"
    for run, adaptation in ((trained.bnta, BntaAdaptation()), (trained.plain, AdaBn())):
        found = diagnose(run, three, device="cpu", seed=2)
        model, card = load_model(run / "model")
        pixels = model.preprocessing.read_many(sorted(three.iterdir()))
        assert found.distance == pytest.approx(place_distance(norm_shift(model, pixels)), rel=1e-4)
        assert found.familiar == card.familiar
        assert [layer.name for layer in found.layers] == list(batch_norms(model))
        assert found.method == adaptation.name
        adapted = adaptation.adapt(model, pixels, 2)
        assert {name: before for name, (before, _) in found.losses.items()} == adaptation.look(model, pixels)
        with wearing(model, adapted):
            assert {name: after for name, (_, after) in found.losses.items()} == adaptation.look(model, pixels)
            assert place_distance(found.adapted_layers) == pytest.approx(
                place_distance(norm_shift(model, pixels)), rel=1e-4
            )
        assert list(found.changes) == (
            ["mean", "variance", "weight", "bias"] if run is trained.bnta else ["mean", "variance"]
        )
        state = model.state_dict()
        for kind, key in (("mean", "running_mean"), ("variance", "running_var")):
            # A mean in units of the deviation that it is measured in, a variance in its own.
            unit = [state[f"{name}.running_var"].sqrt() ** (1 if kind == "mean" else 2) for name in batch_norms(model)]
            changes = [
                float((adapted[f"{name}.{key}"] - state[f"{name}.{key}"]).abs().sum()) / float(size.sum())
                for name, size in zip(batch_norms(model), unit, strict=True)
            ]
            assert found.changes[kind] == pytest.approx(changes, rel=1e-4)
        assert min(found.changes["variance"]) > 0


def test_adapting_brings_the_place_nearer(trained: Any, strange: Path) -> None:
    found = diagnose(trained.plain, strange, device="cpu")
    assert place_distance(found.adapted_layers) < found.distance


def test_a_strange_place_is_far_and_a_source_is_not(
    trained: Any, strange: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(command, "FEWEST_FOR_A_VERDICT", 12)
    # Six steps leave the statistics half-way: here is a model that has seen enough of its sources.
    model, card = load_model(trained.plain / "model")
    pixels = {name: model.preprocessing.read_many(sorted((trained.data / name).iterdir())) for name in ("one", "two")}
    known = AdaBn(weight=1).adapt(model, np.concatenate(list(pixels.values())))
    with wearing(model, known):
        familiar = {name: place_distance(norm_shift(model, images)) for name, images in pixels.items()}
        save_model(tmp_path / "model", model, card.model_copy(update={"familiar": familiar}))
    near = diagnose(tmp_path / "model", trained.data / "one", device="cpu")
    far = diagnose(tmp_path / "model", strange, device="cpu")
    assert near.distance == pytest.approx(familiar["one"], abs=1e-3)
    assert far.distance > FAR * max(familiar.values())
    assert (near.images, far.images) == (32, 12)
    assert (near.far, far.far) == (False, True)
    monkeypatch.setattr(command, "FEWEST_FOR_A_VERDICT", 13)
    assert (near.far, far.far) == (False, None)


@pytest.mark.parametrize(
    ("distance", "familiar", "far"),
    [
        (1.51, {"a": 0.2, "b": 1.0}, True),
        (1.5, {"a": 0.2, "b": 1.0}, False),
        (0.1, {"a": 0.2}, False),
        (9.0, {}, None),
    ],
)
def test_the_verdict(
    distance: float, familiar: dict[str, float], far: bool | None, capsys: pytest.CaptureFixture[str]
) -> None:
    diagnosis = made_up(distance, familiar)
    assert diagnosis.far is far
    assert diagnosis.verdict == VERDICTS[far]


def test_few_images_give_no_verdict() -> None:
    assert made_up(9.0, {"a": 0.2}, FEWEST_FOR_A_VERDICT).far is True
    few = made_up(9.0, {"a": 0.2}, FEWEST_FOR_A_VERDICT - 1)
    assert few.far is None
    assert few.verdict == "63 images are too few for a verdict; give at least 64"
    assert made_up(0.1, {"a": 0.2}, 4).far is None
    assert made_up(9.0, {}, 4).verdict == VERDICTS[None]


def test_a_card_from_before_says_so(trained: Any, tmp_path: Path) -> None:
    shutil.copytree(trained.plain / "model", tmp_path / "model")
    card = json.loads((tmp_path / "model" / "card.json").read_text())
    del card["familiar"]
    (tmp_path / "model" / "card.json").write_text(json.dumps(card))
    assert load_card(tmp_path / "model").familiar == {}
    assert diagnose(tmp_path / "model", trained.data / "three", device="cpu").verdict == VERDICTS[None]


@pytest.mark.parametrize("kind", ["bnta", "plain"])
def test_what_is_printed_and_the_page(
    kind: str, trained: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(command, "FEWEST_FOR_A_VERDICT", 32)
    run, three = getattr(trained, kind), trained.data / "three"
    report = tmp_path / "pages" / "place.html"
    arguments = ["diagnose", str(run), "--images", str(three), "--report", str(report), "--device", "cpu"]
    monkeypatch.setattr(sys, "argv", ["passerby", *arguments])
    monkeypatch.setenv("COLUMNS", "200")
    with pytest.raises(SystemExit) as end:
        main()
    assert not end.value.code
    said = " ".join(capsys.readouterr().out.split())
    found = diagnose(run, three, device="cpu")
    page = report.read_text(encoding="utf-8")
    words = re.sub(r"\s+", " ", re.sub(r"<style.*?</style>|<[^>]+>", " ", page, flags=re.DOTALL))
    for text in (said, words):
        assert found.far is not None
        assert found.verdict in text.replace("&#39;", "'")
        assert f"{found.distance:.3f}" in text
        for name, value in found.familiar.items():
            assert name in text
            assert f"{value:.3f}" in text
        for name, values in found.losses.items():
            assert f"{name} loss" in text
            assert all(f"{value:.3f}" in text for value in values)
    adapted = f"{place_distance(found.adapted_layers):.3f}"
    assert adapted != f"{found.distance:.3f}"
    assert f"this place {found.distance:.3f} this place, adapted ({found.method}) {adapted} " in said
    parsed = Page(page)
    assert parsed.tags.count("svg") == 3
    assert all(address.startswith("#") for address in parsed.addresses)
    assert not {"script", "link", "iframe", "object", "base"} & set(parsed.tags)
    assert not re.search(r"@import|url\((?!#)", page)
    assert "://" not in re.sub(r'xmlns(:\w+)?="[^"]*"', "", page)
    worst = max(found.layers, key=lambda layer: layer.distance)
    assert worst.name.removeprefix("backbone.network.") in words


def test_without_a_page_nothing_is_written(
    trained: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    found = diagnose(trained.plain, trained.data / "three", device="cpu")
    show_diagnosis(found, "a title", None)
    assert found.verdict in capsys.readouterr().out
    assert list(tmp_path.iterdir()) == []


def test_a_folder_is_no_report(
    trained: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(command, "open_model", None)
    three = str(trained.data / "three")
    arguments = ["diagnose", str(trained.plain), "--images", three, "--report", str(tmp_path), "--device", "cpu"]
    monkeypatch.setattr(sys, "argv", ["passerby", *arguments])
    with pytest.raises(SystemExit) as end:
        main()
    assert end.value.code
    said = " ".join(capsys.readouterr().err.split())
    assert "a folder; give the name of a file to write" in said
    assert "Traceback" not in said
    assert list(tmp_path.iterdir()) == []


def test_titles_are_escaped(trained: Any, tmp_path: Path) -> None:
    found = diagnose(trained.plain, trained.data / "three", device="cpu")
    show_diagnosis(found, "<b>A & B</b>", tmp_path / "page.html")
    assert "<h1>&lt;b&gt;A &amp; B&lt;/b&gt;</h1>" in (tmp_path / "page.html").read_text()


@pytest.mark.parametrize(
    ("model", "images", "message"),
    [
        ("nowhere", "three", "nowhere: no saved model"),
        ("pool.onnx", "three", "an .onnx file has no norms to adapt"),
        (None, "nowhere", "--images .*nowhere: no such folder"),
        (None, "few", "--images .*few: 3 images to adapt to; give at least 4"),
    ],
)
def test_bad_input(trained: Any, tmp_path: Path, model: str | None, images: str, message: str) -> None:
    (tmp_path / "pool.onnx").touch()
    (tmp_path / "few").mkdir()
    for path in sorted((trained.data / "three").iterdir())[:3]:
        shutil.copy(path, tmp_path / "few")
    folder = tmp_path / images if (tmp_path / images).exists() else trained.data / images
    with pytest.raises(PasserbyError, match=message):
        diagnose(trained.plain if model is None else tmp_path / model, folder, device="cpu")


@pytest.mark.parametrize(("backbone", "norm"), [("test_vit", "batch"), ("test_resnet", "instance")])
def test_a_backbone_without_batch_norms(trained: Any, tmp_path: Path, backbone: str, norm: Any) -> None:
    _, card = load_model(trained.plain / "model")
    architecture = Architecture(backbone=backbone, last_stride_1=False, norm=norm)
    model = Model(architecture, card.preprocessing)
    assert batch_norms(model)  # the BNNeck, which says nothing of a place
    # Its card says of no domain how far it lies.
    assert training._familiar(model, dict) == {}
    changed = {"architecture": architecture, "dimension": model.dimension, "familiar": {}}
    save_model(tmp_path / "model", model, card.model_copy(update=changed))
    for refuses in (diagnose, adapt):
        with pytest.raises(PasserbyError, match=f"{backbone} has no batch norms to"):
            refuses(tmp_path / "model", trained.data / "three", device="cpu")


def test_what_cannot_be_read_is_left_out(trained: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copytree(trained.data / "three", tmp_path / "place")
    victim = sorted((tmp_path / "place").iterdir())[0]
    victim.write_bytes(b"")
    found = diagnose(trained.plain, tmp_path / "place", device="cpu")
    assert victim.name in capsys.readouterr().err
    victim.unlink()
    assert diagnose(trained.plain, tmp_path / "place", device="cpu").distance == found.distance
    assert adapt(trained.plain, tmp_path / "place", device="cpu").card.images == 31
