"""Algorithm 1 against brute force."""

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch import Tensor

from passerby.adaptation import pairing
from passerby.adaptation.pairing import nearest_part_pairs


def brute_force(parts: Tensor, count: int) -> list[tuple[int, int, int]]:
    """All distances at once in float64; the nearest free pair, again and again; ties by index."""
    points = parts.double()
    distance = (points[:, None] - points[None]).square().sum(3).sqrt()  # [N, N, S]
    least, part_of = (table.tolist() for table in distance.min(2))
    free = [True] * len(parts)
    candidates = sorted((least[i][j], i, j, part_of[i][j]) for i in range(len(parts)) for j in range(i + 1, len(parts)))
    found = []
    for _, i, j, part in candidates:
        if free[i] and free[j] and len(found) < count:
            free[i] = free[j] = False
            found.append((i, j, part))
    return found


def pairs(parts: Tensor, count: int) -> list[tuple[int, int, int]]:
    result = nearest_part_pairs(parts, count)
    own = (parts[result.first].double() - parts[result.second].double()).square().sum(2).sqrt()
    torch.testing.assert_close(result.distance, own.amin(1))
    return list(zip(result.first.tolist(), result.second.tolist(), result.part.tolist(), strict=True))


# An odd image out, its candidates used up by ties, asks for a partner in vain.
@example(images=15, stripes=1, width=1, values=2, offset=0.0, count=8, seed=0)
@settings(max_examples=150, deadline=None)
@given(
    images=st.integers(2, 40),
    stripes=st.integers(1, 4),
    width=st.integers(1, 5),
    values=st.integers(1, 4),
    offset=st.sampled_from([0.0, 100.0]),
    count=st.integers(1, 25),
    seed=st.integers(0, 99),
)
def test_equals_brute_force_with_many_ties(
    images: int, stripes: int, width: int, values: int, offset: float, count: int, seed: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    parts = torch.randint(0, values, (images, stripes, width), generator=generator).float() + offset
    assert pairs(parts, count) == brute_force(parts, count)


@pytest.mark.parametrize("kind", ["random", "clusters", "two values", "all the same", "far from zero"])
def test_equals_brute_force_at_500(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pairing, "_BLOCK_BYTES", 2**16)  # several blocks
    generator = torch.Generator().manual_seed(1)
    parts = torch.randn(500, 3, 8, generator=generator)
    if kind == "clusters":
        parts = parts[torch.randint(0, 40, (500,), generator=generator)]
    elif kind == "two values":
        parts = (parts[:, :, :2] > 0).float()
    elif kind == "all the same":
        parts = torch.ones(500, 3, 8)
    elif kind == "far from zero":
        parts = parts * 0.01 + 50
    assert pairs(parts, 128) == brute_force(parts, 128)


def test_one_image_has_no_pair() -> None:
    assert pairs(torch.ones(1, 2, 3), 4) == []


@pytest.mark.parametrize("kind", ["each ten times", "a third black frames"])
def test_where_images_repeat_only_the_rows_that_pair_are_looked_at_again(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    parts = torch.randn(300, 2, 8, generator=torch.Generator().manual_seed(2))
    if kind == "each ten times":
        parts = parts[:30].repeat(10, 1, 1)
    else:
        parts[::3] = 1.0
    look, rows, near = pairing._Rows.look_again, [], []

    def watched(self: pairing._Rows, row: int) -> None:
        look(self, row)
        rows.append(row)
        near.append(len(self.near[row]))

    monkeypatch.setattr(pairing._Rows, "look_again", watched)
    assert pairs(parts, 40) == brute_force(parts, 40)
    assert 0 < len(rows) <= 41
    assert max(near) <= 8
