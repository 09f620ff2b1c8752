"""Methods on film: losses as the papers add them up, what gradients reach, and truth that no loss ever sees."""

import dataclasses
import math
from copy import deepcopy
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from passerby.data.augment import Augmentation, augment
from passerby.data.images import Preprocessing
from passerby.data.video.film_set import FilmBatch
from passerby.errors import PasserbyError
from passerby.losses.cycle import cycle_association
from passerby.methods import get_method
from passerby.methods.base import TrainingFacts
from passerby.methods.film import FilmMethod, reliable_pairs
from passerby.methods.isr import Isr, IsrSettings
from passerby.methods.moco import Moco, MocoSettings
from passerby.methods.optimization import OptimizerSettings, ScheduleSettings
from passerby.models.model import Architecture, Model
from passerby.recipes import load_recipe
from passerby.seeding import torch_generator

SMALL = Preprocessing(height=32, width=16)
VIDEO = torch.tensor([4] * 7 + [9] * 5)
FRAME = torch.tensor([0, 0, 1, 1, 1, 2, 2, 0, 0, 1, 2, 2])
TRUTH = torch.tensor([1, 2, 1, 2, 3, 2, 1, 7, 8, 8, 7, -1])

pytestmark = pytest.mark.filterwarnings("ignore:You are trying to `self.log")


def make(name: str, domains: int = 2, span: float = math.inf, **settings: Any) -> Any:
    torch.manual_seed(0)
    augmentation = Augmentation(flip=0.5, jitter=0.8, hue=0.1)
    facts = TrainingFacts(0, domains, 10, 7, OptimizerSettings(), ScheduleSettings(), augmentation, span=span)
    kind = get_method(name)
    model = Model(Architecture(backbone="test_resnet", embedding=6), SMALL)
    return kind(model, facts, kind.Settings.model_validate({"name": name, **settings}))


def batch(seed: int = 2, truth: Tensor = TRUTH) -> FilmBatch:
    images = torch.randint(0, 256, (12, 3, 32, 16), dtype=torch.uint8, generator=torch.Generator().manual_seed(seed))
    return FilmBatch(SMALL.normalise(images), VIDEO, VIDEO, 0.0 * VIDEO, FRAME, truth, 0)


def logged(method: FilmMethod, monkeypatch: pytest.MonkeyPatch) -> dict[str, float]:
    found: dict[str, float] = {}
    monkeypatch.setattr(method, "log", lambda name, value, **_: found.update({name: float(value)}))
    return found


def plain_isr(method: Isr, embedding: Tensor, queue: Tensor, videos: list[int]) -> tuple[float, float]:
    """Eq. 1 to 5 in loops, on the pairs that the assignment gave (a test of its own says that they are the best)."""
    from passerby.methods.association import mine_pairs

    s, x = method.settings, embedding.double()
    pairs = mine_pairs(embedding, VIDEO, FRAME)
    reliabilities, contrast = [], []
    for a, b in zip(pairs.anchor.tolist(), pairs.positive.tolist(), strict=True):
        others = [j for j in range(12) if FRAME[j] == FRAME[b] and (s.candidates == "all" or VIDEO[j] == VIDEO[b])]
        terms = {j: math.exp(float(x[a] @ x[j]) / s.temperature) for j in others}
        reliabilities.append(terms[b] / sum(terms.values()))
        cosines = sorted(
            (float(x[a] @ f) for f, v in zip(queue.double(), videos, strict=True) if v != VIDEO[a]),
            reverse=s.hardest == "similar",
        )
        hard = cosines[: s.negatives]
        contrast.append(sum(math.log(1 + math.exp(c)) for c in hard) / max(1, len(hard)))
    each = [-(p**s.gamma) * math.log(p) for p in reliabilities]
    alpha = sum(-math.log(p) for p in reliabilities) / sum(each)
    m = len(each)
    return alpha / m * sum(each), s.queue_weight * sum(contrast) / m


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"gamma": 0, "temperature": 0.3},
        {"candidates": "video", "gamma": 2},
        {"queue_weight": 2, "negatives": 3},
        {"hardest": "dissimilar", "negatives": 3},
    ],
)
def test_isr_is_equations_1_to_6(settings: dict[str, Any]) -> None:
    method = make("isr", **settings)
    first = method.losses(batch(5))
    assert float(first["queue"].detach()) == 0  # nothing is remembered yet
    queue, videos = method.queue.features[:12].clone(), method.queue.video[:12].tolist()
    embedding = method.embed(batch().images).detach()
    losses = method.losses(batch())
    assert tuple(losses) == Isr.loss_names
    pairs, contrast = plain_isr(method, embedding, queue, videos)
    assert float(losses["pairs"].detach()) == pytest.approx(pairs, rel=1e-3)
    assert float(losses["queue"].detach()) == pytest.approx(contrast, rel=1e-4)
    assert float(method.total(losses, 12).detach()) == pytest.approx(pairs + contrast, rel=1e-3)
    assert method.queue.video[:24].tolist() == [*VIDEO.tolist()] * 2


