from hypothesis import given
from hypothesis import strategies as st

from passerby.data.datasets import DATASETS
from passerby.data.datasets.grid import NAME, labels
from passerby.data.sample import DISTRACTOR

ROOT = "grid/underground_reid"


def test_official_layout(tree) -> None:
    root = tree(
        f"{ROOT}/probe/0001_1_25004_107_32_106_221.jpeg",
        f"{ROOT}/probe/0005_2_25100_229_94_99_249.jpeg",
        f"{ROOT}/gallery/0000_1_25023_116_134_128_330.jpeg",
        f"{ROOT}/gallery/0001_2_25023_116_134_128_330.jpeg",
    )
    parts = DATASETS["grid"].scan(root).parts
    found = {part: [(s.identity, s.camera) for s in samples] for part, samples in parts.items()}
    assert found == {"probe": [(1, 1), (5, 2)], "gallery": [(DISTRACTOR, 1), (1, 2)]}


@given(st.integers(0, 250), st.integers(1, 8), st.lists(st.integers(0, 99_999), min_size=1, max_size=5))
def test_names(person: int, camera: int, rest: list[int]) -> None:
    match = NAME.fullmatch(f"{person:04d}_{camera}_{'_'.join(map(str, rest))}")
    assert match is not None
    assert labels(match) == (person if person else -1, camera)
