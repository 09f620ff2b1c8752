"""Sums over the processes that train one model together, on any backend."""

import torch.distributed as dist
from torch import Tensor


def process_count() -> int:
    """How many processes torch.distributed runs; 1 where it runs none."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def sum_over_processes(values: Tensor) -> Tensor:
    """The sum of every process's `values` of the same shape; gradients flow back to every process."""
    if process_count() == 1:
        return values
    from torch.distributed.nn.functional import all_reduce

    total: Tensor = all_reduce(values)  # type: ignore[no-untyped-call]
    return total
