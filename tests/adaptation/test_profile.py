"""Site profiles: on and off again to the bit, onto no other model, and never half written."""

import json
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import nn

from passerby.adaptation import AdaBn, BntaAdaptation, CameraStatistics, SiteProfile, profile
from passerby.adaptation.profile import ProfileCard, digest
from passerby.data.images import Pixels
from passerby.errors import PasserbyError
from passerby.models.model import Model

Scene = Callable[..., Pixels]
Unchanged = Callable[[nn.Module], Callable[[], None]]


def card(**changes: Any) -> ProfileCard:
    known: dict[str, Any] = {
        "model_sha256": "ab" * 32,
        "method": "adabn",
        "settings": {"name": "adabn", "weight": 0.3, "images": None},
        "images": 24,
        "cameras": (),
        "seed": 0,
        "before": {"position": 1.5},
        "after": {"position": 1.25},
        "code_version": "0.1.0",
        "date": "2026-01-02",
    }
    return ProfileCard(**{**known, **changes})


@pytest.fixture
def site(model: Model, scene: Scene) -> SiteProfile:
    """A profile of `model`, which stands for a saved one."""
    model.weights_sha256 = "ab" * 32
    return SiteProfile(card(), AdaBn(weight=1).adapt(model, scene()), None)


@pytest.fixture
def with_cameras(site: SiteProfile) -> SiteProfile:
    """The same with statistics of two cameras."""
    statistics = CameraStatistics.of(torch.randn(16, 96), ["a", "b"] * 8)
    return SiteProfile(card(cameras=statistics.cameras), site.tensors, statistics)


def names(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir())


def test_round_trip(site: SiteProfile, with_cameras: SiteProfile, tmp_path: Path) -> None:
    for number, written in enumerate((site, with_cameras)):
        path = tmp_path / f"{number}.safetensors"
        written.save(str(path))
        read = SiteProfile.load(str(path))
        # The digest is the file's: all else is as it was given.
        assert len(read.card.tensors_sha256) == 64
        assert read.card.model_copy(update={"tensors_sha256": ""}) == written.card
        assert read.tensors.keys() == written.tensors.keys()
        assert all(torch.equal(read.tensors[name], value) for name, value in written.tensors.items())
        if written.cameras is None:
            assert read.cameras is None
        else:
            assert read.cameras is not None
            assert read.cameras.cameras == written.cameras.cameras == ("", "a", "b")
            assert torch.equal(read.cameras.mean, written.cameras.mean)
            assert torch.equal(read.cameras.deviation, written.cameras.deviation)
    assert names(tmp_path) == ["0.safetensors", "1.safetensors"]


def test_the_digest_is_of_every_name_and_every_value(
    site: SiteProfile, with_cameras: SiteProfile, tmp_path: Path
) -> None:
    def written(profile: SiteProfile) -> str:
        profile.save(tmp_path / "p.safetensors")
        found = SiteProfile.load(tmp_path / "p.safetensors").card.tensors_sha256
        assert found == digest(load_file(tmp_path / "p.safetensors"))
        return found

    first = written(site)
    assert written(SiteProfile(card(date="2027-03-04"), dict(reversed(site.tensors.items())), None)) == first
    # Read and written again it is the same; what the card said before does not count.
    assert written(SiteProfile.load(tmp_path / "p.safetensors")) == first
    name, other = list(site.tensors)[:2]
    assert site.tensors[name].shape == site.tensors[other].shape
    moved, swapped, fewer = dict(site.tensors), dict(site.tensors), dict(site.tensors)
    moved[name] = moved[name] + 1e-3
    swapped[name], swapped[other] = site.tensors[other], site.tensors[name]
    del fewer[name]
    others = [written(SiteProfile(card(), tensors, None)) for tensors in (moved, swapped, fewer)]
    assert len({first, *others, written(with_cameras)}) == 5


def test_kernels_laid_out_otherwise_come_back(model: Model, scene: Scene, tmp_path: Path) -> None:
    model.weights_sha256 = "ab" * 32
    adapted = BntaAdaptation(lr=0.01, moves=("convolution",)).adapt(model, scene())
    assert any(not value.is_contiguous() for value in adapted.values())
    SiteProfile(card(), adapted, None).save(tmp_path / "lobby.safetensors")
    read = SiteProfile.load(tmp_path / "lobby.safetensors").tensors
    assert read.keys() == adapted.keys()
    assert all(torch.equal(read[name], value) for name, value in adapted.items())


