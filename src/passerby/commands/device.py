"""Where a command runs, in the words of --device."""

import torch

from passerby.errors import PasserbyError


def torch_device(name: str) -> str:
    """Torch's name of `auto`, `cpu`, `gpu` or `mps`.

    From here on this thread, and the workers that it starts, take numbers below the normal range of a float for zero. Weight decay
    leaves dead channels full of them, and a CPU takes many times as long over each: a long training would end at half its
    speed.

    Raises:
        PasserbyError: when it is none of these, or not on this machine.
    """
    torch.set_flush_denormal(True)
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
