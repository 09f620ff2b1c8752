"""Which norm stands where: the layers of each kind by name, in the networks whose places are known."""

import pytest
import torch
from torch import nn

from passerby.data.images import Preprocessing
from passerby.errors import PasserbyError
from passerby.models.model import Architecture, Model
from passerby.models.norm import (
    BatchInstanceNorm2d,
    DomainNorm2d,
    HalfInstanceNorm2d,
    InstanceNorm2d,
    OneAffineBatchInstanceNorm2d,
)
from passerby.models.norm.affine import AffineNorm2d
from passerby.models.norm_kinds import BankSettings, NormKind
from passerby.models.route import Route
from passerby.models.surgery import APPENDED


def norms(backbone: str, kind: NormKind) -> dict[str, type[nn.Module]]:
    """The layers that are no plain batch norm, by name without what surgery adds to it."""
    network = Model(Architecture(backbone=backbone, norm=kind), Preprocessing(height=32, width=16)).backbone.network
    named = network.named_modules()
    return {n.removesuffix(".norm"): type(m) for n, m in named if isinstance(m, AffineNorm2d | nn.InstanceNorm2d)}


@pytest.mark.parametrize(
    ("kind", "layer"),
    [
        ("instance", InstanceNorm2d),
        ("half", HalfInstanceNorm2d),
        ("bin", BatchInstanceNorm2d),
        ("bin-one-affine", OneAffineBatchInstanceNorm2d),
    ],
)
def test_some_kinds_replace_every_batch_norm(kind: NormKind, layer: type[nn.Module]) -> None:
    found = norms("mobilenetv2_100", kind)
    assert len(found) == 52
    assert set(found.values()) == {layer}


BLOCKS = {"1": 2, "2": 3, "3": 4, "4": 3}  # of MobileNetV2's stages 1 to 4


def test_ibn_a_is_half_of_each_shallow_blocks_first_norm() -> None:
    mobilenet = norms("mobilenetv2_100", "ibn-a")
    assert set(mobilenet) == {f"blocks.{s}.{b}.bn1" for s, count in BLOCKS.items() for b in range(count)}
    resnet = norms("resnet18", "ibn-a")
    assert set(resnet) == {f"layer{stage}.{block}.bn1" for stage in (1, 2, 3) for block in (0, 1)}
    assert {*mobilenet.values(), *resnet.values()} == {HalfInstanceNorm2d}


def test_ibn_b_is_instance_norm_in_the_stem_and_after_the_first_stages() -> None:
    mobilenet, resnet = norms("mobilenetv2_100", "ibn-b"), norms("resnet18", "ibn-b")
    after = {f"blocks.{s}.{b}.{APPENDED}" for s in "12" for b in range(BLOCKS[s])}
    assert set(mobilenet) == {"bn1", *after}
    assert set(resnet) == {"bn1", *(f"layer{stage}.1.act2.{APPENDED}" for stage in (1, 2))}
    assert {*mobilenet.values(), *resnet.values()} == {InstanceNorm2d}


def test_dualnorm_is_instance_norm_after_the_shallow_stages() -> None:
    mobilenet, resnet = norms("mobilenetv2_100", "dualnorm"), norms("resnet18", "dualnorm")
    assert set(mobilenet) == {f"blocks.{s}.{b}.{APPENDED}" for s, count in BLOCKS.items() for b in range(count)}
    assert set(resnet) == {f"layer{stage}.1.act2.{APPENDED}" for stage in (1, 2, 3)}
    assert {*mobilenet.values(), *resnet.values()} == {InstanceNorm2d}


def test_the_start_of_the_instance_affine_is_the_architectures() -> None:
    def distance(start: str) -> float:
        torch.manual_seed(0)

        def worn(backbone: nn.Module) -> None:
            for module in backbone.modules():
                if isinstance(module, nn.BatchNorm2d):
                    module.weight.data.uniform_(0.5, 1.5)

        architecture = Architecture.model_validate({"backbone": "test_resnet", "norm": "bin", "instance_start": start})
        layers = Model(architecture, Preprocessing(height=32, width=16), worn).backbone.modules()
        gaps = [m.instance_weight - m.weight for m in layers if isinstance(m, BatchInstanceNorm2d)]
        return max(float(gap.detach().abs().max()) for gap in gaps)

    assert distance("copy") == 0
    assert distance("one") > 0.1