def test_it_holds_nothing_but_what_moves(site: SiteProfile, model: Model, tmp_path: Path) -> None:
    site.save(tmp_path / "lobby.safetensors")
    moved = sum(value.numel() for name, value in model.state_dict().items() if "running_" in name)
    instance = sum(value.numel() for name, value in model.state_dict().items() if "appended_norm.running_" in name)
    assert (tmp_path / "lobby.safetensors").stat().st_size < 4 * (moved - instance) + 10_000
    assert sum(value.numel() for value in site.tensors.values()) == moved - instance


def test_on_and_off_again_to_the_bit(site: SiteProfile, model: Model, scene: Scene, unchanged: Unchanged) -> None:
    check, before = unchanged(model), model.embed(scene(6, seed=9))
    applied = site.apply(model)
    state = model.state_dict()
    assert all(torch.equal(state[name], value) for name, value in site.tensors.items())
    assert model.site == "adabn on 24 images, 2026-01-02"
    assert not torch.equal(model.embed(scene(6, seed=9)), before)
    applied.remove()
    check()
    assert model.site is None
    assert torch.equal(model.embed(scene(6, seed=9)), before)


def test_for_the_length_of_a_block_and_when_it_raises(
    site: SiteProfile, model: Model, scene: Scene, unchanged: Unchanged
) -> None:
    check, before = unchanged(model), model.embed(scene(6))
    with site.on(model):
        assert not torch.equal(model.embed(scene(6)), before)
    check()
    with pytest.raises(KeyboardInterrupt), site.on(model):
        raise KeyboardInterrupt
    check()
    assert model.site is None


