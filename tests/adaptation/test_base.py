"""What holds for every adaptation: what it returns, what it leaves alone, what it refuses, how it is written."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from passerby.adaptation import ADAPTATIONS, AdaBn, Adaptation, BntaAdaptation, Entropy, parse_adaptation
from passerby.adaptation.base import BATCH, even_batches, moving_tensors, network_input, wearing
from passerby.adaptation.shift import norm_shift
from passerby.data.images import Pixels, Preprocessing
from passerby.errors import PasserbyError
from passerby.models.model import Architecture, Model
from passerby.models.norm import BatchInstanceNorm2d, InstanceNorm2d, OneAffineBatchInstanceNorm2d
from passerby.models.norm_kinds import BankSettings

Build = Callable[..., Model]
Scene = Callable[..., Pixels]
Unchanged = Callable[[nn.Module], Callable[[], None]]

FEW = {"pairs": 6, "batch_pairs": 3, "lr": 0.01}
MANY: dict[str, Adaptation] = {
    "adabn": AdaBn(),
    "entropy": Entropy(),
    "bnta": BntaAdaptation(**FEW),
    "bnta sgd": BntaAdaptation(**FEW, optimizer="sgd"),
    "bnta mean": BntaAdaptation(**FEW, moves=("mean",)),
    "bnta variance": BntaAdaptation(**FEW, moves=("variance",)),
    "bnta weight": BntaAdaptation(**FEW, moves=("weight",)),
    "bnta mean bias": BntaAdaptation(**FEW, moves=("mean", "bias")),
    "bnta instance": BntaAdaptation(**FEW, moves=("instance",)),
    "bnta convolution": BntaAdaptation(**FEW, moves=("convolution",)),
    "bnta all": BntaAdaptation(**FEW, moves=("mean", "variance", "weight", "bias", "instance", "convolution")),
}
every_adaptation = pytest.mark.parametrize("adaptation", MANY.values(), ids=MANY)


class Broken(BaseException):
    """Stands for whatever goes wrong, a kill by the keyboard too."""


def names_of(model: Model, adaptation: Adaptation) -> set[str]:
    """Names of the tensors that may change, found module by module."""
    keys = {"mean": "running_mean", "variance": "running_var", "weight": "weight", "bias": "bias"}
    found = set()
    for name, module in model.named_modules():
        for kind in adaptation.moving():
            if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d) and kind in keys:
                found.add(f"{name}.{keys[kind]}")
            elif isinstance(module, InstanceNorm2d) and kind == "instance":
                found |= {f"{name}.weight", f"{name}.bias"}
            elif isinstance(module, nn.Conv2d) and kind == "convolution":
                found |= {f"{name}.{key}" for key, _ in module.named_parameters()}
    return found


def changed_while_it_ran(monkeypatch: pytest.MonkeyPatch, adaptation: Adaptation) -> set[str]:
    """Gathers the names of the tensors that `change` left changed, before they are put back."""
    change, found = type(adaptation).change, set()

    def watched(self: Adaptation, model: Model, images: Pixels, seed: int) -> Any:
        before = {name: value.clone() for name, value in model.state_dict().items()}
        result = change(self, model, images, seed)
        found.update(name for name, value in model.state_dict().items() if not torch.equal(value, before[name]))
        return result

    monkeypatch.setattr(type(adaptation), "change", watched)
    return found


@every_adaptation
@pytest.mark.parametrize("training", [False, True])
def test_the_model_is_what_it_was(
    adaptation: Adaptation, training: bool, model: Model, scene: Scene, unchanged: Unchanged
) -> None:
    model.train(training)
    model.backbone.requires_grad_(training)
    check = unchanged(model)
    adapted = adaptation.adapt(model, scene())
    check()
    changed = {name for name, value in adapted.items() if not torch.equal(value, model.state_dict()[name])}
    # What is frozen in the model rests: the BNNeck's bias, here the whole backbone's parameters too.
    frozen = {name for name, parameter in model.named_parameters() if not parameter.requires_grad}
    assert not changed & frozen
    assert bool(changed) == bool(adapted.keys() - frozen)


@pytest.mark.parametrize("kind", ["adabn", "entropy", "bnta", "embed", "norm_shift"])
def test_layers_in_a_mode_of_their_own_stay_in_it(kind: str, model: Model, scene: Scene, unchanged: Unchanged) -> None:
    images = scene()
    if kind == "embed":
        expected: Any = model.embed(images)
    elif kind == "norm_shift":
        expected = [shift.distance for shift in norm_shift(model, images)]
    else:
        expected = MANY[kind].adapt(model, images)
    for training in (True, False):
        model.train(training)
        model.backbone.network.conv1[1].train(not training)
        check = unchanged(model)
        if kind == "embed":
            assert torch.equal(model.embed(images), expected)
        elif kind == "norm_shift":
            assert [shift.distance for shift in norm_shift(model, images)] == expected
        else:
            adapted = MANY[kind].adapt(model, images)
            assert all(torch.equal(adapted[name], value) for name, value in expected.items())
        check()


@pytest.mark.parametrize("kind", ["adabn", "entropy", "bnta"])
def test_norms_of_domains_are_not_adapted_and_that_is_said(kind: str) -> None:
    bank = BankSettings(domains=2)
    banked = Model(Architecture(backbone="test_resnet", norm="domain", bank=bank), Preprocessing(height=32, width=16))
    with pytest.raises(PasserbyError, match=f"{kind}: the model's norms have statistics of each training domain"):
        MANY[kind].check(banked)


@pytest.mark.parametrize("off", [torch.no_grad, torch.inference_mode])
@pytest.mark.parametrize("kind", ["adabn", "entropy", "bnta"])
def test_where_gradients_are_off_the_result_is_the_same(kind: str, off: Any, model: Model, scene: Scene) -> None:
    expected = MANY[kind].adapt(model, scene())
    with off():
        found = MANY[kind].adapt(model, scene())
        assert not torch.is_grad_enabled()
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], value) for name, value in expected.items())
    assert not any(value.requires_grad for value in found.values())


@pytest.mark.parametrize("interrupted", [1, 3])
def test_an_interrupt_while_tensors_are_put_on(
    interrupted: int, model: Model, scene: Scene, unchanged: Unchanged, monkeypatch: pytest.MonkeyPatch
) -> None:
    new = AdaBn(weight=1).adapt(model, scene())
    copy, calls, check = Tensor.copy_, 0, unchanged(model)

    def breaks(self: Tensor, *args: Any) -> Tensor:
        nonlocal calls
        calls += 1
        if calls == interrupted:
            raise KeyboardInterrupt
        return copy(self, *args)

    with monkeypatch.context() as patch:
        patch.setattr(Tensor, "copy_", breaks)
        with pytest.raises(KeyboardInterrupt), wearing(model, new):
            raise AssertionError
    assert calls > interrupted
    check()


@pytest.mark.parametrize("adaptation", [MANY[name] for name in ("adabn", "entropy", "bnta", "bnta all")])
def test_the_model_is_what_it_was_wherever_it_raises(
    adaptation: Adaptation, model: Model, scene: Scene, unchanged: Unchanged, monkeypatch: pytest.MonkeyPatch
) -> None:
    forward, calls = Model.forward, [0, 0]

    def breaks(self: Model, *args: Any, **options: Any) -> Any:
        features = forward(self, *args, **options)
        calls[0] += 1
        if calls[0] == calls[1]:
            raise Broken
        return features

    monkeypatch.setattr(Model, "forward", breaks)
    adaptation.adapt(model, scene())
    check = unchanged(model)
    for place in range(1, calls[0] + 1):
        calls[:] = [0, place]
        with pytest.raises(Broken):
            adaptation.adapt(model, scene())
        check()


@pytest.mark.parametrize("adaptation", [MANY["entropy"], MANY["bnta"]])
def test_the_model_is_what_it_was_when_a_step_raises(
    adaptation: Adaptation, model: Model, scene: Scene, unchanged: Unchanged, monkeypatch: pytest.MonkeyPatch
) -> None:
    step = torch.optim.Adam.step

    def breaks(self: torch.optim.Adam, *args: Any) -> None:
        step(self, *args)
        raise Broken

    monkeypatch.setattr(torch.optim.Adam, "step", breaks)
    check = unchanged(model)
    with pytest.raises(Broken):
        adaptation.adapt(model, scene())
    check()


@every_adaptation
def test_the_tensors_that_move_are_returned_and_no_others_change(
    adaptation: Adaptation, model: Model, scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    changed = changed_while_it_ran(monkeypatch, adaptation)
    adapted = adaptation.adapt(model, scene())
    moving = names_of(model, adaptation)
    state = model.state_dict()
    assert list(adapted) == [name for name in state if name in moving]
    for name, value in adapted.items():
        assert value.shape == state[name].shape
        assert (not torch.equal(value, state[name])) == (name in changed), name
    # Where batch norms normalise by the batch, all of their statistics follow; what does not move is put back.
    statistics = {n for n in state if n.endswith(("running_mean", "running_var", "num_batches_tracked"))}
    follows = {"mean", "variance"} & set(adaptation.moving())
    assert changed <= (moving | statistics if follows else moving)
    assert changed & moving


@pytest.mark.parametrize(
    ("moves", "of_backbone"),
    [
        (("mean",), ["running_mean"]),
        (("variance",), ["running_var"]),
        (("weight",), ["weight"]),
        (("weight", "bias"), ["weight", "bias"]),
        (("mean", "variance", "weight", "bias"), ["running_mean", "running_var", "weight", "bias"]),
    ],
)
def test_each_kind_does_move_in_every_batch_norm_of_the_backbone(
    moves: tuple[Any, ...], of_backbone: list[str], model: Model, scene: Scene
) -> None:
    adapted = BntaAdaptation(pairs=6, batch_pairs=3, lr=0.01, moves=moves).adapt(model, scene())
    state = model.state_dict()
    norms = [name for name, m in model.backbone.named_modules(prefix="backbone") if isinstance(m, nn.BatchNorm2d)]
    assert len(norms) == 15
    for name in norms:
        for key in of_backbone:
            assert not torch.equal(adapted[f"{name}.{key}"], state[f"{name}.{key}"]), (name, key)


@every_adaptation
def test_same_seed_same_result(adaptation: Adaptation, build: Build, scene: Scene) -> None:
    images = scene(100) if isinstance(adaptation, AdaBn) else scene(24)  # two batches at least
    first, again, other = (adaptation.adapt(build(), images, seed) for seed in (3, 3, 4))
    assert all(torch.equal(first[name], again[name]) for name in first)
    if not isinstance(adaptation, Entropy):  # all of its images make one batch
        assert any(not torch.equal(first[name], other[name]) for name in first)


@pytest.mark.parametrize("training", [False, True])
def test_a_backbone_that_is_frozen(training: bool, model: Model, scene: Scene) -> None:
    model.backbone.requires_grad_(training)
    adapted = BntaAdaptation(**FEW).adapt(model, scene())
    state = model.state_dict()
    first = "backbone.network.conv1.1"
    assert torch.equal(adapted[f"{first}.weight"], state[f"{first}.weight"]) != training
    for name in (f"{first}.running_mean", f"{first}.running_var"):
        assert not torch.equal(adapted[name], state[name]), name
    heads = [name for name in adapted if name.startswith("parts.local.") and name.endswith(".weight")]
    assert any(not torch.equal(adapted[name], state[name]) for name in heads)  # of the parts by which images are paired


def test_a_model_that_is_frozen_is_no_surprise(model: Model, scene: Scene, unchanged: Unchanged) -> None:
    model.requires_grad_(False)
    check = unchanged(model)
    with pytest.raises(PasserbyError, match="entropy: every parameter of the batch norms is frozen"):
        Entropy().adapt(model, scene())
    check()


def test_the_necks_bias_is_no_part_of_what_is_learnt(model: Model, scene: Scene) -> None:
    state = model.state_dict()
    adapted = Entropy(lr=0.01).adapt(model, scene())
    assert torch.equal(adapted["neck.bias"], state["neck.bias"])
    assert not torch.equal(adapted["neck.weight"], state["neck.weight"])
    # Nothing else of the embedding's road is left out.
    norms = [name for name, m in model.backbone.named_modules(prefix="backbone") if isinstance(m, nn.BatchNorm2d)]
    for name in norms:
        for key in ("weight", "bias"):
            assert not torch.equal(adapted[f"{name}.{key}"], state[f"{name}.{key}"]), (name, key)


@pytest.mark.parametrize("norm", ["batch", "synchronised", "half", "bin", "bin-one-affine", "ibn-a", "ibn-b"])
def test_any_norm_of_the_house(norm: str, build: Build, scene: Scene, unchanged: Unchanged) -> None:
    model = build(norm)
    check = unchanged(model)
    for adaptation in (AdaBn(), MANY["bnta"]):
        adapted = adaptation.adapt(model, scene())
        own = {name.rpartition(".")[0] for name in adapted}
        assert own
        assert not any(isinstance(model.get_submodule(name), InstanceNorm2d) for name in own)
        check()


def test_instance_norms_of_batch_instance_norms_move_and_their_gates_rest(build: Build, scene: Scene) -> None:
    model = build("bin")
    layers = {name: m for name, m in model.named_modules() if isinstance(m, BatchInstanceNorm2d)}
    assert layers
    with torch.no_grad():
        for layer in layers.values():
            layer.gate.fill_(0.5)  # at 1 nothing of the instance norm is seen
    adapted = BntaAdaptation(**FEW, moves=("instance",)).adapt(model, scene())
    own = {f"{name}.{key}" for name in layers for key in ("instance_weight", "instance_bias")}
    assert adapted.keys() == own
    state = model.state_dict()
    assert all(not torch.equal(value, state[name]) for name, value in adapted.items())
    of_batch = BntaAdaptation(**FEW, moves=("weight", "bias")).adapt(model, scene())
    assert not own & of_batch.keys()
    assert {f"{name}.{key}" for name in layers for key in ("weight", "bias")} <= of_batch.keys()


@pytest.mark.parametrize("norm", ["batch", "synchronised", "bin-one-affine", "ibn-a"])
def test_moves_that_match_nothing(norm: str, build: Build, scene: Scene, unchanged: Unchanged) -> None:
    model = build(norm)
    assert norm != "bin-one-affine" or any(isinstance(m, OneAffineBatchInstanceNorm2d) for m in model.modules())
    check = unchanged(model)
    message = r"bnta: the model has none of what should move \(instance\); choose other moves"
    with pytest.raises(PasserbyError, match=message):
        BntaAdaptation(**FEW, moves=("instance",)).adapt(model, scene())
    check()
    # Beside something that there is, it does no harm.
    adapted = BntaAdaptation(**FEW, moves=("instance", "mean")).adapt(model, scene())
    assert {name.rpartition(".")[2] for name in adapted} == {"running_mean"}


@pytest.mark.parametrize("kind", ADAPTATIONS)
def test_too_few_images_and_one_image_again_and_again(
    kind: str, model: Model, scene: Scene, unchanged: Unchanged
) -> None:
    adaptation, check = ADAPTATIONS[kind](), unchanged(model)
    for count in (0, 1, 3):
        with pytest.raises(PasserbyError, match=rf"{count} images to adapt to; give at least 4"):
            adaptation.adapt(model, scene(4)[:count])
    with pytest.raises(PasserbyError, match="all 9 images are the same"):
        adaptation.adapt(model, scene(1).repeat(9, 0))
    adapted = adaptation.adapt(model, scene(4))
    assert all(bool(value.isfinite().all()) for value in adapted.values())
    check()


def test_the_same_image_again_and_again_over_many_batches(model: Model, scene: Scene) -> None:
    count = 2 * BATCH + 7
    images = scene(1).repeat(count, 0)
    with pytest.raises(PasserbyError, match=rf"all {count} images are the same"):
        AdaBn().adapt(model, images)
    for place in (0, BATCH, count - 1):  # one that differs is enough, wherever it stands
        images = scene(1).repeat(count, 0)
        images[place, 5, 5, 0] ^= 1
        AdaBn().adapt(model, images)


@pytest.mark.parametrize("kind", ADAPTATIONS)
def test_a_backbone_without_batch_norms(kind: str, build: Build, scene: Scene, unchanged: Unchanged) -> None:
    vit = Architecture(backbone="test_vit", last_stride_1=False, stripes=2)
    # The BNNeck and those of the part heads do not count.
    for model in (Model(vit, Preprocessing(height=32, width=16)).eval(), build("instance")):
        check, name = unchanged(model), model.architecture.backbone
        with pytest.raises(PasserbyError, match=rf"{kind}: {name} has no batch norms to adapt; camera norm"):
            ADAPTATIONS[kind]().adapt(model, scene())
        check()


def test_a_rate_that_breaks_the_model_is_one_clear_error(model: Model, scene: Scene, unchanged: Unchanged) -> None:
    check = unchanged(model)
    with pytest.raises(PasserbyError, match=r"is not finite after adapting; lower the learning rate"):
        BntaAdaptation(pairs=6, batch_pairs=3, lr=1e30, optimizer="sgd").adapt(model, scene())
    check()


@pytest.mark.parametrize("kind", ADAPTATIONS)
def test_so_many_images_at_most(kind: str, model: Model, scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Pixels] = []

    def watched(self: Adaptation, model: Model, images: Pixels, seed: int) -> Any:
        seen.append(images)
        return {}, {}

    monkeypatch.setattr(ADAPTATIONS[kind], "change", watched)
    images = scene(20)
    rows = {image.tobytes(): row for row, image in enumerate(images)}
    for count, seed in ((6, 0), (6, 0), (6, 1), (20, 0), (99, 0), (None, 0)):
        ADAPTATIONS[kind](images=count).adapt(model, images, seed)
    drawn = [[rows[image.tobytes()] for image in given] for given in seen]
    assert [len(set(rows)) for rows in drawn] == [6, 6, 6, 20, 20, 20]
    assert drawn[0] == drawn[1]
    assert drawn[0] != drawn[2]
    with pytest.raises(ValueError, match="images"):
        ADAPTATIONS[kind](images=3)


@given(count=st.integers(0, 5000), size=st.integers(1, 100))
def test_batches_cover_everything_and_are_alike_in_length(count: int, size: int) -> None:
    batches = even_batches(count, size)
    assert [row for batch in batches for row in range(count)[batch]] == list(range(count))
    lengths = [batch.stop - batch.start for batch in batches]
    assert max(lengths) - min(lengths) <= 1
    if count:
        assert min(lengths) >= 1
        assert max(lengths) <= math.ceil(1.5 * size)
        assert min(lengths) >= min(count, math.floor(2 * size / 3))
    assert BATCH == 64


def test_the_networks_input_is_the_embedders(model: Model, scene: Scene) -> None:
    images = scene(5)
    pixels = torch.from_numpy(images.transpose(0, 3, 1, 2).copy())
    assert torch.equal(network_input(model, images), model.preprocessing.normalise(pixels))
    with torch.no_grad():
        embedding = nn.functional.normalize(model(network_input(model, images)).embedding)
    torch.testing.assert_close(embedding, model.embed(images))


def test_names_stand_in_the_models_order(model: Model) -> None:
    state = list(model.state_dict())
    names = moving_tensors(model, ("bias", "instance", "mean"))
    assert names == sorted(names, key=state.index)
    assert len(set(names)) == len(names) > 0
    assert moving_tensors(model, ()) == []


@given(
    kind=st.sampled_from(sorted(ADAPTATIONS)),
    images=st.none() | st.integers(4, 10**6),
    weight=st.floats(1e-6, 1),
    lr=st.floats(1e-9, 10),
    pairs=st.integers(2, 500),
    moves=st.lists(
        st.sampled_from(["mean", "variance", "weight", "bias", "instance", "convolution"]), min_size=1, unique=True
    ),
    positions=st.sampled_from(["all", "paired"]),
)
def test_what_is_written_is_read_again(
    kind: str, images: int | None, weight: float, lr: float, pairs: int, moves: list[Any], positions: Any
) -> None:
    fields: dict[str, dict[str, Any]] = {
        "adabn": {"weight": weight},
        "entropy": {"lr": lr, "neighbours": pairs},
        "bnta": {"lr": lr, "pairs": pairs, "moves": tuple(moves), "positions": positions},
    }
    adaptation = ADAPTATIONS[kind](images=images, **fields[kind])
    assert parse_adaptation(adaptation.text()) == adaptation


def test_how_adaptations_are_written() -> None:
    for kind, adaptation in ADAPTATIONS.items():
        assert parse_adaptation(kind) == adaptation()
        assert adaptation().text() == kind
    assert parse_adaptation("adabn:weight=0.3;images=50").text() == "adabn:images=50"
    parsed = parse_adaptation("bnta:lr=1e-3;pairs=64;moves=mean,weight;reduction=sum")
    assert parsed == BntaAdaptation(lr=0.001, pairs=64, moves=("mean", "weight"), reduction="sum")
    assert parsed.text() == "bnta:pairs=64;lr=0.001;reduction=sum;moves=mean,weight"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("adabm", r"no adaptation 'adabm'; did you mean 'adabn'\?"),
        ("", "no adaptation ''; known: adabn, bnta, entropy"),
        ("adabn:wait=1", "adaptation adabn:wait=1: no parameter 'wait' of adabn"),
        ("adabn:0.5", "adaptation adabn:0.5: '0.5'; write each parameter once, as in adabn:images=200"),
        ("adabn:weight", "adaptation adabn:weight: 'weight'; write each parameter once"),
        ("adabn:images=5;weight=1;images=6", "'images=6'; write each parameter once, as in adabn:images=200"),
        ("bnta:moves=mean;moves=mean", "'moves=mean'; write each parameter once, as in bnta:images=200"),
        ("adabn:=3", "no parameter '' of adabn"),
        ("adabn:weight=2", "adaptation adabn:weight=2: weight: input should be less than or equal to 1"),
        ("adabn:weight=0", "weight: input should be greater than 0"),
        ("adabn:weight=much", "weight: input should be a valid number"),
        ("adabn:weight=nan", "weight: input should be a finite number"),
        ("bnta:lr=inf", "lr: input should be a finite number"),
        ("bnta:margin=inf", "margin: input should be a finite number"),
        ("entropy:temperature=inf", "temperature: input should be a finite number"),
        ("adabn:images=3", "images: input should be greater than or equal to 4"),
        ("bnta:pairs=1", "pairs: input should be greater than 1"),
        ("bnta:moves=mean,gamma", "moves: input should be 'mean', 'variance'"),
        ("bnta:optimizer=lamb", "optimizer: input should be 'adam' or 'sgd'"),
        ("entropy:temperature=0", "temperature: input should be greater than 0"),
        ("entropy:name=adabn", "adaptation entropy:name=adabn: no parameter 'name' of entropy"),
        ("entropy:name=entropy", "no parameter 'name' of entropy"),
    ],
)
def test_what_does_not_parse_is_one_clear_error(text: str, message: str) -> None:
    with pytest.raises(PasserbyError, match=message) as error:
        parse_adaptation(text)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("text", ["entropy:name=adabn", "adabn:=3"])
def test_what_is_suggested_would_parse(text: str) -> None:
    with pytest.raises(PasserbyError) as error:
        parse_adaptation(text)
    assert "name" not in str(error.value).partition(";")[2]


def test_images_may_lie_in_a_file(model: Model, scene: Scene, tmp_path: Any) -> None:
    images = scene(12)
    mapped: Any = np.memmap(tmp_path / "crops", np.uint8, "w+", shape=images.shape)
    mapped[:] = images
    expected: dict[str, Tensor] = AdaBn().adapt(model, images)
    found = AdaBn().adapt(model, mapped)
    assert all(torch.equal(found[name], value) for name, value in expected.items())
