"""Norm surgery: what is changed is named, keeps its values, and can be undone to the very same tensors."""

import pytest
import timm
import torch
from torch import nn

from passerby.errors import PasserbyError
from passerby.models.norm import BatchInstanceNorm2d, HalfInstanceNorm2d, InstanceNorm2d
from passerby.models.surgery import append_norms, replace_norms

SIZE = (64, 32)
BLOCK = r"blocks\.1\.0|layer1\.0"


@pytest.fixture(params=["mobilenetv2_050", "resnet10t", "test_efficientnet"])
def network(request: pytest.FixtureRequest) -> nn.Module:
    torch.manual_seed(0)
    network: nn.Module = timm.create_model(request.param, num_classes=0)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)  # type: ignore[union-attr, operator]
            module.weight.data.uniform_(0.5, 1.5)
    return network.eval()


@pytest.fixture
def images() -> torch.Tensor:
    return torch.randn(2, 3, *SIZE, generator=torch.Generator().manual_seed(0))


def tensors(network: nn.Module) -> dict[str, int]:
    return {name: t.data_ptr() for name, t in network.state_dict(keep_vars=True).items()}


def test_replaced_and_undone(network: nn.Module, images: torch.Tensor) -> None:
    before, state, modules = network(images), tensors(network), dict(network.named_modules())
    norms = [name for name, m in modules.items() if isinstance(m, nn.BatchNorm2d)]
    surgery = replace_norms(network, BatchInstanceNorm2d.of)
    assert list(surgery.names) == norms
    layers = [m for m in network.modules() if isinstance(m, BatchInstanceNorm2d)]
    assert len(layers) == len(norms)
    assert not any(isinstance(m, nn.BatchNorm2d) for m in network.modules())
    # With every gate at 1 it is the network that it was, activations included.
    torch.testing.assert_close(network(images), before, rtol=1e-4, atol=1e-5)
    for layer in layers:
        layer.gate.data.fill_(0.5)
    assert not torch.allclose(network(images), before, rtol=1e-2)
    surgery.undo()
    assert dict(network.named_modules()) == modules
    assert tensors(network) == state
    assert torch.equal(network(images), before)


def test_training_after_surgery_trains_the_pretrained_tensors(network: nn.Module, images: torch.Tensor) -> None:
    name, norm = next((n, m) for n, m in network.named_modules() if isinstance(m, nn.BatchNorm2d))
    weight, mean = norm.weight.clone(), norm.running_mean.clone()  # type: ignore[union-attr, operator]
    surgery = replace_norms(network, HalfInstanceNorm2d.of)
    optimizer = torch.optim.SGD(network.parameters(), 0.1)
    network.train()(images).square().mean().backward()
    optimizer.step()
    surgery.undo()
    norm = network.get_submodule(name)
    assert not torch.equal(norm.weight, weight)  # type: ignore[arg-type]
    assert not torch.equal(norm.running_mean, mean)  # type: ignore[arg-type]


def test_only_the_layers_that_are_named(network: nn.Module) -> None:
    (name, *_others) = [name for name, m in network.named_modules() if isinstance(m, nn.BatchNorm2d)]
    surgery = replace_norms(network, InstanceNorm2d.of, where=name.replace(".", r"\."))
    assert surgery.names == (name,)
    assert sum(isinstance(m, InstanceNorm2d) for m in network.modules()) == 1


def test_nothing_of_that_name(network: nn.Module) -> None:
    with pytest.raises(PasserbyError, match="no BatchNorm2d"):
        replace_norms(network, InstanceNorm2d.of, where="nowhere")
    with pytest.raises(PasserbyError, match="no block"):
        append_norms(network, InstanceNorm2d, "nowhere", SIZE)
    with pytest.raises(PasserbyError, match="batch norms"):
        replace_norms(nn.Sequential(nn.Conv2d(3, 3, 1), nn.GroupNorm(1, 3)), InstanceNorm2d.of)


