"""Numbers below the normal range of a float."""

import threading

import pytest
import torch
from torch import Tensor

from passerby.denormals import denormals_are_zero, without_denormals

TINY = torch.finfo(torch.float32).tiny


def test_they_are_zero_in_every_worker_and_count_again_afterwards() -> None:
    seen: list[float] = []

    def work() -> None:
        with denormals_are_zero():
            seen.append(float((torch.full((1 << 20,), 1e-40) * 2).max()))  # enough for several workers
        seen.append(float(torch.tensor(1e-40) * 2))

    thread = threading.Thread(target=work)  # workers that other tests have started go on with what they knew then
    thread.start()
    thread.join()
    assert seen == [0.0, pytest.approx(2e-40, rel=1e-4)]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (torch.tensor([1.0, -TINY, TINY, 1e-40, -1e-45, 0.0]), torch.tensor([1.0, -TINY, TINY, 0.0, 0.0, 0.0])),
        (torch.tensor([1e-40], dtype=torch.float64), torch.tensor([1e-40], dtype=torch.float64)),
        (torch.tensor([3, 0]), torch.tensor([3, 0])),
        (torch.tensor([torch.inf, torch.nan]), torch.tensor([torch.inf, torch.nan])),
    ],
)
def test_what_stands_below_the_normal_range_becomes_zero(values: Tensor, expected: Tensor) -> None:
    assert without_denormals(values).dtype == expected.dtype
    torch.testing.assert_close(without_denormals(values), expected, rtol=0, atol=0, equal_nan=True)
