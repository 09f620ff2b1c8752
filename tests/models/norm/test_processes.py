"""Two processes with half the batch each are one process with the whole."""

import copy
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import nn

from passerby.models.norm import BatchInstanceNorm2d, DomainNorm2d, SyncBatchNorm2d
from passerby.models.route import Route, routed
from passerby.models.surgery import replace_norms

STEPS = 3


def network() -> nn.Module:
    torch.manual_seed(0)
    built = nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 4, 3), nn.BatchNorm2d(4)
    ).double()
    replace_norms(built, SyncBatchNorm2d.of, "1")
    replace_norms(built, BatchInstanceNorm2d.of, "4")
    for module in built.modules():
        if isinstance(module, BatchInstanceNorm2d):
            module.gate.data.uniform_(0.2, 0.8)
    return built


def images() -> torch.Tensor:
    return torch.randn(STEPS, 6, 3, 8, 6, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def train(model: nn.Module, batches: torch.Tensor, whole: int) -> dict[str, torch.Tensor]:
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    for batch in batches:
        optimizer.zero_grad()
        (model(batch).sin().sum() / whole).backward()
        for parameter in model.parameters():
            if dist.is_initialized():
                dist.all_reduce(parameter.grad)
        optimizer.step()
    return {name: value.clone() for name, value in model.state_dict().items()}


def process(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    # Uneven shares: four images here, two there.
    share = images()[:, :4] if rank == 0 else images()[:, 4:]
    torch.save(train(network(), share, 6), f"{folder}/state-{rank}.pt")
    dist.destroy_process_group()


@pytest.mark.slow
def test_two_processes_with_a_share_each_train_as_one_with_the_whole(tmp_path: Path) -> None:
    mp.start_processes(process, (str(tmp_path),), nprocs=2, start_method="spawn")
    alone = train(network(), images(), 6)
    states = [torch.load(tmp_path / f"state-{rank}.pt") for rank in range(2)]
    untrained = network().state_dict()
    for name, value in alone.items():
        torch.testing.assert_close(states[0][name], value, rtol=1e-9, atol=1e-10)
        assert torch.equal(states[0][name], states[1][name]), name
        assert not torch.equal(value, untrained[name]), name


def test_alone_no_process_group_is_needed() -> None:
    layer = SyncBatchNorm2d.of(nn.BatchNorm2d(3))
    plain = copy.deepcopy(nn.BatchNorm2d(3))
    batch = torch.randn(4, 3, 2, 2)
    torch.testing.assert_close(layer(batch), plain(batch))


DOMAIN, COLOUR = torch.tensor([0, 1, 0, 1, 0, 0, 1, 1, 2]), torch.tensor([1, 0, 2, 2, 1, 2, 0, 2, 1])


def both_modes(images: torch.Tensor, domain: torch.Tensor, colour: torch.Tensor) -> dict[str, torch.Tensor]:
    """An expert's pass, then a re-coloured one whose batch norm follows; what they put out, move and differentiate."""
    torch.manual_seed(0)
    layer = DomainNorm2d(3, 3, after="batch").double()
    layer.running_mean.normal_()
    x = images.clone().requires_grad_()
    with routed(layer, Route(domain)):
        expert = layer(x)
    with routed(layer, Route(domain, "recolour", colour)):
        recoloured = layer(x)
    (expert.sin().sum() + recoloured.cos().sum()).backward()
    assert x.grad is not None
    return {"expert": expert.detach(), "recoloured": recoloured.detach(), "gradient": x.grad, **layer.state_dict()}


def domain_process(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    # Neither process has four images of domain 1; the third domain has one image in all.
    share = slice(0, 4) if rank == 0 else slice(4, 9)
    torch.save(both_modes(images_of_domains()[share], DOMAIN[share], COLOUR[share]), f"{folder}/domain-{rank}.pt")
    dist.destroy_process_group()


def images_of_domains() -> torch.Tensor:
    return torch.randn(9, 3, 4, 3, generator=torch.Generator().manual_seed(2), dtype=torch.float64)


@pytest.mark.slow
def test_domains_are_those_of_all_processes(tmp_path: Path) -> None:
    mp.start_processes(domain_process, (str(tmp_path),), nprocs=2, start_method="spawn")
    alone = both_modes(images_of_domains(), DOMAIN, COLOUR)
    first, second = (torch.load(tmp_path / f"domain-{rank}.pt") for rank in range(2))
    assert alone["num_batches_tracked"].tolist() == [1, 1, 0]
    for name, value in alone.items():
        if name in ("expert", "recoloured", "gradient"):
            torch.testing.assert_close(torch.cat([first[name], second[name]]), value, rtol=1e-9, atol=1e-9)
        else:
            torch.testing.assert_close(first[name], value, rtol=1e-9, atol=1e-9)
            assert torch.equal(first[name], second[name])
