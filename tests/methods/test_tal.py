"""QAConv-GS and TAL: which tensors each loss moves, what the steps are, and what is refused."""

import dataclasses
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from torch import Tensor
from torch.nn.functional import normalize

from passerby.data.augment import Augmentation
from passerby.data.graph_sampling import GraphSampler
from passerby.data.images import Preprocessing
from passerby.data.training_set import Batch
from passerby.errors import PasserbyError
from passerby.losses.score_triplet import BatchHardScoreTriplet
from passerby.matching.settings import MatcherSettings
from passerby.methods.base import TrainingFacts
from passerby.methods.baseline import Baseline, BaselineSettings
from passerby.methods.optimization import OptimizerSettings, ScheduleSettings
from passerby.methods.qaconv import QaConv, QaConvSettings, _right
from passerby.methods.tal import Tal, TalSettings, _of_pairs
from passerby.models.matching_model import build_model
from passerby.models.model import Architecture, Model
from passerby.models.norm import DomainNorm2d
from passerby.models.norm_kinds import BankSettings, NormKind
from passerby.models.route import Route

SMALL = Preprocessing(height=32, width=16)
IDENTITY = torch.arange(6).repeat_interleave(4)
DOMAIN = torch.arange(3).repeat_interleave(8)

pytestmark = pytest.mark.filterwarnings("ignore:You are trying to `self.log")


def facts(domains: int = 3) -> TrainingFacts:
    return TrainingFacts(
        classes=6,
        domains=domains,
        steps=100,
        seed=7,
        optimizer=OptimizerSettings(name="sgd", lr=0.1),
        schedule=ScheduleSettings(decay="constant", warmup=0),
        augmentation=Augmentation(flip=0),
    )


def model(norm: NormKind = "domain", attention: int = 4, domains: int = 3, **matcher: Any) -> Model:
    torch.manual_seed(0)
    settings = MatcherSettings(kind="qaconv", channels=8, reduction=2, **matcher)
    bank = BankSettings(domains=domains if norm.startswith("domain") else 0, affine="own", attention=attention)
    architecture = Architecture(
        backbone="test_resnet", stages=("layer3", "layer4"), norm=norm, bank=bank, matcher=settings
    )
    built = build_model(architecture, SMALL)
    with torch.no_grad():  # the last norm of a block starts at weight 0: nothing would reach the layers before it
        for layer in built.modules():
            if isinstance(layer, DomainNorm2d | torch.nn.BatchNorm2d):
                layer.weight.uniform_(0.5, 1.5)
    return built


def tal(specific: str = "attention", invariant: str = "mix", norm: NormKind = "domain", **settings: Any) -> Tal:
    attention = 4 if invariant == "mix" else 0
    built = model(norm, attention, specific=specific, invariant=invariant)
    return Tal(built, facts(), TalSettings.model_validate(settings))


def batch() -> Batch:
    pixels = torch.randint(0, 256, (24, 3, 32, 16), generator=torch.Generator().manual_seed(2)).float()
    return Batch(SMALL.normalise(pixels), IDENTITY, IDENTITY * 0, DOMAIN, 3)


def reached_by(method: Tal | QaConv, name: str) -> dict[str, Tensor]:
    """Parameters that a loss alone gives a gradient that is not zero."""
    method.zero_grad()
    method.losses(batch())[name].backward()
    return {n: p for n, p in method.named_parameters() if p.grad is not None and bool((p.grad != 0).any())}


def parts(reached: dict[str, Tensor]) -> set[str]:
    """What the parameters belong to: convolutions, the experts' affine, the attention over them, or a matcher."""
    found = set()
    for name, parameter in reached.items():
        if name.startswith("_own"):
            found.add("own")
        elif "matcher" in name:
            found.add("invariant" if ".invariant." in name else "specific")
        elif ".squeeze." in name or ".excite." in name:
            found.add("attention")
        elif "instance_" in name:
            found.add("instance")
        else:
            found.add("convolutions" if parameter.ndim == 4 else "affine")
    return found


def test_each_loss_moves_what_it_should_and_nothing_else() -> None:
    method = tal()
    assert parts(reached_by(method, "expert")) == {"convolutions", "affine", "own"}
    assert parts(reached_by(method, "adaptive")) == {"specific"}
    assert parts(reached_by(method, "invariant")) == {"convolutions", "attention", "invariant"}


def test_the_mixed_stream_trains_the_experts_affine_if_it_is_told_to() -> None:
    assert "affine" in parts(reached_by(tal(mix_trains_affine=True), "invariant"))


def test_inside_ibn_a_the_instance_half_is_shared_and_trains_in_both_streams() -> None:
    method = tal(norm="domain-ibn-a")
    assert "instance" in parts(reached_by(method, "expert"))
    assert parts(reached_by(method, "invariant")) == {"convolutions", "attention", "invariant", "instance"}
    assert parts(reached_by(method, "adaptive")) == {"specific"}


