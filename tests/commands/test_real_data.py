"""The evaluation on real data, against what was measured elsewhere with the same public weights."""

from pathlib import Path

import pytest

from passerby.commands.evaluate import evaluate


@pytest.mark.slow
@pytest.mark.parametrize(("target", "elsewhere"), [("viper", 0.420), ("prid", 0.250)])
def test_osnet_on_ten_splits_agrees_with_what_was_measured_elsewhere(
    data_root: Path, target: str, elsewhere: float
) -> None:
    model = data_root / "weights" / "osnet_x0_25_msmt17.onnx"
    if not model.is_file():
        pytest.skip(f"no {model.name} in {model.parent}")
    (record,) = evaluate(model, data_root, [target], device="cpu")
    rank1 = record.metrics["rank1"]
    assert record.splits == 10
    assert abs(rank1.mean - elsewhere) < rank1.std
