"""The banked norm: each mode against its plain formula, what moves the bank, and what gradients reach."""

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from passerby.errors import PasserbyError
from passerby.models.norm import After, Bank, DomainNorm2d
from passerby.models.route import Route, other_domains, routed

C, K, N = 6, 3, 12
DOMAIN = torch.tensor([0, 1, 2, 0, 1, 2, 0, 1, 2, 0, 1, 2])
COLOUR = torch.tensor([1, 2, 0, 2, 0, 1, 1, 2, 0, 2, 0, 1])


def layer_of(training: bool = True, **options: Any) -> DomainNorm2d:
    """Every parameter and every statistic with a value of its own, in float64."""
    torch.manual_seed(0)
    layer = DomainNorm2d(C, K, eps=1e-3, momentum=0.2, **options).double().train(training)
    for name, tensor in [*layer.named_parameters(), *layer.named_buffers()]:
        if tensor.is_floating_point():
            tensor.data.uniform_(0.5, 2) if "weight" in name or "var" in name else tensor.data.normal_()
    return layer


def maps(images: int = N, form: torch.memory_format = torch.contiguous_format) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    x = 1 + 2 * torch.randn(images, C, 5, 3, dtype=torch.float64, generator=generator)
    return x.to(memory_format=form).requires_grad_()


def run(layer: DomainNorm2d, x: Tensor, route: Route | None) -> Tensor:
    with routed(layer, route):
        result: Tensor = layer(x)
    return result


def by_channel(values: Tensor) -> Tensor:
    return values[..., None, None]


def affine_of(layer: DomainNorm2d, k: int) -> tuple[Tensor, Tensor]:
    own = layer.weight.ndim == 2
    return (layer.weight[k], layer.bias[k]) if own else (layer.weight, layer.bias)


def expert(layer: DomainNorm2d, x: Tensor, k: int, mean: Tensor, variance: Tensor) -> Tensor:
    weight, bias = affine_of(layer, k)
    white = (x - by_channel(mean)) / by_channel(variance + layer.eps).sqrt()
    return by_channel(weight) * white + by_channel(bias)


def plain_expert(layer: DomainNorm2d, x: Tensor, domain: Tensor) -> Tensor:
    """Image by image."""
    out = []
    for image, k in zip(x, domain.tolist(), strict=True):
        own = x[domain == k]
        mean, variance = layer.running_mean[k].clone(), layer.running_var[k].clone()
        if layer.training and len(own) >= 4:
            mean, variance = own.mean((0, 2, 3)), own.var((0, 2, 3), correction=0)
        out.append(expert(layer, image, k, mean, variance))
    return torch.stack(out)


def plain_mix(layer: DomainNorm2d, x: Tensor, without: Tensor | None = None) -> Tensor:
    """Eq. 3 to 6 of TAL, K output tensors and their sum; the affine is not differentiated."""
    still = copy.deepcopy(layer)
    alpha = torch.full((len(x), K), 1 / K, dtype=x.dtype)
    if layer.squeeze is not None:
        assert layer.excite is not None
        centre, variance = layer.bank.pooled()
        standard = (x.mean((2, 3)) - centre) / (variance + layer.eps).sqrt()
        alpha = torch.softmax(layer.excite(torch.relu(layer.squeeze(standard))), 1)
    if without is not None:
        alpha = alpha * ~without / (alpha * ~without).sum(1, keepdim=True)
    for parameter in (still.weight, still.bias):
        parameter.requires_grad_(layer.mix_trains_affine)
    total = torch.zeros_like(x)
    for k in range(K):
        own = layer if layer.mix_trains_affine else still
        total = total + alpha[:, k, None, None, None] * expert(own, x, k, layer.running_mean[k], layer.running_var[k])
    return total


