"""Numbers below the normal range of a float: weight decay fills dead channels with them, and a CPU takes many times as long over each."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor


@contextmanager
def denormals_are_zero() -> Iterator[None]:
    """Takes them for zero in this thread and in the workers that it starts; a long training would end at half its speed.

    Afterwards they count again in this thread.
    """
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(False)


def without_denormals(values: Tensor) -> Tensor:
    """The same values, with zero in the place of each that is below the normal range of its dtype."""
    if not values.is_floating_point():
        return values
    return values.masked_fill(values.abs() < torch.finfo(values.dtype).tiny, 0)
