"""QAConv, MS-QAConv and MSDA-QAConv against the plain formulas, in blocks, with gradients, symmetric, explained."""

from collections.abc import Sequence

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from passerby.errors import PasserbyError
from passerby.matching.experts import MSDAQAConv, TwoStreamQAConv, VotingQAConv
from passerby.matching.map_matcher import MapMatcher
from passerby.matching.maps import MapLayout
from passerby.matching.qaconv import MSQAConv, QAConv
from passerby.matching.response import best_responses

SIZES = ((4, 2), (3, 2))


def random_maps(count: int, seed: int, views: int = 1, sizes: Sequence[tuple[int, int]] = SIZES) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [
        F.normalize(torch.randn(views, count, 5, *size, generator=generator, dtype=torch.double), dim=2)
        for size in sizes
    ]


def stirred(matcher: MapMatcher) -> MapMatcher:
    """In double precision, every parameter and statistic away from its start."""
    torch.manual_seed(3)
    with torch.no_grad():
        for tensor in (*matcher.parameters(), *matcher.buffers()):
            if tensor.is_floating_point():
                tensor.add_(0.3 * torch.rand_like(tensor))
    return matcher.double()


def plain_vectors(query: Tensor, gallery: Tensor) -> Tensor:
    """[2, S]: for each place its largest inner product, one pair of images, the maps [C, h, w] of one scale."""
    a, b = query.flatten(1), gallery.flatten(1)
    products = torch.einsum("cp,cr->pr", a, b)
    return torch.stack([products.max(1).values, products.max(0).values])


def plain_scores(matcher: MSQAConv, query: list[Tensor], gallery: list[Tensor]) -> Tensor:
    """BN, FC, the sum of both directions, BN; as the paper's figure 4 draws it."""
    vectors = torch.stack(
        [
            torch.cat([plain_vectors(q[0, i], g[0, j]) for q, g in zip(query, gallery, strict=True)], dim=1)
            for i in range(query[0].shape[1])
            for j in range(gallery[0].shape[1])
        ]
    )
    norm_1, norm_2 = matcher.vector_norm, matcher.score_norm

    def norm(layer: nn.BatchNorm1d, x: Tensor) -> Tensor:
        mean, variance = layer.running_mean, layer.running_var
        if layer.training:
            mean, variance = x.mean(), x.var(correction=0)
        return (x - mean) / torch.sqrt(variance + layer.eps) * layer.weight + layer.bias

    scores = (norm(norm_1, vectors) @ matcher.linear.weight[0] + matcher.linear.bias).sum(1)
    return norm(norm_2, scores).view(query[0].shape[1], gallery[0].shape[1])


@pytest.mark.parametrize("training", [False, True])
def test_within_a_batch_it_is_the_plain_formula_forward_and_backward(training: bool) -> None:
    matcher = stirred(MSQAConv(MapLayout(5, SIZES), block_bytes=2_000)).train(training)
    assert isinstance(matcher, MSQAConv)
    maps = [m.requires_grad_() for m in random_maps(6, 0)]
    expected = plain_scores(matcher, maps, maps)
    weights = torch.randn(6, 6, dtype=torch.double, generator=torch.Generator().manual_seed(9))
    inputs = [*maps, *matcher.parameters()]
    wanted = torch.autograd.grad((expected * weights).sum(), inputs)
    scores = matcher.pairwise(maps)
    torch.testing.assert_close(scores, expected)
    for found, plain in zip(torch.autograd.grad((scores * weights).sum(), inputs), wanted, strict=True):
        torch.testing.assert_close(found, plain)
    torch.testing.assert_close(scores, scores.T)


@pytest.mark.parametrize("block_bytes", [1, 3_000, None])
def test_blocks_are_the_plain_formula(block_bytes: int | None) -> None:
    matcher = stirred(MSQAConv(MapLayout(5, SIZES), block_bytes)).eval()
    assert isinstance(matcher, MSQAConv)
    query, gallery = random_maps(4, 1), random_maps(9, 2)
    rows = matcher.layout.row(query), matcher.layout.row(gallery)
    expected = plain_scores(matcher, query, gallery)
    torch.testing.assert_close(matcher.score(*rows), expected)
    torch.testing.assert_close(matcher.score(*rows[::-1]).T, matcher.score(*rows))
    columns = torch.stack([torch.randperm(9, generator=torch.Generator().manual_seed(i))[:5] for i in range(4)])
    some = matcher.score_some(*rows, columns)
    torch.testing.assert_close(some, expected.gather(1, columns))
    half = matcher.float().score(*(row.half() for row in rows))
    torch.testing.assert_close(half.double(), expected, rtol=0, atol=0.02)