def plain_recolour(layer: DomainNorm2d, x: Tensor, domain: Tensor, colour: Tensor) -> Tensor:
    """Anti-Normalization as the poster prints it, then what `after` says."""
    coloured = []
    for image, j in zip(x, colour.tolist(), strict=True):
        white = (image - by_channel(image.mean((1, 2)))) / by_channel(
            image.var((1, 2), correction=0) + layer.eps
        ).sqrt()
        coloured.append(white * by_channel(layer.running_var[j] + layer.eps).sqrt() + by_channel(layer.running_mean[j]))
    c = torch.stack(coloured)
    pooled_mean = layer.running_mean.mean(0)
    pooled_var = (layer.running_var + layer.running_mean.square()).mean(0) - pooled_mean.square()
    out = []
    for image, k in zip(c, domain.tolist(), strict=True):
        if layer.after == "source":
            mean, variance = layer.running_mean[k], layer.running_var[k]
        elif layer.after == "batch" and layer.training:
            mean, variance = c.mean((0, 2, 3)), c.var((0, 2, 3), correction=0)
        elif layer.after == "none":
            weight, bias = affine_of(layer, k)
            out.append(by_channel(weight) * image + by_channel(bias))
            continue
        else:
            mean, variance = pooled_mean, pooled_var
        out.append(expert(layer, image, k, mean, variance))
    return torch.stack(out)


