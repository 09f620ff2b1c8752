from hypothesis import given
from hypothesis import strategies as st

from passerby.data.datasets import DATASETS
from passerby.data.datasets.prid import NAME, labels_a, labels_b

ROOT = "prid2011/prid_2011/single_shot"


def test_official_layout(tree) -> None:
    root = tree(
        *(f"{ROOT}/cam_a/person_{n:04d}.png" for n in (1, 200, 201, 385)),
        *(f"{ROOT}/cam_b/person_{n:04d}.png" for n in (1, 200, 201, 749)),
    )
    parts = DATASETS["prid"].scan(root).parts
    found = {part: [(s.identity, s.camera) for s in samples] for part, samples in parts.items()}
    assert found == {
        "cam_a": [(1, 1), (200, 1), (201, 1), (385, 1)],
        "cam_b": [(1, 2), (200, 2), (1201, 2), (1749, 2)],
    }


@given(st.integers(1, 385), st.integers(1, 749))
def test_the_same_identity_is_the_same_number_up_to_200_only(a: int, b: int) -> None:
    matches = NAME.fullmatch(f"person_{a:04d}"), NAME.fullmatch(f"person_{b:04d}")
    assert matches[0] is not None
    assert matches[1] is not None
    same = labels_a(matches[0])[0] == labels_b(matches[1])[0]
    assert same == (a == b and a <= 200)
