"""The route reaches every layer that reads it, for one forward."""

import threading

import pytest
import torch
from torch import Tensor, nn

from passerby.models.route import Route, RoutedModule, routed


class Spy(RoutedModule):
    """Notes the route of each forward."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[Route | None] = []

    def forward(self, images: Tensor) -> Tensor:
        self.seen.append(self.route)
        if images.isnan().any():
            raise ValueError("broken")
        return images


def test_every_layer_sees_the_route_inside_and_none_outside() -> None:
    spies = [Spy(), Spy()]
    model = nn.Sequential(spies[0], nn.Sequential(nn.ReLU(), spies[1]))
    route = Route(torch.tensor([0, 1]), "mix")
    with routed(model, route):
        model(torch.zeros(2))
    model(torch.zeros(2))
    for spy in spies:
        assert spy.seen == [route, None]
        assert spy.seen[0] is route


def test_the_route_goes_also_when_the_forward_raises() -> None:
    spy = Spy()
    with pytest.raises(ValueError, match="broken"), routed(spy, Route(None)):
        spy(torch.tensor([float("nan")]))
    assert spy.route is None


def test_two_models_in_two_threads_do_not_meet() -> None:
    models, barrier = (Spy(), Spy()), threading.Barrier(2)
    routes = [Route(torch.tensor([k])) for k in range(2)]

    def work(k: int) -> None:
        for _ in range(20):
            with routed(models[k], routes[k]):
                barrier.wait()
                models[k](torch.zeros(1))
                barrier.wait()

    threads = [threading.Thread(target=work, args=(k,)) for k in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for model, route in zip(models, routes, strict=True):
        assert len(model.seen) == 20
        assert all(seen is route for seen in model.seen)


def test_a_route_does_not_change() -> None:
    assert Route(None).mode == "expert"
    with pytest.raises(AttributeError):
        Route(None).mode = "mix"  # type: ignore[misc]
