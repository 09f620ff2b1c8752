"""Random draws that depend on seed, step and purpose alone: a run taken up in mid-epoch draws as it would have."""

import numpy as np
import torch


def derived_seed(*parts: int) -> int:
    """A 63-bit seed from non-negative integers: seed, step, rank, purpose."""
    state = np.random.SeedSequence(parts).generate_state(1, np.uint64)
    return int(state[0] >> np.uint64(1))


def torch_generator(*parts: int) -> torch.Generator:
    """A CPU generator seeded from non-negative integers."""
    return torch.Generator().manual_seed(derived_seed(*parts))
