"""The one error that people are meant to see: what is wrong, where, and how to mend it."""

from collections.abc import Iterable
from difflib import get_close_matches


class PasserbyError(Exception):
    """Bad input. The message is one line; the command line prints it on stderr and exits with code 2."""


def nearest(name: str, known: Iterable[str]) -> str:
    """The hint of an error about an unknown name: the nearest known one, or all of them.

    >>> nearest("vipr", ["viper", "prid"])
    "did you mean 'viper'?"
    """
    names = sorted(known)
    match = get_close_matches(name, names, n=1, cutoff=0.6)
    return f"did you mean '{match[0]}'?" if match else f"known: {', '.join(names)}"
