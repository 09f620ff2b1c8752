"""Measuring: time as a ratio within one run, and peak memory above what was there before."""

import ctypes
import time
from collections.abc import Callable
from pathlib import Path

import torch

THREADS = 2


def seconds(work: Callable[[], object]) -> float:
    """Wall time of one call."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def ratio(work: Callable[[], object], bare: Callable[[], object], repeats: int) -> tuple[float, float]:
    """How many times longer `work` takes than `bare`, and the seconds of `bare`.

    The two take turns, after one round to warm up, and the fastest of each counts: what else runs on the machine
    only adds.
    """
    torch.set_num_threads(THREADS)
    rounds = [(seconds(work), seconds(bare)) for _ in range(repeats + 1)][1:]
    fastest = min(b for _, b in rounds)
    return min(w for w, _ in rounds) / fastest, fastest


def peak_gib(work: Callable[[], object]) -> float:
    """Peak resident memory of one call above what the process held before it, in GiB (Linux)."""
    torch.set_num_threads(THREADS)
    ctypes.CDLL(None).malloc_trim(0)  # or memory that an earlier call left to reuse would hide the peak
    Path("/proc/self/clear_refs").write_text("5")
    before = _status_kib("VmRSS")
    work()
    return (_status_kib("VmHWM") - before) / 2**20


def _status_kib(key: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{key}:"))