def same_both_ways(layer: DomainNorm2d, x: Tensor, y: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(y, expected, rtol=1e-10, atol=1e-10)
    gradient = torch.randn(y.shape, dtype=y.dtype, generator=torch.Generator().manual_seed(2))
    wanted = [x, *layer.parameters()]
    ours = torch.autograd.grad(y, wanted, gradient, allow_unused=True, retain_graph=True)
    theirs = torch.autograd.grad(expected, wanted, gradient, allow_unused=True)
    for one, other in zip(ours, theirs, strict=True):
        assert (one is None) == (other is None)
        if one is not None and other is not None:
            torch.testing.assert_close(one, other, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("form", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("affine", ["shared", "own"])
def test_expert_equals_its_formula(affine: str, training: bool, form: torch.memory_format) -> None:
    layer, x = layer_of(training, affine=affine), maps(form=form)
    expected = plain_expert(layer, x, DOMAIN)
    same_both_ways(layer, x, run(layer, x, Route(DOMAIN)), expected)


def test_a_domain_with_fewer_than_four_images_uses_its_running_statistics() -> None:
    domain = torch.tensor([0] * 7 + [1] * 3 + [0] * 2)
    layer, x = layer_of(), maps()
    expected, before = plain_expert(layer, x, domain), layer.bank
    same_both_ways(layer, x, run(layer, x, Route(domain)), expected)
    assert layer.num_batches_tracked.tolist() == [1, 0, 0]
    torch.testing.assert_close(layer.running_mean[1:], before.mean[1:], rtol=0, atol=0)
    torch.testing.assert_close(layer.running_var[1:], before.variance[1:], rtol=0, atol=0)
    own = x[domain == 0].detach()
    torch.testing.assert_close(layer.running_mean[0], 0.8 * before.mean[0] + 0.2 * own.mean((0, 2, 3)))
    torch.testing.assert_close(layer.running_var[0], 0.8 * before.variance[0] + 0.2 * own.var((0, 2, 3)))


def test_a_domain_with_less_than_its_share_of_a_batch_moves_by_less() -> None:
    domain = torch.tensor([0] * 16 + [1] * 4)
    layer, x = layer_of(), maps(20)
    before = layer.bank
    run(layer, x, Route(domain))
    for k, weight in ((0, 0.2), (1, 0.2 * 4 * K / 20)):
        own = x[domain == k].detach()
        torch.testing.assert_close(
            layer.running_mean[k], torch.lerp(before.mean[k], own.mean((0, 2, 3)), weight), rtol=1e-9, atol=1e-9
        )
        torch.testing.assert_close(
            layer.running_var[k], torch.lerp(before.variance[k], own.var((0, 2, 3)), weight), rtol=1e-9, atol=1e-9
        )


@pytest.mark.parametrize("momentum", [0.1, None])
def test_the_bank_of_one_domain_follows_as_torchs_batch_norm_does(momentum: float | None) -> None:
    norm = nn.BatchNorm2d(C, momentum=momentum).double()
    layer = DomainNorm2d.of(norm, 1)
    for seed in range(3):
        x = torch.randn(4 + seed, C, 3, 2, generator=torch.Generator().manual_seed(seed)).double()
        torch.testing.assert_close(run(layer, x, Route(torch.zeros(len(x), dtype=torch.long))), norm(x))
    torch.testing.assert_close(layer.running_mean[0], norm.running_mean)
    torch.testing.assert_close(layer.running_var[0], norm.running_var)
    assert layer.num_batches_tracked.tolist() == [3]


@pytest.mark.parametrize("trains", [True, False])
@pytest.mark.parametrize("options", [{}, {"attention": 2}, {"attention": 2, "affine": "own"}])
def test_mix_equals_the_plain_sum(options: dict[str, Any], trains: bool) -> None:
    layer, x = layer_of(**options), maps()
    layer.mix_trains_affine = trains
    same_both_ways(layer, x, run(layer, x, Route(None, "mix")), plain_mix(layer, x))


@pytest.mark.parametrize("attention", [0, 2])
def test_experts_that_a_route_leaves_out_take_no_part(attention: int) -> None:
    layer, x = layer_of(attention=attention), maps()
    without = torch.nn.functional.one_hot(DOMAIN, K).bool()
    without[0] = torch.tensor([True, True, False])
    without[1] = False
    y = run(layer, x, Route(None, "mix", without=without))
    same_both_ways(layer, x, y, plain_mix(layer, x, without))
    alone = expert(layer, x[0], 2, layer.running_mean[2], layer.running_var[2])
    torch.testing.assert_close(y[0], alone)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("affine", ["shared", "own"])
@pytest.mark.parametrize("after", ["source", "batch", "pooled", "none"])
def test_recolour_equals_the_posters_equation(after: After, affine: str, training: bool) -> None:
    layer, x = layer_of(training, after=after, affine=affine), maps()
    expected = plain_recolour(layer, x, DOMAIN, COLOUR)
    same_both_ways(layer, x, run(layer, x, Route(DOMAIN, "recolour", COLOUR)), expected)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("after", ["source", "batch"])
@pytest.mark.parametrize("half", [0, 2])
@pytest.mark.parametrize("affine", ["shared", "own"])
def test_a_layer_that_does_not_recolour_takes_the_way_of_the_expert_and_leaves_the_bank(
    affine: str, half: int, after: After, training: bool
) -> None:
    layer, x = layer_of(training, affine=affine, after=after, instance_channels=half), maps()
    layer.recolours = False
    before = layer.bank
    found = run(layer, x, Route(DOMAIN, "recolour", COLOUR))
    unknown = run(layer, x, Route(None, "recolour"))
    assert torch.equal(layer.running_mean, before.mean)
    assert torch.equal(layer.running_var, before.variance)
    layer.hold_statistics = True
    same_both_ways(layer, x, found, run(layer, x, Route(DOMAIN)))
    layer.eval()
    each = [run(layer, x, Route(torch.full((N,), k))) for k in range(K)]
    torch.testing.assert_close(unknown, torch.stack(each).mean(0))


def test_normalised_by_the_colours_own_statistics_it_would_be_instance_norm() -> None:
    layer, x = layer_of(), maps()
    y = run(layer, x, Route(DOMAIN, "recolour", DOMAIN))
    expected = nn.functional.instance_norm(x, weight=layer.weight, bias=layer.bias, eps=layer.eps)
    torch.testing.assert_close(y, expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("affine", ["shared", "own"])
def test_an_unknown_source_is_the_mean_of_the_sources(affine: str) -> None:
    layer, x = layer_of(training=False, affine=affine), maps()
    each = [run(layer, x, Route(torch.full((N,), k), "recolour", COLOUR)) for k in range(K)]
    torch.testing.assert_close(run(layer, x, Route(None, "recolour", COLOUR)), torch.stack(each).mean(0))


def test_the_mean_of_the_bank_and_the_nearest_domain_as_colours() -> None:
    layer, x = layer_of(training=False, after="none"), maps()
    layer.running_mean.copy_(torch.tensor([[0.0], [50.0], [-50.0]]).expand(K, C))
    mean, variance = layer.running_mean.mean(0), layer.running_var.mean(0)
    white = nn.functional.instance_norm(x, eps=layer.eps)
    coloured = white * by_channel(variance + layer.eps).sqrt() + by_channel(mean)
    expected = by_channel(layer.weight) * coloured + by_channel(layer.bias)
    torch.testing.assert_close(run(layer, x, Route(None, "recolour", "bank")), expected)
    offset = 50.0 * torch.tensor([0, 1, -1] * 4, dtype=torch.float64).view(-1, 1, 1, 1)
    nearest = run(layer, x + offset, Route(None, "recolour", "nearest"))
    torch.testing.assert_close(nearest, run(layer, x + offset, Route(None, "recolour", DOMAIN)))


@pytest.mark.parametrize("affine", ["shared", "own"])
def test_images_of_known_domains_in_the_mean_of_the_bank(affine: str) -> None:
    layer, x = layer_of(training=False, affine=affine), maps()
    mean, variance = layer.running_mean.mean(0), layer.running_var.mean(0)
    coloured = nn.functional.instance_norm(x, eps=layer.eps) * by_channel(variance + layer.eps).sqrt() + by_channel(
        mean
    )
    torch.testing.assert_close(run(layer, x, Route(DOMAIN, "recolour", "bank")), plain_expert(layer, coloured, DOMAIN))


def test_the_nearest_domain_may_be_one_of_the_same_mean() -> None:
    layer, x = layer_of(training=False, after="none"), maps()
    layer.running_mean.zero_()
    layer.running_var.copy_(torch.tensor([[1.0], [400.0], [1e4]]).expand(K, C))
    spread = torch.tensor([0.5, 10.0, 50.0] * 4, dtype=torch.float64).view(-1, 1, 1, 1)
    contrasts = (x - 1) * spread
    expected = run(layer, contrasts, Route(None, "recolour", torch.arange(N) % K))
    torch.testing.assert_close(run(layer, contrasts, Route(None, "recolour", "nearest")), expected)


def test_the_attentions_width_is_of_the_channels_that_it_sees() -> None:
    layer = DomainNorm2d(64, K, attention=2, instance_channels=32)
    assert [p.shape for p in layer.attention_parameters] == [(16, 32), (K, 16)]


@pytest.mark.parametrize("affine", ["shared", "own"])
@pytest.mark.parametrize("route", [Route(DOMAIN), Route(None, "mix"), Route(DOMAIN, "recolour", COLOUR)])
def test_the_instance_half_is_the_same_in_every_mode(route: Route, affine: str) -> None:
    norm = nn.BatchNorm2d(C).double()
    norm.weight.data.uniform_(0.5, 2)
    layer = DomainNorm2d.of(norm, K, affine=affine, half_instance=True)  # type: ignore[arg-type]
    x = maps()
    instance = nn.functional.instance_norm(x, weight=norm.weight, bias=norm.bias)
    y = run(layer, x, route)
    torch.testing.assert_close(y[:, : C // 2], instance[:, : C // 2], rtol=1e-10, atol=1e-10)
    rest = DomainNorm2d.of(norm, K, affine=affine)  # type: ignore[arg-type]
    torch.testing.assert_close(y[:, C // 2 :], run(rest, x, route)[:, C // 2 :], rtol=1e-10, atol=1e-10)
    assert layer.running_mean.shape == (K, C - C // 2)


def test_only_the_expert_mode_moves_the_bank_and_only_in_training() -> None:
    layer, x = layer_of(attention=2), maps()
    before = copy.deepcopy(dict(layer.named_buffers()))
    run(layer, x, Route(None, "mix"))
    run(layer, x, Route(DOMAIN, "recolour", COLOUR))
    run(layer.eval(), x, Route(DOMAIN))
    layer.train().hold_statistics = True
    run(layer, x, Route(DOMAIN))
    assert all(torch.equal(buffer, before[name]) for name, buffer in layer.named_buffers())


def test_a_later_batch_may_move_the_bank_before_the_backward_of_an_earlier_one() -> None:
    layer, x = layer_of(attention=2), maps()
    aligned = run(layer, x, Route(DOMAIN, "recolour", COLOUR))
    mixed = run(layer, x, Route(None, "mix"))
    run(layer, x, Route(DOMAIN))
    (aligned.sum() + mixed.square().sum()).backward()
    assert x.grad is not None


def test_no_parameter_is_added_without_own_affine_or_attention() -> None:
    norm = nn.BatchNorm2d(C)
    layer = DomainNorm2d.of(norm, K)
    assert layer.weight is norm.weight
    assert layer.bias is norm.bias
    assert len(list(layer.parameters())) == 2


def test_channels_that_never_vary_stay_finite() -> None:
    for after in ("source", "batch", "pooled", "none"):
        layer = DomainNorm2d(C, K, after=after)  # type: ignore[arg-type]
        x = torch.ones(N, C, 4, 2, requires_grad=True)
        for _ in range(60):
            run(layer, x, Route(DOMAIN))
        layer.running_var.zero_()
        for route in (Route(DOMAIN), Route(None, "mix"), Route(DOMAIN, "recolour", COLOUR), Route(None, "recolour")):
            y = run(layer, x, route)
            assert y.isfinite().all()
            assert torch.autograd.grad(y.sum(), x)[0].isfinite().all()


def test_float32_statistics_under_autocast() -> None:
    layer = DomainNorm2d(C, K)
    x = (100 + torch.randn(N, C, 8, 4)).to(torch.bfloat16)
    with torch.autocast("cpu", torch.bfloat16):
        y = run(layer, x, Route(DOMAIN))
    assert y.dtype == torch.bfloat16
    own = x.float()[DOMAIN == 0]
    torch.testing.assert_close(layer.running_mean[0], 0.1 * own.mean((0, 2, 3)))


def test_other_domains_are_drawn_from_the_seed_alone_and_never_ones_own() -> None:
    domain = torch.arange(4).repeat(500)
    drawn = other_domains(domain, 4, torch.Generator().manual_seed(3))
    assert torch.equal(drawn, other_domains(domain, 4, torch.Generator().manual_seed(3)))
    assert not torch.equal(drawn, other_domains(domain, 4, torch.Generator().manual_seed(4)))
    assert (drawn != domain).all()
    for k in range(4):
        counts = torch.bincount(drawn[domain == k], minlength=4)
        assert counts[k] == 0
        assert counts.sum() == 500
        assert counts[torch.arange(4) != k].min() > 120


@pytest.mark.parametrize("route", [None, Route(None, "expert")])
def test_without_a_way(route: Route | None) -> None:
    with pytest.raises(PasserbyError, match="has to know the way"):
        run(layer_of(), maps(), route)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("affine", ["shared", "own"])
@pytest.mark.parametrize("half", [False, True])
def test_every_domain_starts_from_what_the_batch_norm_had(half: bool, affine: str, training: bool) -> None:
    norm = nn.BatchNorm2d(C, eps=0.01, momentum=0.3).double().train(training)
    for tensor in (norm.weight.data, norm.bias.data, norm.running_mean, norm.running_var):
        assert tensor is not None
        tensor.uniform_(0.5, 2)
    layer = DomainNorm2d.of(norm, K, affine=affine, half_instance=half)  # type: ignore[arg-type]
    assert (layer.eps, layer.momentum, layer.training) == (0.01, 0.3, training)
    rest = slice(C // 2 if half else 0, None)
    for ours, theirs in (
        (layer.running_mean, norm.running_mean),
        (layer.running_var, norm.running_var),
        (layer.weight, norm.weight),
        (layer.bias, norm.bias),
    ):
        assert theirs is not None
        assert torch.equal(ours, theirs[rest].expand_as(ours))
    if half:
        assert torch.equal(layer.instance_weight, norm.weight[: C // 2])
        assert torch.equal(layer.instance_bias, norm.bias[: C // 2])


@pytest.mark.parametrize("seed", range(5))
def test_nearest_is_by_wassersteins_distance_in_pooled_deviations(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    # Channels of very different scale, and domains that differ in spread as much as in place.
    unit = torch.tensor([0.01, 1, 100], dtype=torch.float64)
    place = torch.randn(K, 3, dtype=torch.float64, generator=generator) * unit
    spread = (0.1 + 3 * torch.rand(K, 3, dtype=torch.float64, generator=generator)) * unit
    mean = torch.randn(40, 3, dtype=torch.float64, generator=generator) * unit
    deviation = 3 * torch.rand(40, 3, dtype=torch.float64, generator=generator) * unit
    bank = Bank(place, spread.square())
    pooled = bank.pooled()[1].sqrt()
    plain = [
        [float((((m - p) / pooled) ** 2 + ((d - s) / pooled) ** 2).sum()) for p, s in zip(place, spread, strict=True)]
        for m, d in zip(mean, deviation, strict=True)
    ]
    expected = torch.tensor(plain).argmin(1)
    assert len(expected.unique()) > 1
    assert torch.equal(bank.nearest(mean, deviation.square(), 0.0), expected)


def test_a_batch_norm_with_nothing_to_take_over() -> None:
    with pytest.raises(PasserbyError, match="nothing to take over"):
        DomainNorm2d.of(nn.BatchNorm2d(3, affine=False), 2)