def test_all_of_a_matcher_trains() -> None:
    method = tal()
    reached = reached_by(method, "adaptive")
    # The last shift takes part in every score alike: a triplet does not see it, nor what is constant before the last norm.
    blind = ("score_norm.bias", "linear.bias", "vector_norm.bias", "squeeze.bias")
    expected = {n for n, _ in method.named_parameters() if ".specific." in n and not n.endswith(blind)}
    assert {n for n in reached if not n.endswith(blind)} == expected


def test_the_experts_statistics_move_in_the_first_step_alone() -> None:
    method = tal()
    layer = next(m for m in method.model.modules() if isinstance(m, DomainNorm2d))
    before = layer.running_mean.clone()
    method.losses(batch())
    assert layer.num_batches_tracked.tolist() == [1, 1, 1]
    assert not torch.equal(layer.running_mean, before)
    assert method.model.training
    assert all(m.training for m in method.modules())


def test_the_losses_are_the_steps_written_out() -> None:
    method = tal(expert_pairs="domain")
    step = batch()
    losses = method.losses(step)
    # The statistics have moved once; the experts of steps 2 and 3 see them as they are now.
    other = tal(expert_pairs="domain")
    maps = [m[None] for m in other.model(step.images, Route(DOMAIN)).maps.values()]
    triplet = BatchHardScoreTriplet(16.0)
    same_domain = DOMAIN[:, None] == DOMAIN[None, :]
    torch.testing.assert_close(losses["expert"], triplet(other.expert_matcher.pairwise(maps), IDENTITY, same_domain))
    other.model.eval()
    seen: list[list[Tensor]] = []
    for k in range(3):
        seen.append(list(other.model(step.images, Route(torch.full((24,), k))).maps.values()))
    stacked = [torch.stack(of_stage).detach() for of_stage in zip(*seen, strict=True)]
    other.model.train()
    matcher: Any = other.model.matcher
    torch.testing.assert_close(losses["adaptive"], triplet(matcher.specific.pairwise(stacked), IDENTITY))
    maps = [m[None] for m in other.model(step.images, Route(None, "mix")).maps.values()]
    torch.testing.assert_close(losses["invariant"], triplet(matcher.invariant.pairwise(maps), IDENTITY))


def test_an_experts_own_images_can_do_without_it() -> None:
    method, step = tal(leave_out=1.0), batch()
    own = torch.nn.functional.one_hot(DOMAIN, 3).bool()
    assert torch.equal(method.left_out(step), own)
    losses = method.losses(step)
    other, triplet = tal(), BatchHardScoreTriplet(16.0)
    other.losses(step)  # moves the experts' statistics as the first step did
    matcher: Any = other.model.matcher
    other.model.eval()
    with torch.no_grad():
        maps = other.model.experts(step.images)
    other.model.train()
    # Nothing compares people of domains 0 and 1 but expert 2.
    without = torch.stack([own[a] | own[b] for a in range(24) for b in range(24)])
    expected = matcher.specific.pairwise(maps, matcher.specific.scorer(without))
    torch.testing.assert_close(losses["adaptive"], triplet(expected, IDENTITY))
    seen = other.model(step.images, Route(None, "mix", without=own)).maps.values()
    expected = matcher.invariant.pairwise([m[None] for m in seen])
    torch.testing.assert_close(losses["invariant"], triplet(expected, IDENTITY))
    assert not torch.allclose(losses["invariant"], tal().losses(step)["invariant"])


def test_how_many_images_do_without_their_expert() -> None:
    assert tal().left_out(batch()) is None
    many = dataclasses.replace(batch(), domain=torch.arange(3).repeat(1000))
    method = tal(leave_out=0.3)
    chosen = method.left_out(many)
    assert chosen is not None
    assert chosen.sum() == pytest.approx(900, abs=100)
    assert torch.equal(chosen, method.left_out(many))
    later = method.left_out(dataclasses.replace(many, step=4))
    assert not torch.equal(chosen, later)


def test_where_two_domains_have_no_third_expert_all_take_part() -> None:
    own = torch.nn.functional.one_hot(torch.tensor([0, 1, 1]), 2).bool()
    pairs = _of_pairs(own).view(3, 3, 2)
    assert pairs[0, 0].tolist() == [True, False]
    assert pairs[1, 2].tolist() == [False, True]
    assert pairs[0, 1].tolist() == pairs[1, 0].tolist() == [False, False]