def test_appended_after_a_block_without_a_last_activation(images: torch.Tensor) -> None:
    network = timm.create_model("mobilenetv2_050", num_classes=0).eval()
    before, state, keys = network(images), tensors(network), list(network.state_dict())
    surgery = append_norms(network, InstanceNorm2d, r"blocks\.[1-4]\.\d+", SIZE)
    assert len(surgery.names) == 2 + 3 + 4 + 3
    outputs = []
    network.blocks[1][0].register_forward_hook(lambda _, __, output: outputs.append(output))
    network(images)
    assert outputs[0].mean((2, 3)).abs().max() < 1e-5
    assert [key for key in network.state_dict() if "appended_norm" not in key] == keys
    surgery.undo()
    assert tensors(network) == state
    assert torch.equal(network(images), before)


def test_appended_before_the_last_activation_of_a_block(images: torch.Tensor) -> None:
    network = timm.create_model("resnet10t", num_classes=0).eval()
    before, modules = network(images), dict(network.named_modules())
    surgery = append_norms(network, InstanceNorm2d, r"layer1\.0", SIZE)
    block = network.layer1[0]
    seen = []
    block.act2.appended_norm.register_forward_hook(
        lambda _, inputs, output: seen.extend((inputs[0].clone(), output.clone()))
    )
    outputs = []
    block.register_forward_hook(lambda _, __, output: outputs.append(output))
    network(images)
    # After the residual sum (which is no longer white), before the ReLU.
    assert seen[0].mean((2, 3)).abs().max() > 1e-3
    assert seen[1].mean((2, 3)).abs().max() < 1e-4
    torch.testing.assert_close(outputs[0], seen[1].relu())
    surgery.undo()
    assert {name: m for name, m in network.named_modules()} == modules
    assert torch.equal(network(images), before)


def test_dualnorm_on_resnet50_has_the_published_number_of_parameters() -> None:
    network = timm.create_model("resnet50", num_classes=0)
    append_norms(network, InstanceNorm2d, r"layer1\.2|layer2\.3|layer3\.5", SIZE)
    added = [p for name, p in network.named_parameters() if "appended_norm" in name]
    assert sum(p.numel() for p in added) == 3584


def test_two_appended_at_once_come_off_together(images: torch.Tensor) -> None:
    network = timm.create_model("resnet10t", num_classes=0).eval()
    before = network(images)
    inner = replace_norms(network, BatchInstanceNorm2d.of)
    outer = append_norms(network, InstanceNorm2d, r"layer[12]\.0", SIZE)
    outer.undo()
    inner.undo()
    assert torch.equal(network(images), before)


def test_tensors_that_moved_come_back_with_the_layer_they_belong_to(network: nn.Module, images: torch.Tensor) -> None:
    surgery = replace_norms(network, BatchInstanceNorm2d.of)
    network.double()
    surgery.undo()
    assert {t.dtype for t in network.state_dict().values() if t.is_floating_point()} == {torch.float64}
    network(images.double())


def test_undoing_twice_does_nothing(network: nn.Module) -> None:
    surgery = append_norms(network, InstanceNorm2d, BLOCK, SIZE)
    before = list(network.state_dict())
    surgery.undo()
    after = list(network.state_dict())
    surgery.undo()
    assert list(network.state_dict()) == after != before


def test_a_block_takes_one_norm(network: nn.Module) -> None:
    append_norms(network, InstanceNorm2d, BLOCK, SIZE)
    with pytest.raises(PasserbyError, match="has an appended norm already"):
        append_norms(network, InstanceNorm2d, BLOCK, SIZE)


def test_blocks_that_put_out_no_maps_are_named() -> None:
    network = timm.create_model("test_vit", num_classes=0, img_size=SIZE)
    with pytest.raises(PasserbyError, match=r"block 'blocks\.0' puts out no maps"):
        append_norms(network, InstanceNorm2d, r"blocks\.\d+", SIZE)
