"""ISR's losses and its comparators against the formulas of the papers, written out in loops."""

import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import Tensor

from passerby.losses.cycle import cycle_association
from passerby.losses.feature_queue import FeatureQueue, Origin
from passerby.losses.focal import focal
from passerby.losses.reliability import log_reliability, reliability_guided


def unit(*shape: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return F.normalize(torch.randn(*shape, dtype=torch.float64, generator=generator), dim=-1)


def plain_reliability(x: Tensor, others: Tensor, positive: int, candidates: list[bool], tau: float) -> float:
    """Eq. 2."""
    terms = [math.exp(float(x @ y) / tau) if own else 0.0 for y, own in zip(others, candidates, strict=True)]
    return terms[positive] / sum(terms)


@settings(max_examples=50, deadline=None)
@given(
    pairs=st.integers(1, 6),
    others=st.integers(1, 9),
    gamma=st.sampled_from([0.0, 1.0, 2.5, 6.0, 10.0]),
    tau=st.sampled_from([0.05, 0.1, 1.0]),
    seed=st.integers(0, 99),
)
def test_reliability_and_its_loss_are_equations_2_to_4(
    pairs: int, others: int, gamma: float, tau: float, seed: int
) -> None:
    x, y = unit(pairs, 5, seed=seed), unit(others, 5, seed=seed + 1)
    generator = torch.Generator().manual_seed(seed)
    positive = torch.randint(others, (pairs,), generator=generator)
    candidates = torch.rand(pairs, others, generator=generator) < 0.7
    candidates[torch.arange(pairs), positive] = True
    log_p = log_reliability(x, y, positive, candidates, tau)
    plain = [plain_reliability(x[i], y, int(positive[i]), candidates[i].tolist(), tau) for i in range(pairs)]
    assert log_p.exp().tolist() == pytest.approx(plain, rel=1e-9)
    each = [-(p**gamma) * math.log(p) for p in plain]
    unguided = [-math.log(p) for p in plain]
    assume(not 0 < sum(each) < 1e-12)  # alpha is bounded where reliable pairs lose nothing at all
    alpha = sum(unguided) / sum(each) if sum(each) else 1.0
    assert float(reliability_guided(log_p, gamma)) == pytest.approx(alpha / pairs * sum(each), rel=1e-7, abs=1e-12)


def test_the_gradient_passes_by_p_to_the_gamma_and_alpha() -> None:
    log_p = torch.tensor([-0.1, -0.7, -2.0], dtype=torch.float64, requires_grad=True)
    reliability_guided(log_p, 6.0).backward()
    p = log_p.detach().exp()
    alpha = -log_p.detach().sum() / (-(p**6) * log_p.detach()).sum()
    assert log_p.grad is not None
    torch.testing.assert_close(log_p.grad, -alpha / 3 * p**6)


def test_gradients_reach_anchor_and_candidates_and_nobody_else() -> None:
    x, y = unit(3, 4).requires_grad_(), unit(6, 4, seed=1).requires_grad_()
    candidates = torch.tensor([[True, True, True, False, True, False]] * 3)
    log_p = log_reliability(x, y, torch.tensor([0, 1, 2]), candidates)
    reliability_guided(log_p, 2.0).backward()
    assert x.grad is not None
    assert y.grad is not None
    assert bool((x.grad.abs().sum(1) > 0).all())
    assert (y.grad.abs().sum(1) > 0).tolist() == candidates[0].tolist()


def test_hopeless_pairs_do_not_vanish_in_float32() -> None:
    log_p = torch.tensor([-40.0, -41.0], requires_grad=True)  # p^6 is far below what float32 holds
    loss = reliability_guided(log_p, 6.0)
    loss.backward()
    assert float(loss.detach()) == pytest.approx(40.5, rel=1e-5)
    assert log_p.grad is not None
    assert bool(log_p.grad.isfinite().all())


def test_certain_pairs_and_no_pairs_cost_nothing() -> None:
    assert float(reliability_guided(torch.zeros(4))) == 0
    nothing = torch.zeros(0, requires_grad=True)
    for loss in (reliability_guided(nothing), focal(nothing)):
        assert float(loss.detach()) == 0
        loss.backward()


@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0, 6.0])
def test_focal_is_its_formula_with_its_whole_gradient(gamma: float) -> None:
    p = torch.tensor([0.05, 0.5, 0.97], dtype=torch.float64)
    log_p = p.log().requires_grad_()
    loss = focal(log_p, gamma)
    expected = sum(-((1 - float(q)) ** gamma) * math.log(float(q)) for q in p) / 3
    assert float(loss.detach()) == pytest.approx(expected)
    assert torch.autograd.gradcheck(lambda t: focal(t, gamma), (log_p,))
    certain = torch.zeros(2, requires_grad=True)
    focal(certain, gamma).backward()
    assert certain.grad is not None
    assert bool(certain.grad.isfinite().all())


def of_videos(video: Tensor) -> Origin:
    """Every shot a film of its own, all at its first frame."""
    return Origin(video, video, torch.zeros(len(video)))


