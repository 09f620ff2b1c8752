"""timm networks as extractors of maps."""

from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from passerby.errors import PasserbyError
from passerby.models.backbone import Backbone, load_imagenet, remove_last_stride

SIZE = (64, 32)
NETWORKS = [
    "test_resnet",
    "test_byobnet",
    "test_efficientnet",
    "test_convnext",
    "test_mambaout",
    "test_vit",
    "mobilenetv2_050",
]
SWIN = "swin_tiny_patch4_window7_224"


@pytest.fixture(autouse=True)
def _small_swin(monkeypatch: pytest.MonkeyPatch) -> None:
    """Timm has no tiny Swin: its smallest is made smaller here."""
    create = timm.create_model

    def small(name: str, **options: Any) -> Any:
        narrow = {"embed_dim": 8, "depths": (1, 1, 1, 1), "num_heads": (1, 1, 1, 1)} if name == SWIN else {}
        return create(name, **options, **narrow)

    monkeypatch.setattr(timm, "create_model", small)


def maps_of(name: str, size: tuple[int, int], last_stride_1: bool) -> tuple[Backbone, Tensor]:
    torch.manual_seed(0)
    backbone = Backbone(name, size, last_stride_1).eval()
    with torch.no_grad():
        return backbone, backbone(torch.randn(2, 3, *size))[0]


@pytest.mark.parametrize(
    "name",
    [
        "test_resnet",
        "resnet10t",
        "resnet26d",
        "mobilenetv2_050",
        "test_efficientnet",
        "test_byobnet",
        "test_convnext",
        "test_nfnet",
    ],
)
@pytest.mark.filterwarnings("ignore:Using padding")
def test_last_stride_1_doubles_the_last_map(name: str) -> None:
    before, small = maps_of(name, SIZE, False)
    after, large = maps_of(name, SIZE, True)
    assert small.shape[2:] == (2, 1)
    assert large.shape == (2, small.shape[1], 4, 2)
    assert after.channels == before.channels == small.shape[1]
    assert {key: value.shape for key, value in after.state_dict().items()} == {
        key: value.shape for key, value in before.state_dict().items()
    }


def test_main_branch_and_shortcut_lose_their_stride() -> None:
    plain = timm.create_model("resnet18", num_classes=0)
    assert remove_last_stride(plain, SIZE) == ["layer4.0.conv1", "layer4.0.downsample.0"]
    average = timm.create_model("resnet26d", num_classes=0)
    assert remove_last_stride(average, SIZE) == ["layer4.0.conv2", "layer4.0.downsample.0"]
    mobile = timm.create_model("mobilenetv2_050", num_classes=0)
    assert remove_last_stride(mobile, SIZE) == ["blocks.5.0.conv_dw"]
    assert plain.training


def test_taking_out_a_stride_computes_the_same_at_every_other_place() -> None:
    torch.manual_seed(0)
    dense, sparse = Backbone("resnet10t", SIZE, True).eval(), Backbone("resnet10t", SIZE, False).eval()
    sparse.load_state_dict(dense.state_dict())
    with torch.no_grad():
        images = torch.randn(1, 256, 4, 2)
        found = [backbone.network.layer4[0].conv1(images) for backbone in (dense, sparse)]
    torch.testing.assert_close(found[0][:, :, ::2, ::2], found[1])


@pytest.mark.parametrize("name", ["test_vit", SWIN])
def test_transformers_are_left_as_they_are(name: str) -> None:
    with_, without = maps_of(name, SIZE, True)[1], maps_of(name, SIZE, False)[1]
    assert torch.equal(with_, without)


@pytest.mark.parametrize(
    ("name", "height", "width"), [("test_vit", 4, 2), (SWIN, 2, 1), ("test_resnet", 4, 2), ("test_mambaout", 4, 2)]
)
def test_the_last_map_is_forward_features_as_nchw(name: str, height: int, width: int) -> None:
    torch.manual_seed(0)
    backbone = Backbone(name, SIZE).eval()
    images = torch.randn(2, 3, *SIZE)
    with torch.no_grad():
        last, maps = backbone(images)
        raw = backbone.network.forward_features(images)
    assert maps == {}
    assert last.shape == (2, backbone.channels, height, width)
    for y in range(height):
        for x in range(width):
            if raw.ndim == 3:
                token = raw[:, backbone.network.num_prefix_tokens + y * width + x]
            else:
                token = raw[:, y, x] if raw.shape[-1] == backbone.channels else raw[:, :, y, x]
            assert torch.equal(last[:, :, y, x], token)