def test_one_scale_is_qaconv_with_weights_that_start_even() -> None:
    matcher = QAConv(5, (4, 2))
    assert torch.equal(matcher.linear.weight, torch.full((1, 8), 1 / 8))
    query, gallery = random_maps(3, 1, sizes=SIZES[:1]), random_maps(4, 2, sizes=SIZES[:1])
    scores = stirred(matcher).eval().score(matcher.layout.row(query), matcher.layout.row(gallery))
    torch.testing.assert_close(scores, plain_scores(matcher, query, gallery))


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 5), st.integers(1, 6), st.integers(1, 4), st.integers(0, 9), st.booleans())
def test_responses_are_maxima_however_they_are_cut(q: int, g: int, places: int, seed: int, gradient: bool) -> None:
    generator = torch.Generator().manual_seed(seed)
    query = torch.randn(q, places, 3, generator=generator, dtype=torch.double, requires_grad=gradient)
    gallery = torch.randn(g, places, 3, generator=generator, dtype=torch.double)
    products = torch.einsum("qpc,grc->gqpr", query, gallery)
    expected = torch.stack([products.amax(3), products.amax(2)], 2)
    for block_bytes in (1, 200, 10**6):
        torch.testing.assert_close(best_responses(query, gallery, block_bytes), expected)


def test_what_matches_is_explained() -> None:
    matcher = QAConv(6, (3, 2)).eval()
    query = torch.eye(6).view(1, 1, 6, 3, 2)  # every place a direction of its own
    moved = query.flatten(3)[..., [1, 0, 3, 2, 5, 4]].view_as(query)  # columns exchanged
    rows = matcher.layout.row([query])[0], matcher.layout.row([moved])[0]
    ((found,),) = matcher.explain(*rows)
    assert found.in_gallery.tolist() == [1, 0, 3, 2, 5, 4]
    assert found.in_query.tolist() == [1, 0, 3, 2, 5, 4]
    assert found.mutual.all()
    assert found.response.tolist() == [1.0] * 6
    matcher.linear.weight.data[0, 4] = 5.0
    ((found,),) = matcher.explain(*rows)
    assert set(found.strongest(2)) == {(4, 5), (5, 4)}  # a place counts from either side
    assert len(found.strongest(99)) == 6
    assert found.centre(0) == (0.25, pytest.approx(1 / 6))
    assert found.centre(5) == (0.75, pytest.approx(5 / 6))


def test_of_places_that_choose_alike_one_is_mutual() -> None:
    matcher = QAConv(2, (2, 1)).eval()
    query = torch.tensor([[1.0, 0.0], [0.8, 0.6]]).T.reshape(1, 1, 2, 2, 1)
    gallery = torch.tensor([[1.0, 0.0], [-1.0, 0.0]]).T.reshape(1, 1, 2, 2, 1)
    ((found,),) = matcher.explain(matcher.layout.row([query])[0], matcher.layout.row([gallery])[0])
    assert found.in_gallery.tolist() == [0, 0]
    assert found.strongest(5) == [(0, 0)]


def test_bad_input() -> None:
    matcher = MSQAConv(MapLayout(5, SIZES))
    with pytest.raises(PasserbyError, match=r"maps \(views, channels, height, width\).*\(1, 5, 4, 2\)"):
        matcher.pairwise(random_maps(3, 0, sizes=((4, 2), (4, 2))))
    with pytest.raises(PasserbyError, match="built for"):
        matcher.pairwise(random_maps(3, 0, views=2))
    with pytest.raises(PasserbyError, match=r"rows of 70: 4 x 2 and 3 x 2 places of 5 channels"):
        matcher.score(torch.zeros(2, 60), torch.zeros(2, 70))
    with pytest.raises(PasserbyError, match="gallery: no features"):
        matcher.score(torch.zeros(2, 70), torch.zeros(0, 70))


LAYOUT = MapLayout(5, SIZES, views=3)


def plain_responses(query: list[Tensor], gallery: list[Tensor]) -> Tensor:
    """[Q, G, K, 2, S]."""
    return torch.stack(
        [
            torch.stack(
                [
                    torch.stack(
                        [
                            torch.cat(
                                [plain_vectors(q[k, i], g[k, j]) for q, g in zip(query, gallery, strict=True)], dim=1
                            )
                            for k in range(len(query[0]))
                        ]
                    )
                    for j in range(gallery[0].shape[1])
                ]
            )
            for i in range(query[0].shape[1])
        ]
    )


