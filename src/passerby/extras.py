"""Libraries that only some commands need."""

from importlib import import_module
from types import ModuleType

from passerby.errors import PasserbyError


def import_extra(module: str, extra: str) -> ModuleType:
    """Imports a library of an optional extra.

    Raises:
        PasserbyError: when it is not installed, with the command that installs it.
    """
    try:
        return import_module(module)
    except ImportError as error:
        raise PasserbyError(
            f"{module.partition('.')[0]} is not installed ({error}); pip install 'passerby[{extra}]'"
        ) from error
