"""The demo, whole but small."""

import json
from pathlib import Path

import pytest

from passerby.commands import demo as module
from passerby.commands.demo import SOURCES, UNSEEN, demo
from passerby.errors import PasserbyError


def test_the_demo_ends_in_a_report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small = module.load_recipe
    tiny = ["model.backbone=test_resnet", "data.height=32", "data.width=16", "trainer.max_steps=4"]
    monkeypatch.setattr(module, "load_recipe", lambda name, overrides: small(name, [*overrides, *tiny]))
    monkeypatch.setattr(module, "IDENTITIES", 12)
    report = demo(tmp_path / "demo", seed=0)
    page = report.read_text()
    assert all(name in page for name in (*SOURCES, UNSEEN))
    assert set(json.loads((tmp_path / "demo" / "metrics.json").read_text())["targets"]) == {*SOURCES, UNSEEN}
    with pytest.raises(PasserbyError, match="holds something already"):
        demo(tmp_path / "demo", seed=0)


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_a_batch_norm_network_loses_much_on_the_unseen_domain(tmp_path: Path) -> None:
    demo(tmp_path / "demo", seed=0)
    metrics = json.loads((tmp_path / "demo" / "metrics.json").read_text())
    rank1 = {name: values["rank1"]["mean"] for name, values in metrics["targets"].items()}
    assert min(rank1[name] for name in SOURCES) > 0.5
    assert rank1[UNSEEN] < 0.5 * min(rank1[name] for name in SOURCES)
    assert metrics["average"]["rank1"] == rank1[UNSEEN]  # the unseen alone are averaged
