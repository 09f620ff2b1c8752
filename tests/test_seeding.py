"""Seeds made of parts."""

from itertools import product

import torch

from passerby.seeding import derived_seed, torch_generator


def test_every_combination_has_its_own_63_bit_seed() -> None:
    seeds = [derived_seed(*parts) for parts in product(range(3), range(50), range(4), range(2))]
    assert len(set(seeds)) == 3 * 50 * 4 * 2
    assert all(0 <= seed < 2**63 for seed in seeds)
    assert max(seeds) > 2**62


def test_order_of_the_parts_counts_and_the_same_parts_give_the_same_seed() -> None:
    assert derived_seed(1, 2, 0, 0) != derived_seed(2, 1, 0, 0)
    assert derived_seed(7, 8, 9, 1) == derived_seed(7, 8, 9, 1)


def test_generator_draws_what_its_seed_says_whatever_the_global_state() -> None:
    torch.manual_seed(0)
    first = torch.rand(5, generator=torch_generator(3, 4))
    torch.manual_seed(1)
    assert torch.equal(first, torch.rand(5, generator=torch_generator(3, 4)))
    assert torch.equal(first, torch.rand(5, generator=torch.Generator().manual_seed(derived_seed(3, 4))))
