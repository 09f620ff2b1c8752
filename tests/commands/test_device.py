"""Where commands run."""

import pytest

from passerby.commands.device import torch_device
from passerby.errors import PasserbyError


def test_unknown_devices_are_named() -> None:
    with pytest.raises(PasserbyError, match="this machine has cpu"):
        torch_device("tpu")