@pytest.mark.parametrize(
    ("specific", "invariant", "names"),
    [
        ("attention", "none", {"expert", "adaptive"}),
        ("average", "none", {"expert", "adaptive"}),
        ("vote", "none", {"expert"}),
        ("none", "mix", {"expert", "invariant"}),
        ("none", "batch", {"expert", "invariant"}),
        ("vote", "mix", {"expert", "invariant"}),
    ],
)
def test_comparators_leave_steps_out(specific: str, invariant: str, names: set[str]) -> None:
    method = tal(specific, invariant)
    assert set(method.losses(batch())) == names
    every = {n for n, _ in method.named_parameters()}
    reached: set[str] = set()
    for name in names:
        method.zero_grad()
        method.losses(batch())[name].backward()
        reached |= {n for n, p in method.named_parameters() if p.grad is not None}
    assert reached == every, "several processes would wait for the gradient of what no loss reaches"
    views = method.model.eval().look(batch().images)[0]
    assert len(views) == (3 if specific != "none" else 0) + (invariant != "none")
    if invariant == "batch":  # one more set of statistics, that of all domains
        layer = next(m for m in method.model.modules() if isinstance(m, DomainNorm2d))
        assert layer.running_mean.shape[0] == 4
        assert int(layer.num_batches_tracked[3]) > 0


def test_qaconv_trains_everything_and_knows_one_person_from_another() -> None:
    method = QaConv(model("ibn-a"), facts(1), QaConvSettings(reduction="mean"))
    everything = {n for n, _ in method.named_parameters()}
    method.losses(batch())["match"].backward()
    assert {n for n, p in method.named_parameters() if p.grad is not None} == everything
    optimizer = torch.optim.Adam(method.parameters(), lr=3e-3)
    losses = []
    for _ in range(12):
        optimizer.zero_grad()
        loss = method.losses(batch())["match"]
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.85 * losses[0]


def test_the_graph_goes_by_whole_maps_or_by_the_matcher() -> None:
    pixels = torch.randint(0, 256, (6, 3, 32, 16), generator=torch.Generator().manual_seed(3), dtype=torch.uint8)
    images = SimpleNamespace(gather=lambda indices: pixels[torch.from_numpy(indices)], domain=np.zeros(6, np.int64))
    everyone = np.arange(6)
    for graph in ("pooled", "matcher"):
        method = QaConv(model("ibn-a"), facts(1), QaConvSettings.model_validate({"graph": graph}))
        sampler = GraphSampler(everyone.repeat(2), 2, 2, seed=0)
        method.prepare_sampler(sampler, images)  # type: ignore[arg-type]
        assert sampler.nearest is not None
        found = sampler.nearest(everyone, everyone, 5)
        with torch.no_grad():
            maps = list(method.model.eval()(SMALL.normalise(pixels.float())).maps.values())
            if graph == "pooled":
                means = normalize(torch.cat([normalize(m.mean((2, 3))) for m in maps], 1))
                scores = means @ means.T
            else:
                rows = method.model.matcher.layout.row([m[None] for m in maps])
                scores = method.model.matcher.score(rows, rows)
        order = scores.fill_diagonal_(-torch.inf).argsort(1, descending=True)[:, :5]
        assert found.tolist() == order.tolist()


@pytest.mark.parametrize("graph", ["pooled", "matcher"])
@pytest.mark.parametrize("invariant", ["mix", "none"])
def test_the_graph_of_tal_goes_by_the_stream_that_mixes_else_by_each_images_own_expert(
    invariant: str, graph: str
) -> None:
    method = tal(invariant=invariant, graph=graph)
    with torch.no_grad():
        for layer in method.model.modules():
            if isinstance(layer, DomainNorm2d):
                layer.running_mean.normal_()
    generator = torch.Generator().manual_seed(3)
    pixels = torch.randint(0, 256, (9, 3, 32, 16), generator=generator, dtype=torch.uint8)
    everyone, domain = np.arange(9), np.arange(9) % 3
    sampler = GraphSampler(everyone.repeat(2), 2, 2, seed=0)
    images = SimpleNamespace(gather=lambda indices: pixels[torch.from_numpy(indices)], domain=domain)
    method.prepare_sampler(sampler, images)  # type: ignore[arg-type]
    assert sampler.nearest is not None
    found = sampler.nearest(everyone, everyone, 8)
    route = Route(None, "mix") if invariant == "mix" else Route(torch.from_numpy(domain))
    method.eval()
    with torch.no_grad():
        maps = list(method.model(SMALL.normalise(pixels.float()), route).maps.values())
        if graph == "pooled":
            means = normalize(torch.cat([normalize(m.mean((2, 3))) for m in maps], 1))
            scores = means @ means.T
        else:
            matcher: Any = method.model.matcher.invariant if invariant == "mix" else method._own  # type: ignore[union-attr]
            rows = matcher.layout.row([m[None] for m in maps]).half()
            scores = matcher.score(rows, rows)
    assert found.tolist() == scores.fill_diagonal_(-torch.inf).argsort(1, descending=True)[:, :8].tolist()


