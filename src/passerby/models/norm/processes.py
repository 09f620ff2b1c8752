"""What the processes that train one model together tell each other, on any backend."""

import torch
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


@torch.no_grad()
def of_every_process(values: Tensor) -> list[Tensor]:
    """The `values` of each process in the order of ranks, the same on all; they may differ in length, not in width."""
    if process_count() == 1:
        return [values]
    counts = [torch.zeros((), dtype=torch.int64, device=values.device) for _ in range(process_count())]
    dist.all_gather(counts, torch.tensor(len(values), device=values.device))
    longest = int(torch.stack(counts).max())
    padded = torch.cat((values.detach(), values.new_zeros(longest - len(values), *values.shape[1:])))
    everyone = [torch.empty_like(padded) for _ in counts]
    dist.all_gather(everyone, padded.contiguous())
    return [part[: int(count)] for part, count in zip(everyone, counts, strict=True)]
