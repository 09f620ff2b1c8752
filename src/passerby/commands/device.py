"""Where a command runs, in the words of --device."""

import torch

from passerby.errors import PasserbyError


def torch_device(name: str) -> str:
    """Torch's name of `auto`, `cpu`, `gpu` or `mps`.

    Raises:
        PasserbyError: when it is none of these, or not on this machine.
    """
    available = {"cpu": "cpu"}
    if torch.backends.mps.is_available():
        available["mps"] = "mps"
    if torch.cuda.is_available():
        available["gpu"] = "cuda"
    if name == "auto":
        return list(available.values())[-1]
    if name not in available:
        raise PasserbyError(f"--device {name}: this machine has {', '.join(available)}; or leave it to auto")
    return available[name]