def test_descriptors_are_of_full_precision_under_autocast() -> None:
    method = QaConv(model("batch", attention=0), facts(1), QaConvSettings())
    with torch.autocast("cpu", torch.bfloat16):
        maps = method.model(batch().images).maps.values()
    for m in maps:
        assert m.dtype == torch.float32
        torch.testing.assert_close(m.norm(dim=1), torch.ones_like(m[:, 0]))


def test_the_share_of_anchors_that_are_right() -> None:
    identity = torch.tensor([0, 0, 1, 1, 2])
    # Anchor 0 has its other image first; anchor 1 has a stranger before it; 2 and 3 each other; 4 has no second image.
    scores = torch.tensor(
        [
            [9, 5, 1, 2, 3],
            [5, 9, 6, 0, 0],
            [1, 6, 9, 8, 0],
            [2, 0, 8, 9, 1],
            [3, 0, 0, 1, 9.0],
        ]
    )
    assert float(_right(scores, identity, None)) == 0.75
    assert float(_right(-scores, identity, None)) == 0
    compared = torch.ones(5, 5, dtype=torch.bool)
    compared[1, 2] = False
    assert float(_right(scores, identity, compared)) == 1


def test_plain_statistics_leave_the_experts_their_momentum() -> None:
    step = batch()
    uneven = dataclasses.replace(step, domain=torch.tensor([0] * 12 + [1] * 8 + [2] * 4))
    moved = []
    for invariant in ("mix", "batch"):
        method = tal("none", invariant)
        method.losses(uneven)
        layer = next(m for m in method.model.modules() if isinstance(m, DomainNorm2d))
        moved.append(layer.running_mean[:3])
    torch.testing.assert_close(*moved)


def test_what_does_not_go_together_is_refused() -> None:
    plain = Model(Architecture(backbone="test_resnet"), SMALL)
    with pytest.raises(PasserbyError, match=r"set model.matcher.kind to qaconv"):
        QaConv(plain, facts(), QaConvSettings())
    with pytest.raises(PasserbyError, match="does not train a matcher"):
        Baseline(model("batch"), facts(), BaselineSettings())
    with pytest.raises(PasserbyError, match="has no experts"):
        Tal(model("batch"), facts(), TalSettings())
    with pytest.raises(PasserbyError, match=r"train it by method.name=tal"):
        QaConv(model(specific="vote", invariant="mix"), facts(), QaConvSettings())
    with pytest.raises(PasserbyError, match="one domain makes one expert"):
        Tal(model(specific="vote", invariant="mix"), facts(1), TalSettings())
    with pytest.raises(PasserbyError, match="3 experts, the data 4 domains"):
        Tal(model(specific="vote", invariant="mix"), facts(4), TalSettings())
    with pytest.raises(PasserbyError, match="has no experts; set it to domain"):
        model("batch", specific="vote")
    for specific, invariant in (("vote", "none"), ("none", "batch")):
        with pytest.raises(PasserbyError, match="nothing here weights experts"):
            tal(specific, invariant, leave_out=0.5)
    with pytest.raises(ValidationError, match="has no streams; set kind to qaconv"):
        MatcherSettings(specific="vote")
    with pytest.raises(PasserbyError, match="which experts are matched"):
        model("domain", attention=0)
    with pytest.raises(PasserbyError, match="mixes experts, which no stream does"):
        model("domain", attention=16, specific="vote")
    with pytest.raises(PasserbyError, match=r"set model\.stages"):
        build_model(Architecture(backbone="test_resnet", matcher=MatcherSettings(kind="qaconv")), SMALL)


def test_the_attention_of_domain_norms_is_new_and_no_pretrained_layer() -> None:
    method = tal()
    method.facts = dataclasses.replace(method.facts, optimizer=OptimizerSettings(name="sgd", lr=0.1, new_layers=10))
    configured: Any = method.configure_optimizers()
    groups = configured["optimizer"].param_groups
    pretrained, new, attention = groups
    assert new["initial_lr"] == attention["initial_lr"] == pytest.approx(10 * pretrained["initial_lr"])
    assert new["weight_decay"] == pretrained["weight_decay"] > 0 == attention["weight_decay"]
    norm = next(m for m in method.model.backbone.modules() if isinstance(m, DomainNorm2d))
    specific = method.model.matcher.specific
    assert (len(norm.attention_parameters), len(specific.attention_parameters)) == (2, 4)
    adaptive = {id(p) for p in (*norm.attention_parameters, *specific.attention_parameters)}
    assert adaptive <= {id(p) for p in attention["params"]}
    assert id(norm.weight) in {id(p) for p in pretrained["params"]}
    of_groups = [id(p) for group in groups for p in group["params"]]
    assert sorted(of_groups) == sorted(id(p) for p in method.parameters())