@pytest.mark.parametrize("kind", ["domain", "domain-ibn-a"])
def test_domain_norms_replace_every_batch_norm_and_leave_the_instance_halves_shared(kind: NormKind) -> None:
    architecture = Architecture(backbone="mobilenetv2_100", norm=kind, bank=BankSettings(domains=3, after="pooled"))
    network = Model(architecture, Preprocessing(height=32, width=16)).backbone.network
    found = {n.removesuffix(".norm"): m for n, m in network.named_modules() if isinstance(m, DomainNorm2d)}
    assert len(found) == 52
    assert not any(isinstance(m, nn.BatchNorm2d) for m in network.modules())
    halves = {name for name, layer in found.items() if layer.instance_channels}
    shallow = {f"blocks.{s}.{b}.bn1" for s, count in BLOCKS.items() for b in range(count)}
    assert halves == (shallow if kind == "domain-ibn-a" else set())
    for layer in found.values():
        channels = layer.instance_channels + layer.running_mean.shape[1]
        assert layer.instance_channels in (0, channels // 2)
        assert (layer.domains, layer.after, layer.squeeze) == (3, "pooled", None)


@pytest.mark.parametrize("kind", ["domain", "domain-ibn-a"])
def test_norms_recolour_where_the_bank_says(kind: NormKind) -> None:
    def recolouring(*places: str) -> set[str]:
        bank = BankSettings(domains=2, recoloured=places)
        model = Model(
            Architecture(backbone="mobilenetv2_100", norm=kind, bank=bank), Preprocessing(height=64, width=32)
        )
        layers = {name: m for name, m in model.backbone.network.named_modules() if isinstance(m, DomainNorm2d)}
        assert len(layers) == 52
        return {name.removesuffix(".norm") for name, layer in layers.items() if layer.recolours}

    assert len(recolouring()) == 52
    assert recolouring("bn1", "blocks.0") == {"bn1", "blocks.0.0.bn1", "blocks.0.0.bn2"}
    with pytest.raises(PasserbyError, match="stands in 'bn'"):
        recolouring("bn")  # a name and no beginning of bn1
    with pytest.raises(PasserbyError, match=r"no norm of mobilenetv2_100 stands in 'block\.0'.*blocks\.0"):
        recolouring("bn1", "block.0")


def test_behind_linear_bottlenecks_all_domains_have_one_mean() -> None:
    torch.manual_seed(0)
    bank = BankSettings(domains=2)
    model = Model(
        Architecture(backbone="mobilenetv2_100", norm="domain", bank=bank), Preprocessing(height=64, width=32)
    )
    domain = torch.arange(8) // 4
    with torch.no_grad():
        model(torch.randn(8, 3, 64, 32) * (1 + domain[:, None, None, None]), Route(domain))
    layers = {name: m for name, m in model.backbone.network.named_modules() if isinstance(m, DomainNorm2d)}
    one_mean = {
        name.removesuffix(".norm")
        for name, layer in layers.items()
        if float((layer.running_mean[0] - layer.running_mean[1]).abs().max()) < 1e-5
    }
    expansions = {f"blocks.{s}.{b}.bn1" for s, count in {**BLOCKS, "5": 3, "6": 1}.items() for b in range(count)}
    assert one_mean == {"bn2"} | expansions
    assert (len(one_mean), len(layers)) == (17, 52)


def test_domain_norms_of_no_domains() -> None:
    with pytest.raises(PasserbyError, match=r"set model\.bank\.domains"):
        Model(Architecture(backbone="test_resnet", norm="domain"), Preprocessing(height=32, width=16))


def test_a_network_whose_blocks_are_not_known() -> None:
    with pytest.raises(PasserbyError, match=r"model\.norm: where these norms stand in regnetx_002"):
        norms("regnetx_002", "ibn-a")


def test_isr_is_instance_norm_at_the_end_of_the_first_two_stages() -> None:
    mobilenet, resnet = norms("mobilenetv2_100", "isr"), norms("resnet18", "isr")
    assert set(mobilenet) == {f"blocks.1.1.{APPENDED}", f"blocks.2.2.{APPENDED}"}
    assert set(resnet) == {f"layer{stage}.1.act2.{APPENDED}" for stage in (1, 2)}
    assert {*mobilenet.values(), *resnet.values()} == {InstanceNorm2d}