@settings(max_examples=40, deadline=None)
@given(
    length=st.integers(1, 12),
    pushes=st.lists(st.integers(1, 9), max_size=5),
    k=st.integers(1, 15),
    hardest=st.sampled_from(["similar", "dissimilar"]),
    seed=st.integers(0, 99),
)
def test_queue_contrast_is_equation_5(length: int, pushes: list[int], k: int, hardest: str, seed: int) -> None:
    queue = FeatureQueue(length, 4).double()
    memory: list[tuple[Tensor, int]] = []
    for n, count in enumerate(pushes):
        features = unit(count, 4, seed=seed + n)
        video = torch.randint(4, (count,), generator=torch.Generator().manual_seed(seed + n))
        queue.push(features, of_videos(video))
        memory = (memory + list(zip(features, video.tolist(), strict=True)))[-length:]
    x, own = unit(6, 4, seed=seed + 50).requires_grad_(), torch.tensor([0, 1, 2, 3, 4, 0])
    found = queue.contrast(x, of_videos(own), k, hardest, 0.0)  # type: ignore[arg-type]
    for i in range(6):
        point = x[i].detach()
        cosines = sorted((float(point @ f) for f, v in memory if v != int(own[i])), reverse=hardest == "similar")[:k]
        expected = sum(math.log(1 + math.exp(c)) for c in cosines) / max(1, len(cosines))
        assert float(found[i].detach()) == pytest.approx(expected), i
    found.sum().backward()
    assert x.grad is not None
    foreign = [any(v != int(o) for _, v in memory) for o in own]
    assert (x.grad.abs().sum(1) > 0).tolist() == foreign


def test_a_queue_keeps_the_newest_and_is_saved_whole() -> None:
    queue = FeatureQueue(5, 1)
    for n in range(7):
        queue.push(torch.tensor([[float(n)]]), of_videos(torch.tensor([n])))
    assert sorted(queue.features[:, 0].tolist()) == [2, 3, 4, 5, 6]
    assert queue.video[int(queue.place)] == 2  # the next one goes where the oldest is
    other = FeatureQueue(5, 1)
    other.load_state_dict(queue.state_dict())
    for kept in (queue, other):
        kept.push(torch.tensor([[7.0]]), of_videos(torch.tensor([7])))
    assert torch.equal(queue.features, other.features)
    assert queue.negatives(of_videos(torch.tensor([3])), 0).sum() == 4
    queue.push(torch.arange(20.0)[:, None], of_videos(torch.arange(20)))
    assert sorted(queue.features[:, 0].tolist()) == [15, 16, 17, 18, 19]


def test_negatives_of_one_film_lie_apart_and_those_of_others_wherever() -> None:
    queue = FeatureQueue(6, 2)
    video, film = torch.tensor([0, 1, 2, 3, 3]), torch.tensor([0, 0, 0, 7, 7])
    queue.push(torch.zeros(5, 2), Origin(video, film, torch.tensor([0.0, 25.0, 50.0, 1.0, 2.0])))
    asked = Origin(torch.tensor([0, 1, 3]), torch.tensor([0, 0, 7]), torch.tensor([10.0, 20.0, 0.0]))
    found = [row.nonzero()[:, 0].tolist() for row in queue.negatives(asked, 20.0)]
    assert found == [[2, 3, 4], [0, 2, 3, 4], [0, 1, 2]]
    found = [row.nonzero()[:, 0].tolist() for row in queue.negatives(asked, 0.0)]
    assert found == [[1, 2, 3, 4], [0, 2, 3, 4], [0, 1, 2]]


def test_what_is_pushed_keeps_no_graph() -> None:
    queue = FeatureQueue(4, 2)
    features = torch.ones(2, 2, requires_grad=True)
    queue.push(features * 2, of_videos(torch.zeros(2, dtype=torch.int64)))
    assert not queue.features.requires_grad


def plain_cycle(first: Tensor, second: Tensor, margin: float) -> float:
    """CycAs: softmax of T S forth and back, hinge of the diagonal against the rest of row and column."""
    m, n = len(first), len(second)
    cosine = [[float(x @ y) for y in second] for x in first]

    def soft(values: list[float]) -> list[float]:
        high = [math.exp(2 * math.log(len(values) + 1) * v) for v in values]
        return [h / sum(high) for h in high]

    there = [soft(row) for row in cosine]
    back = [soft([cosine[i][j] for i in range(m)]) for j in range(n)]
    cycle = [[sum(there[i][j] * back[j][k] for j in range(n)) for k in range(m)] for i in range(m)]
    total = 0.0
    for i in range(m):
        total += max(0.0, max(cycle[i][k] for k in range(m) if k != i) - cycle[i][i] + margin)
        total += max(0.0, max(cycle[k][i] for k in range(m) if k != i) - cycle[i][i] + margin)
    return total / m


@pytest.mark.parametrize(("m", "n"), [(2, 2), (3, 5), (6, 4)])
def test_cycle_association_is_its_formula(m: int, n: int) -> None:
    first, second = unit(m, 5), unit(n, 5, seed=3)
    small, large = (first, second) if m <= n else (second, first)
    assert float(cycle_association(first, second, 0.5)) == pytest.approx(plain_cycle(small, large, 0.5))
    first.requires_grad_()
    cycle_association(first, second).backward()
    assert first.grad is not None
    assert bool((first.grad.abs().sum(1) > 0).all())


def test_a_walk_needs_two_people() -> None:
    for first, second in ((unit(1, 4), unit(5, 4)), (unit(0, 4), unit(2, 4)), (unit(3, 4), unit(1, 4))):
        assert float(cycle_association(first, second)) == 0


def test_everything_is_float32_under_autocast() -> None:
    x = F.normalize(torch.randn(4, 8)).bfloat16()
    queue = FeatureQueue(4, 8)
    queue.push(x, of_videos(torch.arange(4)))
    with torch.autocast("cpu", torch.bfloat16):
        log_p = log_reliability(x, x, torch.arange(4), torch.ones(4, 4, dtype=torch.bool))
        found = (log_p, queue.contrast(x, of_videos(torch.arange(4) + 9), 50, "similar", 0.0), cycle_association(x, x))
    assert [value.dtype for value in found] == [torch.float32] * 3
