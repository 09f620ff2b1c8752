"""The one error that people are meant to see: what is wrong, where, and how to mend it."""

import errno
from collections.abc import Iterable, Sequence
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


_REMEDIES = {
    errno.ENOSPC: "free room there, or choose another place",
    errno.EDQUOT: "free room there, or choose another place",
    errno.EROFS: "choose a place that can be written to",
    errno.EACCES: "mend its permissions, or choose another place",
    errno.EPERM: "mend its permissions, or choose another place",
    errno.EEXIST: "a file stands where a folder is needed; choose another name",
    errno.ENOTDIR: "a file stands where a folder is needed; choose another name",
    errno.EISDIR: "a folder stands where a file is needed; choose another name",
    errno.ENOTEMPTY: "a folder stands where a file is needed; choose another name",
}


def explain_system_error(error: OSError) -> str:
    """What the operating system refused, where, and how to mend it, in one line.

    >>> explain_system_error(OSError(errno.ENOSPC, "No space left on device", "run/run.json"))
    'run/run.json: no space left on device; free room there, or choose another place'
    """
    reason = (error.strerror or str(error) or type(error).__name__).splitlines()[0]
    where = f"{error.filename}: " if error.filename else ""
    remedy = _REMEDIES.get(error.errno or 0, "look at the path and the disk, and try again")
    return f"{where}{reason[0].lower()}{reason[1:]}; {remedy}"


def first_of(names: Sequence[str], most: int = 10) -> str:
    """Names in words, at most so many of them: `a, b and 3 more`."""
    rest = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + rest