@pytest.mark.parametrize("name", [*NETWORKS, SWIN])
def test_stages_by_name_equal_what_the_modules_put_out(name: str) -> None:
    torch.manual_seed(0)
    plain = Backbone(name, SIZE).eval()
    stages = [info["module"] for info in plain.network.feature_info][
        ::-1
    ]  # asked for in another order than the network's
    backbone = Backbone(name, SIZE, stages=tuple(stages)).eval()
    backbone.load_state_dict(plain.state_dict())
    hooked: dict[str, Tensor] = {}
    for stage in stages:
        backbone.network.get_submodule(stage).register_forward_hook(
            lambda _, __, out, stage=stage: hooked.__setitem__(stage, out.clone())
        )
    images = torch.randn(2, 3, *SIZE)
    with torch.no_grad():
        last, maps = backbone(images)
        torch.testing.assert_close(last, plain(images)[0])
    assert set(maps) == set(stages)
    for stage in stages:
        expected = hooked[stage]
        if expected.ndim == 3:
            expected = (
                expected[:, backbone.network.num_prefix_tokens :].transpose(1, 2).unflatten(2, maps[stage].shape[2:])
            )
        elif expected.shape != maps[stage].shape:
            expected = expected.permute(0, 3, 1, 2)
        torch.testing.assert_close(maps[stage], expected)


def test_the_network_trains_after_it_is_built_and_its_statistics_are_untouched() -> None:
    backbone = Backbone("test_resnet", SIZE)
    assert all(module.training for module in backbone.modules())
    assert int(backbone.network.bn1.num_batches_tracked) == 0


@pytest.mark.parametrize(
    ("name", "size", "stages", "message"),
    [
        ("mobilenetv2_10", SIZE, (), r"timm knows no 'mobilenetv2_10'; did you mean 'mobilenetv2_1\d0'"),
        ("test_resnet", SIZE, ("layer5",), "has no stage 'layer5'; did you mean 'layer4'"),
        ("test_vit", (100, 50), (), r"test_vit does not run on 100 x 50 images.*divisible by patch size"),
        (
            "resnetblur18",
            SIZE,
            (),
            r"resnetblur18 does not run on 64 x 32 images .*; set model\.last_stride_1 to false",
        ),
    ],
)
def test_what_cannot_be_built_is_named(name: str, size: tuple[int, int], stages: tuple[str, ...], message: str) -> None:
    with pytest.raises(PasserbyError, match=message) as error:
        Backbone(name, size, stages=stages)
    assert "\n" not in str(error.value)


def test_tokens_without_a_grid_are_refused() -> None:
    with pytest.raises(PasserbyError, match="levit_128s puts out tokens without a grid"):
        Backbone("levit_128s", SIZE, last_stride_1=False)


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    """A file of timm's random weights, classifier included."""
    torch.manual_seed(1)
    save_file(timm.create_model("test_resnet").state_dict(), tmp_path / "w.safetensors")
    return tmp_path / "w.safetensors"


def test_weights_of_a_file_are_loaded_less_the_classifier(weights: Path) -> None:
    backbone = Backbone("test_resnet", SIZE)
    load_imagenet(backbone, weights)
    torch.manual_seed(1)
    reference = timm.create_model("test_resnet").state_dict()
    state = backbone.network.state_dict()
    assert set(reference) - set(state) == {"fc.weight", "fc.bias"}
    assert all(torch.equal(state[key], reference[key]) for key in state)


@pytest.mark.parametrize("name", ["test_convnext", "test_vit", "test_efficientnet", SWIN])
def test_every_family_takes_its_own_weights(name: str, tmp_path: Path) -> None:
    torch.manual_seed(1)
    reference = Backbone(name, SIZE)
    with_classifier = {
        **reference.network.state_dict(),
        "head.fc.weight": torch.zeros(10, 4),
        "classifier.bias": torch.zeros(10),
    }
    save_file({key: value.contiguous() for key, value in with_classifier.items()}, tmp_path / "w.safetensors")
    torch.manual_seed(2)
    backbone = Backbone(name, SIZE)
    load_imagenet(backbone, tmp_path / "w.safetensors")
    assert all(torch.equal(value, reference.state_dict()[key]) for key, value in backbone.state_dict().items())