@pytest.mark.parametrize("gamma", [2, 5])
def test_table_6_is_the_focal_loss_of_the_pairs(gamma: int) -> None:
    method = make("isr", pair_loss="focal", gamma=gamma)
    _, log_p = method.mine(method.embed(batch().images), batch())
    expected = torch.stack([-((1 - p.exp()) ** gamma) * p for p in log_p.double()]).mean()
    assert float(method.losses(batch())["pairs"].detach()) == pytest.approx(float(expected.detach()), rel=1e-3)


def test_table_5_without_the_queue() -> None:
    plain, queueless = make("isr"), make("isr", queue_weight=0)
    assert tuple(queueless.losses(batch())) == ("pairs",)
    assert not [name for name in queueless.state_dict() if name.startswith("queue")]
    assert "queue.features" in plain.state_dict()


@pytest.mark.parametrize("name", ["isr", "cycas", "moco"])
def test_truth_is_measured_and_reaches_no_loss(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    values, measures = [], []
    for truth in (TRUTH, TRUTH.flip(0), torch.full_like(TRUTH, -1)):
        method = make(name)
        measures.append(logged(method, monkeypatch))
        drawn = batch(truth=truth)
        drawn.second = batch(3)
        loss = torch.stack(list(method.losses(drawn).values())).sum()
        loss.backward()
        gradients = torch.cat([p.grad.flatten() for p in method.parameters() if p.grad is not None])
        values.append((loss.detach(), gradients))
    for loss, gradients in values[1:]:
        assert torch.equal(loss, values[0][0])
        assert torch.equal(gradients, values[0][1])
    assert measures[0]["precision"] != measures[1]["precision"]
    assert set(measures[2]) == {"reliability"}


def test_precision_and_reliability_are_what_they_say(monkeypatch: pytest.MonkeyPatch) -> None:
    method = make("isr")
    found, weights = logged(method, monkeypatch), {}
    log = method.log
    monkeypatch.setattr(
        method, "log", lambda name, value, batch_size: (log(name, value), weights.update({name: batch_size}))
    )
    people = torch.eye(4)
    # Anchors 0, 1 (frame 0) meet 2, 3 (frame 1); 0 is right, 1 is wrong, and of the pair in video 9 nobody knows.
    embedding = people[[0, 1, 0, 1, 2, 2]]
    drawn = FilmBatch(
        torch.zeros(6, 3, 1, 1),
        torch.tensor([4, 4, 4, 4, 9, 9]),
        torch.tensor([0, 0, 0, 0, 1, 1]),
        torch.zeros(6),
        torch.tensor([0, 0, 1, 1, 0, 1]),
        torch.tensor([5, 6, 5, 7, 8, -1]),
        0,
    )
    pairs, log_p = method.mine(embedding, drawn)
    p = math.exp(10) / (math.exp(10) + 2)  # of three candidates of the other frame, at temperature 0.1
    assert log_p.exp().tolist() == pytest.approx([p] * 3)
    assert pairs.positive.tolist() == [2, 3, 5]
    assert found == pytest.approx({"reliability": p, "precision": 0.5, "reliability_right": p, "reliability_wrong": p})
    # A mean over steps weighs each by the pairs that it is of.
    assert weights == {"reliability": 3, "precision": 2, "reliability_right": 1, "reliability_wrong": 1}


@pytest.mark.parametrize("name", ["isr", "cycas", "moco"])
def test_gradients_reach_the_model_and_nothing_else(name: str) -> None:
    method = make(name)
    drawn = batch()
    drawn.second = batch(3)
    method.losses(drawn)
    method.total(method.losses(drawn), 12).backward()
    for key, parameter in method.named_parameters():
        moves = not key.startswith("key_") and key != "model.neck.bias"
        assert (parameter.grad is not None) == moves, key
        assert parameter.requires_grad == moves, key
    projection = method.model.projection.weight.grad
    assert float(projection.abs().max()) > 0


def test_cycas_is_the_mean_over_pairs_of_frames() -> None:
    for candidates, margin in (("all", 0.5), ("video", 0.2)):
        method = make("cycas", candidates=candidates, margin=margin)
        embedding = method.embed(batch().images).detach()
        walks = []
        for f, g in ((0, 1), (0, 2), (1, 2)):
            for video in (None,) if candidates == "all" else (4, 9):
                own = torch.ones(12, dtype=torch.bool) if video is None else video == VIDEO
                sides = embedding[own & (f == FRAME)], embedding[own & (g == FRAME)]
                walks.append(float(cycle_association(*sides, margin)))
        loss = float(method.losses(batch())["cycle"].detach())
        assert loss == pytest.approx(sum(walks) / len(walks), rel=1e-3)


def test_moco_is_infonce_against_the_keys_of_a_slow_copy() -> None:
    method: Moco = make("moco", queue_length=20, momentum=0.75, projection=4, contrast_temperature=0.4)
    drawn = batch()
    drawn.second = batch(3)
    first = method.losses(drawn)["contrast"]
    assert float(first.detach()) == pytest.approx(0)  # an empty queue: nothing to tell from
    queue = method.queue.features[:12].clone()
    with torch.no_grad():
        for parameter in method.model.parameters():
            parameter.add_(0.1)
    before = [p.clone() for p in method.key_model.parameters()]
    query = torch.nn.functional.normalize(method.head(method.model(drawn.images).embedding)).double()
    loss = method.losses(drawn)["contrast"]
    for own, old, leading in zip(method.key_model.parameters(), before, method.model.parameters(), strict=True):
        torch.testing.assert_close(own, 0.75 * old + 0.25 * leading)
    keys = method.queue.features[[*range(12, 20), *range(4)]].double()
    expected = 0.0
    for i in range(12):
        own = math.exp(float((query[i] @ keys[i]).detach()) / 0.4)
        others = sum(math.exp(float((query[i] @ k).detach()) / 0.4) for k in queue.double())
        expected -= math.log(own / (own + others)) / 12
    # The statistics of the batch norms moved on between the two forwards, the batch's own did not.
    assert float(loss.detach()) == pytest.approx(expected, rel=1e-3)


def test_keys_are_of_a_copy_that_follows_in_its_weights_and_has_the_same_statistics() -> None:
    method: Moco = make("moco", momentum=0.75)
    method.model(batch().images)  # the statistics of its batch norms move
    with torch.no_grad():
        for parameter in [*method.model.parameters(), *method.head.parameters()]:
            parameter.add_(0.1)
    leading = [method.model, method.head]
    before = [[p.clone() for p in kept.parameters()] for kept in (method.key_model, method.key_head)]
    keys = method.keys(batch(3).images)
    for copy, old, model in zip((method.key_model, method.key_head), before, leading, strict=True):
        for own, was, other in zip(copy.parameters(), old, model.parameters(), strict=True):
            torch.testing.assert_close(own, 0.75 * was + 0.25 * other)
        for own, other in zip(copy.buffers(), model.buffers(), strict=True):
            assert torch.equal(own, other)
    # No key depends on the others of its batch.
    alone = method.key_head(deepcopy(method.key_model).eval()(batch(3).images[:1]).embedding)
    torch.testing.assert_close(keys[:1], torch.nn.functional.normalize(alone))


def test_moco_sees_two_views() -> None:
    method = make("moco")
    raw = torch.randint(0, 256, (12, 3, 32, 16), dtype=torch.uint8)
    drawn = method.on_after_batch_transfer(replace(batch(), images=raw), 0)
    generator = torch_generator(7, 0, 0, 0)
    first, second = (augment(raw, method.facts.augmentation, SMALL, generator) for _ in range(2))
    assert torch.equal(drawn.images, first)
    assert torch.equal(drawn.second.images, second)
    assert not torch.equal(first, second)


def test_losses_are_float32_under_autocast() -> None:
    for name in ("isr", "cycas", "moco"):
        method, drawn = make(name), batch()
        drawn.second = batch(3)
        with torch.autocast("cpu", torch.bfloat16):
            method.losses(drawn)
            losses = method.losses(drawn)
        assert {loss.dtype for loss in losses.values()} == {torch.float32}, name


def test_negatives_of_the_same_film_keep_a_distance_in_time() -> None:
    def after_two(apart: float, film: Tensor) -> float:
        method, losses = make("isr", apart=apart), {}
        for seconds in (0.0, 20.0):
            drawn = dataclasses.replace(batch(), film=film, time=torch.full((12,), seconds))
            losses = method.losses(drawn)
        return float(losses["queue"].detach())

    one_film = torch.zeros_like(VIDEO)
    # Other shots of one film, 20 seconds ago: negatives where they are far enough, else there are none at all.
    assert after_two(20.0, one_film) == after_two(0.0, one_film) == after_two(30.0, VIDEO) > 0
    assert after_two(20.5, one_film) == 0


@pytest.mark.parametrize(("apart", "excluded"), [(30.0, {2, 3}), (20.0, {3}), (0.0, set())])
def test_the_softmax_leaves_out_who_may_be_the_same_person_in_another_shot(apart: float, excluded: set[int]) -> None:
    # Crop 0 is matched with 1, of its shot; 2 and 3 are of other shots of its film, 20 and 5 s away; 4 is of another film.
    embedding = torch.nn.functional.normalize(torch.randn(6, 4, generator=torch.Generator().manual_seed(0)))
    drawn = FilmBatch(
        torch.zeros(6, 3, 1, 1),
        torch.tensor([0, 0, 1, 2, 3, 3]),
        torch.tensor([0, 0, 0, 0, 1, 1]),
        torch.tensor([0.0, 1, 20, 5, 0, 0]),
        torch.tensor([0, 1, 1, 1, 1, 0]),
        torch.full((6,), -1),
        0,
    )
    pairs, log_p = reliable_pairs(embedding, drawn, IsrSettings(apart=apart))
    assert pairs.positive[0] == 1
    terms = {j: math.exp(10 * float(embedding[0] @ embedding[j])) for j in {1, 2, 3, 4} - excluded}
    assert math.exp(log_p[0]) == pytest.approx(terms[1] / sum(terms.values()), rel=1e-4)


def test_a_frame_without_a_partner_costs_nothing() -> None:
    shots, nothing = torch.tensor([1, 1, 2]), torch.zeros(3, dtype=torch.int64)
    alone = FilmBatch(torch.randn(3, 3, 32, 16), shots, shots, torch.zeros(3), nothing, torch.arange(3), 0)
    for name in ("isr", "cycas"):
        method = make(name)
        loss = method.total(method.losses(alone), 3)
        loss.backward()
        assert float(loss.detach()) == 0


def test_what_it_refuses() -> None:
    with pytest.raises(PasserbyError, match=r"one shot with frames to draw; .*method\.queue_weight to 0"):
        make("isr", domains=1)
    with pytest.raises(PasserbyError, match=r"one film of 29 s; .*at least method\.apart = 30 s away"):
        make("isr", span=29.0)
    for settings in ({"queue_weight": 0}, {"apart": 29}):
        make("isr", span=29.0, **settings)
    make("isr", domains=1, queue_weight=0)
    with pytest.raises(ValueError, match="temperature"):
        make("isr", temperature=0)


def test_the_published_recipe_says_the_published_settings() -> None:
    recipe = load_recipe("isr-resnet50")
    settings = recipe.method
    assert isinstance(settings, IsrSettings)
    assert (settings.gamma, settings.queue_weight, settings.candidates) == (6, 5, "all")
    film = recipe.data.film
    assert (film.seconds, film.frames, film.crops, film.visits) == (4.0, 3, 80, 16)
    assert (recipe.data.height, recipe.data.width, recipe.trainer.max_epochs) == (256, 128, 50)
    assert (recipe.optimizer.name, recipe.optimizer.lr) == ("adamw", 1e-4)
    assert (recipe.schedule.decay, recipe.schedule.warmup) == ("cosine", 0)
    assert (recipe.model.norm, recipe.model.embedding, recipe.model.last_stride_1) == ("isr", 512, True)
    assert (recipe.data.augment.flip, recipe.data.augment.jitter) == (0.5, 0.8)
    swin = load_recipe("isr-swin")
    assert (swin.data.height, swin.data.width, swin.data.film.crops, swin.model.norm) == (224, 224, 28, "batch")


def test_comparators_see_what_isr_sees() -> None:
    isr, *others = (load_recipe(f"{name}-mobilenetv2", budget="quick") for name in ("isr", "moco", "cycas"))
    for other in others:
        assert other.data.film == isr.data.film
        optimizer = other.optimizer.model_copy(update={"lr": isr.optimizer.lr})  # each has the rate that serves it best
        assert (other.model, optimizer, other.schedule, other.trainer) == (
            isr.model,
            isr.optimizer,
            isr.schedule,
            isr.trainer,
        )
    assert isinstance(others[0].method, MocoSettings)
