"""Where commands run."""

import threading

import pytest
import torch

from passerby.commands.device import torch_device
from passerby.errors import PasserbyError


def test_numbers_below_the_normal_range_are_zero_in_every_thread() -> None:
    seen: list[float] = []

    def command() -> None:
        assert torch_device("cpu") == "cpu"
        tiny = torch.full((1 << 20,), 1e-40)  # enough for several workers
        seen.append(float((tiny * 2).max()))

    thread = threading.Thread(target=command)  # the flag is a thread's own: other tests go on without it
    thread.start()
    thread.join()
    assert seen == [0.0]


def test_unknown_devices_are_named() -> None:
    with pytest.raises(PasserbyError, match="this machine has cpu"):
        torch_device("tpu")