def test_position_embeddings_of_a_file_are_brought_to_the_size(tmp_path: Path) -> None:
    torch.manual_seed(1)
    square = timm.create_model("test_vit", img_size=(160, 160))
    save_file({key: value.contiguous() for key, value in square.state_dict().items()}, tmp_path / "w.safetensors")
    backbone = Backbone("test_vit", (64, 32))
    load_imagenet(backbone, tmp_path / "w.safetensors")
    state = backbone.network.state_dict()
    assert state["pos_embed"].shape != square.state_dict()["pos_embed"].shape
    torch.testing.assert_close(state["pos_embed"].mean(), square.state_dict()["pos_embed"].mean(), atol=0.02, rtol=0)
    assert torch.equal(state["blocks.0.attn.qkv.weight"], square.state_dict()["blocks.0.attn.qkv.weight"])


def test_every_key_that_does_not_fit_is_named(weights: Path, tmp_path: Path) -> None:
    state = timm.create_model("test_resnet").state_dict()
    del state["layer1.0.conv1.weight"]
    state["bn1.weight"] = torch.zeros(7)
    state["extra.weight"] = torch.zeros(1)
    save_file(state, tmp_path / "bad.safetensors")
    with pytest.raises(
        PasserbyError,
        match=r"bad\.safetensors does not fit test_resnet.*: bn1\.weight, extra\.weight, layer1\.0\.conv1\.weight$",
    ):
        load_imagenet(Backbone("test_resnet", SIZE), tmp_path / "bad.safetensors")
    before = Backbone("test_byobnet", SIZE)
    kept = {key: value.clone() for key, value in before.state_dict().items()}
    with pytest.raises(PasserbyError, match="does not fit test_byobnet"):
        load_imagenet(before, weights)
    assert all(torch.equal(value, kept[key]) for key, value in before.state_dict().items())


def test_files_that_hold_no_weights_are_named(tmp_path: Path) -> None:
    (tmp_path / "w.safetensors").write_bytes(b"\x00" * 40)
    with pytest.raises(PasserbyError, match="is no safetensors file"):
        load_imagenet(Backbone("test_resnet", SIZE), tmp_path / "w.safetensors")
    with pytest.raises(PasserbyError, match=r"no file .*none\.safetensors"):
        load_imagenet(Backbone("test_resnet", SIZE), tmp_path / "none.safetensors")


def test_the_hub_is_asked_for_the_size_of_the_backbone(monkeypatch: pytest.MonkeyPatch) -> None:
    create, asked = timm.create_model, []

    def hub(name: str, pretrained: bool, **options: object) -> torch.nn.Module:
        asked.append((name, pretrained, options["img_size"]))
        torch.manual_seed(4)
        return create(name, pretrained=False, **options)

    backbone = Backbone("test_vit", SIZE)
    monkeypatch.setattr(timm, "create_model", hub)
    load_imagenet(backbone, None)
    assert asked == [("test_vit", True, SIZE)]
    torch.manual_seed(4)
    assert torch.equal(backbone.network.pos_embed, create("test_vit", num_classes=0, img_size=SIZE).pos_embed)


def test_a_hub_out_of_reach_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    def offline(*_: object, **__: object) -> None:
        raise OSError("We couldn't connect\nto the hub")

    backbone = Backbone("test_resnet", SIZE)
    monkeypatch.setattr(timm, "create_model", offline)
    with pytest.raises(
        PasserbyError,
        match=r"no ImageNet weights for test_resnet.*couldn't connect\); put test_resnet_imagenet\.safetensors",
    ):
        load_imagenet(backbone, None)


def test_relu6_works_in_place_where_no_gradient_is_wanted_and_only_there() -> None:
    backbone = Backbone("mobilenetv2_050", (64, 32))
    activation = next(m for m in backbone.modules() if isinstance(m, nn.ReLU6))
    maps = torch.randn(2, 3, 4, 4) * 5
    clamped = maps.clamp(0, 6)
    before = maps.clone()
    assert torch.equal(activation(maps), clamped)
    assert torch.equal(maps, before)
    with torch.no_grad():
        assert activation(maps).data_ptr() == maps.data_ptr()
    assert torch.equal(maps, clamped)