@pytest.mark.parametrize("how", ["apply", "on"])
def test_an_interrupt_while_it_is_put_on(
    how: str, site: SiteProfile, model: Model, scene: Scene, unchanged: Unchanged, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy, calls, check = torch.Tensor.copy_, 0, unchanged(model)

    def breaks(self: torch.Tensor, *args: Any) -> torch.Tensor:
        nonlocal calls
        calls += 1
        if calls == 3:
            raise KeyboardInterrupt
        return copy(self, *args)

    with monkeypatch.context() as patch:
        patch.setattr(torch.Tensor, "copy_", breaks)
        with pytest.raises(KeyboardInterrupt), site.on(model) if how == "on" else nullcontext(site.apply(model)):
            raise AssertionError
    assert calls > 3
    check()
    assert model.site is None
    site.apply(model).remove()
    check()


def test_a_profile_that_was_read_does_the_same(site: SiteProfile, model: Model, scene: Scene, tmp_path: Path) -> None:
    site.save(tmp_path / "lobby.safetensors")
    with site.on(model):
        expected = model.embed(scene(6))
    with SiteProfile.load(tmp_path / "lobby.safetensors").on(model):
        assert torch.equal(model.embed(scene(6)), expected)


@pytest.mark.parametrize("digest", ["cd" * 32, None])
def test_onto_no_other_model(site: SiteProfile, model: Model, unchanged: Unchanged, digest: str | None) -> None:
    model.weights_sha256 = digest
    check = unchanged(model)
    which = "cdcdcdcdcdcd" if digest else "not a saved model"
    with pytest.raises(PasserbyError, match=f"made from the model abababababab, this one is {which}"):
        site.apply(model)
    with pytest.raises(PasserbyError, match="adapt this model"), site.on(model):
        raise AssertionError
    check()
    assert model.site is None


def test_no_second_one_on_top(site: SiteProfile, model: Model, unchanged: Unchanged) -> None:
    check = unchanged(model)
    applied = site.apply(model)
    worn = unchanged(model)
    with pytest.raises(PasserbyError, match="the model wears one already; remove that first"):
        site.apply(model)
    worn()
    applied.remove()
    check()
    site.apply(model).remove()
    check()


def test_off_a_second_time_does_nothing(site: SiteProfile, model: Model, scene: Scene, unchanged: Unchanged) -> None:
    check = unchanged(model)
    first = site.apply(model)
    assert first.worn
    first.remove()
    assert not first.worn
    first.remove()
    check()
    # Not even under the next one.
    second = SiteProfile(card(images=12), AdaBn(weight=0.5).adapt(model, scene(12)), None).apply(model)
    worn = unchanged(model)
    first.remove()
    worn()
    assert model.site == "adabn on 12 images, 2026-01-02"
    assert second.worn
    second.remove()
    check()
    assert model.site is None


@pytest.mark.parametrize("misfit", ["name", "shape", "scalar"])
def test_what_does_not_fit_is_seen_before_anything_is_written(
    site: SiteProfile, model: Model, unchanged: Unchanged, misfit: str
) -> None:
    *_, last = site.tensors
    tensors = dict(site.tensors)
    if misfit == "name":
        tensors["backbone.gone.running_mean"] = tensors.pop(last)
        last = "backbone.gone.running_mean"
    else:  # of one number, copying would spread it over the whole tensor
        tensors[last] = tensors[last][:-1] if misfit == "shape" else torch.tensor(1.0)
    check, profile = unchanged(model), SiteProfile(card(), tensors, None)
    with pytest.raises(PasserbyError, match=f"site profile: {last} does not fit the model; the profile is damaged"):
        profile.apply(model)
    with pytest.raises(PasserbyError, match="does not fit"), profile.on(model):
        raise AssertionError
    check()
    assert model.site is None
    site.apply(model).remove()


@pytest.mark.parametrize("damage", ["cut", "empty", "noise", "card", "no card", "another format", "json"])
def test_a_damaged_file_is_one_clear_error(site: SiteProfile, tmp_path: Path, damage: str) -> None:
    path = tmp_path / "lobby.safetensors"
    site.save(path)
    data, tensors = path.read_bytes(), load_file(path)
    if damage in ("cut", "empty", "noise"):
        path.write_bytes({"cut": data[: len(data) // 2], "empty": b"", "noise": b"\xff" * 100}[damage])
    else:
        whole = json.loads(site.card.model_dump_json())
        cards = {
            "card": json.dumps({**whole, "images": "many"}),
            "another format": json.dumps({**whole, "format": 2}),
            "json": "{",
        }
        save_file(tensors, path, metadata={"card": cards[damage]} if damage in cards else None)
    with pytest.raises(PasserbyError, match=r"lobby\.safetensors: no site profile, or a damaged one") as error:
        SiteProfile.load(path)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("place", [0, 1, 0.5, 0.999, -1])
@pytest.mark.parametrize("bit", [0, 7])
def test_one_bit_of_a_tensor(with_cameras: SiteProfile, tmp_path: Path, place: float, bit: int) -> None:
    path = tmp_path / "lobby.safetensors"
    with_cameras.save(path)
    data = bytearray(path.read_bytes())
    start = 8 + int.from_bytes(data[:8], "little")
    size = len(data) - start
    data[start + int(place * size) if isinstance(place, float) else start + place % size] ^= 1 << bit
    path.write_bytes(data)
    with pytest.raises(PasserbyError, match=r"lobby\.safetensors: damaged: its tensors are not those") as error:
        SiteProfile.load(path)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("damage", ["swapped", "fewer", "more", "renamed", "deviation", "no digest"])
def test_tensors_that_are_not_those_of_the_card(with_cameras: SiteProfile, tmp_path: Path, damage: str) -> None:
    path = tmp_path / "lobby.safetensors"
    with_cameras.save(path)
    with safe_open(path, "pt") as file:
        said = file.metadata()["card"]
    tensors = load_file(path)
    first, second = [name for name in tensors if name.startswith("model.") and tensors[name].shape == (16,)][:2]
    if damage == "swapped":
        tensors[first], tensors[second] = tensors[second], tensors[first]
    elif damage == "fewer":
        del tensors[first]
    elif damage == "more":
        tensors["model.gate"] = torch.ones(16)
    elif damage == "renamed":
        tensors["model.gate"] = tensors.pop(first)
    elif damage == "deviation":
        tensors["cameras.deviation"] = tensors["cameras.deviation"] + 1
    else:
        said = with_cameras.card.model_dump_json()
        assert json.loads(said)["tensors_sha256"] == ""
    save_file(tensors, path, metadata={"card": said})
    with pytest.raises(PasserbyError, match=r"damaged: its tensors are not those that its card describes; make it"):
        SiteProfile.load(path)


def test_a_card_that_names_cameras_whose_statistics_are_gone(with_cameras: SiteProfile, tmp_path: Path) -> None:
    path = tmp_path / "lobby.safetensors"
    with_cameras.save(path)
    tensors = {name: value for name, value in load_file(path).items() if name != "cameras.mean"}
    save_file(tensors, path, metadata={"card": with_cameras.card.model_dump_json()})
    with pytest.raises(PasserbyError, match="damaged"):
        SiteProfile.load(path)


def test_a_card_that_names_cameras_that_never_were(site: SiteProfile, tmp_path: Path) -> None:
    SiteProfile(card(cameras=("", "a")), site.tensors, None).save(tmp_path / "lobby.safetensors")
    with pytest.raises(PasserbyError, match=r"lobby\.safetensors: no site profile, or a damaged one"):
        SiteProfile.load(tmp_path / "lobby.safetensors")


def test_tensors_of_another_kind_than_the_models(site: SiteProfile, model: Model) -> None:
    narrow = SiteProfile(site.card, {name: value.bfloat16() for name, value in site.tensors.items()}, None)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with pytest.raises(PasserbyError, match="does not fit the model; the profile is damaged"):
        narrow.apply(model)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_a_profile_of_another_way_to_look_at_unknown_domains(site: SiteProfile, model: Model) -> None:
    model.unknown = "experts"
    other = SiteProfile(site.card.model_copy(update={"unknown": "bank"}), site.tensors, None)
    with pytest.raises(
        PasserbyError, match=r"looks at unknown domains by 'bank', this one does by 'experts'.*--unknown"
    ):
        other.apply(model)
    assert model.site is None
    model.unknown = "bank"
    other.apply(model).remove()


def test_no_file(tmp_path: Path) -> None:
    for path in (tmp_path / "nowhere.safetensors", tmp_path):
        with pytest.raises(PasserbyError, match="no such site profile; make one with `passerby adapt`"):
            SiteProfile.load(path)


def test_weights_of_a_model_are_no_profile(model: Model, tmp_path: Path) -> None:
    save_file({name: value.contiguous() for name, value in model.state_dict().items()}, tmp_path / "model.safetensors")
    with pytest.raises(PasserbyError, match="no site profile"):
        SiteProfile.load(tmp_path / "model.safetensors")


@pytest.mark.parametrize("fails", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_an_interrupted_save_keeps_the_old_file(
    site: SiteProfile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fails: BaseException
) -> None:
    path = tmp_path / "sites" / "lobby.safetensors"
    site.save(path)
    old = path.read_bytes()

    def half(tensors: Any, temporary: Path, **_: Any) -> None:
        temporary.write_bytes(old[:100])
        raise fails

    newer = SiteProfile(card(images=99), site.tensors, None)
    with monkeypatch.context() as patch:
        patch.setattr(profile, "save_file", half)
        with pytest.raises(type(fails)):
            newer.save(path)
        with pytest.raises(type(fails)):
            newer.save(tmp_path / "new" / "lobby.safetensors")
    assert path.read_bytes() == old
    assert names(path.parent) == ["lobby.safetensors"]
    assert names(tmp_path / "new") == []
    newer.save(path)
    assert SiteProfile.load(path).card.images == 99


def test_a_full_disk_is_one_clear_error(site: SiteProfile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise SafetensorError("No space left on device (os error 28)")

    monkeypatch.setattr(profile, "save_file", full)
    with pytest.raises(PasserbyError, match=r"lobby\.safetensors: cannot be written .*No space left.*free room"):
        site.save(tmp_path / "lobby.safetensors")
    assert names(tmp_path) == []


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("when", ["before", "after"])
def test_a_card_holds_no_number_that_is_not_finite(when: str, value: float) -> None:
    with pytest.raises(ValueError, match=rf"{when}\.distance\n.*finite"):
        card(**{when: {"distance": value}})


def test_the_card_says_what_people_ask(site: SiteProfile, tmp_path: Path) -> None:
    site.save(tmp_path / "lobby.safetensors")
    with safe_open(tmp_path / "lobby.safetensors", "pt") as file:
        said = json.loads(file.metadata()["card"])
    assert said["model_sha256"] == "ab" * 32
    assert (said["method"], said["images"], said["date"]) == ("adabn", 24, "2026-01-02")
    with pytest.raises(ValueError, match="surprise"):
        card(surprise=1)