def plain_attention(matcher: MSDAQAConv, responses: Tensor) -> Tensor:
    """Softmax(W2 ReLU(W1 v_query + W1 v_gallery)), v the vectors of all experts and scales, one pair at a time."""
    assert matcher.squeeze is not None
    assert matcher.excite is not None
    alphas = []
    for pair in responses.flatten(0, 1):
        sides = [torch.cat([pair[k, side] for k in range(3)]) for side in range(2)]
        hidden = sum((matcher.squeeze.weight @ v + matcher.squeeze.bias for v in sides), torch.tensor(0.0))
        alphas.append(torch.softmax(matcher.excite.weight @ hidden.clamp(min=0) + matcher.excite.bias, 0))
    return torch.stack(alphas)


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("experts", ["attention", "average"])
def test_msda_is_the_plain_formula(experts: str, training: bool) -> None:
    matcher = stirred(MSDAQAConv(LAYOUT, experts, reduction=4)).train(training)  # type: ignore[arg-type]
    assert isinstance(matcher, MSDAQAConv)
    if matcher.squeeze is not None:
        matcher.squeeze.weight.data *= 0.1  # or the softmax is saturated
    maps = random_maps(5, 0, views=3)
    responses = plain_responses(maps, maps)
    alpha = plain_attention(matcher, responses) if experts == "attention" else torch.full((25, 3), 1 / 3).double()
    mixed = (alpha[:, :, None, None] * responses.flatten(0, 1)).sum(1)
    head = matcher.head

    def norm(layer: torch.nn.BatchNorm1d, x: Tensor) -> Tensor:
        mean, variance = (x.mean(), x.var(correction=0)) if training else (layer.running_mean, layer.running_var)
        return (x - mean) / (variance + layer.eps).sqrt() * layer.weight + layer.bias

    scores = (norm(head.vector_norm, mixed) @ head.linear.weight[0] + head.linear.bias).sum(1)
    expected = norm(head.score_norm, scores).view(5, 5)
    found = matcher.pairwise(maps)
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(found, found.T)
    if not training:
        row = matcher.layout.row(maps)
        torch.testing.assert_close(matcher.score(row, row), expected)
    if experts == "attention":
        assert alpha.std(0).min() > 1e-4, "attention is the same for every pair, or nothing was tested"


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("experts", ["attention", "average"])
def test_experts_that_are_left_out_have_no_say(experts: str, training: bool) -> None:
    matcher = stirred(MSDAQAConv(LAYOUT, experts, reduction=4)).train(training)  # type: ignore[arg-type]
    assert isinstance(matcher, MSDAQAConv)
    maps = random_maps(5, 0, views=3)
    without = torch.tensor([[False, False, True]]).repeat(25, 1)
    found = matcher.pairwise(maps, matcher.scorer(without))
    responses = plain_responses(maps, maps).flatten(0, 1)
    logits = torch.zeros(25, 3, dtype=responses.dtype)
    if experts == "attention":
        logits = plain_attention(matcher, responses.view(5, 5, *responses.shape[1:])).log()
    alpha = logits[:, :2].softmax(1)
    expected = matcher.head.scorer()((alpha[:, :, None, None] * responses[:, :2]).sum(1, keepdim=True))
    torch.testing.assert_close(found, expected.view(5, 5))


def test_voting_adds_up_the_experts_scores() -> None:
    matcher = stirred(VotingQAConv(LAYOUT)).eval()
    assert isinstance(matcher, VotingQAConv)
    maps = random_maps(4, 0, views=3)
    parts = [plain_scores(matcher.head, [m[k : k + 1] for m in maps], [m[k : k + 1] for m in maps]) for k in range(3)]
    torch.testing.assert_close(matcher.pairwise(maps), torch.stack(parts).sum(0))


@pytest.mark.parametrize("matcher", [MSDAQAConv(LAYOUT, "average"), VotingQAConv(LAYOUT)])
def test_a_weight_is_what_a_unit_of_response_adds(matcher: MSDAQAConv | VotingQAConv) -> None:
    scorer = stirred(matcher).eval().scorer()  # type: ignore[operator]
    still = torch.rand(1, 3, 2, sum(LAYOUT.places), dtype=torch.double)
    for view, place in ((0, 2), (2, 9)):
        more = still.clone()
        more[:, view, 0, place] += 1
        torch.testing.assert_close((scorer(more) - scorer(still))[0], matcher.place_weights[view, place])


def test_under_autocast_scores_are_of_full_precision() -> None:
    matcher = MSQAConv(MapLayout(5, SIZES)).eval()
    maps = [m.float() for m in random_maps(6, 0)]
    with torch.autocast("cpu", torch.bfloat16):
        found = matcher.pairwise(maps)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, matcher.pairwise(maps), rtol=0, atol=0)


def test_two_streams_add_up() -> None:
    specific = stirred(MSDAQAConv(LAYOUT))
    invariant = stirred(MSQAConv(MapLayout(5, SIZES)))
    assert isinstance(specific, MSDAQAConv)
    assert isinstance(invariant, MSQAConv)
    matcher = TwoStreamQAConv(specific, invariant).eval()
    maps = random_maps(6, 1, views=4)
    row = matcher.layout.row(maps)
    expected = specific.pairwise([m[:3] for m in maps]) + invariant.pairwise([m[3:] for m in maps])
    torch.testing.assert_close(matcher.score(row, row), expected)
    explained = matcher.explain(row[0], row[1])
    assert [len(view) for view in explained] == [2] * 4
    weights = matcher.place_weights
    torch.testing.assert_close(weights[:3], specific.head.place_weights.expand(3, -1) / 3)
    torch.testing.assert_close(weights[3:], invariant.place_weights)
    with pytest.raises(PasserbyError, match="two streams"):
        TwoStreamQAConv(specific, MSQAConv(MapLayout(5, SIZES[:1])))
