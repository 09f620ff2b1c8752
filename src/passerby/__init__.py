"""Passerby recognises people on cameras that it has never seen.

>>> model = passerby.load("runs/first")
>>> model.embed(["a.jpg", "b.jpg"])        # float32 [2, D], rows of length 1
>>> lobby = passerby.adapt("runs/first", "crops/of/the/lobby")
>>> with lobby.on(model):
...     model.embed(["a.jpg", "b.jpg"])
>>> passerby.evaluate("runs/first", data_root="data", targets=["viper", "prid"])
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from passerby.adaptation.profile import SiteProfile
    from passerby.commands.adapt import adapt
    from passerby.commands.evaluate import evaluate
    from passerby.data.sample import Sample
    from passerby.errors import PasserbyError
    from passerby.models.load import load

__all__ = ["PasserbyError", "Sample", "SiteProfile", "adapt", "evaluate", "load"]

_PLACES = {
    "PasserbyError": "passerby.errors",
    "Sample": "passerby.data.sample",
    "SiteProfile": "passerby.adaptation.profile",
    "adapt": "passerby.commands.adapt",
    "evaluate": "passerby.commands.evaluate",
    "load": "passerby.models.load",
}


def __getattr__(name: str) -> Any:
    """Imports the public names when they are first asked for: `import passerby` stays fast."""
    if name in _PLACES:
        return getattr(import_module(_PLACES[name]), name)
    raise AttributeError(f"module 'passerby' has no attribute '{name}'")
